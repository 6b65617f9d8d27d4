"""What the jobs of a sweep are called, and how to look at them."""

from pathlib import Path

import pytest

from pipeline.commands.sweep import look_at, short


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
        ("resnet10", "resnet10"),
        ("nan", "nan"),
        ("[0, 2]", "[0, 2]"),
    ],
)
def test_small_numbers_are_written_short(value: str, expected: str) -> None:
    assert short(value) == expected


def test_a_database_in_the_home_folder_is_named_in_full() -> None:
    assert look_at("sqlite:///~/my.db").endswith(f" sqlite:///{Path.home()}/my.db")
