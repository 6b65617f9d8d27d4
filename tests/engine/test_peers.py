"""The workers of one fold: together they write what one writes, and they end together."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch._dynamo  # noqa: F401  (by any optimizer: once, and not in each worker)
from tiny_fold import tiny_fold, with_config

from pipeline.config import EngineConfig, TrainingConfig, UserError
from pipeline.engine.devices import device_slots, gpu_slots, one_device
from pipeline.engine.share import Share
from pipeline.engine.worker import run_worker
from pipeline.processes import FAILED_EXIT
from pipeline.splits import Fold
from pipeline.tracking.journal import EpochEnded, Failed, Started, read_journal
from pipeline.tracking.result import read_result
from pipeline.training import closing
from pipeline.training import fold as fold_module
from pipeline.training.job import FoldJob

pytestmark = pytest.mark.slow
PLAIN = {
    "_target_": "torch.nn.Sequential",
    "_args_": [
        {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 4, "kernel_size": 3},
        {"_target_": "torch.nn.ReLU"},
        {"_target_": "torch.nn.AdaptiveAvgPool2d", "output_size": 1},
        {"_target_": "torch.nn.Flatten"},
        {"_target_": "torch.nn.Linear", "in_features": 4, "out_features": "@num_classes"},
    ],
}
"""Without batch norm and dropout."""
SLOW = {"_target_": "torch.optim.SGD", "lr": 0.01}
LONG = 100_000
PATIENCE_S = 60.0


def fold_of(folder: Path, num_workers: int, **training: Any) -> FoldJob:
    """With 7 patients to train and 3 images each: the last batch is an uneven one."""
    folder.mkdir()
    job = tiny_fold(folder)
    assert isinstance(job.fold, Fold)
    job = replace(job, fold=replace(job.fold, train=frozenset(sorted(job.fold.train)[:7])))
    settings: dict[str, Any] = {
        "batch_size": 2 * num_workers,
        "epochs": 3,
        "precision": "float32",
        **training,
    }
    engine = replace(job.config.engine, devices_per_fold=num_workers)
    sections = {
        "training": TrainingConfig(**settings),
        "images": replace(job.config.images, normalise="none"),
        "optimizer": SLOW,
        "engine": engine,
    }
    job = with_config(job, **sections)
    return replace(job, device=",".join(["cpu"] * num_workers))


def started(job: FoldJob) -> ForkProcess:
    """As the engine starts it."""
    process = get_context("fork").Process(target=run_worker, args=(job, 1))
    process.start()
    return process


def ended(process: ForkProcess) -> int | None:
    process.join(PATIENCE_S)
    assert process.exitcode is not None, "it waits for ever"
    return process.exitcode


def peers_of(process: ForkProcess) -> list[int]:
    pid = process.pid
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def num_epochs(job: FoldJob) -> int:
    events = read_journal(job.fold_dir / "journal.jsonl")
    return sum(isinstance(event, EpochEnded) for event in events)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def error_of(job: FoldJob) -> str:
    """The one that the journal ends with, written once."""
    failures = [e for e in read_journal(job.fold_dir / "journal.jsonl") if isinstance(e, Failed)]
    assert len(failures) == 1
    return failures[0].error


def writes_named(write: Callable[..., None], log: Path) -> Callable[..., None]:
    """The function, which also notes the process that calls it."""

    def named(*args: Any) -> None:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        write(*args)

    return named


def test_two_workers_write_what_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writers = tmp_path / "writers"
    for module, name in [
        (closing, "write_predictions"),
        (closing, "write_json"),
        (fold_module, "save_epoch"),
    ]:
        monkeypatch.setattr(module, name, writes_named(getattr(module, name), writers))
    alone, both = fold_of(tmp_path / "alone", 1), fold_of(tmp_path / "both", 2)
    sections = {"model": PLAIN, "training": both.config.training}
    alone, both = with_config(alone, **sections), with_config(both, **sections)
    for job in (alone, both):
        assert ended(started(job)) == 0
    assert {p.name for p in both.fold_dir.iterdir()} == {p.name for p in alone.fold_dir.iterdir()}
    for name in ("predictions_val.csv", "predictions_test.csv"):
        one, two = (pd.read_csv(job.fold_dir / name) for job in (alone, both))
        assert len(one) == 6
        pd.testing.assert_frame_equal(one, two, rtol=1e-4, atol=1e-5)
    assert read_result(alone.fold_dir / "result.json")["device"] == "cpu"
    assert read_result(both.fold_dir / "result.json")["device"] == "cpu,cpu"
    events = [read_journal(job.fold_dir / "journal.jsonl") for job in (alone, both)]
    assert [e.event for e in events[1]] == [e.event for e in events[0]]
    (begun,) = [event for event in events[1] if isinstance(event, Started)]
    assert begun.device == "cpu,cpu"
    pids = [int(pid) for pid in writers.read_text().split()]
    assert len(pids) == 2 * (3 + 3), "epochs, two parts and the result, of each fold"
    assert pids[6:] == [begun.pid] * 6


@pytest.mark.parametrize("victim", ["peer", pytest.param("main", marks=pytest.mark.slow)])
def test_a_killed_worker_ends_the_fold_which_goes_on_like_an_undisturbed_one(
    tmp_path: Path, victim: str
) -> None:
    """Batch norm, dropout and the average are those of two workers, before and after."""
    whole, job = (fold_of(tmp_path / name, 2, epochs=6, average=0.5) for name in ("a", "b"))
    assert ended(started(whole)) == 0
    process = started(job)
    wait_until(lambda: num_epochs(job) >= 2)
    (peer,) = peers_of(process)
    os.kill(peer if victim == "peer" else process.pid or 0, signal.SIGKILL)
    code = ended(process)
    wait_until(lambda: is_gone(peer))
    if victim == "peer":
        assert code == FAILED_EXIT
        assert error_of(job) == (
            "worker 2 of 2 (cpu) was killed by SIGKILL: often too little memory"
        )
    else:
        assert code == -signal.SIGKILL
    assert not (job.fold_dir / "result.json").exists()
    assert 2 <= num_epochs(job) < 6
    assert ended(started(job)) == 0
    for name in ("predictions_val.csv", "predictions_test.csv", "best.pt"):
        assert (job.fold_dir / name).read_bytes() == (whole.fold_dir / name).read_bytes(), name


def failing(rank: int, error: Exception) -> Callable[..., object]:
    """An epoch that fails on one worker, after its first."""
    whole = fold_module._train_epoch

    def epoch(learner, progress, *args):
        if learner.worker.rank == rank and progress.num_epochs == 1:
            raise error
        return whole(learner, progress, *args)

    return epoch


@pytest.mark.parametrize(
    ("rank", "error", "told"),
    [
        (0, ZeroDivisionError("in a plugin"), "ZeroDivisionError: in a plugin"),
        (1, UserError("images.cache_dir: gone."), "images.cache_dir: gone."),
        (2, ZeroDivisionError("in a plugin"), "ZeroDivisionError: in a plugin"),
    ],
)
def test_the_fold_ends_with_the_error_of_the_worker_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: int, error: Exception, told: str
) -> None:
    """The others fail as well, because they cannot reach it any more: they are not heard."""
    monkeypatch.setattr(fold_module, "_train_epoch", failing(rank, error))
    job = fold_of(tmp_path / "fold", 3, epochs=LONG)
    process = started(job)
    wait_until(lambda: len(peers_of(process)) == 2 or not process.is_alive())
    assert ended(process) == FAILED_EXIT
    assert error_of(job) == told


def test_of_three_the_killed_one_is_named(tmp_path: Path) -> None:
    job = fold_of(tmp_path / "fold", 3, epochs=LONG)
    process = started(job)
    wait_until(lambda: num_epochs(job) >= 1)
    others = peers_of(process)
    os.kill(others[0], signal.SIGKILL)
    assert ended(process) == FAILED_EXIT
    assert "worker 2 of 3 (cpu) was killed by SIGKILL" in error_of(job)
    wait_until(lambda: all(map(is_gone, others)))


def test_a_worker_that_waits_ends_with_the_main_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def epoch(*_: object) -> None:
        signal.pause()

    monkeypatch.setattr(fold_module, "_train_epoch", epoch)
    process = started(fold_of(tmp_path / "fold", 2))
    wait_until(lambda: (tmp_path / "fold" / "journal.jsonl").exists())
    (peer,) = peers_of(process)
    assert not is_gone(peer)
    process.kill()
    wait_until(lambda: is_gone(peer))
    assert is_gone(peer)


def test_a_training_that_diverges_says_so_once(tmp_path: Path) -> None:
    job = with_config(fold_of(tmp_path / "fold", 2), optimizer={**SLOW, "lr": 1e30})
    assert ended(started(job)) == FAILED_EXIT
    assert "try a smaller optimizer.lr" in error_of(job)


def test_slots_of_several_gpus() -> None:
    assert gpu_slots(3, 1, 0) == ["cuda:0", "cuda:1", "cuda:2"]
    assert gpu_slots(2, 1, 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert gpu_slots(4, 2, 0) == ["cuda:0,cuda:1", "cuda:2,cuda:3"]
    assert gpu_slots(5, 2, 3) == ["cuda:0,cuda:1", "cuda:2,cuda:3", "cuda:0,cuda:1"]
    with pytest.raises(UserError, match=r"devices_per_fold=2: 1 GPU is visible here; set 1 or"):
        gpu_slots(1, 2, 0)
    with pytest.raises(UserError, match=r"devices_per_fold=8: 4 GPUs are visible here; set 4 or"):
        gpu_slots(4, 8, 1)
    assert [one_device(slot) for slot in ("cuda:2,cuda:3", "cpu")] == ["cuda:2", "cpu"]


def test_a_fold_with_several_gpus_has_them_alone_on_one_node_of_a_cluster() -> None:
    nodes = [{"Resources": {"CPU": 16, "GPU": num}} for num in (4, 1)]
    config = EngineConfig(device="auto", devices_per_fold=2, threads_per_fold=3, folds_at_once=5)
    share = Share.of(config, nodes)
    assert (share.cpus, share.gpus, share.device) == (6, 2, "cuda:0,cuda:1")
    assert [share.room(node) for node in nodes] == [2, 0]
    assert Share.of(replace(config, device="cpu"), nodes).device == "cpu,cpu"
    assert Share.of(replace(config, devices_per_fold=1, folds_at_once=10), nodes).gpus == 0.5


def test_slots_of_the_cpu_leave_a_core_for_each_worker() -> None:
    config = EngineConfig(device="cpu", devices_per_fold=2)
    num_cores = len(os.sched_getaffinity(0))
    assert device_slots(config, "auto") == ["cpu,cpu"] * max(1, num_cores // 2)
    assert device_slots(replace(config, folds_at_once=3), "auto") == ["cpu,cpu"] * 3
