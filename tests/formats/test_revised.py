"""Which files must not be taken from a cache of earlier versions."""

import gzip
import struct
from pathlib import Path

import pytest

from pipeline.formats.revised import is_revised

PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


def nifti_2(order: str, num_axes: int) -> bytes:
    start = struct.pack(f"{order}i", 540) + b"n+2\0\r\n\x1a\n"
    return (start + bytes(4) + struct.pack(f"{order}q", num_axes)).ljust(544, b"\0")


@pytest.mark.parametrize(
    ("content", "revised"),
    [
        (PNG + b"\x10\x00", False),  # 16 bits of grey
        (PNG + b"\x10\x02", True),
        (PNG + b"\x10\x04", True),
        (PNG + b"\x10\x06", True),
        (PNG + b"\x08\x02", False),
        (b"II and nothing that Pillow knows", False),
        (nifti_2("<", 4), True),
        (nifti_2(">", 4), True),
        (nifti_2("<", 3), False),
        (nifti_2(">", 3), False),
        (gzip.compress(nifti_2("<", 4), mtime=0), True),
        (b"", False),
    ],
)
def test_by_the_first_bytes(tmp_path: Path, content: bytes, revised: bool) -> None:
    (tmp_path / "a").write_bytes(content)
    assert is_revised(tmp_path / "a") is revised


def test_a_series_was_always_read_so(tmp_path: Path) -> None:
    assert not is_revised(tmp_path)
    assert not is_revised(tmp_path / "folder#1.2.3")
