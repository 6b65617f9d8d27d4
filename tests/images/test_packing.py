import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from platform import node

import numpy as np
import pytest
import torch
from image_manifest import manifest_of_files
from monai.transforms import Compose, Resize
from PIL import Image

from pipeline.audit.content import pack_usable
from pipeline.config import ImagesConfig, ManifestConfig, UserError
from pipeline.files import sha256
from pipeline.formats import read_image
from pipeline.images import packing
from pipeline.images.decoders import CHUNK
from pipeline.images.faults import UnusableImagesError
from pipeline.images.packing import pack_images
from pipeline.manifest import ManifestError, read_manifest
from pipeline.processes import start_forkserver

RESIZE = {"_target_": "monai.transforms.Resize", "spatial_size": [12, 10]}


@pytest.fixture(scope="module", autouse=True)
def quick_workers():
    """Import monai once for all workers of this module."""
    torch.set_num_threads(1)
    start_forkserver()


def manifest_of(folder, pictures):
    """One patient an image."""
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / name)
    return manifest_of_files(folder, sorted(pictures))


def random_pictures(num_images, shape=(15, 11), seed=0):
    generator = np.random.default_rng(seed)
    return {
        f"{i:03}.png": generator.integers(0, 256, shape, dtype=np.uint8) for i in range(num_images)
    }


def config_of(folder, **settings):
    cache_dir = str(folder / "cache")
    return ImagesConfig(
        **{"transforms": (RESIZE,), "cache_dir": cache_dir, "num_processes": 1, **settings}
    )


def pack(manifest, config):
    """The packed images, and how many images were decoded for it."""
    seen = []
    packed = pack_images(manifest, config, lambda done, of: seen.append((done, of)))
    if seen:
        assert seen[-1] == (len(manifest), len(manifest))
    return packed, seen[-1][0] if seen else 0


def pixels_now(manifest, config):
    """What reader and transforms give, without a cache."""
    resize = Compose(
        [Resize(**{k: v for k, v in t.items() if k != "_target_"}) for t in config.transforms]
    )
    arrays = [
        read_image(path, config.spatial_dims, config.num_channels)[0]
        for path in manifest.image_files
    ]
    return np.stack([np.asarray(resize(torch.from_numpy(array.copy()))) for array in arrays])


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_the_array_holds_what_reader_and_transforms_give_in_the_manifests_order(tmp_path, dtype):
    manifest = manifest_of(tmp_path, random_pictures(CHUNK + 3))  # more than one chunk
    config = config_of(tmp_path, dtype=dtype, num_processes=2)
    packed, num_decoded = pack(manifest, config)
    expected = pixels_now(manifest, config)
    assert num_decoded == len(manifest)
    assert packed.array.dtype == np.dtype(dtype)
    assert not packed.array.flags.writeable
    assert (packed.num_channels, packed.spatial_shape) == (1, (12, 10))
    if dtype == "uint8":
        expected = expected.round().clip(0, 255)
    np.testing.assert_array_equal(packed.array, expected.astype(dtype))


def test_volumes_are_packed(tmp_path):
    generator = np.random.default_rng(0)
    manifest = manifest_of(tmp_path, {"a.tif": generator.integers(0, 9, (5, 4), dtype=np.uint8)})
    pages = [Image.fromarray(generator.integers(0, 256, (5, 4), dtype=np.uint8)) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    packed, _ = pack(manifest, config_of(tmp_path, spatial_dims=3, transforms=(), num_channels=3))
    assert packed.spatial_shape == (3, 5, 4)
    np.testing.assert_array_equal(packed.array[0, 2], np.stack([np.asarray(p) for p in pages]))


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_normalisation_is_exact_and_of_the_given_rows_only(tmp_path, dtype):
    pictures = random_pictures(7, shape=(15, 11, 3))
    manifest = manifest_of(tmp_path, pictures)
    packed, _ = pack(manifest, config_of(tmp_path, num_channels=3, dtype=dtype))
    for rows in ([0, 2, 5], [1], [6, 3, 4, 0]):
        stored = packed.array[rows].astype(np.float64)
        fitted = packed.fit_normalisation(np.array(rows))
        np.testing.assert_allclose(fitted.mean, stored.mean(axis=(0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(fitted.std, stored.std(axis=(0, 2, 3)), rtol=1e-9)


@pytest.mark.parametrize("value", [0.0, 7.3, -1024.7, 0.26570806, 0.82])
def test_a_constant_channel_is_not_divided_by_rounding(tmp_path, value):
    manifest = manifest_of(tmp_path, random_pictures(3))
    for path in manifest.image_files:
        path.unlink()
        Image.fromarray(np.full((33, 31), value, np.float32)).save(path.with_suffix(".tif"))
    table = manifest.table.assign(image_path=["000.tif", "001.tif", "002.tif"])
    packed, _ = pack(replace(manifest, table=table), config_of(tmp_path, transforms=()))
    fitted = packed.fit_normalisation(np.arange(3))
    assert fitted.mean == (pytest.approx(np.float32(value), rel=1e-9),)
    assert fitted.std == (1.0,)


def test_an_untouched_cache_is_opened_without_decoding(tmp_path):
    manifest, config = manifest_of(tmp_path, random_pictures(3)), config_of(tmp_path)
    first, _ = pack(manifest, config)
    written = (first.path / "images.npy").stat().st_mtime_ns
    again, num_decoded = pack(manifest, config)
    assert (again.key, again.path, num_decoded) == (first.key, first.path, 0)
    assert (again.path / "images.npy").stat().st_mtime_ns == written


def test_a_changed_file_gives_another_cache_even_with_its_old_size_and_time(tmp_path):
    pictures = {"a.tif": np.full((6, 5), 10, np.uint8), "b.tif": np.full((6, 5), 20, np.uint8)}
    manifest, config = manifest_of(tmp_path, pictures), config_of(tmp_path, transforms=())
    before, _ = pack(manifest, config)
    path = tmp_path / "b.tif"
    old = path.stat()
    Image.fromarray(np.full((6, 5), 99, np.uint8)).save(path)
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert path.stat().st_size == old.st_size
    assert path.stat().st_mtime_ns == old.st_mtime_ns
    after, num_decoded = pack(manifest, config)
    assert (after.key != before.key, num_decoded) == (True, 2)
    assert np.unique(after.array[1]).tolist() == [99]
    assert np.unique(before.array[1]).tolist() == [20]


@pytest.mark.parametrize(
    "change",
    [
        {"transforms": ({**RESIZE, "spatial_size": [12, 11]},)},
        {"transforms": ({**RESIZE, "mode": "nearest"},)},
        {"transforms": (RESIZE, RESIZE)},
        {"num_channels": 3},
        {"dtype": "float16"},
    ],
    ids=str,
)
def test_a_changed_setting_gives_another_cache(tmp_path, change):
    manifest, config = manifest_of(tmp_path, random_pictures(2)), config_of(tmp_path)
    before, _ = pack(manifest, config)
    after, num_decoded = pack(manifest, replace(config, **change))
    assert (after.key != before.key, num_decoded) == (True, 2)


def test_the_cache_depends_on_neither_the_number_of_processes_nor_the_time_of_files(tmp_path):
    manifest, config = manifest_of(tmp_path, random_pictures(2)), config_of(tmp_path)
    before, _ = pack(manifest, config)
    os.utime(manifest.image_files[0], (1, 1))
    after, num_decoded = pack(manifest, replace(config, num_processes=2))
    assert (after.key, num_decoded) == (before.key, 0)


def test_another_order_of_rows_is_another_cache(tmp_path):
    manifest, config = manifest_of(tmp_path, random_pictures(3)), config_of(tmp_path)
    before, _ = pack(manifest, config)
    turned = replace(manifest, table=manifest.table.iloc[::-1].reset_index(drop=True))
    after, _ = pack(turned, config)
    assert after.key != before.key
    np.testing.assert_array_equal(after.array, before.array[::-1])


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe\x00"])
def test_a_damaged_memory_of_digests_is_forgotten(tmp_path, damage):
    manifest, config = manifest_of(tmp_path, random_pictures(2)), config_of(tmp_path)
    before, _ = pack(manifest, config)
    (tmp_path / "cache" / "digests.json").write_bytes(damage)
    after, num_decoded = pack(manifest, config)
    assert (after.key, num_decoded) == (before.key, 0)


def test_all_images_that_cannot_be_used_are_listed_at_once(tmp_path):
    manifest = manifest_of(tmp_path, random_pictures(CHUNK + 4))
    files = manifest.image_files
    files[1].write_bytes(files[1].read_bytes()[:60])
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(files[3])
    files[CHUNK + 2].write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(UserError) as caught:
        pack(manifest, config_of(tmp_path, transforms=()))
    heading, *problems = str(caught.value).splitlines()
    assert heading == f"manifest {manifest.path}: 3 images cannot be used"
    assert [problem.split(": cannot")[0].split(": has")[0] for problem in problems] == [
        f"  line {row + 2}: patient 'p{row}': image {files[row]}" for row in (1, 3, CHUNK + 2)
    ]
    assert "cannot be decoded" in problems[0]
    assert "has shape (1, 8, 8) after the transforms, the others (1, 15, 11)" in problems[1]
    assert "add a resize" in problems[1]
    assert "cannot be decoded" in problems[2]
    assert nothing_is_cached(tmp_path)


def test_a_manifest_without_one_usable_image_lists_them_all(tmp_path):
    manifest = manifest_of(tmp_path, random_pictures(3))
    for path in manifest.image_files:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match=r"3 images cannot be used\n.*\n.*\n.*line 4: "):
        pack(manifest, config_of(tmp_path))


def test_one_fault_of_many_images_is_one_message_in_the_order_of_lines(tmp_path):
    """The CSV has the patients in reverse: the last of the table stands on line 2."""
    num = 55
    manifest = manifest_of(tmp_path, random_pictures(num))
    manifest = replace(manifest, table=manifest.table.assign(line=range(num + 1, 1, -1)))
    for path in manifest.image_files[1:]:
        path.write_bytes(b"")
    with pytest.raises(UnusableImagesError, match=r"54 images") as caught:
        pack(manifest, config_of(tmp_path))
    _, heading, *lines, rest = str(caught.value).splitlines()
    assert heading == "  54 alike: cannot be decoded: the file is empty"
    assert lines == [
        f"    line {line}: patient 'p{row}': image {manifest.image_files[row]}"
        for line, row in ((2, 54), (3, 53), (4, 52))
    ]
    assert rest == "    and 51 more"


@pytest.mark.parametrize("dtype", ["float32", "uint8", "auto"])
def test_good_images_are_decoded_once_though_others_cannot_be_used(tmp_path, dtype):
    """What is kept of them is what a manifest without the others would have made."""
    manifest = manifest_of(tmp_path, random_pictures(40))
    for row in (0, 7, 39):
        manifest.image_files[row].write_bytes(manifest.image_files[row].read_bytes()[:60])
    config = replace(config_of(tmp_path), dtype=dtype)
    seen: list[tuple[int, int]] = []
    rest, images, faults = pack_usable(manifest, config, lambda *done: seen.append(done))
    assert (len(rest), len(faults)) == (37, 3)
    assert [total for done, total in seen if done == total] == [40]
    fresh, decoded = pack(rest, replace(config, cache_dir=str(tmp_path / "fresh")))
    assert decoded == 37
    assert images is not None
    assert images.path.name == fresh.path.name
    for name in ("images.npy", "thumbnails.npy", "table.csv"):
        assert (images.path / name).read_bytes() == (fresh.path / name).read_bytes()
    assert not list(tmp_path.glob("**/*.partial"))


def test_what_can_be_used_is_packed_beside_what_cannot(tmp_path):
    manifest = manifest_of(tmp_path, random_pictures(6))
    for row in (1, 4):
        manifest.image_files[row].write_bytes(b"")
    config = config_of(tmp_path)
    rest, images, faults = pack_usable(manifest, config, lambda *_: None)
    assert rest.table["image_path"].tolist() == [
        path for row, path in enumerate(manifest.table["image_path"]) if row not in (1, 4)
    ]
    assert list(rest.table.index) == [0, 1, 2, 3]
    assert [fault.line for fault in faults] == [int(manifest.table["line"][i]) for i in (1, 4)]
    assert {fault.severity for fault in faults} == {"error"}
    again, decoded = pack(rest, config)
    assert decoded == 0
    assert images is not None
    np.testing.assert_array_equal(images.array, again.array)
    for path in rest.image_files:
        path.write_bytes(b"")
    nothing, images, faults = pack_usable(manifest, config, lambda *_: None)
    assert (len(nothing), images, len(faults)) == (0, None, 6)


def test_images_that_are_refused_at_different_steps_are_all_named(tmp_path):
    manifest = manifest_of(tmp_path, random_pictures(6))
    manifest.image_files[1].write_bytes(manifest.image_files[1].read_bytes()[:50])
    os.truncate(manifest.image_files[4], 10**12)  # refused before any image is decoded
    rest, images, faults = pack_usable(manifest, config_of(tmp_path), lambda *_: None)
    assert images is not None
    assert len(rest) == len(images.array) == 4
    assert sorted(fault.line for fault in faults) == [
        int(manifest.table["line"][row]) for row in (1, 4)
    ]


@pytest.mark.parametrize(
    ("dtype", "values", "message"),
    [
        ("uint8", [0, 255.51], "values from 0 to 255.51 after .* images.dtype=uint8 cannot hold"),
        ("uint8", [-0.51, 9], "values from -0.51 to 9 after"),
        ("float16", [0, 65536], "values from 0 to 65536 after .* images.dtype=float16 cannot hold"),
        ("float16", [-7e4, 0], "values from -70000 to 0 after"),
    ],
)
def test_values_that_the_dtype_cannot_hold_are_refused(tmp_path, dtype, values, message):
    manifest = manifest_of(tmp_path, {"a.tif": np.array([values] * 2, np.float32)})
    with pytest.raises(UserError, match=message):
        pack(manifest, config_of(tmp_path, transforms=(), dtype=dtype))


@pytest.mark.parametrize(
    ("dtype", "values", "stored"),
    [("uint8", [-0.4, 255.4], [0, 255]), ("float16", [-65504, 65504], [-65504, 65504])],
)
def test_the_dtypes_own_limits_are_allowed(tmp_path, dtype, values, stored):
    manifest = manifest_of(tmp_path, {"a.tif": np.array([values] * 2, np.float32)})
    packed, _ = pack(manifest, config_of(tmp_path, transforms=(), dtype=dtype))
    assert packed.array[0, 0].tolist() == [stored] * 2


def test_a_transform_that_fails_says_why(tmp_path):
    manifest = manifest_of(tmp_path, random_pictures(2))
    wrong = {
        "_target_": "monai.transforms.NormalizeIntensity",
        "subtrahend": [1, 2, 3],
        "channel_wise": True,
    }
    message = "a transform failed: .*img has 1 channels, but subtrahend has 3"
    with pytest.raises(UserError, match=message):
        pack(manifest, config_of(tmp_path, transforms=(wrong,)))


def test_values_that_a_transform_makes_infinite_are_refused(tmp_path):
    manifest = manifest_of(tmp_path, {"a.png": np.full((4, 4), 200, np.uint8)})
    endless = {
        "_target_": "monai.transforms.NormalizeIntensity",
        "subtrahend": 0.0,
        "divisor": 1e-37,
    }
    with pytest.raises(UserError, match="not finite after the transforms"):
        pack(manifest, config_of(tmp_path, transforms=(endless,)))


def nothing_is_cached(folder):
    return [path.name for path in (folder / "cache").iterdir()] == ["digests.json"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing is tidied up."""


def test_what_a_killed_build_leaves_is_never_opened(tmp_path, monkeypatch):
    manifest, config = manifest_of(tmp_path, random_pictures(4)), config_of(tmp_path)

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            pack_images(manifest, config, kill)
    (left,) = (tmp_path / "cache").glob("*.partial")
    np.lib.format.open_memmap(left / "images.npy", mode="r+")[:] = -1
    packed, num_decoded = pack(manifest, config)
    assert num_decoded == 4
    np.testing.assert_array_equal(packed.array, pixels_now(manifest, config))
    assert list((tmp_path / "cache").glob("*.partial")) == []


def test_folders_of_killed_builds_are_removed_and_those_of_running_ones_kept(tmp_path):
    manifest, config = manifest_of(tmp_path, random_pictures(2)), config_of(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive, elsewhere = (
        tmp_path / "cache" / f"{'0' * 32}.{host}.{pid}.partial"
        for host, pid in [
            (node(), ended.pid),
            (node(), os.getppid()),
            (f"not-{node()}", ended.pid),
        ]
    )
    for folder in (dead, alive, elsewhere):
        folder.mkdir(parents=True)
        (folder / "images.npy").write_bytes(b"half")
    pack(manifest, config)
    assert [folder.exists() for folder in (dead, alive, elsewhere)] == [False, True, True]


def test_the_folder_of_somebody_elses_running_build_is_kept(tmp_path, monkeypatch):
    def forbid(*_):
        raise PermissionError

    folder = tmp_path / f"{'0' * 32}.{node()}.1.partial"
    folder.mkdir()
    monkeypatch.setattr(os, "kill", forbid)
    packing._remove_leftovers(tmp_path)
    assert folder.exists()


def test_a_failed_build_leaves_nothing(tmp_path, monkeypatch):
    manifest, config = manifest_of(tmp_path, random_pictures(2)), config_of(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("pandas.DataFrame.to_csv", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pack(manifest, config)
    assert nothing_is_cached(tmp_path)
    assert pack(manifest, config)[1] == 2


def test_the_proof_of_a_whole_cache_is_written(tmp_path):
    packed, _ = pack(manifest_of(tmp_path, random_pictures(2)), config_of(tmp_path))
    proof = json.loads((packed.path / "cache.json").read_text())
    assert proof["shape"] == [2, 1, 12, 10]
    assert proof["dtype"] == "float32"
    assert proof["sha256"].keys() == {"images.npy", "thumbnails.npy", "table.csv"}
    assert proof["sha256"]["images.npy"] == sha256(packed.path / "images.npy")
    assert [(fact["original_shape"], fact["bit_depth"]) for fact in packed.facts] == [
        ("15x11", "8"),
        ("15x11", "8"),
    ]


def test_a_cache_folder_that_cannot_be_made_is_reported(tmp_path):
    manifest = manifest_of(tmp_path, random_pictures(1))
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    config = config_of(tmp_path, cache_dir=str(in_the_way / "cache"))
    with pytest.raises(UserError, match=rf"images.cache_dir {in_the_way}/cache: Not a directory"):
        pack(manifest, config)


def test_two_manifests_share_a_cache_folder(tmp_path):
    manifests = []
    for name, seed in (("one", 0), ("two", 1)):
        folder = tmp_path / name
        folder.mkdir()
        manifests.append(manifest_of(folder, random_pictures(2, seed=seed)))
    config = config_of(tmp_path)
    packed = [pack(manifest, config)[0] for manifest in manifests]
    for found, manifest in zip(packed, manifests, strict=True):
        np.testing.assert_array_equal(found.array, pixels_now(manifest, config))


# --- a user's own code


LAB = '''
import numpy as np


class Brighter:
    def __init__(self, by):
        self.by = by

    def __call__(self, image):
        return image + self.by


class ReadRaw:
    """Bytes of an 8 x 8 picture behind a mark."""

    def __call__(self, path):
        data = path.read_bytes()
        assert data.startswith(b"RAW8")
        return np.frombuffer(data[4:], np.uint8).reshape(1, 8, 8)
'''


def test_a_plugin_whose_code_changed_meets_no_stale_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_cohort: Callable[..., ManifestConfig]
) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = read_manifest(make_cohort({"P1": ["a"], "P2": ["b"]}))
    config = ImagesConfig(
        transforms=({"_target_": "my_lab.Brighter", "by": 1},),
        cache_dir=str(tmp_path / "cache"),
        num_processes=1,
    )
    first = []
    for code in (LAB, LAB.replace("+ self.by", "+ 2 * self.by")):
        (tmp_path / "my_lab.py").write_text(code)
        packed = pack_images(manifest, config, lambda _done, _of: None)
        first.append((packed.key, float(np.asarray(packed.array[0]).mean())))
    assert first[0][0] != first[1][0]
    assert first[1][1] == pytest.approx(first[0][1] + 1)


def test_a_reader_of_ones_own_reads_what_no_format_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_cohort: Callable[..., ManifestConfig]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_lab.py").write_text(LAB)
    cohort = make_cohort({"P1": ["a"], "P2": ["b"]}, size=8)
    raw = Path(cohort.path).parent / "images" / "P1_00.png"
    raw.write_bytes(b"RAW8" + bytes(range(64)))
    with pytest.raises(ManifestError, match="is in no known format"):
        read_manifest(cohort)
    manifest = read_manifest(replace(cohort, accept=("unknown_format",)))
    config = ImagesConfig(
        reader={"_target_": "my_lab.ReadRaw"}, cache_dir=str(tmp_path / "cache"), num_processes=1
    )
    packed = pack_images(manifest, config, lambda _done, _of: None)
    assert np.asarray(packed.array[0]).ravel().tolist() == list(range(64))
    with pytest.raises(UserError, match="is in no known format"):
        pack_images(manifest, replace(config, reader=None), lambda _done, _of: None)


def test_what_is_sent_to_another_process_holds_no_pixel(tmp_path):
    images, _ = pack(manifest_of(tmp_path, random_pictures(40)), config_of(tmp_path))
    assert images.dtype == "float32"  # the array is open now
    sent = pickle.dumps(images)
    assert len(sent) < 1000 < images.array.nbytes
    assert np.array_equal(pickle.loads(sent).array, images.array)
