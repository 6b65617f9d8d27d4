"""Workers that train a fold together do what one does alone."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_fold import SIDE, config_of, tiny_fold, with_config
from together import together
from torch import nn

from pipeline.config import AugmentConfig, ConfigError, LossConfig, TrainingConfig
from pipeline.images.batches import BatchSource
from pipeline.images.packed import Normalisation
from pipeline.training.epoch import TrainPart, predict, train_epoch
from pipeline.training.evaluated import EVAL_BATCH
from pipeline.training.learner import build_learner, try_out
from pipeline.training.parallel import ALONE, Worker, workers_of

pytestmark = pytest.mark.slow
PLAIN = {
    "_target_": "torch.nn.Sequential",
    "_args_": [
        {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": 3},
        {"_target_": "torch.nn.GroupNorm", "num_groups": 2, "num_channels": 4},
        {"_target_": "torch.nn.Tanh"},
        {"_target_": "torch.nn.AdaptiveAvgPool2d", "output_size": 2},
        {"_target_": "torch.nn.Flatten"},
        {"_target_": "torch.nn.Linear", "in_features": 16, "out_features": "@num_classes"},
    ],
}
NOISE = AugmentConfig(flip_axes=(0, 1), rotate_degrees=20, noise=0.1, mixup=0.4)
MONAI = AugmentConfig(
    transforms=({"_target_": "monai.transforms.RandGaussianNoise", "prob": 1.0, "std": 0.5},)
)


@pytest.fixture
def job(tmp_path):
    return tiny_fold(tmp_path)


def silent(*_):
    """Reports nothing."""


def source_of(job):
    normalisation = Normalisation((17.5,), (10.0,))
    return BatchSource.open(job.images, normalisation, torch.device("cpu"))


def with_patients(job, num_train):
    """With so many patients to train, 3 images each."""
    fold = job.fold
    return replace(job, fold=replace(fold, train=frozenset(sorted(fold.train)[:num_train])))


def shared(job, num_workers):
    """As a command with engine.devices_per_fold would make it."""
    engine = replace(job.config.engine, devices_per_fold=num_workers)
    return with_config(job, engine=engine)


def trained(job, worker, num_epochs=2):
    """The learner after some epochs, and what each has told."""
    learner = replace(build_learner(job), worker=worker)
    source = source_of(job)
    part = TrainPart(job, source, worker)
    told = [train_epoch(learner, part, epoch, silent) for epoch in range(1, num_epochs + 1)]
    return learner, source, told


def state_of(learner):
    return {name: values.numpy() for name, values in learner.network.state_dict().items()}


@pytest.mark.parametrize("num_workers", range(1, 6))
@pytest.mark.parametrize("least", [1, 2])
def test_shards_are_the_whole_batch_and_none_is_too_small(num_workers, least):
    for size in range(3 * num_workers + 2):
        batch = torch.arange(size)
        workers = [Worker("cpu", rank, num_workers) for rank in range(num_workers)]
        shards = [worker.shard(batch, least) for worker in workers]
        assert sorted(torch.cat(shards).tolist()) == batch.tolist()
        sizes = [len(shard) for shard in shards if len(shard)]
        assert size < least or min(sizes) >= least
        assert max(sizes, default=0) - min(sizes, default=0) <= 1


@pytest.mark.parametrize(
    ("num_workers", "num_patients", "augment", "training"),
    [
        (2, 7, NOISE, {"batch_size": 4, "clip_norm": 0.5}),  # the last batch has 5 images
        (2, 5, MONAI, {"batch_size": 2, "accumulate": 3}),
        (2, 7, NOISE, {"batch_size": 8, "accumulate": "all"}),
        (3, 7, NOISE, {"batch_size": 6, "average": 0.9}),  # the last one 3: one worker takes them
        (3, 7, MONAI, {"batch_size": 6, "warmup_epochs": 0.5}),
    ],
)
def test_workers_together_train_as_one_does(job, num_workers, num_patients, augment, training):
    """Order, draws, loss, weights of classes, clipping and average are those of whole batches."""
    config = {
        "model": PLAIN,
        "augment": augment,
        "training": TrainingConfig(precision="float32", **training),
        "loss": LossConfig(function=job.config.loss.function, class_weights={"neg": 1, "pos": 4}),
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9},
    }
    job = with_patients(with_config(job, **config), num_patients)
    alone, source, told_alone = trained(job, ALONE)
    before = build_learner(job)
    job = shared(job, num_workers)
    rows = job.rows("val")

    def work(worker):
        learner, source, told = trained(job, worker)
        return state_of(learner), told, predict(learner, source, rows).numpy()

    expected, logits = state_of(alone), predict(alone, source, rows).numpy()
    assert np.abs(expected["0.weight"] - state_of(before)["0.weight"]).max() > 1e-3
    for state, told, found in together(num_workers, work):
        for name, values in state.items():
            np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-5)
        for now, then in zip(told, told_alone, strict=True):
            assert now == pytest.approx(then, rel=1e-5)
        np.testing.assert_allclose(found, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_workers", [2, 3])
def test_a_checkpoint_predicts_the_same_whatever_the_number_of_workers(
    job, num_workers, monkeypatch
):
    alone, source, _ = trained(job, ALONE)
    weights, rows = alone.network.state_dict(), np.random.default_rng(0).permutation(35)
    for size in (3, 34):  # more and fewer batches than workers
        monkeypatch.setitem(EVAL_BATCH, "cpu", size)

        def work(worker):
            learner = replace(build_learner(job), worker=worker)
            learner.network.load_state_dict(weights)
            return predict(learner, source, rows).numpy()

        expected = predict(alone, source, rows).numpy()
        for found in together(num_workers, work):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("found", "wrong"), [([], 7), ([torch.ones(2, 2)], 3), ([torch.ones(3, 2)], 1)]
)
def test_a_sample_that_nobody_predicted_is_an_error_for_all(found, wrong):
    batches = [torch.arange(3), torch.arange(4)]

    def work(worker):
        try:
            worker.gathered(found, batches)
        except RuntimeError as error:
            return str(error)
        return ""

    for message in together(2, work):
        assert f"{wrong} of 7 samples were not predicted exactly once by the 2 workers" in message


def test_batch_norms_share_the_mean_of_what_each_worker_has_seen(job):
    training = TrainingConfig(batch_size=24, precision="float32", average=0.5)
    job = shared(with_config(job, training=training, augment=AugmentConfig()), 2)

    def work(worker):
        learner = replace(build_learner(job), worker=worker)
        part = TrainPart(job, source_of(job), worker)
        (batch,) = part.batches(1)
        with torch.no_grad():
            own = learner.network.get_submodule("0")(batch.images).mean(dim=(0, 2, 3))
        train_epoch(learner, part, 1, silent)
        both = [
            network.get_buffer("1.running_mean") for network in (learner.network, learner.judged)
        ]
        return own.numpy(), [mean.numpy() for mean in both], state_of(learner)

    (own, first, state), (own2, second, state2) = together(2, work)
    assert np.abs(own - own2).max() > 1e-3
    for means in (*first, *second):
        np.testing.assert_allclose(means, 0.1 * (own + own2) / 2, rtol=1e-5)
    for name, values in state.items():
        np.testing.assert_array_equal(values, state2[name])


def test_what_overflows_on_one_worker_is_left_out_by_all(job):
    def work(worker):
        learner = replace(build_learner(job), worker=worker, scaler=torch.amp.GradScaler("cpu"))
        before = state_of(learner)
        scale = learner.scaler.scale(torch.ones(()))
        for parameter in learner.network.parameters():
            parameter.grad = torch.full_like(parameter, torch.inf if worker.rank else 1.0)
        learner.step()
        is_same = all(np.array_equal(v, before[name]) for name, v in state_of(learner).items())
        return is_same, float(learner.scaler.get_scale() / scale)

    assert together(2, work) == [(True, 0.5), (True, 0.5)]


def test_all_begin_with_what_the_main_worker_has(job):
    def work(worker):
        learner = replace(build_learner(job), worker=worker)
        for values in learner.network.state_dict().values():
            values += worker.rank
        learner.share_weights()
        return state_of(learner), worker.agreed({"value": worker.rank}), worker.own_seed(7)

    (state, value, seed), (state2, value2, seed2) = together(2, work)
    assert value == value2 == {"value": 0}
    assert seed != seed2, "dropout would drop the same units of every shard"
    for name, values in state_of(build_learner(job)).items():
        np.testing.assert_array_equal(state[name], values)
        np.testing.assert_array_equal(state2[name], values)


def test_the_others_wait_for_what_the_main_worker_makes(tmp_path):
    file = tmp_path / "features"

    def work(worker):
        with worker.main_first("features"):
            was_there = file.exists()
            if worker.is_main:
                time.sleep(0.5)
                file.touch()
        return was_there

    assert together(3, work) == [False, True, True]


def test_a_network_is_tried_out_on_what_a_worker_gets(job):
    """Batch norm of single values fails with one image, of two that the batch has."""
    layers = [
        {"_target_": "torch.nn.Flatten"},
        {"_target_": "torch.nn.BatchNorm1d", "num_features": SIDE**2},
        {"_target_": "torch.nn.Linear", "in_features": SIDE**2, "out_features": "@num_classes"},
    ]
    network = {"_target_": "torch.nn.Sequential", "_args_": layers}
    job = with_config(job, model=network, training=TrainingConfig(batch_size=2))
    try_out(job)
    with pytest.raises(ConfigError, match=r"set training.batch_size=4 or more"):
        try_out(shared(job, 2))


def test_a_slot_of_one_device_has_one_worker_with_nobody_to_wait_for():
    (worker,) = workers_of("cuda:3")
    assert worker.device == "cuda:3"
    assert worker.is_main
    with worker.joined(), worker.main_first("anything"):
        numbers = worker.total(torch.tensor(2.0), torch.tensor(3))
    assert [float(number) for number in numbers] == [2, 3]
    network = nn.Linear(2, 2)
    worker.sum_gradients(network.parameters())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert config_of().engine.devices_per_fold == 1
