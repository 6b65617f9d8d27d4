"""Files are whole at every moment, links are never followed, and a full disk is one message."""

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.files import (
    BLOCK,
    DiskFullError,
    content_digest,
    lock,
    read_json,
    remove_leftovers,
    replacing,
    write_whole,
)


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    write_whole(tmp_path / "link", "ours")
    assert (tmp_path / "other").read_text() == "theirs"
    assert (tmp_path / "link").read_text() == "ours"
    assert not (tmp_path / "link").is_symlink()


def test_nobody_can_foresee_a_temporary_name(tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        with replacing(tmp_path / "x") as file:
            names |= {path.name for path in tmp_path.glob(".*.tmp")}
            file.write(b"1")
    assert len(names) == 2
    assert not any(str(os.getpid()) == part for name in names for part in name.split("."))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_whoever_guesses_a_temporary_name_gains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that lies there already is not written through."""
    (tmp_path / "other").write_text("theirs")
    (tmp_path / ".x.guessed.tmp").symlink_to(tmp_path / "other")
    monkeypatch.setattr(secrets, "token_hex", lambda _: "guessed")
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "x", "ours")
    assert (tmp_path / "other").read_text() == "theirs"
    assert not (tmp_path / "x").exists()


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".best.pt.0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / "best.pt").write_bytes(b"whole")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]


@pytest.mark.parametrize("target", ["missing", "present"])
def test_a_lock_follows_no_link(tmp_path: Path, target: str) -> None:
    (tmp_path / "present").write_text("theirs")
    (tmp_path / ".lock").symlink_to(tmp_path / target)
    with pytest.raises(OSError), lock(tmp_path / ".lock", "in use"):  # noqa: PT011
        pass
    assert not (tmp_path / "missing").exists()


def test_json_behind_a_link_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "link.json").symlink_to(tmp_path / "other.json")
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("link.json", "pipe.json"):
        with pytest.raises(UserError, match=f"{name} cannot be read: .* Restore it"):
            read_json(tmp_path / name, "Restore it.")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="is not valid JSON"):
        read_json(tmp_path / "deep.json")


def test_a_full_disk_names_the_folder_and_leaves_the_old_file(tmp_path: Path) -> None:
    """The kernel's own limit of a file's size, in a process of its own."""
    write_whole(tmp_path / "x", "old")
    code = f"""
import resource, signal
from pathlib import Path
from pipeline.files import DiskFullError, write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_whole(Path({str(tmp_path)!r}) / "x", b"1" * 2_000_000)
except DiskFullError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"folder {tmp_path}: a file would be larger than is allowed here")
    assert "x cannot be written (2.0 MB are needed)" in done.stdout
    assert (tmp_path / "x").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1, "no half file takes room"
    assert issubclass(DiskFullError, UserError)


def test_equal_bytes_have_one_digest_wherever_the_holes_are(tmp_path: Path) -> None:
    """And a byte, its place and the size count."""
    size = 5 * BLOCK + 7
    content = bytearray(size)
    content[3 * BLOCK + 9] = 1
    (tmp_path / "dense").write_bytes(content)
    for name, length, at in [("sparse", size, 9), ("moved", size, 10), ("longer", size + 1, 9)]:
        with (tmp_path / name).open("wb") as file:
            file.truncate(length)
            file.seek(3 * BLOCK + at)
            file.write(b"\1")
    (tmp_path / "zeros").write_bytes(bytes(size))
    found = {path.name: content_digest(path) for path in tmp_path.iterdir()}
    assert found["sparse"] == found["dense"]
    assert len(set(found.values())) == 4


def test_a_terabyte_of_nothing_is_digested_at_once(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.truncate(10**12)
    began = time.process_time()
    assert content_digest(tmp_path / "a")
    assert time.process_time() - began < 1
