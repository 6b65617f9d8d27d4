"""Reading a file costs no more than it may: no small file takes more than 1 GiB."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from bombs import BOMBS, LARGEST
from PIL import Image

from pipeline.config import ImagesConfig
from pipeline.formats import ImageError, read_image
from pipeline.formats.files import checked_format
from pipeline.formats.limits import BOMB_VOXELS, MOST_VOXELS

ROOT = Path(__file__).resolve().parents[2]
READ = r"""
import json, re, sys
from pathlib import Path
from pipeline.formats import read_image
Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of pytest, before exec
for name in sys.argv[1:]:
    refusals = []
    for spatial_dims in (2, 3):
        try:
            read_image(Path(name), spatial_dims, 1)
        except ValueError as error:
            refusals.append(str(error))
    status = Path("/proc/self/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024
    print(json.dumps([Path(name).name, refusals, peak]))
"""


def read_in_child(paths):
    """Name -> refusals as 2D and 3D, and the process's peak in bytes so far."""
    command = [sys.executable, "-c", READ, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(paths)
    return {name: (refusals, peak) for name, refusals, peak in lines}


@pytest.mark.slow
def test_a_small_file_that_asks_for_much_is_refused_by_its_header(tmp_path):
    for name, write in BOMBS.items():
        write(tmp_path / name)
        assert (tmp_path / name).stat().st_blocks * 512 < 4_000_000
    found = read_in_child([tmp_path / name for name in BOMBS])
    assert {name: len(refusals) for name, (refusals, _) in found.items()} == dict.fromkeys(BOMBS, 2)
    for refusals, _ in found.values():
        assert refusals[0] == refusals[1]
        assert refusals[0].startswith("cannot be decoded: ")
        assert "\n" not in refusals[0]
        assert not any(word in refusals[0] for word in ("MemoryError", "struct", "Traceback"))
    assert max(peak for _, peak in found.values()) < 400 * 2**20


def test_the_most_that_a_small_file_may_ask_for_stays_below_1_gib(tmp_path):
    for name, write in LARGEST.items():
        write(tmp_path / name)
    found = read_in_child([tmp_path / name for name in LARGEST])
    assert [len(refusals) for refusals, _ in found.values()] == [1, 1, 1]  # the other dimension
    assert all("spatial dimensions" in refusals[0] for refusals, _ in found.values())
    assert max(peak for _, peak in found.values()) < 2**30


def test_images_most_voxels_sets_the_limit(tmp_path):
    assert asdict(ImagesConfig())["most_voxels"] == MOST_VOXELS
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((9, 7, 3), np.uint8)).save(path)
    assert read_image(path, 2, 3, most_voxels=9 * 7 * 3).pixels.shape == (3, 9, 7)
    with pytest.raises(ImageError, match=r"9 x 7 x 3 values, images.most_voxels allows 188"):
        read_image(path, 2, 3, most_voxels=9 * 7 * 3 - 1)


def test_a_flat_image_of_far_more_values_than_bytes_is_no_picture(tmp_path):
    """Its header is within images.most_voxels: what it holds of its file tells."""
    side = 4200
    path = tmp_path / "flat.png"
    Image.fromarray(np.zeros((side, side), np.uint8)).save(path)
    assert BOMB_VOXELS < side**2 < MOST_VOXELS
    with pytest.raises(
        ImageError, match=r"4,200 x 4,200 x 1 values in a file of .* are no picture"
    ):
        read_image(path, 2, 1)


def test_a_large_image_that_is_one_is_read(tmp_path):
    """Noise: its file is as large as it should be."""
    side = 4200
    assert side**2 > BOMB_VOXELS
    pixels = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy", 2, 1).pixels[0], pixels)


def test_what_is_no_file_is_named_and_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket.png"))
    (tmp_path / "folder.png").mkdir()
    expected = {
        "pipe.png": "is a pipe, not a file",
        "socket.png": "is a socket, not a file",
        "zero.png": "is a device, not a file",
        "loop.png": "cannot be read: Too many levels of symbolic links",
        "folder.png": "cannot be read: Is a directory",
        "nul\0.png": "cannot be read: embedded null byte",
        "a" * 300: "File name too long",
        "none/a.png": "no such file",
    }
    for name, message in expected.items():
        for look in (checked_format, lambda path: read_image(path, 2, 1)):
            with pytest.raises(ImageError, match=message):
                look(tmp_path / name)
    server.close()
