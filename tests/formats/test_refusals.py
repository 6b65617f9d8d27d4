"""Files that are what their first bytes say, and yet no image: each refusal says why."""

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_files import ramp, write_dicom, write_series
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from pipeline.formats import ImageError, read_image

NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\nendian: little\nencoding: raw\n"


def npy(array: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tif", b"II*\0\0\0\0\0", "has no pages"),
        ("a.tif", b"II*\0\x08\0\0\0", "the list of its pages is cut short"),
        ("a.tif", b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "its pages run in a circle"),
        ("a.npy", npy(np.zeros((0, 4))), r"holds an empty array of shape \(0, 4\)"),
        ("a.npy", npy(np.zeros((3, 4), "S3")), r"holds \|S3, not numbers"),
        ("a.npy", npy(np.zeros((3, 4), "M8[D]")), r"holds datetime64\[D\], not numbers"),
        ("a.npy", npy(np.array([[1e300, 1.0]])), "too large for 32-bit floats"),
        ("a.nrrd", NRRD.replace(b"n: 3", b"n: 9") + b"\n", "dimension must be 2 to 5, got 9"),
        ("a.nrrd", NRRD.replace(b"n: 3", b"n: x") + b"\n", r"must be 1 whole number\(s\), got 'x'"),
        ("a.nrrd", NRRD + b"nonsense\n\n", "a line that says nothing: 'nonsense'"),
        ("a.nrrd", NRRD + b"data file: LIST\n\n", "its pixels lie in several files"),
        (
            "a.nrrd",
            NRRD.replace(b"raw", b"gzip") + b"byte skip: 3\n\n",
            "skips bytes before compressed data",
        ),
    ],
)
def test_a_file_that_holds_no_image_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content + bytes(240) * name.endswith(".nrrd"))
    for spatial_dims in (2, 3):
        with pytest.raises(ImageError, match=message):
            read_image(tmp_path / name, spatial_dims, 1)


def nifti_header(field: str, value: Any) -> bytes:
    """A NIfTI file of 4 x 5 x 6 values whose header says something else in one field."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    header["magic"], header["vox_offset"] = b"n+1", 352
    header[field] = value
    return bytes(header.binaryblock) + bytes(4) + bytes(480)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (nifti_header("dim", [0, 4, 5, 6, 1, 1, 1, 1]), "its header claims 0 axes"),
        (nifti_header("dim", [3, -4, 5, 6, 1, 1, 1, 1]), "its header claims"),
        (nifti_header("vox_offset", -8), "claims that the pixels begin at byte -8"),
        (nifti_header("vox_offset", 2.0**41), "claims that the pixels begin at byte 2.19902e"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_nifti_header_that_makes_no_sense_is_refused(
    tmp_path: Path, content: bytes, message: str, packed: bool
) -> None:
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ImageError, match=message):
        read_image(path, 3, 1)


def test_a_nifti_file_that_ends_within_its_header_is_refused(tmp_path: Path) -> None:
    whole = nibabel.Nifti2Image(np.zeros((4, 5, 6), np.int16), np.eye(4)).to_bytes()
    (tmp_path / "a.nii").write_bytes(whole[:400])
    with pytest.raises(ImageError, match="the header is cut short"):
        read_image(tmp_path / "a.nii", 3, 1)


def test_a_volume_of_several_colour_images_is_refused(tmp_path: Path) -> None:
    colours = np.zeros((4, 5, 3, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ImageError, match=r"holds several colour images .*; store one per file"):
        read_image(tmp_path / "a.nii", 3, 3)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_series_of_vectors_is_refused(tmp_path: Path, suffix: str) -> None:
    """Six channels would say nothing of which are times and which components."""
    image = SimpleITK.GetImageFromArray(np.zeros((2, 4, 5, 6, 3), np.int16), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
    with pytest.raises(ImageError, match="has four axes, and 3 components besides"):
        read_image(tmp_path / f"a{suffix}", 3, 6)


def test_a_series_in_which_a_file_has_several_frames_is_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", ramp((3, 4, 5)))
    data = dcmread(folder / "001.dcm")
    data.NumberOfFrames, data.PixelData = 2, data.PixelData * 2
    data.save_as(folder / "001.dcm")
    with pytest.raises(ImageError, match="several files, of which some hold several frames"):
        read_image(folder, 3, 1)


@pytest.mark.parametrize(
    ("tag", "value"),
    [("PixelSpacing", [0.5, 0.8]), ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0])],
)
def test_a_series_whose_slices_lie_otherwise_is_refused(
    tmp_path: Path, tag: str, value: list[float]
) -> None:
    folder = write_series(tmp_path / "s", ramp((3, 4, 5)))
    data = dcmread(folder / "001.dcm")
    setattr(data, tag, value)
    data.save_as(folder / "001.dcm")
    with pytest.raises(ImageError, match=f"the slices differ in {tag}"):
        read_image(folder, 3, 1)


def test_a_series_that_is_not_in_its_folder_is_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", ramp((3, 4, 5)))
    with pytest.raises(ImageError, match=r"holds no DICOM file of that series"):
        read_image(Path(f"{folder}#9.9.9"), 3, 1)


def test_a_deflated_dicom_file_without_the_length_of_its_header_is_refused(
    tmp_path: Path,
) -> None:
    path = write_dicom(
        tmp_path / "a.dcm", ramp((4, 5)), TransferSyntaxUID=DeflatedExplicitVRLittleEndian
    )
    assert read_image(path, 2, 1).pixels.shape == (1, 4, 5)
    content = path.read_bytes()
    length = int.from_bytes(content[140:144], "little")
    path.write_bytes(content[:132] + content[144 : 144 + length] + content[144 + length :])
    with pytest.raises(ImageError, match="its meta header does not say how long it is"):
        read_image(path, 2, 1)


def test_a_dicom_palette_gives_its_colours(tmp_path: Path) -> None:
    table = {"RedPalette": [0, 10, 20], "GreenPalette": [1, 11, 21], "BluePalette": [2, 12, 22]}
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, values in table.items():
        tags[f"{name}ColorLookupTableDescriptor"] = [4, 0, 8]
        tags[f"{name}ColorLookupTableData"] = bytes([*values, 0])
    path = write_dicom(tmp_path / "a.dcm", np.array([[0, 1], [2, 1]], np.uint8), **tags)
    found = read_image(path, 2, 3).pixels
    assert found.tolist() == [[[0, 10], [20, 10]], [[1, 11], [21, 11]], [[2, 12], [22, 12]]]


def test_colours_that_are_stored_for_every_other_pixel_are_whole(tmp_path: Path) -> None:
    """YBR_FULL_422 has two values a pixel: fewer bytes than its size says."""
    stored = np.tile(np.array([90, 110, 128, 128], np.uint8), (64, 32))  # Y Y Cb Cr
    tags: dict[str, Any] = {"PhotometricInterpretation": "YBR_FULL_422", "Rows": 64, "Columns": 64}
    tags |= {"SamplesPerPixel": 3, "PlanarConfiguration": 0, "NumberOfFrames": None}
    path = write_dicom(tmp_path / "a.dcm", stored, **tags)
    found = read_image(path, 2, 3).pixels
    np.testing.assert_array_equal(found, np.tile([90, 110], (3, 64, 32)))


def test_a_dicom_file_of_very_many_elements_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", ramp((4, 5)), TransferSyntaxUID=ImplicitVRLittleEndian)
    content = path.read_bytes()
    place = content.index(struct.pack("<HH", 0x10, 0x20))
    elements = b"".join(struct.pack("<HHI", 9, 0x1000 + number, 0) for number in range(21_000))
    path.write_bytes(content[:place] + elements + content[place:])
    with pytest.raises(ImageError, match="holds more than 20,000 elements"):
        read_image(path, 2, 1)


def test_a_jpeg_of_another_size_than_its_dicom_file_says_is_refused(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 4096, (16, 24), dtype=np.uint16)
    coded = bytes(imagecodecs.jpeg_encode(frame, level=95, bitspersample=12))
    bits = {"BitsStored": 12, "HighBit": 11, "TransferSyntaxUID": JPEGExtended12Bit}
    path = tmp_path / "a.dcm"
    for rows in (16, 8):
        pixels = {"PixelData": encapsulate([bytes(coded)]), "Rows": rows, **bits}
        write_dicom(path, frame, **pixels)
        if rows == 16:
            assert read_image(path, 2, 1).pixels.shape == (1, 16, 24)
    with pytest.raises(ImageError, match="its header says 8 x"):
        read_image(path, 2, 1)
