"""200 bad manifests and images from a seed: each is to be refused with one clear message."""

import gzip
import io
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from bombs import BOMBS
from dicom_files import ramp, write_dicom
from PIL import Image

HEADER = b"patient_id,image_path,label\n"
GOOD = HEADER + b"".join(b"P%d,%d.png,%s\n" % (i, i, b"ab"[i % 2 : i % 2 + 1]) for i in range(6))
"""Its images are there, see `write_good_images`."""


def write_good_images(folder: Path) -> None:
    """The images of GOOD."""
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def sound_images(folder: Path) -> dict[str, bytes]:
    """A small image of each format."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8))
    volume = ramp((6, 7, 8))
    for name in ("a.png", "a.jpg", "a.tif"):
        picture.save(folder / name)
    pages = folder / "pages.tif"
    picture.save(pages, save_all=True, append_images=[picture], compression="tiff_lzw")
    for name in ("a.nii", "a.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / name)
    write_dicom(folder / "a.dcm", volume[0])
    np.save(folder / "a.npy", volume)
    image = SimpleITK.GetImageFromArray(volume)
    for name, packed in (("a.mha", False), ("packed.mha", True), ("a.nrrd", False)):
        SimpleITK.WriteImage(image, str(folder / name), packed)
    found = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    for path in folder.iterdir():
        path.unlink()
    return found


def bad_images(folder: Path, seed: int) -> Iterator[Path]:
    """Files and other things that are no image, each under a name that an image could have."""
    dice = random.Random(seed)
    sound = sound_images(folder)
    for name, data in sound.items():
        for number in range(6):  # cut off anywhere
            path = folder / f"cut{number}_{name}"
            path.write_bytes(data[: dice.randrange(1, len(data) - 32)])
            yield path
        path = folder / f"noise_{name}"  # behind a sound beginning
        path.write_bytes(data[: dice.randrange(4, 120)] + dice.randbytes(3000))
        yield path
    for number in range(12):
        suffix = dice.choice([".png", ".nii.gz", ".dcm", ".mha", ".npy", ""])
        path = folder / f"random{number}{suffix}"
        path.write_bytes(dice.randbytes(dice.randrange(1, 5000)))
        yield path
    for name, write in BOMBS.items():
        write(folder / f"bomb_{name}")
        yield folder / f"bomb_{name}"
    for name, make in _things().items():
        make(folder / name)
        yield folder / name
    yield folder / "nothing.png"
    yield folder / "nul\0.png"
    yield folder / ("long" * 100 + ".png")


def _things() -> dict[str, Callable[[Path], object]]:
    """Name -> what makes it."""
    objects = io.BytesIO()
    np.save(objects, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    texts, empty, records = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(texts, np.array([["a", "b"]]))
    np.save(empty, np.zeros((0, 7)))
    np.save(records, np.zeros((4, 4), [("a", "f4"), ("b", "i8")]))
    flat = b"NDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\n"
    contents = {
        "zero.png": b"",
        "zero.nii.gz": b"",
        "zero.dcm": b"",
        "objects.npy": objects.getvalue(),
        "texts.npy": texts.getvalue(),
        "empty.npy": empty.getvalue(),
        "records.npy": records.getvalue(),
        "text.png": b"this is no picture\n",
        "page.jpg": b"<!DOCTYPE html><html>404</html>",
        "lfs.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "gzip.nii.gz": gzip.compress(b"hello" * 100),
        "zip.png": b"PK\x03\x04" + bytes(100),
        "pdf.png": b"%PDF-1.4\n" + bytes(100),
        "outside.mhd": flat + b"ElementDataFile = ../x\n",
        "missing.mhd": flat + b"ElementDataFile = x.raw\n",
        "many.mhd": flat + b"ElementDataFile = LIST\na\nb\n",
        "axes.mha": b"NDims = 999999999\nDimSize = 4 4\nElementDataFile = LOCAL\n",
        "endless.mha": b"NDims = 3\nComment = " + b"x" * 200_000,
        "lines.nrrd": b"NRRD0004\n" + b"a: b\n" * 50_000,
    }
    made: dict[str, Callable[[Path], object]] = {
        name: lambda path, data=data: path.write_bytes(data)  # type: ignore[misc]
        for name, data in contents.items()
    }
    made |= {
        "folder.png": Path.mkdir,
        "folder": Path.mkdir,
        "pipe.png": os.mkfifo,
        "pipe": os.mkfifo,
        "zero_device.png": lambda path: path.symlink_to("/dev/zero"),
        "tty.png": lambda path: path.symlink_to("/dev/tty"),
        "loop.png": lambda path: path.symlink_to("loop.png"),
        "broken.png": lambda path: path.symlink_to("nowhere"),
        "socket.png": lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    }
    return made


def bad_manifests(folder: Path, seed: int) -> Iterator[Path]:
    """Files that are no manifest."""
    dice = random.Random(seed)
    lines = GOOD.splitlines(keepends=True)
    contents = {
        "empty": b"",
        "blank": b"\n\n\n",
        "header_only": HEADER,
        "nul": GOOD.replace(b"P3", b"P\0003"),
        "nuls": bytes(5000),
        "nul_path": GOOD.replace(b"3.png", b"3\0.png"),
        "quote": GOOD.replace(b"P3", b'"P3'),
        "quote_inside": GOOD.replace(b"P3", b'"P"3'),
        "quote_header": b'"' + GOOD,
        "million_columns": b",".join(b"c%d" % i for i in range(1_000_000)) + b"\n",
        "million_cells": GOOD + b"," * 1_000_000 + b"\n",
        "million_same": b",".join([b"patient_id"] * 1_000_000) + b"\n",
        "long_cell": GOOD.replace(b"P3", b"P" * 500_000),
        "no_label": GOOD.replace(b"label", b"lable"),
        "other_separator": GOOD.replace(b",", b";"),
        "utf16": GOOD.decode().encode("utf-16"),
        "latin1": GOOD.replace(b"P3", b"M\xfcller"),
        "surrogates": GOOD.replace(b"P3", b"\xed\xa0\x80"),
        "workbook": b"PK\x03\x04\x14\0\x06\0\x08\0" + bytes(200),
        "gzip": gzip.compress(GOOD),
        "html": b"<html><body>Log in</body></html>\n",
        "json": b'[{"patient_id": "P1"}]\n',
        "short_row": GOOD + b"P7,7.png\n",
        "long_row": GOOD + b"P7,7.png,a,b,c\n",
        "blank_patient": GOOD.replace(b"P3", b" "),
        "blank_label": GOOD.replace(b"3.png,b", b"3.png,"),
        "blank_image": GOOD.replace(b"3.png", b""),
        "missing_image": GOOD.replace(b"3.png", b"33.png"),
        "outside": GOOD.replace(b"3.png", b"../../etc/passwd"),
        "twice": GOOD + lines[1],
        "third_class": GOOD.replace(b"3.png,b", b"3.png,c"),
        "one_class": GOOD.replace(b",b", b",a"),
        "two_headers": HEADER + GOOD,
        "same_columns": GOOD.replace(b"label", b"image_path"),
        "control": GOOD.replace(b"3.png", b"3\x1b[2J.png"),
        "markup": GOOD.replace(b"3.png", b"[/nope]3.png"),
        "long_path": GOOD.replace(b"3.png", b"x" * 5000 + b".png"),
        "windows": GOOD.replace(b"3.png", b"C:\\images\\3.png"),
    }
    for name, data in contents.items():
        (folder / f"{name}.csv").write_bytes(data)
        yield folder / f"{name}.csv"
    for number in range(14):
        path = folder / f"random{number}.csv"
        path.write_bytes(HEADER * (number % 2) + dice.randbytes(dice.randrange(1, 3000)))
        yield path
    for number in range(10):  # a cut in the middle of a row
        path = folder / f"cut{number}.csv"
        path.write_bytes(GOOD[: len(HEADER) + 11 * dice.randrange(1, 6) + dice.randrange(1, 8)])
        yield path
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    (folder / "zero.csv").symlink_to("/dev/zero")
    (folder / "loop.csv").symlink_to("loop.csv")
    for name in ("folder", "pipe", "zero", "loop", "missing"):
        yield folder / f"{name}.csv"
