import json
import math
import os
import re
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from pipeline.files import DiskFullError
from pipeline.tracking.journal import (
    EpochEnded,
    Event,
    Failed,
    Journal,
    JournalError,
    JournalTail,
    Progressed,
    Started,
    read_journal,
    to_record,
)

FIRST = Started(time=1.5, fold=0, epochs=8, device="cpu", pid=5)
SECOND = EpochEnded(time=2.5, epoch=1, metrics={"val/image/auroc": None, "é": 1e-300})


def lines(*events: Event) -> bytes:
    return b"".join(json.dumps(to_record(event)).encode() + b"\n" for event in events)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append(FIRST)
        journal.append(SECOND)
        assert read_journal(tmp_path / "j") == [FIRST, SECOND]  # before it is closed: no buffer


def test_an_event_has_the_time_at_which_it_was_made() -> None:
    before = time.time()
    assert before <= Failed(error="x").time <= time.time()


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
    with Journal(tmp_path / "j"):
        assert (tmp_path / "j").read_bytes() == b""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_inf_are_refused_and_leave_no_trace(tmp_path: Path, value: float) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append(FIRST)
        with pytest.raises(ValueError, match="event 'epoch' holds nan or inf"):
            journal.append(EpochEnded(epoch=2, metrics={"train/loss": value}))
    assert read_journal(tmp_path / "j") == [FIRST]


def test_a_full_disk_leaves_only_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    with Journal(tmp_path / "j") as journal:
        journal.append(FIRST)
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))
        with pytest.raises(DiskFullError, match="no room left"):
            journal.append(SECOND)
        monkeypatch.undo()
        journal.append(SECOND)
    assert read_journal(tmp_path / "j") == [FIRST, SECOND]


def test_a_missing_journal_is_empty(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none") == []


@pytest.mark.parametrize(
    "bad",
    [
        b"garbage",
        b"",
        b"[1]",
        b'{"event": "epoch"}',
        b'{"time": 1}',
        b"\xff\xfe",
        b"null",
        b'{"event": "epoch", "time": 1, "epoch": null, "metrics": {}}',
        b'{"event": "epoch", "time": 1, "epoch": 1, "metrics": [0.5]}',
        b'{"event": "epoch", "time": 1, "epoch": 1}',
        b'{"event": "party", "time": 1}',
        b'{"event": "start", "time": 1, "version": 99, "fold": 0}',
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "j"
    path.write_bytes(lines(FIRST) + bad + b"\n" + lines(SECOND))
    with pytest.raises(JournalError, match=f"{re.escape(str(path))}, line 2: expected an event"):
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
    assert tail.read_new() == []


def test_each_line_is_read_by_its_own_version(tmp_path: Path) -> None:
    """Before, epochs counted from 0 and the image level had no name."""
    old = [
        {"event": "start", "time": 1.5, "fold": 0, "epoch": 0, "epochs": 8, "device": "cpu"},
        {"event": "progress", "time": 2, "epoch": 0, "done": 1, "of": 4, "images_per_s": 2.5},
        {
            "event": "epoch",
            "time": 2.5,
            "epoch": 0,
            "metrics": {"val/loss": 1, "val/auroc": 0.5, "val/patient/auroc": None},
            "best": True,
            "left_s": 3.5,
        },
        {"event": "failed", "time": 3, "error": "why", "traceback": "where"},
        {"event": "start", "time": 4, "fold": 0, "epoch": 1, "epochs": 8, "device": "cpu"},
    ]
    path = tmp_path / "j"
    path.write_text("".join(json.dumps(record) + "\n" for record in old))
    second = EpochEnded(time=5, epoch=2, metrics={"val/image/auroc": 0.6})
    with Journal(path) as journal:
        journal.append(second)
    assert read_journal(path) == [
        Started(time=1.5, fold=0, epochs_done=0, epochs=8, device="cpu"),
        Progressed(time=2, epoch=1, done=1, of=4, images_per_s=2.5),
        EpochEnded(
            time=2.5,
            epoch=1,
            metrics={"val/loss": 1, "val/image/auroc": 0.5, "val/patient/auroc": None},
            best=True,
            left_s=3.5,
        ),
        Failed(time=3, error="why", traceback="where"),
        Started(time=4, fold=0, epochs_done=1, epochs=8, device="cpu"),
        second,
    ]
