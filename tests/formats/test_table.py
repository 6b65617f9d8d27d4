"""Formats are found by content; the name only counts where it says another format."""

import gzip
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_files import ramp, write_dicom
from PIL import Image

from pipeline.formats import FORMATS, ImageError, format_of_name, read_image
from pipeline.formats.files import checked_format, format_of

PIXELS = ramp((6, 8), np.uint8)
"""As every format stores them without a loss, but JPEG."""


def write_nifti(path):
    nibabel.save(nibabel.Nifti1Image(PIXELS, np.eye(4)), path)


def write_picture(path):
    Image.fromarray(PIXELS).save(path)


def write_itk(path, kind):
    """One file, header and all, whatever its name."""
    whole = path.with_suffix(".mha" if kind == "MetaImageIO" else ".nrrd")
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO(kind)
    writer.SetFileName(str(whole))
    writer.Execute(SimpleITK.GetImageFromArray(PIXELS[::-1, ::-1].T))  # as LPS counts
    whole.rename(path)


WRITERS = {
    "PNG": write_picture,
    "JPEG": write_picture,
    "TIFF": write_picture,
    "NIfTI": write_nifti,
    "DICOM": lambda path: write_dicom(path, PIXELS),
    "NPY": lambda path: np.save(path, PIXELS),
    "MetaImage": lambda path: write_itk(path, "MetaImageIO"),
    "NRRD": lambda path: write_itk(path, "NrrdImageIO"),
}
NAMED = [(known, suffix) for known in FORMATS for suffix in known.suffixes]
each_name = pytest.mark.parametrize(
    ("known", "suffix"), NAMED, ids=[f"{known.name}{suffix}" for known, suffix in NAMED]
)


def write(known, suffix, folder):
    path = folder / f"a{suffix}"
    WRITERS[known.name](path)
    return path


def test_no_suffix_means_two_formats():
    suffixes = [suffix for _, suffix in NAMED]
    assert len(suffixes) == len(set(suffixes)) > 8
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)


@each_name
def test_each_format_knows_its_own_files_only_and_reads_them(tmp_path, known, suffix):
    path = write(known, suffix, tmp_path)
    head = path.read_bytes()[:2048]
    assert [other for other in FORMATS if other.knows(head)] == [known]
    assert checked_format(path) is format_of_name(path) is known
    pixels, affine, bits, *_ = read_image(path, 2, 1)
    assert pixels.dtype == np.float32
    assert (affine.shape, bits) == ((4, 4), 8)
    if known.name != "JPEG":
        np.testing.assert_array_equal(pixels[0], PIXELS)


@pytest.mark.parametrize("name", ["b.png", "b.nii", "b.nii.gz", "b.dcm", "b.npy", "b.bmp", "b"])
@each_name
def test_a_file_is_read_as_what_it_is_whatever_its_name(tmp_path, known, suffix, name):
    path = write(known, suffix, tmp_path)
    pixels, affine, bits, *_ = read_image(path, 2, 1)
    again, affine_again, bits_again, *_ = read_image(path.rename(tmp_path / name), 2, 1)
    np.testing.assert_array_equal(again, pixels)
    np.testing.assert_array_equal(affine_again, affine)
    assert bits_again == bits


@pytest.mark.parametrize("content", [b"hello world", b"GIF89a", b"x" * 4000, bytes(4000)])
@pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a.gif", "a"])
def test_content_that_no_format_knows_is_an_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ImageError, match="is in no known format") as caught:
        checked_format(path)
    assert repr(content[:8]) in str(caught.value)
    for known in FORMATS:
        assert f"{known.name} ({', '.join(known.suffixes)})" in str(caught.value)
    with pytest.raises(ImageError, match="cannot be decoded: is in no known format"):
        read_image(path, 2, 1)


def test_gzip_is_a_volume_only_when_it_holds_one(tmp_path):
    write_picture(tmp_path / "a.png")
    path = tmp_path / "a.nii.gz"
    for content in (b"hello", (tmp_path / "a.png").read_bytes(), bytes(5000)):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(ImageError, match="is in no known format"):
            format_of(path)
    path.write_bytes(b"\x1f\x8b" + b"x" * 400)
    with pytest.raises(ImageError, match="is in no known format"):
        format_of(path)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_compressed_header_of_noise_is_still_known(tmp_path, seed, level):
    """The worst case: nothing of it can be compressed, and a long name stands before it."""
    header = np.random.default_rng(seed).bytes(344) + b"n+1\0" + bytes(900)
    path = tmp_path / ("a" * 200 + ".nii.gz")
    with gzip.open(path, "wb", compresslevel=level) as file:
        file.write(header)
    assert format_of(path).name == "NIfTI"


def test_a_missing_or_empty_file_is_an_error(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        checked_format(tmp_path / "none.dcm")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ImageError, match="the file is empty"):
        checked_format(tmp_path / "empty.png")


def test_no_decoder_is_imported_before_the_first_file_is_read():
    code = "import sys, pipeline.formats; print(*sorted(sys.modules))"
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    loaded = done.stdout.split()
    assert "pipeline.formats" in loaded
    assert not {"PIL", "nibabel", "pydicom", "torch", "monai"} & set(loaded)


@pytest.mark.parametrize(
    ("name", "format_name"),
    [
        ("a.png", "PNG"),
        ("b/A.PNG", "PNG"),
        ("a.nii.gz", "NIfTI"),
        (".png", None),
        ("b/.png", None),
        ("b.png/a", None),
        ("a.png.txt", None),
    ],
)
def test_a_name_says_its_format(name: str, format_name: str | None) -> None:
    known = format_of_name(name)
    assert (known and known.name) == format_name
