"""Live progress of all folds: a table on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.engine.run_folder import Run
from pipeline.tracking import JournalTail


@dataclass
class _Row:
    """What is known of one fold from its journal."""

    state: str = "waiting"
    epoch: int = 0
    epochs: int = 0
    part_done: float = 0.0
    """Of the running epoch, from 0 to 1."""
    loss: float | None = None
    value: float | None = None
    speed: float | None = None
    left_s: float | None = None
    told_at: float = field(default_factory=time.time)

    def note(self, record: dict[str, Any], select_by: str) -> None:
        """Take in one line of the journal."""
        self.told_at = record["time"]
        if record["event"] == "start":
            self.state, self.epoch, self.epochs = "training", record["epoch"], record["epochs"]
        elif record["event"] == "progress":
            self.part_done, self.speed = record["done"] / record["of"], record["images_per_s"]
        elif record["event"] == "epoch":
            values = record["metrics"]
            self.epoch, self.part_done, self.left_s = record["epoch"] + 1, 0.0, record["left_s"]
            self.loss, self.value = values["train/loss"], values[select_by]
            self.speed = values["train/images_per_s"]
        elif record["event"] == "failed":
            self.state = "failed"

    def left(self) -> str:
        if self.left_s is None or self.state != "training":
            return "-"
        seconds = max(0, round(self.left_s - (time.time() - self.told_at)))
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    def cells(self) -> list[str]:
        """epoch, loss, validation metric, images/s, time left"""
        part = f" +{self.part_done:.0%}" if self.part_done else ""
        return [
            f"{self.epoch}/{self.epochs}{part}" if self.epochs else "-",
            "-" if self.loss is None else f"{self.loss:.4f}",
            "-" if self.value is None else f"{self.value:.4f}",
            "-" if self.speed is None else f"{self.speed:.0f}",
            self.left(),
        ]


class FoldProgress:
    """Reads the folds' journals and shows them; `poll` is cheap and called often."""

    def __init__(self, run: Run, folds: Sequence[int], console: Console) -> None:
        self.run = run
        self.console = console
        self.live: Live | None = None
        self.rows = {fold: _Row() for fold in folds}
        self.tails = {fold: JournalTail(run.fold_dir(fold) / "journal.jsonl") for fold in folds}
        for fold, tail in self.tails.items():  # what happened before this command is not news
            for record in tail.read_new():
                self.rows[fold].note(record, run.config.training.select_by)
            self.rows[fold].state = "waiting"

    def poll(self) -> None:
        select_by = self.run.config.training.select_by
        for fold, tail in self.tails.items():
            for record in tail.read_new():
                self.rows[fold].note(record, select_by)
                if self.live is None:
                    self._print_line(fold, record, select_by)
            if self.run.is_done(fold):
                self.rows[fold].state = "done"
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
            self.poll()
        self.live = None

    def _table(self) -> Table:
        select_by = self.run.config.training.select_by
        table = Table()
        for name in ("fold", "state", "epoch", "train loss", select_by, "images/s", "time left"):
            table.add_column(name, justify="left" if name == "state" else "right")
        for fold, row in self.rows.items():
            table.add_row(str(fold), row.state, *row.cells())
        return table

    def _print_line(self, fold: int, record: dict[str, Any], select_by: str) -> None:
        if record["event"] == "epoch":
            epoch, loss, value, speed, left = self.rows[fold].cells()
            self._say(
                f"fold {fold}  epoch {epoch:>7}  train loss {loss}  {select_by} {value}  "
                f"{speed} images/s  {left} left"
            )
        elif record["event"] == "start":
            more = f", continuing after epoch {record['epoch']}" if record["epoch"] else ""
            self._say(f"fold {fold}  started on {record['device']}{more}")
        elif record["event"] == "failed":
            self._say(f"fold {fold}  failed: {record['error']}")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
