"""What the commands print: whole lines as they are, and a bar for long work."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
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


_SAID: set[tuple[str, ...]] = set()


def say_once(lines: Iterable[str], console: Console) -> None:
    """`say` what this process did not say before: the jobs of a sweep share manifest and plan."""
    if (said := tuple(lines)) not in _SAID:
        _SAID.add(said)
        say(said, console)


def warn(lines: Iterable[str], console: Console) -> None:
    """Print warnings in yellow."""
    say((f"warning: {line}" for line in lines), console, style="yellow")


@contextmanager
def progress_bar(what: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total); elsewhere than on a terminal, a line per tenth."""
    if console.is_terminal:
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
