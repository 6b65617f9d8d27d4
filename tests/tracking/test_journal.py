import json
import math
import os
import re
from pathlib import Path
from unittest.mock import Mock

import pytest

from pipeline.tracking import Journal, JournalError, JournalTail, read_journal

FIRST = {"event": "start", "time": 1.5, "fold": 0}
SECOND = {"event": "epoch", "time": 2.5, "epoch": 0, "metrics": {"val/auroc": None, "é": 1e-300}}


def lines(*records: dict[str, object]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append(FIRST)
        journal.append(SECOND)
        assert read_journal(tmp_path / "j") == [FIRST, SECOND]  # before it is closed: no buffer


def test_time_is_added_only_if_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 99.5)
    with Journal(tmp_path / "j") as journal:
        journal.append({"event": "start"})
        journal.append(FIRST)
    assert [record["time"] for record in read_journal(tmp_path / "j")] == [99.5, 1.5]


def test_a_line_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Mock(side_effect=os.write)
    monkeypatch.setattr(os, "write", write)
    with Journal(tmp_path / "j") as journal:
        journal.append(FIRST)
        journal.append(SECOND)
    assert [call.args[1] for call in write.call_args_list] == [lines(FIRST), lines(SECOND)]


def test_two_writers_never_overwrite_each_other(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as one, Journal(tmp_path / "j") as other:
        one.append(FIRST)
        other.append(SECOND)
        one.append(FIRST)
    assert read_journal(tmp_path / "j") == [FIRST, SECOND, FIRST]


@pytest.mark.parametrize("num_bytes", range(len(lines(SECOND))))
def test_a_torn_last_line_is_ignored_and_cut_off(tmp_path: Path, num_bytes: int) -> None:
    path = tmp_path / "j"
    path.write_bytes(lines(FIRST) + lines(SECOND)[:num_bytes])
    assert read_journal(path) == [FIRST]
    with Journal(path) as journal:
        journal.append(SECOND)
    assert path.read_bytes() == lines(FIRST, SECOND)


def test_a_journal_that_is_only_a_torn_line_becomes_empty(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b'{"event"')
    Journal(tmp_path / "j").close()
    assert (tmp_path / "j").read_bytes() == b""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_inf_are_refused_and_leave_no_trace(tmp_path: Path, value: float) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append(FIRST)
        with pytest.raises(ValueError, match="event 'epoch' holds nan or inf"):
            journal.append({"event": "epoch", "metrics": {"train/loss": value}})
    assert read_journal(tmp_path / "j") == [FIRST]


def test_a_full_disk_leaves_only_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    with Journal(tmp_path / "j") as journal:
        journal.append(FIRST)
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
        with pytest.raises(OSError, match="could not write a whole line"):
            journal.append(SECOND)
        monkeypatch.undo()
        journal.append(SECOND)
    assert read_journal(tmp_path / "j") == [FIRST, SECOND]


def test_a_missing_journal_is_empty(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none") == []


@pytest.mark.parametrize(
    "bad", [b"garbage", b"", b"[1]", b'{"event": "epoch"}', b'{"time": 1}', b"\xff\xfe", b"null"]
)
def test_a_damaged_line_is_named(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(lines(FIRST) + bad + b"\n" + lines(SECOND))
    with pytest.raises(JournalError, match=f"{re.escape(str(path))}, line 2: expected a JSON"):
        read_journal(path)


def test_a_tail_gives_every_record_once_wherever_the_writer_stands(tmp_path: Path) -> None:
    data = lines(FIRST, SECOND, FIRST)
    tail = JournalTail(tmp_path / "j")
    assert tail.read_new() == []  # not there yet
    seen = []
    for end in range(len(data) + 1):
        (tmp_path / "j").write_bytes(data[:end])
        seen += tail.read_new()
    assert seen == [FIRST, SECOND, FIRST]
    assert tail.offset == len(data)


def test_a_tail_goes_on_from_an_offset(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(lines(FIRST, SECOND))
    assert JournalTail(tmp_path / "j", offset=len(lines(FIRST))).read_new() == [SECOND]
