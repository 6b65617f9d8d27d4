"""The ledger counts each setting once, whoever writes at the same time, whatever a crash left."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import pytest

from pipeline.config import UserError
from pipeline.files import lock
from pipeline.tracking.ledger import Entry, note_opening, note_tested, tries_of

PLAN = "a" * 64


def entry(key: str, plan: str = PLAN, event: Literal["tested", "opened"] = "tested") -> Entry:
    return Entry(event=event, plan=plan, manifest="m", key=key, run_dir=f"runs/{key}")


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "study" / "ledger.jsonl"


def test_a_setting_counts_once_on_each_plan(ledger: Path) -> None:
    assert tries_of(PLAN, ledger) is None
    for key in ("one", "two", "one", "one"):
        note_tested(ledger, entry(key))
    note_tested(ledger, entry("three", plan="b" * 64))
    tries = tries_of(PLAN, ledger)
    assert tries is not None
    assert tries.keys == ("one", "two")
    assert tries.note.startswith("2 settings were tested on this plan: the best of 2 is optimistic")
    other = tries_of("b" * 64, ledger)
    assert other is not None
    assert (other.num, other.note) == (1, "")
    assert len(ledger.read_text().splitlines()) == 3


@pytest.fixture(scope="module")
def two() -> Iterator[ProcessPoolExecutor]:
    """Two processes."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        yield pool


def _note_many(path: Path, name: str) -> None:
    for number in range(40):
        note_tested(path, entry(f"{name}{number}"))
        note_tested(path, entry(f"both{number}"))


def test_two_processes_that_write_at_once_lose_and_double_nothing(
    ledger: Path, two: ProcessPoolExecutor
) -> None:
    for future in [two.submit(_note_many, ledger, name) for name in ("left", "right")]:
        future.result()
    records = [json.loads(line) for line in ledger.read_text().splitlines()]
    keys = [record["key"] for record in records]
    assert len(keys) == len(set(keys)) == 120
    tries = tries_of(PLAN, ledger)
    assert tries is not None
    assert tries.num == 120


def test_two_that_have_waited_for_the_same_line_write_it_once(
    ledger: Path, two: ProcessPoolExecutor
) -> None:
    ledger.parent.mkdir()
    with lock(ledger, "held"):
        both = [two.submit(note_tested, ledger, entry("one")) for _ in range(2)]
        time.sleep(0.5)  # both have looked, and wait
    for of in both:
        of.result()
    assert len(ledger.read_text().splitlines()) == 1


def test_half_a_line_of_a_crash_is_left_out_and_cut_off(ledger: Path) -> None:
    note_tested(ledger, entry("one"))
    whole = ledger.read_bytes()
    for half in (whole[:-30], b'{"event": "tes', b"\xff\xfe\x00"):
        ledger.write_bytes(whole + half)
        tries = tries_of(PLAN, ledger)
        assert tries is not None
        assert tries.keys == ("one",)
        note_tested(ledger, entry("two"))
        assert ledger.read_bytes().startswith(whole)
        assert [json.loads(line)["key"] for line in ledger.open()] == ["one", "two"]


def test_a_last_line_that_lacks_its_end_only_is_kept(ledger: Path) -> None:
    note_tested(ledger, entry("one"))
    ledger.write_bytes(ledger.read_bytes().rstrip(b"\n"))
    note_tested(ledger, entry("two"))
    assert [json.loads(line)["key"] for line in ledger.open()] == ["one", "two"]


@pytest.mark.parametrize("line", ["", "[]", "null", '{"event": "tested"}', '{"event": "other"}'])
def test_lines_of_others_are_left_out_and_stay(ledger: Path, line: str) -> None:
    note_tested(ledger, entry("one"))
    ledger.write_text(f"{line}\n{ledger.read_text()}")
    note_tested(ledger, entry("two"))
    tries = tries_of(PLAN, ledger)
    assert tries is not None
    assert tries.keys == ("one", "two")
    assert ledger.read_text().splitlines()[0] == line


def test_a_ledger_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("mine\n")
    link = tmp_path / "ledger.jsonl"
    link.symlink_to(tmp_path / "other")
    with pytest.raises((OSError, UserError)):
        note_tested(link, entry("one"))
    assert (tmp_path / "other").read_text() == "mine\n"


def test_locked_patients_are_opened_for_one_run(ledger: Path) -> None:
    first = note_opening(ledger, entry("one", event="opened"))
    assert [of.key for of in first] == ["one"]
    same = note_opening(ledger, entry("one", event="opened"))  # what a crash had interrupted
    assert same == first
    with pytest.raises(UserError, match=r"opened 1 time before, first on .* for runs/one"):
        note_opening(ledger, entry("two", event="opened"))
    tries = tries_of(PLAN, ledger)
    assert tries is not None
    assert len(tries.opened) == 1
    assert tries.num == 0
    both = note_opening(ledger, entry("two", event="opened"), again=True)
    assert [of.key for of in both] == ["one", "two"]
    assert note_opening(ledger, entry("two", plan="b" * 64, event="opened"))[0].key == "two"


def _open(path: Path, key: str) -> str:
    try:
        return note_opening(path, entry(key, event="opened"))[0].key
    except UserError:
        return "refused"


def test_of_two_processes_that_open_at_once_one_is_refused(
    ledger: Path, two: ProcessPoolExecutor
) -> None:
    found = [of.result() for of in [two.submit(_open, ledger, key) for key in ("one", "two")]]
    assert sorted(found) in (["one", "refused"], ["refused", "two"])
