import math
import os
import pickle
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.commands.door import load_config
from pipeline.config import Config, UserError
from pipeline.images.packed import Normalisation, PackedImages
from pipeline.manifest import Manifest
from pipeline.splits import Fold
from pipeline.tracking.journal import EpochEnded, Journal, Started, read_journal
from pipeline.training import checkpoint
from pipeline.training.checkpoint import (
    load_best,
    load_checkpoint,
    reopen,
    resume,
    save_best,
    save_epoch,
    save_last,
)
from pipeline.training.job import FoldJob
from pipeline.training.learner import build_learner
from pipeline.training.progress import Progress

CONF = Path(__file__).parents[2] / "conf"
OPTIMIZERS = sorted((CONF / "optimizer").glob("*.yaml"))
SCHEDULERS = sorted((CONF / "scheduler").glob("*.yaml"))
NUM_PAIRS = max(len(OPTIMIZERS), len(SCHEDULERS))
PAIRS = [
    (OPTIMIZERS[i % len(OPTIMIZERS)], SCHEDULERS[i % len(SCHEDULERS)]) for i in range(NUM_PAIRS)
]
"""Each of both at least once: a state of one holds nothing of the other."""
NORMALISATION = Normalisation((3.0,), (2.0,))


def leaf(path):
    """What a file of conf/ says, with 9 epochs."""
    overrides = ["manifest=demo", "training.epochs=9", f"{path.parent.name}={path.stem}"]
    return getattr(load_config(overrides), path.parent.name)


def config_of(**sections):
    """The smallest config that a learner can be made of."""
    network = {
        "_target_": "torch.nn.Sequential",
        "_args_": [
            {
                "_target_": "torch.nn.Conv2d",
                "in_channels": "@num_channels",
                "out_channels": 4,
                "kernel_size": 3,
            },
            {"_target_": "torch.nn.BatchNorm2d", "num_features": 4},
            {"_target_": "torch.nn.ReLU"},
            {"_target_": "torch.nn.Flatten"},
            {"_target_": "torch.nn.Linear", "in_features": 64, "out_features": "@num_classes"},
        ],
    }
    return Config(
        **{
            "name": "tiny",
            "manifest": {"name": "tiny", "path": "tiny.csv"},
            "split": {},
            "images": {},
            "plan": {},
            "audit": {},
            "augment": {},
            "model": network,
            "init": {},
            "loss": {"function": {"_target_": "torch.nn.CrossEntropyLoss"}},
            "sampler": {},
            "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.01},
            "scheduler": leaf(CONF / "scheduler" / "cosine.yaml"),
            "training": {"epochs": 9, "precision": "float32"},
            "evaluation": {},
            "tracking": {},
            "engine": {},
            **sections,
        }
    )


def job_of(folder, config=None, index=0, key="a" * 64):
    patients = [f"p{i}" for i in range(8)]
    table = pd.DataFrame(
        {
            "patient_id": patients,
            "image_path": [f"{p}.png" for p in patients],
            "label": ["neg", "pos"] * 4,
        }
    )
    cache = folder / "cache"
    cache.mkdir(exist_ok=True)
    np.save(cache / "images.npy", np.zeros((8, 1, 6, 6), np.uint8))
    fold_dir = folder / f"fold_{index:02}"
    fold_dir.mkdir(exist_ok=True)
    return FoldJob(
        config=config or config_of(),
        manifest=Manifest(folder / "tiny.csv", folder, ("neg", "pos"), table),
        fold=Fold(
            index, frozenset(patients[:4]), frozenset(patients[4:6]), frozenset(patients[6:])
        ),
        images=PackedImages(cache, "key"),
        fold_dir=fold_dir,
        key=key,
        device="cpu",
    )


def ended(progress):
    """The progress with its journal line."""
    line = EpochEnded(epoch=progress.num_epochs, metrics={"val/loss": None}, time=5.0)
    return replace(progress, last=line)


FIRST = ended(Progress(1, 1, 0.5))
"""After one epoch."""

SECOND = ended(FIRST.after(0.7, "max"))
"""After two epochs, of which the second is better."""


def train_a_step(learner, number):
    """One epoch of one step, on pixels that follow from its number."""
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(6, 1, 6, 6, generator=generator)
    labels = torch.tensor([0, 1, 0, 1, 1, 0])
    learner.network.train()
    with learner.autocast():
        loss = learner.loss(learner.network(images), labels, torch.ones(6))
    learner.scaler.scale(loss).backward()
    learner.step()
    value = 0.5  # never better: a plateau scheduler must remember how long it has waited
    learner.scheduler.after_epoch(value)
    return loss.item()


def assert_same(found, expected, where="state"):
    """Bit for bit, through all containers."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for name in expected:
            assert_same(found[name], expected[name], f"{where}.{name}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}.{i}")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    else:
        assert found == expected, where


def state_of(learner):
    return {
        "network": learner.network.state_dict(),
        "optimizer": learner.optimizer.state_dict(),
        "scheduler": learner.scheduler.state_dict(),
        "scaler": learner.scaler.state_dict(),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "scheduler"), PAIRS, ids=lambda path: path.stem)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_going_on_from_last_is_the_same_as_never_having_stopped(
    tmp_path, optimizer, scheduler, precision
):
    job = job_of(
        tmp_path,
        config_of(
            optimizer=leaf(optimizer),
            scheduler=leaf(scheduler),
            training={"epochs": 9, "precision": precision},
        ),
    )
    learner = build_learner(job)
    assert learner.scaler.is_enabled() == (precision == "float16")
    for number in range(2):
        train_a_step(learner, number)
    progress = ended(Progress().after(0.5, "max").after(0.5, "max"))
    save_last(learner, progress, job)
    resumed = build_learner(job)
    with torch.no_grad():
        for values in resumed.network.parameters():
            values.fill_(9.0)
    assert resume(resumed, job) == progress
    assert_same(state_of(resumed), state_of(learner))
    for number in range(2, 8):
        assert train_a_step(resumed, number) == train_a_step(learner, number)
    assert_same(state_of(resumed), state_of(learner))


def test_optimizers_and_schedulers_are_found():
    assert {path.stem for path in OPTIMIZERS} >= {"adamw", "sgd"}
    assert {path.stem for path in SCHEDULERS} >= {"cosine", "plateau"}


def test_the_average_of_the_weights_goes_on_too_and_is_what_best_holds(tmp_path):
    training = {"epochs": 9, "precision": "float32", "average": 0.8, "warmup_epochs": 3}
    job = job_of(tmp_path, config_of(training=training))
    learner = build_learner(job)
    for number in range(2):
        train_a_step(learner, number)
    save_last(learner, SECOND, job)
    save_best(learner, SECOND, job, NORMALISATION)
    resumed = build_learner(job)
    assert resume(resumed, job) == SECOND
    assert_same(dict(resumed.judged.state_dict()), dict(learner.judged.state_dict()))
    for number in range(2, 5):
        assert train_a_step(resumed, number) == train_a_step(learner, number)
    assert_same(dict(resumed.judged.state_dict()), dict(learner.judged.state_dict()))
    kept = load_checkpoint(job.fold_dir / "best.pt", job)["network"]
    load_best(resumed, SECOND, job)
    assert_same(dict(resumed.judged.state_dict()), dict(kept))


def test_a_fold_goes_on_where_losses_must_be_scaled(tmp_path):
    """Begun on a device with bfloat16, it goes on on one without, which needs loss scaling."""
    job = job_of(tmp_path)
    learner = build_learner(job)
    ended = EpochEnded(epoch=1, metrics={}, best=True)
    save_last(learner, replace(Progress().after(0.5, "max"), last=ended), job)
    other = replace(learner, scaler=torch.amp.GradScaler("cpu", enabled=True))
    assert resume(other, job).num_epochs == 1


def test_there_is_nothing_to_go_on_from_at_first(tmp_path):
    job = job_of(tmp_path)
    assert resume(build_learner(job), job).num_epochs == 0


def test_best_holds_the_network_and_what_is_needed_to_use_it(tmp_path):
    job = job_of(tmp_path)
    learner = build_learner(job)
    train_a_step(learner, 0)
    best = {name: values.clone() for name, values in learner.network.state_dict().items()}
    save_best(learner, FIRST, job, NORMALISATION)
    train_a_step(learner, 1)
    load_best(learner, FIRST, job)
    assert_same(dict(learner.network.state_dict()), best)
    state = load_checkpoint(job.fold_dir / "best.pt", job)
    assert {name: state[name] for name in ("epoch", "classes", "mean", "std")} == {
        "epoch": 1,
        "classes": ["neg", "pos"],
        "mean": [3.0],
        "std": [2.0],
    }


def test_a_best_of_another_epoch_is_our_own_mistake(tmp_path):
    job = job_of(tmp_path)
    learner = build_learner(job)
    train_a_step(learner, 0)
    save_best(learner, FIRST, job, NORMALISATION)
    with pytest.raises(AssertionError, match="another epoch"):
        load_best(learner, Progress(2, 2, 0.7), job)


def saved(folder):
    """A job, its learner and its `last.pt`."""
    job = job_of(folder)
    learner = build_learner(job)
    train_a_step(learner, 0)
    save_last(learner, FIRST, job)
    return job, learner, job.fold_dir / "last.pt"


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    job, _, path = saved(tmp_path_factory.mktemp("saved"))
    return job, path.read_bytes(), path


@pytest.mark.parametrize(("index", "key"), [(1, "a" * 64), (0, "b" * 64), (1, "b" * 64)])
def test_a_checkpoint_of_another_fold_or_run_is_refused(tmp_path, index, key):
    job, learner, path = saved(tmp_path)
    other = replace(job, key=key, fold=replace(job.fold, index=index))
    message = (
        f"last.pt belongs to fold 0 of run {'a' * 12}, not to fold {index} of run {key[:12]}; "
        "it is never loaded here"
    )
    fresh = build_learner(other)
    before = {name: values.clone() for name, values in fresh.network.state_dict().items()}
    with pytest.raises(UserError, match=message):
        resume(fresh, other)
    assert_same(dict(fresh.network.state_dict()), before)
    assert path.exists()
    resume(learner, job)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(tmp_path, share):
    job, _, path = saved(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match=r"last.pt is damaged \(.+\); delete it to train anew"):
        load_checkpoint(path, job)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(60))
def test_flipped_bits_in_a_checkpoint_are_refused_or_change_nothing(saved_once, seed):
    job, whole, path = saved_once
    dice = random.Random(seed)
    flipped = bytearray(whole)
    for _ in range(dice.choice([1, 1, 4])):
        flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(8)
    path.write_bytes(whole)
    sound = load_checkpoint(path, job)
    path.write_bytes(flipped)
    try:
        found, refusal = load_checkpoint(path, job), ""
    except UserError as error:
        found, refusal = sound, str(error)
    assert_same(found, sound)
    assert re.fullmatch(r"(.*last.pt is damaged \(.+\); delete it to train anew\.)?", refusal)


def test_a_flipped_bit_in_a_weight_is_refused(tmp_path):
    job, learner, path = saved(tmp_path)
    weights = learner.network.state_dict()["4.weight"].numpy().tobytes()
    data = bytearray(path.read_bytes())
    data[data.index(weights) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"is damaged \(the checksum of .+ is wrong\); delete it"):
        load_checkpoint(path, job)


@pytest.mark.parametrize("content", [b"\x00" * 300, b"not a checkpoint", b"PK\x03\x04" + b"x" * 99])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    job, _, path = saved(tmp_path)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"last.pt is damaged \(.+\)") as caught:
        load_checkpoint(path, job)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[1, 2], 3, torch.zeros(2)])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    job, _, path = saved(tmp_path)
    torch.save(content, path)
    with pytest.raises(UserError, match=r"last.pt is damaged \(.+\)"):
        load_checkpoint(path, job)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "save", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))]
)
def test_code_in_a_checkpoint_is_never_run(tmp_path, save):
    job, _, path = saved(tmp_path)
    trap = tmp_path / "sprung"
    save({"key": job.key, "fold": 0, "network": Trap(trap)}, path)
    with pytest.raises(UserError, match=r"last.pt is damaged \(.+\)") as caught:
        load_checkpoint(path, job)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch's advice is to run the code
    assert not trap.exists()


def test_a_write_that_fails_half_way_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    job, learner, path = saved(tmp_path)
    train_a_step(learner, 1)

    def full_disk(_, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_disk)
        with pytest.raises(OSError, match="No space left"):
            save_last(learner, SECOND, job)
    assert load_checkpoint(path, job)["num_epochs"] == 1
    save_last(learner, SECOND, job)
    assert load_checkpoint(path, job)["num_epochs"] == 2
    assert [file.name for file in job.fold_dir.iterdir()] == ["last.pt"]


@pytest.mark.parametrize(
    ("select_by", "steps"), [("val/image/auroc", [0.5, 0.6]), ("val/loss", [2, 1])]
)
def test_a_plateau_watches_the_value_that_selects(tmp_path, select_by, steps):
    sections = {
        "scheduler": leaf(CONF / "scheduler" / "plateau.yaml"),
        "training": {"select_by": select_by, "precision": "float32"},
    }
    learner = build_learner(job_of(tmp_path, config_of(**sections)))
    rates = []
    for value in [*steps, *steps, *steps]:  # nothing better than in the second epoch
        learner.scheduler.after_epoch(value)
        rates.append(learner.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.01] * 5 + [0.003])


def test_progress_counts_epochs_from_1_and_keeps_the_first_of_equal_ones():
    progress = Progress()
    assert math.isnan(progress.best_value)
    seen = []
    for value in [0.5, 0.7, 0.7, 0.6, 0.8]:
        progress = progress.after(value, "max")
        seen.append((progress.best_epoch, progress.is_best, progress.epochs_since_best))
    assert seen == [(1, True, 0), (2, True, 0), (2, False, 1), (2, False, 2), (5, True, 0)]
    progress = progress.after(0.1, "min")
    assert (progress.best_epoch, progress.best_value, progress.num_epochs) == (6, 0.1, 6)


class Killed(BaseException):
    """Stands for kill -9."""


def epochs_in(job):
    events = read_journal(job.fold_dir / "journal.jsonl")
    return [event.epoch for event in events if isinstance(event, EpochEnded)]


@pytest.mark.parametrize("step", ["save_last", "save_best", "append"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_while_an_epoch_is_saved_loses_and_doubles_nothing(
    tmp_path, monkeypatch, step, moment
):
    job = job_of(tmp_path)
    learner = build_learner(job)
    with Journal(job.fold_dir / "journal.jsonl") as journal:
        save_epoch(learner, FIRST, job, NORMALISATION, journal)
        train_a_step(learner, 1)
        trained = {name: value.clone() for name, value in learner.network.state_dict().items()}
        place = Journal if step == "append" else checkpoint
        whole = getattr(place, step)

        def killed(*args):
            if moment == "after":
                whole(*args)
            raise Killed

        monkeypatch.setattr(place, step, killed)
        with pytest.raises(Killed):
            save_epoch(learner, SECOND, job, NORMALISATION, journal)
        monkeypatch.undo()
    again = build_learner(job)
    progress = resume(again, job)
    with reopen(again, progress, job, NORMALISATION):
        pass
    if (step, moment) == ("save_last", "before"):
        assert (progress, epochs_in(job)) == (FIRST, [1])  # it is trained again
    else:
        assert (progress, epochs_in(job)) == (SECOND, [1, 2])
        assert_same(dict(again.network.state_dict()), trained)
    load_best(again, progress, job)
    last = read_journal(job.fold_dir / "journal.jsonl")[-1]
    assert isinstance(last, Started)
    assert last.epochs_done == progress.num_epochs


def test_checkpoints_whose_epochs_count_from_0_are_understood(tmp_path):
    job, learner, path = saved(tmp_path)
    save_best(learner, FIRST, job, NORMALISATION)
    record = {"event": "epoch", "time": 5.0, "epoch": 0, "metrics": {"val/auroc": 0.5}}
    for file, old in ((path, {"best_epoch": 0, "record": record}), ("best.pt", {"epoch": 0})):
        state = torch.load(job.fold_dir / file, weights_only=True) | old
        del state["version"]
        torch.save(state, job.fold_dir / file)
    progress = resume(learner, job)
    line = EpochEnded(time=5.0, epoch=1, metrics={"val/image/auroc": 0.5})
    assert progress == Progress(1, 1, 0.5, line)
    load_best(learner, progress, job)
