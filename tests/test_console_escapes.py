"""Whatever a line holds, a terminal obeys none of it."""

import io

import pytest
from rich.console import Console

from pipeline.console import cell, progress_bar, say, tell, warn

STRANGE = "a\x1b[31m\x07\x9b\u202e[/nope] b"
SHOWN = r"a\x1b[31m\x07\x9b\u202e[/nope] b"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_lines_are_printed_whole_with_escapes_written_out(is_terminal: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, width=20, force_terminal=is_terminal, color_system=None)
    say([STRANGE, f"two\nlines of {'much more than twenty letters ' * 3}"], console)
    warn([STRANGE], console)
    first, *rest = file.getvalue().splitlines()
    assert first == SHOWN
    assert rest[:2] == ["two", f"lines of {'much more than twenty letters ' * 3}"]
    assert rest[2:] == [f"warning: {SHOWN}"]


def test_plain_text_and_cells_of_tables_too(capsys: pytest.CaptureFixture[str]) -> None:
    tell(STRANGE)
    assert capsys.readouterr().out == f"{SHOWN}\n"
    assert cell(f"{STRANGE}\nforged").plain == rf"{SHOWN}\nforged"


def test_forced_colours_animate_no_bar_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell of a notebook, or the log of CI, would get a line for every frame."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = Console(width=80)
    assert console.is_terminal
    with progress_bar("decoding", console) as progress:
        for done in range(1, 11):
            progress(done, 10)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"decoding: {done} of 10" for done in range(1, 11)]
