"""Live progress of all folds: a table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.console import say
from pipeline.engine.run_folder import Run
from pipeline.tracking.journal import EpochEnded, Event, Failed, JournalTail, Progressed, Started


@dataclass
class _Row:
    """What is known of one fold from its journal."""

    select_by: str
    state: str = "waiting"
    epoch: int = 0
    epochs: int = 0
    part_done: float = 0.0
    """Of the running epoch, from 0 to 1."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Of the last epoch."""
    speed: float | None = None
    ends_at: float | None = None
    """Unix seconds, as the last epoch foresaw."""

    def note(self, event: Event) -> str:
        """Take in one line of the journal; returns it in words, "" when it is not worth a line."""
        match event:
            case Started():
                self.state, self.epoch, self.epochs = "training", event.epochs_done, event.epochs
                self.ends_at = None
                done = f", continuing after epoch {self.epoch}" if self.epoch else ""
                return f"started on {event.device}{done}"
            case Progressed():
                self.part_done, self.speed = event.done / event.of, event.images_per_s
                return ""
            case EpochEnded():
                self.epoch, self.part_done, self.metrics = event.epoch, 0.0, event.metrics
                self.speed = event.metrics.get("train/images_per_s")
                self.ends_at = event.time + event.left_s
                epoch, loss, value, speed, left = self.cells()
                return (
                    f"epoch {epoch:>7}  train loss {loss}  {self.select_by} {value}  "
                    f"{speed} images/s  {left} left"
                )
            case Failed():
                self.state = "failed"
                return f"failed: {event.error}"

    def cells(self) -> list[str]:
        """epoch, loss, validation metric, images/s, time left"""
        part = f" +{self.part_done:.0%}" if self.part_done else ""
        left = "-"
        if self.ends_at is not None and self.state == "training":
            left = str(timedelta(seconds=max(0, round(self.ends_at - time.time()))))
        return [
            f"{self.epoch}/{self.epochs}{part}" if self.epochs else "-",
            _text(self.metrics.get("train/loss"), 4),
            _text(self.metrics.get(self.select_by), 4),
            _text(self.speed, 0),
            left,
        ]


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


class FoldProgress:
    """Reads the folds' journals and shows them; `poll` is cheap and called often."""

    def __init__(self, run: Run, folds: Sequence[int], console: Console) -> None:
        self.run = run
        self.console = console
        self.live: Live | None = None
        self.rows = {fold: _Row(run.config.training.select_by) for fold in folds}
        self.tails = {fold: JournalTail(run.fold_dir(fold) / "journal.jsonl") for fold in folds}
        for fold, row in self.rows.items():  # what happened before this command is not news
            for event in self.tails[fold].read_new():
                row.note(event)
            row.state = "done" if run.is_done(fold) else "waiting"

    def poll(self) -> None:
        for fold, row in self.rows.items():
            lines = [row.note(event) for event in self.tails[fold].read_new()]
            if self.run.is_done(fold) and row.state != "done":
                row.state = "done"
                result = self.run.result(fold)
                lines.append(
                    f"done, epoch {result['best_epoch']} has the best {result['select_by']}, "
                    f"{result['select_value']:.4f}"
                )
            if self.live is None:
                say([f"fold {fold}  {line}" for line in lines if line], self.console)
        if self.live is not None:
            self.live.update(self._table())

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show the table while the block runs, on a terminal."""
        if not self.console.is_terminal:
            yield
            return
        with Live(self._table(), console=self.console, refresh_per_second=4) as self.live:
            yield
        self.live = None

    def _table(self) -> Table:
        select_by = self.run.config.training.select_by
        table = Table()
        for name in ("fold", "state", "epoch", "train loss", select_by, "images/s", "time left"):
            table.add_column(name, justify="left" if name == "state" else "right")
        for fold, row in self.rows.items():
            table.add_row(str(fold), row.state, *row.cells())
        return table
