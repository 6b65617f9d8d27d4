"""Live progress of all folds: a table on a terminal and in a notebook, plain lines elsewhere."""

import heapq
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import fmean

from rich.console import Console, Group, JustifyMethod
from rich.table import Table
from rich.text import Text

from pipeline.console import Shown, say, shown_live
from pipeline.engine.local import cause_of
from pipeline.engine.run_folder import Run
from pipeline.tracking.journal import (
    EpochEnded,
    Event,
    Failed,
    JournalTail,
    Progressed,
    Started,
    Stopped,
)
from pipeline.words import counted

LINES_PER_FOLD, QUIET_S = 20, 60.0
"""Of a fold's epochs about so many get a line in a file, and one after so long a silence."""
COLUMNS = {"epoch": 6, "loss": 2, "now": 3, "best": 4, "images/s": 1, "left": 5}
"""Of the table, beside fold and state; where there is no room, the smallest number goes first."""
FOLDED = ("done", "waiting", "failed", "running")
"""Folds whose rows give way to a count when there are too many, the first ones first."""


@dataclass
class _Row:
    """What is known of one fold from its journal."""

    select_by: str
    state: str = "waiting"
    epoch: int = 0
    epochs: int = 0
    unit: str = "epoch"
    """What `epoch` counts: of a baseline, candidates."""
    part_done: float = 0.0
    """Of the running epoch, from 0 to 1."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Of the last epoch."""
    best: float | None = None
    """Of the validation metric, up to now."""
    speed: float | None = None
    ends_at: float | None = None
    """Unix seconds, as the last epoch foresaw."""
    began: tuple[float, int] = (0.0, 0)
    """When its last worker did, in Unix seconds, and after which epoch."""
    s_per_epoch: float | None = None
    handed_at: float | None = None
    """To a worker of this command, in Unix seconds."""
    overhead: float | None = None
    """Seconds of a fold that is done beside its epochs: to start, to test."""
    told: tuple[float, int] = (0.0, 0)
    """When an epoch was last worth a line, and which twentieth of the epochs that was in."""

    def note(self, event: Event) -> str:
        """Take in one line of the journal; returns it in words, "" when it is not worth a line."""
        match event:
            case Started():
                self.state, self.epoch, self.epochs = "training", event.epochs_done, event.epochs
                self.began = self.told = event.time, event.epochs_done
                self.unit = event.unit
                self.ends_at = None
                self.best = self.best if self.epoch else None
                done = f", continuing after {self.unit} {self.epoch}" if self.epoch else ""
                return f"started on {event.device}{done}"
            case Progressed():
                self.part_done, self.speed = event.done / event.of, event.images_per_s
                return ""
            case EpochEnded():
                self.epoch, self.part_done, self.metrics = event.epoch, 0.0, event.metrics
                self.speed = event.metrics.get("train/images_per_s")
                self.ends_at = event.time + event.left_s
                self.best = event.metrics.get(self.select_by) if event.best else self.best
                since, before = self.began
                self.s_per_epoch = (event.time - since) / max(1, event.epoch - before)
                return self._of_epoch(event.time)
            case Failed():
                self.state = "failed"
                return f"failed: {event.error}"
            case Stopped():
                return ""

    @property
    def kind(self) -> str:
        """By which folds are counted: waiting, running, done or failed."""
        return "running" if self.state in ("starting", "training") else self.state

    def follow(self, is_done: bool, is_running: bool, now: float) -> bool:
        """Take in what the journal does not say; True when the fold has just been done."""
        if self.state == "done":
            return False
        if is_done:
            self.state = "done"
            if self.handed_at is not None and self.s_per_epoch is not None:
                trained = self.s_per_epoch * (self.epoch - self.began[1])
                self.overhead = max(0.0, now - self.handed_at - trained)
            return True
        if is_running:
            if self.state == "waiting":
                self.state, self.handed_at = "starting", now
        elif self.kind == "running":  # its worker is gone, and could not say why
            self.state = "failed"
        return False

    def left(self, epochs: float, cost: float, overhead: float, now: float) -> float:
        """Seconds until it is done, where a fold takes `epochs`, each of them `cost` seconds."""
        if self.state == "training" and self.ends_at is not None:
            return max(0.0, self.ends_at - now)
        whole = overhead + max(0.0, epochs - self.epoch) * cost
        return max(0.0, whole - (now - (self.handed_at or now)))

    def _of_epoch(self, now: float) -> str:
        last, part = self.told[0], self.epoch * LINES_PER_FOLD // max(1, self.epochs)
        if part == self.told[1] and now - last < QUIET_S:
            return ""
        self.told = now, part
        cells = self.cells()
        return (
            f"{self.unit} {cells['epoch']:>7}  train loss {cells['loss']}  {self.select_by} "
            f"{cells['now']}  {cells['images/s']} images/s  {cells['left']} left"
        )

    def cells(self) -> dict[str, str]:
        """By column of the table."""
        part = f" +{self.part_done:.0%}" if self.part_done else ""
        is_timed = self.ends_at is not None and self.state == "training"
        return {
            "epoch": f"{self.epoch}/{self.epochs}{part}" if self.epochs else "-",
            "loss": _text(self.metrics.get("train/loss"), 4),
            "now": _text(self.metrics.get(self.select_by), 4),
            "best": _text(self.best, 4),
            "images/s": _text(self.speed, 0),
            "left": _clock(max(0.0, (self.ends_at or 0) - time.time())) if is_timed else "-",
        }


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def time_left(running: Sequence[float], waiting: Sequence[float], at_once: int) -> float:
    """Seconds until all folds are done, each begun as soon as one of `at_once` places is free."""
    free_in = [0.0] * (max(at_once, len(running)) - len(running)) + list(running)
    heapq.heapify(free_in)
    ends = [*running]
    for seconds in waiting:
        ends.append(heapq.heappop(free_in) + seconds)
        heapq.heappush(free_in, ends[-1])
    return max(ends, default=0.0)


class FoldProgress:
    """Reads the folds' journals and shows them; `poll` is cheap and called often.

    `at_once` is how many of the folds train side by side.
    """

    def __init__(self, run: Run, folds: Sequence[int], at_once: int, console: Console) -> None:
        self.run = run
        self.at_once = at_once
        self.console = console
        self.live: Shown | None = None
        self.select_by = run.config.training.select_by
        self.rows = {fold: _Row(self.select_by) for fold in folds}
        self.causes: set[str] = set()
        """Why folds failed, as far as it was said."""
        self.tails = {fold: JournalTail(run.fold_dir(fold) / "journal.jsonl") for fold in folds}
        for fold, row in self.rows.items():  # what happened before this command is not news
            for event in self.tails[fold].read_new():
                row.note(event)
            row.state = "done" if run.is_done(fold) else "waiting"

    def poll(self, running: Collection[int]) -> None:
        """Look again; `running` are the folds that have a worker."""
        for fold, row in self.rows.items():
            lines = list(self._news(fold))
            if row.follow(self.run.is_done(fold), fold in running, time.time()):
                result = self.run.result(fold)
                row.best = float(result["select_value"])
                lines.append(
                    f"fold {fold}  done, {row.unit} {result['best_epoch']} has the best "
                    f"{result['select_by']}, {result['select_value']:.4f}"
                )
                lines += [", ".join(self.summary())] * (len(self.rows) > 1)
            if self.live is None:
                say(lines, self.console)
        if self.live is not None:
            self.live.update(self.table())

    def _news(self, fold: int) -> Iterator[str]:
        """Lines on what its journal has that is new; the cause of many folds has one."""
        for event in self.tails[fold].read_new():
            line = self.rows[fold].note(event)
            if isinstance(event, Failed):
                cause = cause_of(event.error, self.run.fold_dir(fold))
                line = line if cause not in self.causes else ""
                self.causes.add(cause)
            if line:
                yield f"fold {fold}  {line}"

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show the table while the block runs, on a terminal or in a notebook."""
        with shown_live(self.console, self.table()) as self.live:
            yield
        self.live = None

    def summary(self) -> list[str]:
        """All folds together: how many are in which state, the time left, the best value so far."""
        rows = self.rows.values()
        kinds = [row.kind for row in rows]
        parts = [f"{kinds.count('done')} of {counted(len(kinds), 'fold')} done"]
        parts += [f"{kinds.count(k)} {k}" for k in ("running", "waiting", "failed") if k in kinds]
        if (left := self._left()) is not None and {"running", "waiting"} & set(kinds):
            parts.append(f"{_clock(left)} left for all")
        if best := [row.best for row in rows if row.best is not None]:
            folds = f"mean of {counted(len(best), 'fold')}"
            so_far = "" if set(kinds) == {"done"} else " so far"
            parts.append(f"best {self.select_by}{so_far} {fmean(best):.4f} ({folds})")
        return parts

    def _left(self) -> float | None:
        """Seconds until all are done; None until an epoch has told how long one takes.

        Folds to come are taken for as long as those that are done, which may have stopped early.
        """
        rows, now = self.rows.values(), time.time()
        costs = [row.s_per_epoch for row in rows if row.s_per_epoch is not None]
        if not costs:
            return None
        overheads = [row.overhead for row in rows if row.overhead is not None]
        overhead = fmean(overheads) if overheads else 0.0
        done = [row.epoch for row in rows if row.state == "done"]
        epochs = fmean(done) if done else max(row.epochs for row in rows)
        left: dict[str, list[float]] = {"running": [], "waiting": []}
        for row in rows:
            if row.kind in left:
                cost = fmean(costs) if row.s_per_epoch is None else row.s_per_epoch
                left[row.kind].append(row.left(epochs, cost, overhead, now))
        return time_left(left["running"], left["waiting"], self.at_once)

    def table(self) -> Group:
        """As wide and as high as the terminal is now: the folds that train are always in it."""
        size = self.console.size
        lines = [""]
        for part in self.summary():
            longer = f"{lines[-1]}, {part}".removeprefix(", ")
            lines[-1:] = [longer] if len(longer) <= size.width else [lines[-1], part]
        summary = Text("\n".join(lines))
        height = len(self.console.render_lines(summary)) + 1  # and the titles of the columns
        shown, columns = self._shown(size.height - height - 1), list(COLUMNS)
        while len(columns) > 1 and self._width(shown, columns) > size.width:
            columns.remove(min(columns, key=COLUMNS.__getitem__))
        return Group(summary, *([self._table(shown, columns)] if shown else []))

    def _shown(self, room: int) -> list[int]:
        """The folds that have a row each, in `room` rows; the summary counts the others."""
        folds = list(self.rows)
        for kind in FOLDED:
            if len(folds) > room:
                others = [fold for fold in folds if self.rows[fold].kind != kind]
                spare = max(0, room - len(others)) if kind in ("failed", "running") else 0
                kept = [fold for fold in folds if self.rows[fold].kind == kind][:spare]
                folds = sorted([*others, *kept])
        return folds

    def _width(self, folds: Sequence[int], columns: Sequence[str]) -> int:
        options = self.console.options.update(width=1000)
        return self.console.measure(self._table(folds, columns), options=options).maximum

    def _table(self, folds: Sequence[int], columns: Sequence[str]) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        units = {row.unit for row in self.rows.values() if row.epochs}
        titles = {"now": self.select_by, "loss": "train loss", "epoch": "/".join(sorted(units))}
        for name in ("fold", "state", *columns):
            justify: JustifyMethod = "left" if name == "state" else "right"
            table.add_column(titles.get(name) or name, justify=justify, no_wrap=True)
        for fold in folds:
            row = self.rows[fold]
            cells = row.cells()
            table.add_row(str(fold), row.state, *(cells[name] for name in columns))
        return table
