"""What the jobs of a sweep are called, and how to look at them."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.commands.jobs import Job
from pipeline.commands.sweep import _table, look_at, short
from pipeline.engine.session import Outcome


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.0003", "3e-4"),
        ("1e-3", "1e-3"),
        ("0.00015", "1.5e-4"),
        ("-0.0001", "-1e-4"),
        ("0.01", "0.01"),
        ("0", "0"),
        ("12", "12"),
        ("0.010800273578734827", "0.0108003"),
        ("123456789012", "123456789012"),
        ("resnet10", "resnet10"),
        ("nan", "nan"),
        ("[0, 2]", "[0, 2]"),
    ],
)
def test_small_numbers_are_written_short(value: str, expected: str) -> None:
    assert short(value) == expected


def test_a_database_in_the_home_folder_is_named_in_full() -> None:
    assert look_at("sqlite:///~/my.db").endswith(f" sqlite:///{Path.home()}/my.db")


def test_strange_names_move_no_terminal_in_the_table_of_jobs() -> None:
    strange = "a\x1b[31m\x07\u202e\nFORGED [/nope]"
    jobs = [
        Job([f"run_dir={strange}"], Path(), "", Outcome(Path(strange), "val/loss", (0.1, 0.2))),
        Job([f"name={strange}"], Path(), "", error=strange),
    ]
    console = Console(file=io.StringIO(), width=300)
    console.print(_table(jobs))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert {letter for letter in shown if not letter.isprintable()} == {"\n"}
    assert shown.count(r"a\x1b[31m\x07\u202e\nFORGED [/nope]") == 4
