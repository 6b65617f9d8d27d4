"""The packed cache meets full disks, dying decoders, other people's folders and changed files."""

import grp
import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bombs import sparse

from pipeline.config import ImagesConfig, ManifestConfig, UserError
from pipeline.images import seal
from pipeline.images.decoders import CHUNK
from pipeline.images.packing import pack_images
from pipeline.images.seal import reserve
from pipeline.images.trust import check_trusted
from pipeline.manifest import Manifest, read_manifest

ROOT = Path(__file__).resolve().parents[2]
Cohort = Callable[..., ManifestConfig]


@pytest.fixture
def manifest(make_cohort: Cohort) -> Manifest:
    return read_manifest(make_cohort({f"P{i}": ["ab"[i % 2]] for i in range(4)}))


@pytest.fixture
def config(tmp_path: Path) -> ImagesConfig:
    return ImagesConfig(cache_dir=str(tmp_path / "cache"), num_processes=1)


def pack(manifest: Manifest, config: ImagesConfig) -> tuple[Path, str, int]:
    """The folder of the cache, its key, and how many images were decoded for it."""
    decoded = [0]
    packed = pack_images(manifest, config, lambda done, _: decoded.append(done))
    return packed.path, packed.key, decoded[-1]


# --- changed files


@pytest.mark.parametrize("name", seal.FILES)
def test_a_cache_that_was_changed_is_refused_whatever_its_times(
    manifest: Manifest, config: ImagesConfig, name: str
) -> None:
    folder, key, _ = pack(manifest, config)
    path = folder / name
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UserError, match=rf"{path} was changed .*Remove the folder"):
        pack(manifest, config)
    shutil.rmtree(folder)
    assert pack(manifest, config) == (folder, key, 4)


def test_pixels_that_were_written_through_a_memory_map_are_noticed(
    manifest: Manifest, config: ImagesConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a large cache too, which is not hashed each time."""
    folder, *_ = pack(manifest, config)
    monkeypatch.setattr(seal, "READ_EACH_TIME", 0)
    assert pack(manifest, config)[2] == 0
    array = np.lib.format.open_memmap(folder / "images.npy", mode="r+")
    array[1] = 0
    array.flush()
    with pytest.raises(UserError, match=r"images\.npy was changed after it was made"):
        pack(manifest, config)


def test_a_copied_cache_is_hashed_once_and_opened(
    manifest: Manifest, config: ImagesConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, key, _ = pack(manifest, config)
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    shutil.rmtree(folder)
    copy.rename(folder)
    monkeypatch.setattr(seal, "READ_EACH_TIME", 0)
    assert pack(manifest, config) == (folder, key, 0)
    monkeypatch.setattr(seal, "_hashes", lambda *_: pytest.fail("hashed again"))
    assert pack(manifest, config) == (folder, key, 0)


def test_a_cache_of_an_older_version_is_made_again_under_the_same_key(
    manifest: Manifest, config: ImagesConfig
) -> None:
    """It has no hashes; what a run's key is made of stays the same."""
    folder, key, _ = pack(manifest, config)
    facts = json.loads((folder / "cache.json").read_text())
    (folder / "cache.json").write_text(
        json.dumps({name: facts[name] for name in ("shape", "dtype")})
    )
    expected = (folder / "images.npy").read_bytes()
    (folder / "images.npy").write_bytes(expected[:-9] + bytes(9))
    assert pack(manifest, config) == (folder, key, 4)
    assert (folder / "images.npy").read_bytes() == expected
    assert pack(manifest, config) == (folder, key, 0)


@pytest.mark.parametrize("content", ["", "{", "[]", "7"])
def test_a_damaged_seal_is_refused(manifest: Manifest, config: ImagesConfig, content: str) -> None:
    folder, *_ = pack(manifest, config)
    (folder / "cache.json").write_text(content)
    with pytest.raises(UserError, match=r"cache\.json was changed after it was made"):
        pack(manifest, config)


# --- other people


def test_a_cache_that_others_may_write_is_refused(manifest: Manifest, config: ImagesConfig) -> None:
    folder, *_ = pack(manifest, config)
    for path in (folder.parent, folder, folder / "images.npy", folder.parent / "digests.json"):
        mode = path.stat().st_mode
        path.chmod(mode | 0o002)
        with pytest.raises(UserError, match=rf"{path} may be written by everybody.*chmod go-w"):
            pack(manifest, config)
        path.chmod(mode)
    folder.parent.chmod(0o1777)  # like /tmp: nobody can replace what is in it
    assert pack(manifest, config)[2] == 0
    (folder / "images.npy").chmod(0o1606)  # of a file that bit means nothing
    with pytest.raises(UserError, match=r"images\.npy may be written by everybody"):
        pack(manifest, config)


def test_whose_a_file_is(tmp_path: Path) -> None:
    me = os.getuid()
    check_trusted(tmp_path / "none", me)
    check_trusted(tmp_path, me)
    tmp_path.chmod(0o700)
    stranger = next(user.pw_uid for user in pwd.getpwall() if user.pw_uid not in (0, me))
    if me != 0:
        with pytest.raises(UserError, match=f"belongs to {pwd.getpwuid(me).pw_name}"):
            check_trusted(tmp_path, stranger)
        return
    check_trusted(tmp_path, stranger)  # root's
    os.chown(tmp_path, stranger, -1)
    check_trusted(tmp_path, 0)  # a folder of the host, mounted into a container
    with pytest.raises(UserError, match=f"belongs to {pwd.getpwuid(stranger).pw_name}"):
        check_trusted(tmp_path, stranger + 1)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a folder to another group")
def test_a_group_is_others_only_when_it_has_other_members(tmp_path: Path) -> None:
    """A umask of 002 makes every folder writable for a group that is often one's own."""
    user = next(user for user in pwd.getpwall() if user.pw_uid != 0 and user.pw_gid != 0)
    empty = max(group.gr_gid for group in grp.getgrall() if group.gr_gid < 60_000) + 1
    tmp_path.chmod(0o775)
    for gid in (0, empty):
        os.chown(tmp_path, -1, gid)
        check_trusted(tmp_path, 0)
    os.chown(tmp_path, -1, user.pw_gid)
    with pytest.raises(UserError, match=r"may be written by .* and whoever else is in its group"):
        check_trusted(tmp_path, 0)
    tmp_path.chmod(0o1775)
    check_trusted(tmp_path, 0)


# --- a decoder that dies

LAB = """
import os
import signal
import numpy as np


class ReadOrDie:
    def __call__(self, path):
        data = path.read_bytes()
        if data == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        return np.frombuffer(data, np.uint8).reshape(1, 4, 4)
"""


@pytest.mark.parametrize("deadly", [[0], [3, CHUNK + 1], list(range(CHUNK + 3))])
def test_a_decoder_that_dies_names_its_images_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_cohort: Cohort, deadly: list[int]
) -> None:
    if len(deadly) > 2:
        deadly, num_images = [0, 1, 2], 3
    else:
        num_images = CHUNK + 3
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_lab.py").write_text(LAB)
    cohort = make_cohort({f"P{i:02d}": ["ab"[i % 2]] for i in range(num_images)})
    accepting = ManifestConfig(name="x", path=cohort.path, accept=("unknown_format",))
    manifest = read_manifest(accepting)
    for row, path in enumerate(manifest.image_files):
        path.write_bytes(b"die" if row in deadly else bytes(range(row, row + 16)))
    manifest = read_manifest(accepting)
    config = ImagesConfig(
        reader={"_target_": "my_lab.ReadOrDie"}, cache_dir=str(tmp_path / "cache"), num_processes=2
    )
    with pytest.raises(UserError, match="kills the process that decodes it") as caught:
        pack_images(manifest, config, lambda _done, _of: None)
    for row, path in enumerate(manifest.image_files):
        assert (path.name in str(caught.value)) == (row in deadly)
    for row in deadly:
        manifest.image_files[row].write_bytes(bytes(range(row, row + 16)))
    packed = pack_images(manifest, config, lambda _done, _of: None)
    assert packed.array[:, 0, 0, 0].tolist() == list(range(num_images))


def test_a_file_of_1_tb_is_refused_before_it_is_hashed(
    make_cohort: Cohort, config: ImagesConfig
) -> None:
    cohort = make_cohort({f"P{i}": ["ab"[i % 2]] for i in range(3)})
    sparse(Path(cohort.path).parent / "images" / "P1_00.png")
    with pytest.raises(UserError, match=r"P1_00\.png.*: has 1,000,000,000,128 bytes"):
        pack(read_manifest(cohort), config)


# --- full disks, in a mount of its own


def in_a_mount(script: str, options: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code where `place` is a tmpfs of its own with these mount options."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"]).returncode:
        pytest.skip("mounts need a user namespace")
    mount = f'mount -t tmpfs -o {options} none "$1" && exec "$2" -c "$3"'
    command = ["unshare", "-rm", "sh", "-c", mount, "sh", str(place), sys.executable, script]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


@pytest.mark.slow
def test_a_full_disk_is_told_before_an_image_is_decoded(tmp_path: Path, manifest: Manifest) -> None:
    """4 images of 16 x 16 float32 and their thumbnails need 20 kB; the disk has 16."""
    cache = tmp_path / "cache"
    cache.mkdir()
    script = f"""
from pathlib import Path
from pipeline.config import ImagesConfig, ManifestConfig, UserError
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
manifest = read_manifest(ManifestConfig(name="x", path={str(manifest.path)!r}))
for room in (16384, 0):
    filler = Path({str(cache)!r}) / "filler"
    filler.write_bytes(bytes(262144 - 16384 if room else 0))
    config = ImagesConfig(cache_dir={str(cache)!r}, num_processes=1)
    try:
        packed = pack_images(manifest, config, lambda _done, _of: None)
        print("whole", packed.array.shape)
    except UserError as error:
        print(error)
        print([path.name for path in Path({str(cache)!r}).iterdir() if path.is_dir()])
"""
    done = in_a_mount(script, "size=256k", cache)
    first, second, third = done.stdout.splitlines()
    assert first.startswith(f"images.cache_dir {cache}: no room on the disk: the decoded images")
    assert "GB, " in first
    assert second == "[]"
    assert third == "whole (4, 1, 16, 16)"  # the same command, once there is room


def test_a_disk_that_others_fill_meanwhile_kills_nobody(tmp_path: Path) -> None:
    """The bytes are there before anybody writes through the memory map."""
    reserve(tmp_path, {"a.npy": ("uint8", (1000, 1000)), "b.npy": ("float32", (10, 3))})
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 1_000_000
    assert np.load(tmp_path / "b.npy").shape == (10, 3)
    more_than_any_disk = (2**62,)  # nor is any filled if it is not refused
    with pytest.raises(UserError, match=r"no room on the disk: the decoded images need .* GB"):
        reserve(tmp_path, {"c.npy": ("uint8", more_than_any_disk)})
    assert not (tmp_path / "c.npy").exists()


@pytest.mark.parametrize("options", ["ro", "size=4k,nr_inodes=1"])
def test_a_dev_shm_that_cannot_be_used_is_named(options: str) -> None:
    script = """
from pipeline.errors import UserError
from pipeline.processes import call_in_child
try:
    print(call_in_child(abs, -3))
except UserError as error:
    print(error)
"""
    done = in_a_mount(script, options, Path("/dev/shm"))
    assert done.stdout.startswith("/dev/shm cannot be used (")
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_small_dev_shm_is_enough_for_batches_of_loader_workers() -> None:
    """A batch of 1 MB, from two workers."""
    script = """
import numpy as np, torch
from pipeline.config import AugmentConfig
from pipeline.images.batches import BatchSource
from pipeline.images.loader import RandomTransforms
pixels = torch.from_numpy(np.arange(8 * 256 * 256, dtype=np.float32).reshape(8, 1, 256, 256))
source = BatchSource(pixels, torch.zeros(1), torch.ones(1), torch.device("cpu"))
flip = {"_target_": "monai.transforms.RandFlip", "prob": 1.0, "spatial_axis": 0}
random = RandomTransforms(source, AugmentConfig(transforms=(flip,)), 2)
(batch,) = random.batches(np.arange(4), [torch.arange(4)], 0)
print(torch.equal(batch, pixels[:4].flip(2)))
"""
    done = in_a_mount(script, "size=64k", Path("/dev/shm"))
    assert done.stdout == "True\n", done.stderr[-2000:]
