"""MetaImage and NRRD: the same pixels and affine as the NIfTI file of the same object."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from pipeline.formats import ImageError, read_image
from pipeline.formats.files import checked_format, file_digest, file_size, file_stamp
from pipeline.images.packing import file_digests

VOLUME = np.arange(120, dtype=np.int16).reshape(4, 5, 6)  # x, y, z
SPACING, OFFSET = (0.5, 0.75, 2.0), (10.0, 20.0, 30.0)
STRAIGHT = np.eye(3)
TURNED = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=float)
"""Axes of the image as directions in LPS: the first runs to the head."""
MHA = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "CompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 10 20 30\n"
    "CenterOfRotation = 0 0 0\nAnatomicalOrientation = RAI\nElementSpacing = 0.5 0.75 2\n"
    "DimSize = 4 5 6\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)
SUFFIXES = (".mha", ".mhd", ".nrrd", ".nhdr")


def itk_image(directions=STRAIGHT):
    image = SimpleITK.GetImageFromArray(VOLUME.transpose(2, 1, 0))
    image.SetSpacing(SPACING)
    image.SetOrigin(OFFSET)
    image.SetDirection(directions.ravel().tolist())
    return image


def nifti(path, directions=STRAIGHT):
    affine = np.eye(4)
    affine[:3, :3] = directions * SPACING
    affine[:3, 3] = OFFSET
    nibabel.save(nibabel.Nifti1Image(VOLUME, np.diag([-1, -1, 1, 1]) @ affine), path)
    return path


def write(path, directions=STRAIGHT, packed=False):
    SimpleITK.WriteImage(itk_image(directions), str(path), packed)
    return path


@pytest.mark.parametrize("directions", [np.eye(3), TURNED], ids=["straight", "turned"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pixels_and_affine_are_those_of_the_nifti(tmp_path, suffix, packed, directions):
    expected = read_image(nifti(tmp_path / "a.nii.gz", directions), 3, 1)
    found = read_image(write(tmp_path / f"a{suffix}", directions, packed), 3, 1)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    np.testing.assert_allclose(found.affine, expected.affine)
    assert found.bit_depth == 16
    assert len(np.unique(found.pixels)) == 120


def test_a_header_written_by_hand_is_read(tmp_path):
    """Not with ITK's own writer, so that both cannot be wrong in the same way."""
    path = tmp_path / "ball.mha"
    path.write_bytes(MHA.encode() + VOLUME.transpose(2, 1, 0).tobytes())
    image = read_image(path, 3, 1)
    np.testing.assert_array_equal(image.pixels[0], VOLUME[::-1, ::-1])
    np.testing.assert_allclose(image.affine @ [3, 4, 0, 1], [-10, -20, 30, 1])


def test_components_and_a_fourth_axis_are_channels(tmp_path):
    volumes = np.stack([VOLUME, VOLUME + 200, VOLUME + 400])  # (3, x, y, z)
    vector = SimpleITK.GetImageFromArray(volumes.transpose(3, 2, 1, 0), isVector=True)
    series = SimpleITK.GetImageFromArray(volumes.transpose(0, 3, 2, 1), isVector=False)
    for name, image in (
        ("v.mha", vector),
        ("v.nrrd", vector),
        ("s.mha", series),
        ("s.nrrd", series),
    ):
        SimpleITK.WriteImage(image, str(tmp_path / name))
        found = read_image(tmp_path / name, 3, 3).pixels
        np.testing.assert_array_equal(found, volumes[:, ::-1, ::-1])
        with pytest.raises(ImageError, match="has 3 channels"):
            read_image(tmp_path / name, 3, 2)


def test_a_flat_image_is_an_image(tmp_path):
    flat = SimpleITK.GetImageFromArray(VOLUME[..., 0].T)
    SimpleITK.WriteImage(flat, str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.mha", 2, 1).pixels[0], VOLUME[::-1, ::-1, 0]
    )


# --- a header with its pixels in another file


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_the_file_of_pixels_belongs_to_the_image(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}")
    raw = tmp_path / "a.raw"
    before = file_digest(path), file_stamp(path)
    assert file_size(path) == path.stat().st_size + 240
    assert file_digests([path], tmp_path / "memory.json") == [before[0]]
    old = raw.stat()
    raw.write_bytes(VOLUME[::-1].transpose(2, 1, 0).tobytes())
    os.utime(raw, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert file_digest(path) != before[0]
    assert file_stamp(path) != before[1]
    assert file_digests([path], tmp_path / "memory.json") == [file_digest(path)]


@pytest.mark.parametrize("where", ["../a.raw", "/etc/passwd", "x/../../a.raw", "..\\a.raw"])
def test_pixels_outside_the_folder_are_refused(tmp_path, where):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "a.raw").write_bytes(VOLUME.tobytes())
    for name, text in (
        ("a.mhd", MHA.replace("LOCAL", where)),
        ("a.nhdr", nrrd(f"data file: {where}")),
    ):
        (folder / name).write_text(text)
        with pytest.raises(ImageError, match="its pixels lie outside its folder"):
            checked_format(folder / name)
        with pytest.raises(ImageError, match="its pixels lie outside its folder"):
            read_image(folder / name, 3, 1)


def nrrd(line=""):
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\nendian: little\nencoding: raw\n"
    return f"{head}{line}\n\n"


def test_missing_or_several_files_of_pixels_are_refused(tmp_path):
    path = write(tmp_path / "a.mhd")
    (tmp_path / "a.raw").unlink()
    with pytest.raises(ImageError, match=r"the file of its pixels is missing: .*a\.raw"):
        checked_format(path)
    for where in ("LIST", "a%03d.raw 1 3 1"):
        path.write_text(MHA.replace("LOCAL", where))
        with pytest.raises(ImageError, match="its pixels lie in several files"):
            checked_format(path)
    write(tmp_path / "b.mhd").rename(tmp_path / "b.png")
    with pytest.raises(ImageError, match=r"give the header its name, \.mhd or \.nhdr"):
        read_image(tmp_path / "b.png", 3, 1)


# --- damage


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_file_cut_anywhere_is_refused(tmp_path, suffix, packed):
    content = write(tmp_path / f"a{suffix}", packed=packed).read_bytes()
    path = tmp_path / f"cut{suffix}"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(ImageError):
            read_image(path, 3, 1)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_flipped_bits_in_compressed_pixels_never_become_pixels(tmp_path, suffix):
    content = write(tmp_path / f"a{suffix}", packed=True).read_bytes()
    expected, path = read_image(tmp_path / f"a{suffix}", 3, 1).pixels, tmp_path / f"b{suffix}"
    num_refused = 0
    for position in range(len(content) - 100, len(content), 3):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :]
        )
        try:
            np.testing.assert_array_equal(read_image(path, 3, 1).pixels, expected)
        except ImageError:
            num_refused += 1
    assert num_refused > 25


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("NDims = 3", "NDims = 3000000000", "NDims must be 2 to 4"),
        ("4 5 6", "4 5", "DimSize must be 3 whole number"),
        ("4 5 6", "4 -5 6", "claims the shape"),
        ("4 5 6", "90000 90000 90000", r"need 1,458,000,000,000,000 bytes; the file has"),
        ("10 20 30", "10 20", "Offset must have 3 values"),
        ("1 0 0 0 1", "1 0 0 0", "TransformMatrix must have 9 values"),
        ("MET_SHORT", "MET_STRING", "values are of type 'string'"),
        ("NDims", "DimSize = 4 5 6\nNDims", "two lines 'DimSize'"),
    ],
)
def test_a_header_that_makes_no_sense_never_reaches_the_library(tmp_path, old, new, message):
    path = tmp_path / "a.mha"
    path.write_bytes(MHA.replace(old, new, 1).encode() + VOLUME.tobytes())
    with pytest.raises(ImageError, match=message):
        read_image(path, 3, 1)


def test_without_the_extra_one_line_names_it(tmp_path):
    path = write(tmp_path / "a.mha")
    code = (
        "import sys; sys.modules['SimpleITK'] = None\n"
        "from pathlib import Path; from pipeline.formats import read_image\n"
        "try: read_image(Path(sys.argv[1]), 3, 1)\nexcept ValueError as e: print(e)"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.stdout == (
        "cannot be decoded: MetaImage and NRRD files are read by SimpleITK; "
        "pip install 'patientfold[itk]'\n"
    )
    assert done.stderr == ""


def test_big_endian_values_are_turned(tmp_path):
    path = tmp_path / "a.mha"
    pixels = struct.pack(">120h", *VOLUME.transpose(2, 1, 0).ravel().tolist())
    path.write_bytes(MHA.replace("MSB = False", "MSB = True").encode() + pixels)
    np.testing.assert_array_equal(read_image(path, 3, 1).pixels[0], VOLUME[::-1, ::-1])
