"""A bundle of which a byte was changed is refused."""

import subprocess
from pathlib import Path

import pytest

from pipeline.config import UserError
from pipeline.export.sums import FILE_NAME, check_sums, seal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "fold_00.safetensors").write_bytes(bytes(range(200)))
    (tmp_path / "bundle.json").write_text("{}")
    seal(tmp_path)
    return tmp_path


def test_what_is_whole_is_taken_and_sha256sum_agrees(folder: Path) -> None:
    check_sums(folder)
    (folder / "own_notes.txt").write_text("not ours, never opened")
    check_sums(folder)
    done = subprocess.run(["sha256sum", "-c", FILE_NAME], cwd=folder, capture_output=True)
    assert done.returncode == 0


@pytest.mark.parametrize("at", [0, 100, 199])
def test_every_byte_counts(folder: Path, at: int) -> None:
    path = folder / "weights" / "fold_00.safetensors"
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"changed: 'weights/fold_00.safetensors'.*not loaded"):
        check_sums(folder)


def test_a_missing_file_and_a_link_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "bundle.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(UserError, match=r"missing: 'bundle.json'"):
        check_sums(folder)
    (folder / "bundle.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(UserError, match=r"missing: 'bundle.json'"):
        check_sums(folder)


@pytest.mark.parametrize("line", ["0" * 64 + "  ../secret", "0" * 64 + "  /etc/passwd", "hello"])
def test_a_list_that_leads_elsewhere_is_refused(folder: Path, line: str) -> None:
    (folder / FILE_NAME).write_text(f"{line}\n")
    with pytest.raises(UserError, match="line 1: expected a SHA-256 and a file"):
        check_sums(folder)


def test_what_is_no_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a bundle of patientfold: it has no SHA256SUMS"):
        check_sums(tmp_path)
