"""What is shown of the folds while they train: on terminals of every size, and in a file."""

import io
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from pipeline.commands.door import load_config
from pipeline.console import progress_bar
from pipeline.engine.progress import LINES_PER_FOLD, FoldProgress, time_left
from pipeline.engine.run_folder import Run
from pipeline.engine.session import _reasons
from pipeline.files import write_json
from pipeline.images.packed import PackedImages
from pipeline.manifest import read_manifest
from pipeline.splits import plan_folds
from pipeline.tracking.journal import (
    VERSION,
    EpochEnded,
    Event,
    Failed,
    Journal,
    Progressed,
    Started,
)

NUM_FOLDS, EPOCHS, SECONDS = 20, 4, 10.0
"""An epoch of these folds takes 10 seconds."""


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A leave-one-out over 20 patients, nothing trained yet; only read."""
    folder = tmp_path_factory.mktemp("leave_one_out")
    rows = [f"P{i:02d},{i}.png,{['no', 'yes'][i % 2]}\n" for i in range(NUM_FOLDS)]
    (folder / "m.csv").write_text("patient_id,image_path,label\n" + "".join(rows))
    for i in range(NUM_FOLDS):
        Image.new("L", (2, 2), i).save(folder / f"{i}.png")
    config = load_config(
        [f"manifest.path={folder}/m.csv", "split=leave_one_out", "training.select_by=val/loss"]
    )
    manifest = read_manifest(config.manifest)
    np.save(folder / "images.npy", np.zeros((len(manifest), 1, 2, 2), np.uint8))
    plan = plan_folds(manifest, config.split)
    assert plan.num_folds == NUM_FOLDS
    return Run(config, manifest, plan, PackedImages(folder, "pixels"))


@pytest.fixture
def run(untrained: Run, tmp_path: Path) -> Run:
    """Its run folder is the test's own."""
    config = replace(untrained.config, run_dir=f"{tmp_path}/run")
    return replace(untrained, config=config)


def write(run: Run, fold: int, *events: Event) -> None:
    run.fold_dir(fold).mkdir(parents=True, exist_ok=True)
    with Journal(run.fold_dir(fold) / "journal.jsonl") as journal:
        for event in events:
            journal.append(event)


def train(run: Run, fold: int, num_epochs: int, best: float = 0.5, epochs: int = EPOCHS) -> None:
    """Let a fold train: its last epoch ends now, its first is the best."""
    began = time.time() - num_epochs * SECONDS
    write(run, fold, Started(fold=fold, epochs=epochs, device="cpu", time=began))
    for epoch in range(1, num_epochs + 1):
        metrics = {"train/loss": 0.6, "val/loss": best + epoch - 1, "train/images_per_s": 90.0}
        left, now = (epochs - epoch) * SECONDS, began + epoch * SECONDS
        ended = EpochEnded(epoch=epoch, metrics=metrics, best=epoch == 1, left_s=left, time=now)
        write(run, fold, ended)


def finish(run: Run, fold: int, best: float = 0.5) -> None:
    train(run, fold, EPOCHS, best)
    result = {"version": VERSION, "fold": fold, "key": run.key, "num_epochs": EPOCHS, "time": 0.0}
    chosen = {"best_epoch": 1, "select_by": "val/loss", "select_value": best, "thresholds": {}}
    write_json(run.fold_dir(fold) / "result.json", result | chosen)


def terminal(height: int, width: int = 80) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None
    )


def shown(progress: FoldProgress, console: Console, *starting: int) -> list[str]:
    """The lines that fill the terminal now; folds that have begun have a worker."""
    begun = [fold for fold, tail in progress.tails.items() if tail.path.exists()]
    progress.poll([*starting, *begun])
    with console.capture() as captured:
        console.print(progress.table())
    lines = captured.get().rstrip("\n").split("\n")
    assert len(lines) < console.height, "it would scroll"
    assert max(map(len, lines)) <= console.width, "a row is wrapped"
    return lines


def states(lines: list[str]) -> Mapping[int, str]:
    """The state of each fold that has a row of its own."""
    rows = (re.match(r" *(\d+) +(done|waiting|starting|training|failed)  ", line) for line in lines)
    return {int(row[1]): row[2] for row in rows if row}


# --- on a terminal


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("height", [8, 10, 16, 60])
def test_folds_that_train_stay_visible_and_done_ones_fold_into_a_count(
    run: Run, height: int, width: int
) -> None:
    console = terminal(height, width)
    progress = FoldProgress(run, range(NUM_FOLDS), 2, console)
    for fold in range(12):
        finish(run, fold)
    train(run, 12, 2)
    train(run, 13, 1)
    lines = shown(progress, console)
    words = " ".join(lines).replace(",", "")
    assert words.startswith("12 of 20 folds done 2 running 6 waiting 0:")
    assert "best val/loss so far 0.5000 (mean of 14 folds)" in " ".join(words.split())
    rows = states(lines)
    assert {fold: rows.get(fold) for fold in (12, 13)} == {12: "training", 13: "training"}
    if height == 60:
        assert len(rows) == NUM_FOLDS
    elif height == 16:
        assert set(rows) == set(range(12, 20))  # those that wait have room
    else:
        assert set(rows) == {12, 13}


def test_a_failed_fold_stays_visible_and_too_many_that_train_are_counted(run: Run) -> None:
    console = terminal(10)
    progress = FoldProgress(run, range(NUM_FOLDS), 18, console)
    finish(run, 0)
    train(run, 1, 1)
    write(run, 1, Failed(error="no"))
    lines = shown(progress, console)
    assert states(lines) == {1: "failed"}
    for fold in range(2, NUM_FOLDS):
        train(run, fold, 1)
    lines = shown(progress, console)
    assert "1 of 20 folds done, 18 running, 1 failed" in lines[0]
    assert states(lines)
    assert set(states(lines).values()) == {"training"}


def test_what_a_narrow_terminal_shows_is_what_a_person_waits_for(run: Run) -> None:
    narrow, wide = terminal(24, 40), terminal(24, 120)
    train(run, 0, 3)
    titles = []
    for console in (narrow, wide):
        lines = shown(FoldProgress(run, [0], 1, console), console)
        titles.append(next(line for line in lines if line.lstrip().startswith("fold ")).split())
    assert titles[0] == ["fold", "state", "epoch", "best", "left"]
    assert titles[1] == (
        ["fold", "state", "epoch", "train", "loss", "val/loss", "best", "images/s", "left"]
    )


def test_the_table_is_redrawn_when_the_terminal_changes_its_size(run: Run) -> None:
    console = terminal(60)
    for fold in range(NUM_FOLDS - 1):
        finish(run, fold)
    train(run, NUM_FOLDS - 1, 1)
    progress = FoldProgress(run, range(NUM_FOLDS), 1, console)
    assert "19 of 20 folds done, 1 running" in shown(progress, console)[0]
    assert len(states(shown(progress, console))) == NUM_FOLDS
    console.size = console.size._replace(height=10)
    assert states(shown(progress, console)) == {NUM_FOLDS - 1: "starting"}


# --- time left and best value


def test_the_best_value_so_far_is_the_mean_over_folds_of_their_best_epochs(run: Run) -> None:
    console = terminal(24)
    progress = FoldProgress(run, range(NUM_FOLDS), 2, console)
    assert "best" not in shown(progress, console)[0]
    finish(run, 0, best=0.2)
    train(run, 1, 3, best=0.4)
    lines = shown(progress, console)
    assert "best val/loss so far 0.3000 (mean of 2 folds)" in lines
    row = next(line.split() for line in lines if line.split()[:2] == ["1", "training"])
    assert row[2:6] == ["3/4", "0.6000", "2.4000", "0.4000"]  # epoch, train loss, now, best
    of_all = FoldProgress(run, [0], 2, console)
    of_all.poll([])
    assert of_all.summary() == ["1 of 1 fold done", "best val/loss 0.2000 (mean of 1 fold)"]
    write(run, 1, Started(fold=1, epochs=EPOCHS))  # from its beginning
    assert "best val/loss so far 0.2000 (mean of 1 fold)" in shown(progress, console)


@pytest.mark.parametrize(
    ("running", "waiting", "at_once", "expected"),
    [
        ([], [], 2, 0.0),
        ([5.0, 3.0], [], 2, 5.0),
        ([5.0, 3.0], [10.0], 2, 13.0),
        ([5.0, 3.0], [10.0, 10.0], 2, 15.0),
        ([5.0], [10.0, 10.0], 1, 25.0),
        ([5.0], [10.0], 3, 10.0),
        ([], [10.0] * 5, 2, 30.0),
    ],
)
def test_folds_that_wait_begin_when_a_place_is_free(
    running: list[float], waiting: list[float], at_once: int, expected: float
) -> None:
    assert time_left(running, waiting, at_once) == expected


def seconds_left(lines: list[str]) -> float:
    clock = re.search(r"(\d+):(\d\d):(\d\d) left for all", " ".join(lines))
    assert clock is not None, lines
    hours, minutes, seconds = map(int, clock.groups())
    return hours * 3600 + minutes * 60 + seconds


def test_the_time_left_is_that_of_all_folds(run: Run) -> None:
    console = terminal(24)
    progress = FoldProgress(run, range(NUM_FOLDS), 2, console)
    assert "left for all" not in " ".join(shown(progress, console)), "nothing is known yet"
    write(run, 0, Started(fold=0, epochs=EPOCHS))
    assert "left for all" not in " ".join(shown(progress, console))
    train(run, 0, 1)
    train(run, 1, 3)
    # 30 s and 10 s are left of these two; 18 folds of 40 s wait for their places.
    assert seconds_left(shown(progress, console)) == pytest.approx(10 + 9 * 40 + 30 - 10, abs=12)
    for fold in range(NUM_FOLDS):
        finish(run, fold)
    assert "left for all" not in " ".join(shown(progress, console))


def test_a_fold_that_goes_on_is_timed_by_what_is_missing(run: Run) -> None:
    console = terminal(24)
    train(run, 0, 3)
    progress = FoldProgress(run, [0], 1, console)  # another command: the fold waits
    progress.poll([])
    assert progress.summary()[:2] == ["0 of 1 fold done", "1 waiting"]
    assert seconds_left(progress.summary()) == pytest.approx(10, abs=1)
    assert states(shown(progress, console, 0)) == {0: "starting"}
    write(run, 0, Started(fold=0, epochs_done=3, epochs=EPOCHS))
    assert seconds_left(shown(progress, console)) == pytest.approx(10, abs=1)
    assert "best val/loss so far 0.5000 (mean of 1 fold)" in shown(progress, console)


# --- in a file


def test_in_a_file_each_fold_has_few_lines_however_many_epochs(run: Run) -> None:
    console = Console(file=io.StringIO(), width=80)
    progress = FoldProgress(run, [0, 1], 1, console)
    epochs = 1000
    began = time.time()
    with progress.showing():
        write(run, 0, Started(fold=0, epochs=epochs, device="cpu", time=began))
        for epoch in range(1, epochs + 1):
            metrics = {"train/loss": 0.6, "val/loss": 1 / epoch, "train/images_per_s": 90.0}
            now = began + epoch / 100
            write(run, 0, Progressed(epoch=epoch, done=1, of=2, images_per_s=9.0, time=now))
            write(run, 0, EpochEnded(epoch=epoch, metrics=metrics, best=True, time=now))
        progress.poll([0])
        (run.fold_dir(0) / "journal.jsonl").rename(run.fold_dir(0) / "long.jsonl")
        finish(run, 0, best=0.25)
        progress.poll([])
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "fold 0  started on cpu"
    of_epochs = [line for line in lines if "train loss" in line]
    assert LINES_PER_FOLD <= len(of_epochs) <= LINES_PER_FOLD + 1
    assert "1000/1000" in "".join(of_epochs)
    assert "fold 0  done, epoch 1 has the best val/loss, 0.2500" in lines
    assert lines[-1].startswith("1 of 2 folds done, 1 waiting, ")
    assert lines[-1].endswith(" left for all, best val/loss so far 0.2500 (mean of 1 fold)")
    assert "\x1b" not in console.file.getvalue()


def test_in_a_file_a_long_epoch_is_told_however_many_there_are(run: Run) -> None:
    console = Console(file=io.StringIO(), width=80)
    progress = FoldProgress(run, [0], 1, console)
    write(run, 0, Started(fold=0, epochs=1000, device="cpu", time=1000.0))
    for epoch in range(1, 6):
        metrics = {"train/loss": 0.6, "val/loss": 0.5, "train/images_per_s": 90.0}
        write(run, 0, EpochEnded(epoch=epoch, metrics=metrics, time=1000.0 + 61 * epoch))
    progress.poll([0])
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("/1000  train loss") == 5


@pytest.mark.parametrize("fails", [False, True])
def test_a_bar_over_nothing_does_not_stay(fails: bool) -> None:
    console = terminal(24)
    try:
        with progress_bar("decoding images", console) as progress:
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert isinstance(console.file, io.StringIO)
    last = console.file.getvalue().split("\x1b[2K")[-1]
    assert "decoding images" not in last
    with progress_bar("decoding images", console) as progress:
        progress(3, 3)
    assert "decoding images" in console.file.getvalue().split("\x1b[2K")[-1]


# --- what is counted, and what is told once


def test_candidates_of_a_baseline_are_called_so(run: Run) -> None:
    begun = Started(fold=0, epochs=2, unit="candidate", device="cpu")
    write(run, 0, begun, EpochEnded(epoch=1, metrics={"val/loss": 0.5}, best=True))
    console = terminal(30, 120)
    lines = shown(FoldProgress(run, [0, 1], 1, console), console)
    (titles,) = [line for line in lines if "state" in line]
    assert "candidate" in titles
    assert "epoch" not in titles
    plain = Console(file=io.StringIO(), width=120)
    progress = FoldProgress(run, [2], 1, plain)
    begun = Started(fold=2, epochs=1, unit="candidate", device="cpu")
    write(run, 2, begun, EpochEnded(epoch=1, metrics={"val/loss": 0.5}, best=True))
    result = {"version": VERSION, "fold": 2, "key": run.key, "num_epochs": 1, "time": 0.0}
    chosen = {"best_epoch": 1, "select_by": "val/loss", "select_value": 0.5, "thresholds": {}}
    write_json(run.fold_dir(2) / "result.json", result | chosen)
    progress.poll([2])
    said = plain.file.getvalue()  # type: ignore[attr-defined]
    assert "candidate     1/1" in said
    assert "done, candidate 1 has the best val/loss" in said
    assert "epoch" not in said


def test_one_cause_of_many_folds_has_one_line_while_they_train(run: Run) -> None:
    console = Console(file=io.StringIO(), width=80)
    progress = FoldProgress(run, range(6), 2, console)
    full = "folder {}: the disk has no room left, {} cannot be written."
    for fold, name in enumerate(["last.pt", "journal.jsonl", "output.log"]):
        write(run, fold, Failed(error=full.format(run.fold_dir(fold), name), traceback=""))
        progress.poll([])
    for fold in (3, 4):
        log = f"exit code 7; see {run.fold_dir(fold) / 'output.log'}"
        write(run, fold, Failed(error=log, traceback=""))
    write(run, 5, Failed(error="the loss is nan", traceback=""))
    progress.poll([])
    said = console.file.getvalue()  # type: ignore[attr-defined]
    told = [line.partition(":")[0] for line in said.splitlines() if "failed" in line]
    assert told == ["fold 0  failed", "fold 3  failed", "fold 5  failed"]
    assert "6 failed" in "".join(progress.summary())


def test_one_cause_of_many_folds_is_told_once(run: Run) -> None:
    full = "folder {}: the disk has no room left, {} cannot be written."
    names = ["last.pt", "journal.jsonl", "last.pt"]
    failures = {i: full.format(run.fold_dir(i), name) for i, name in enumerate(names)}
    assert _reasons(run, failures) == [f"  folds 0, 1, 2: {failures[0]}"]
    logs = {i: f"exit code 7; see {run.fold_dir(i) / 'output.log'}" for i in range(3, 12)}
    lines = _reasons(run, failures | logs | {12: "the loss is nan"})
    assert lines[1:] == [
        f"  folds 3, 4, 5, 6, 7 and 4 more: {logs[3]}",
        "  fold 12: the loss is nan",
    ]
