"""A build of the packed cache that was killed goes on where it was, and two never build one."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import ImagesConfig, ManifestConfig
from pipeline.images import building, packing
from pipeline.images.building import remove_leftovers
from pipeline.images.decoded_log import NAME, num_decoded
from pipeline.images.decoders import CHUNK
from pipeline.images.decoding import DIGEST
from pipeline.images.packing import pack_images
from pipeline.manifest import Manifest, read_manifest

NUM_IMAGES = 5 * CHUNK + 3
FILES = ("images.npy", "thumbnails.npy", "table.csv")
LAB = """
import os
import time
from pathlib import Path

import numpy as np


class ReadAndCount:
    def __call__(self, path):
        time.sleep(0.002)
        with Path(__file__).with_name("decoded").open("a") as file:
            file.write(path.name + "\\n")
        return np.frombuffer(path.read_bytes(), np.uint8).reshape(1, 4, 4)
"""
SCRIPT = """
import os
from pathlib import Path
from pipeline.config import ImagesConfig, ManifestConfig
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
if __name__ == "__main__":
    pack_images(
        read_manifest(ManifestConfig(name="x", path="lab/m.csv", accept=("unknown_format",))),
        ImagesConfig(
            reader={"_target_": "my_lab.ReadAndCount"}, cache_dir="cache", num_processes=2
        ),
        lambda _done, _of: None,
    )
"""


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """Images of 4 x 4 in a format of the lab's own, whose reader notes each that it reads."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_lab.py").write_text(LAB)
    (tmp_path / "lab").mkdir()
    rows, rng = ["patient_id,image_path,label"], np.random.default_rng(0)
    for number in range(NUM_IMAGES):
        (tmp_path / "lab" / f"{number:03d}.raw").write_bytes(rng.bytes(16))
        rows.append(f"P{number // 2},{number:03d}.raw,{'ab'[number // 2 % 2]}")
    (tmp_path / "lab" / "m.csv").write_text("\n".join(rows) + "\n")
    settings = ManifestConfig(name="x", path="lab/m.csv", accept=("unknown_format",))
    return read_manifest(settings)


def config(cache_dir: str = "cache") -> ImagesConfig:
    reader = {"_target_": "my_lab.ReadAndCount"}
    return ImagesConfig(reader=reader, cache_dir=cache_dir, num_processes=2)


def built(manifest: Manifest, cache_dir: str = "cache") -> tuple[list[bytes], int]:
    """The bytes of the cache, and how many images were decoded for it."""
    Path("decoded").unlink(missing_ok=True)
    packed = pack_images(manifest, config(cache_dir), lambda _done, _of: None)
    assert {path.name for path in packed.path.iterdir()} == {*FILES, "cache.json"}
    names = Path("decoded").read_text().split() if Path("decoded").exists() else []
    return [(packed.path / name).read_bytes() for name in FILES], len(names)


def interrupted(manifest: Manifest, after: int) -> Path:
    """The folder of a build that Ctrl-C ended when so many images were done."""

    def stop(done: int, _of: int) -> None:
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_images(manifest, config(), stop)
    (folder,) = Path("cache").glob("*.partial")
    return folder


def test_an_interrupted_build_goes_on_to_the_same_bytes(manifest: Manifest) -> None:
    expected, num = built(manifest, "undisturbed")
    assert num == NUM_IMAGES + 1  # the first one's shape is looked at before
    folder = interrupted(manifest, after=3 * CHUNK)
    kept = num_decoded(folder)
    assert 2 * CHUNK <= kept < NUM_IMAGES
    time.sleep(0.5)  # what the ended processes were at
    assert built(manifest) == (expected, NUM_IMAGES - kept)
    assert built(manifest) == (expected, 0)


@pytest.mark.slow
def test_what_a_power_cut_tore_is_decoded_again(manifest: Manifest) -> None:
    """A line that is not whole, and a line whose pixels did not reach the disk."""
    expected, _ = built(manifest, "undisturbed")
    folder = interrupted(manifest, after=3 * CHUNK)
    kept = num_decoded(folder)
    time.sleep(0.5)
    header, first, second, *others = (folder / NAME).read_text().splitlines(keepends=True)
    (folder / NAME).write_text("".join([header, first, *others, second[: len(second) // 2]]))
    start = int(first.partition('"start": ')[2].partition(",")[0])
    np.lib.format.open_memmap(folder / "images.npy", mode="r+")[start + 1] = 0
    assert built(manifest) == (expected, NUM_IMAGES - kept + 2 * CHUNK)


@pytest.mark.slow
def test_what_another_version_left_is_not_gone_on_with(manifest: Manifest) -> None:
    expected, _ = built(manifest, "undisturbed")
    folder = interrupted(manifest, after=3 * CHUNK)
    time.sleep(0.5)
    lines = (folder / NAME).read_text().splitlines(keepends=True)
    (folder / NAME).write_text("".join(lines[1:]))
    assert built(manifest) == (expected, NUM_IMAGES + 1)


def test_what_was_hashed_otherwise_is_not_gone_on_with(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = built(manifest, "undisturbed")
    with monkeypatch.context() as before:
        before.setattr(packing, "DIGEST", DIGEST - 1)
        interrupted(manifest, after=3 * CHUNK)
    time.sleep(0.5)
    assert built(manifest) == (expected, NUM_IMAGES + 1)


def test_a_second_command_waits_for_the_first(
    manifest: Manifest, capsys: pytest.CaptureFixture[str]
) -> None:
    """And takes what that has made."""
    folders: list[Path] = []

    def build() -> None:
        folders.append(pack_images(manifest, config(), lambda _done, _of: None).path)

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == 1
    assert len(folders) == 2
    assert len(Path("decoded").read_text().split()) == NUM_IMAGES + 1
    assert capsys.readouterr().out.count(building.WAITING) == 1
    assert list(Path("cache").glob("*.partial")) == []


def test_old_builds_are_removed_unless_somebody_holds_them(tmp_path: Path) -> None:
    old, young, held = (tmp_path / f"{letter * 32}.partial" for letter in "abc")
    for folder in (old, young, held):
        folder.mkdir()
        (folder / building.LOCK).touch()
    long_ago = time.time() - building.OLD_S - 60
    for folder in (old, held):
        for path in (folder / building.LOCK, folder):
            os.utime(path, (long_ago, long_ago))
    with (held / building.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.utime(held / building.LOCK, (long_ago, long_ago))
        remove_leftovers(tmp_path)
    assert [folder.exists() for folder in (old, young, held)] == [False, True, True]


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_killed_build_goes_on_to_the_same_bytes(manifest: Manifest, after: int) -> None:
    """By kill -9 of the command and all its processes, once so many chunks are noted."""
    expected, _ = built(manifest, "undisturbed")
    Path("build.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": f"{Path(building.__file__).parents[2]}:."}
    process = subprocess.Popen(
        [sys.executable, "build.py"], start_new_session=True, env=environment
    )
    kept, deadline = 0, time.monotonic() + 120
    while kept < after * CHUNK and process.poll() is None and time.monotonic() < deadline:
        kept = max([0, *map(num_decoded, Path("cache").glob("*.partial"))])
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (folder,) = Path("cache").glob("*.partial")
    kept = num_decoded(folder)
    assert after * CHUNK <= kept < NUM_IMAGES
    time.sleep(0.5)
    assert built(manifest) == (expected, NUM_IMAGES - kept)
    shutil.rmtree("cache")
