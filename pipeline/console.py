"""What the commands print: whole lines as they are, and a bar for long work."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from io import StringIO
from typing import Any, Protocol, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from pipeline.words import one_line, visible


def say(lines: Iterable[str], console: Console, style: str | None = None) -> None:
    """Print lines without wrapping, markup or colours other than `style`; escapes are visible."""
    for line in lines:
        console.print(visible(line), style=style, highlight=False, soft_wrap=True, markup=False)


def tell(text: str, file: TextIO | None = None) -> None:
    """Print plain text to `file`, or to the standard output, as `say` does."""
    print(visible(text), file=file)


def cell(text: str) -> Text:
    """Text for a table, in which brackets are no markup."""
    return Text(one_line(text))


def screen() -> Console:
    """Where a command prints: in a notebook plain text, which stays in one piece."""
    console = Console()
    return Console(force_jupyter=False, force_terminal=False) if console.is_jupyter else console


_SAID: set[tuple[str, ...]] = set()


def say_once(lines: Iterable[str], console: Console) -> None:
    """`say` what this process did not say before: the jobs of a sweep share manifest and plan."""
    if (said := tuple(lines)) not in _SAID:
        _SAID.add(said)
        say(said, console)


def warn(lines: Iterable[str], console: Console) -> None:
    """Print warnings in yellow."""
    say((f"warning: {line}" for line in lines), console, style="yellow")


def _can_be_drawn_over(console: Console) -> bool:
    """FORCE_COLOR, which notebooks and CI set, makes a pipe look like a terminal; it is none."""
    return console.is_terminal and (console.file is not sys.stdout or sys.stdout.isatty())


@contextmanager
def progress_bar(what: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total); elsewhere than on a terminal, a line per tenth."""
    if _can_be_drawn_over(console):
        columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=None)
            try:
                yield lambda done, total: bar.update(task, completed=done, total=total)
            finally:
                if bar.tasks[0].total is None:  # nothing was to do
                    bar.update(task, visible=False)
        return
    tenths = 0

    def print_tenth(done: int, total: int) -> None:
        nonlocal tenths
        if done * 10 // total > tenths:
            tenths = done * 10 // total
            say([f"{what}: {done} of {total}"], console)

    yield print_tenth


def agreed(question: str) -> bool:
    """Whether somebody at a terminal says yes; False where nobody can be asked."""
    return sys.stdin.isatty() and input(visible(question)).strip().lower() in ("y", "yes")


class Shown(Protocol):
    """Something on a screen that takes the place of what it was before."""

    def update(self, renderable: RenderableType) -> None: ...


@contextmanager
def shown_live(console: Console, first: RenderableType) -> Iterator[Shown | None]:
    """A place on a terminal, or in a notebook, that is written over while the block runs.

    None elsewhere: a file gets lines.
    """
    if _can_be_drawn_over(console):
        with Live(first, console=console, refresh_per_second=4) as live:
            yield live
    elif Console().is_jupyter:
        cell = _NotebookCell(console, first)
        try:
            yield cell
        finally:
            cell.show()
    else:
        yield None


class _NotebookCell:
    """Text in the output of a notebook's cell; it needs no widgets."""

    EVERY_S = 1.0
    """Each change goes to a browser, and a fold's table may change often."""

    def __init__(self, console: Console, first: RenderableType) -> None:
        display: Any = import_module("IPython.display").display
        self._width, self._content, self._at = console.width, first, time.monotonic()
        self._handle: Any = display(self._as_text, raw=True, display_id=True)

    def update(self, renderable: RenderableType) -> None:
        self._content = renderable
        if time.monotonic() - self._at >= self.EVERY_S:
            self.show()

    def show(self) -> None:
        self._at = time.monotonic()
        self._handle.update(self._as_text, raw=True)

    @property
    def _as_text(self) -> dict[str, str]:
        paper = Console(file=StringIO(), width=self._width, force_jupyter=False, color_system=None)
        paper.print(self._content)
        assert isinstance(paper.file, StringIO)
        return {"text/plain": paper.file.getvalue()}
