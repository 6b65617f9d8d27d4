"""What makes training fast changes no result but in the last digits: layout, optimizer, ahead."""

import threading
from dataclasses import replace

import pytest
import torch
from tiny_fold import NETWORK, SIDE, tiny_fold, with_config
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.config import ConfigError, EngineConfig, TrainingConfig
from pipeline.images.batches import BatchSource
from pipeline.images.packed import Normalisation
from pipeline.training.average import MovingAverage
from pipeline.training.device import folds_on_a_gpu, prepare
from pipeline.training.epoch import TrainPart, predict, train_epoch
from pipeline.training.learner import build_learner, try_out
from pipeline.training.optimizer import fused
from pipeline.training.precision import precision_of_kept, precision_on


@pytest.fixture
def job(tmp_path):
    return tiny_fold(tmp_path)


def part_of(job):
    normalisation = Normalisation((0.0,), (1.0,))
    return TrainPart(job, BatchSource.open(job.images, normalisation, torch.device("cpu")))


def silent(*_):
    raise AssertionError("a short epoch reports nothing")


class Flattens(nn.Module):
    """Its code takes one order of memory only."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 2, 3)
        self.linear = nn.Linear(2 * (SIDE - 2) ** 2, 2)

    def forward(self, images):
        made = self.convolution(images)
        return self.linear(made.view(len(made), -1))


def trained(job, **training):
    """By plain steps: Adam's have full length also where a gradient is 0 but for its last digits.

    Without dropout, whose draws go by the order in memory.
    """
    layers = [layer for layer in NETWORK["_args_"] if "Dropout" not in str(layer)]
    settings = replace(job.config.training, **training)
    job = with_config(job, training=settings, model={**NETWORK, "_args_": layers})
    learner, part = build_learner(job), part_of(job)
    for epoch in (1, 2):
        train_epoch(learner, part, epoch, lambda *_: None)  # compiling may take long
    return learner, predict(learner, part.source, job.rows("val"))


def test_the_order_in_memory_changes_the_last_digits_only(job):
    (first, found), (second, expected) = (trained(job, channels_last=on) for on in (True, False))
    assert (first.layout, second.layout) == (torch.channels_last, torch.contiguous_format)
    weights = first.network.get_parameter("0.weight")
    assert weights.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_network_that_cannot_take_the_order_keeps_the_other(job, monkeypatch):
    monkeypatch.setattr("pipeline.training.learner.build", _with_network(Flattens))
    learner = build_learner(job)
    assert learner.layout == torch.contiguous_format
    train_epoch(learner, part_of(job), 1, silent)


def _with_network(network):
    from pipeline.targets import build

    def found(key, *args, **more):
        return network() if key == "model" else build(key, *args, **more)

    return found


@pytest.mark.parametrize(
    ("leaf", "expected"),
    [
        ({"_target_": "torch.optim.AdamW"}, True),
        ({"_target_": "torch.optim.SGD", "lr": 0.1}, True),
        ({"_target_": "torch.optim.Adam", "fused": False}, False),
        ({"_target_": "torch.optim.Adam", "foreach": True}, None),
        ({"_target_": "torch.optim.RMSprop"}, None),
        ({"_target_": "my_lab.Adam"}, None),
    ],
)
def test_optimizers_of_torch_are_fused_unless_the_config_chooses(leaf, expected):
    assert fused(leaf, [torch.zeros(2)]).get("fused") is expected


def test_weights_that_cannot_be_fused_are_moved_one_by_one():
    leaf = {"_target_": "torch.optim.AdamW"}
    assert fused(leaf, [torch.zeros(2, dtype=torch.complex64)]) == leaf


def test_the_moving_average_is_that_of_torch():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    ours = MovingAverage(network, 0.9)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for _ in range(4):
        with torch.no_grad():
            for values in network.parameters():
                values.add_(torch.randn_like(values))
        network(torch.randn(5, 3))
        ours.follow(list(network.parameters()), list(network.buffers()))
        theirs.update_parameters(network)
    expected = theirs.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    for name, values in ours.state_dict().items():
        assert torch.equal(values, expected[name]), name


def test_batches_made_ahead_are_the_same(job):
    part, before = part_of(job), threading.active_count()
    expected = list(part.batches(1))
    part.is_ahead = True
    found = list(part.batches(1))
    assert threading.active_count() == before
    assert len(found) == len(expected) > 2
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_no_thread_is_left_when_training_fails(job):
    learner, part = build_learner(job), part_of(job)
    part.is_ahead, before = True, threading.active_count()

    def fails(_):
        assert threading.active_count() == before + 1
        raise RuntimeError("in the network")

    learner.__dict__["running"] = fails
    with pytest.raises(RuntimeError, match="in the network") as caught:
        train_epoch(learner, part, 1, silent)
    assert threading.active_count() == before
    assert caught.value is not None  # its frames are still held


def test_what_fails_ahead_is_raised_where_batches_are_taken(job, monkeypatch):
    part = part_of(job)
    part.is_ahead = True
    none: dict[str, None] = {}
    monkeypatch.setattr(part, "_targets", lambda _: none["a row"])
    with pytest.raises(KeyError, match="a row"):
        train_epoch(build_learner(job), part, 1, silent)


def test_the_precision_of_a_cpu_is_float32_unless_asked():
    assert precision_on(torch.device("cpu"), "auto") == torch.float32
    assert precision_on(torch.device("cpu"), "bfloat16") == torch.bfloat16
    assert precision_of_kept(torch.device("cpu"), "float16") == torch.float32


@pytest.mark.parametrize(("at_once", "each", "expected"), [(0, 1, 1), (3, 1, 3), (2, 2, 4)])
def test_the_memory_of_a_gpu_is_shared_by_its_folds(monkeypatch, at_once, each, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert folds_on_a_gpu(EngineConfig(folds_at_once=at_once, devices_per_fold=each)) == expected


def test_a_deterministic_training_says_so_to_torch(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    threads = torch.get_num_threads()
    try:
        for asked in (True, False):
            prepare(TrainingConfig(deterministic=asked), "cpu", threads)
            assert torch.are_deterministic_algorithms_enabled() is asked
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_missing_compiler_is_said_before_any_fold(job, monkeypatch):
    def missing(_):
        def fails(_):
            raise RuntimeError("no C++ compiler\nand much more")

        return fails

    monkeypatch.setattr(torch, "compile", missing)
    job = with_config(job, training=TrainingConfig(compile=True))
    with pytest.raises(ConfigError, match=r"compile=true: no C.. compiler; set training"):
        try_out(job)


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_and_is_saved_by_its_names(job):
    (compiled, found), (plain, expected) = (trained(job, compile=on) for on in (True, False))
    assert compiled.running is not compiled.network
    assert compiled.network.state_dict().keys() == plain.network.state_dict().keys()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
