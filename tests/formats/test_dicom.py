"""DICOM files, DICOM series and .npy arrays as the reader gives them."""

import subprocess
import sys
from functools import partial

import imagecodecs
import numpy as np
import pytest
from dicom_files import ramp, write_dicom, write_series
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from pipeline.formats import DICOM, ImageError, read_image
from pipeline.formats.files import (
    checked_format,
    file_digest,
    file_size,
    file_stamp,
    series_files,
)
from pipeline.images.packing import file_digests

VOLUME = ramp((4, 5, 6))


def test_a_file_is_rescaled(tmp_path):
    plane = ramp((5, 6))
    path = write_dicom(tmp_path / "a.dcm", plane, RescaleSlope=2, RescaleIntercept=-1024)
    array, affine, *_ = read_image(path, 2, 1)
    np.testing.assert_array_equal(array, plane[None] * 2.0 - 1024)
    np.testing.assert_array_equal(affine, np.eye(4))
    assert checked_format(path) is DICOM


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 12), (np.int16, 16)])
def test_monochrome1_is_turned_around_the_stored_range(tmp_path, dtype, bits):
    plane = ramp((4, 4), dtype)
    tags = {"BitsStored": bits, "HighBit": bits - 1, "RescaleSlope": 2, "RescaleIntercept": 5}
    path = write_dicom(tmp_path / "a.dcm", plane, PhotometricInterpretation="MONOCHROME1", **tags)
    turned = (-1 if dtype is np.int16 else 2**bits - 1) - plane.astype(float)
    np.testing.assert_array_equal(read_image(path, 2, 1)[0][0], turned * 2 + 5)


def test_frames_are_a_volume(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", VOLUME, SliceThickness=3, PixelSpacing=[0.5, 0.75])
    array, affine, *_ = read_image(path, 3, 1)
    np.testing.assert_array_equal(array, VOLUME[None])
    np.testing.assert_array_equal(np.diag(affine), [3, 0.5, 0.75, 1])


@pytest.mark.parametrize("tag", ["PixelSpacing", "ImagerPixelSpacing"])
def test_pixels_of_1_mm_are_of_a_known_size(tmp_path, tag):
    one = read_image(write_dicom(tmp_path / "a.dcm", VOLUME[0], **{tag: [1, 1]}), 2, 1)
    frames = read_image(write_dicom(tmp_path / "b.dcm", VOLUME, **{tag: [1, 1]}), 3, 1)
    single = read_image(write_dicom(tmp_path / "c.dcm", VOLUME[:1], **{tag: [1, 1]}), 2, 1)
    assert (one.spacing, frames.spacing, single.spacing) == ((1, 1), (1, 1, 1), (1, 1))
    for number, nothing in enumerate((None, "")):
        path = tmp_path / f"{number}.dcm"
        assert read_image(write_dicom(path, VOLUME[0], **{tag: nothing}), 2, 1).spacing is None


def test_colour_comes_channel_first(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    array, _, *_ = read_image(write_dicom(tmp_path / "a.dcm", rgb), 2, 3)
    np.testing.assert_array_equal(array, np.moveaxis(rgb, -1, 0))
    ybr = np.array(Image.fromarray(rgb).convert("YCbCr"))
    path = write_dicom(tmp_path / "b.dcm", ybr, PhotometricInterpretation="YBR_FULL")
    np.testing.assert_allclose(read_image(path, 2, 3)[0], array, atol=3)


@pytest.mark.parametrize("names", [["d", "c", "b", "a"], ["10", "9", "8", "11"]])
def test_slices_are_ordered_by_position_never_by_name(tmp_path, names):
    folder = write_series(tmp_path / "s", VOLUME, names=names, InstanceNumber=1)
    image = read_image(folder, 3, 1)
    array, affine, *_ = image
    assert (image.orientation, image.spacing) == ("SPL", (0.75, 0.5, 2.5))
    # LPS (slice, row, column) -> RAS (x, y, z): columns run to the left, rows to the back.
    np.testing.assert_array_equal(array[0], VOLUME.transpose(2, 1, 0)[::-1, ::-1])
    np.testing.assert_allclose(np.diag(affine), [0.75, 0.5, 2.5, 1])
    corner = affine @ [5, 4, 0, 1]  # where the first stored pixel went
    np.testing.assert_allclose(corner[:3], [10, 20, 0])


def test_a_series_from_head_to_foot_is_the_same_volume(tmp_path):
    up, up_affine, *_ = read_image(write_series(tmp_path / "up", VOLUME), 3, 1)
    down, affine, *_ = read_image(write_series(tmp_path / "down", VOLUME[::-1], gap=-2.5), 3, 1)
    np.testing.assert_array_equal(down, up)
    np.testing.assert_allclose(affine[:3, :3], up_affine[:3, :3])
    assert affine[2, 3] == -7.5


def test_sagittal_slices_are_turned_to_the_same_axes(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    for number, plane in enumerate(VOLUME):  # columns run to the back, rows to the feet
        write_dicom(
            folder / f"{number}.dcm",
            plane,
            PixelSpacing=[0.5, 0.75],
            ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
            ImagePositionPatient=[number * 2.0, 0, 0],
        )
    array, affine, *_ = read_image(folder, 3, 1)
    assert array.shape == (1, 4, 6, 5)
    np.testing.assert_allclose(np.diag(affine), [2, 0.75, 0.5, 1])
    np.testing.assert_array_equal(array[0], VOLUME.transpose(0, 2, 1)[::-1, ::-1, ::-1])


def test_a_missing_slice_is_refused(tmp_path):
    folder = write_series(tmp_path / "s", VOLUME)
    (folder / "001.dcm").unlink()
    with pytest.raises(ImageError, match=r"usually 2.50 mm apart, but 5.00 mm between 0.00"):
        read_image(folder, 3, 1)


def test_slices_that_do_not_belong_together_are_refused(tmp_path):
    folder = write_series(tmp_path / "shape", VOLUME)
    write_dicom(folder / "x.dcm", ramp((5, 7)), ImagePositionPatient=[0, 0, 10])
    with pytest.raises(ImageError, match="the slices differ in Columns: 6, 7"):
        read_image(folder, 3, 1)
    folder = write_series(tmp_path / "double", VOLUME)
    write_series(folder, VOLUME[:1], names=["again"])
    with pytest.raises(ImageError, match="two slices lie at one position"):
        read_image(folder, 3, 1)
    folder = write_series(tmp_path / "nowhere", VOLUME, ImagePositionPatient=None)
    with pytest.raises(ImageError, match="4 of 4 slices have no ImagePositionPatient"):
        read_image(folder, 3, 1)


def test_two_series_of_one_folder_are_kept_apart(tmp_path):
    write_series(tmp_path / "s", VOLUME, SeriesInstanceUID="1.2.1")
    folder = write_series(
        tmp_path / "s", VOLUME + 100, names=["e", "f", "g", "h"], SeriesInstanceUID="1.2.2"
    )
    with pytest.raises(ImageError, match=r"SeriesInstanceUID: 1.2.1, 1.2.2; write folder#Series"):
        read_image(folder, 3, 1)
    first, second = (folder.with_name(f"s#1.2.{i}") for i in (1, 2))
    np.testing.assert_array_equal(read_image(first, 3, 1)[0] + 100, read_image(second, 3, 1)[0])
    assert checked_format(first) is DICOM
    with pytest.raises(ImageError, match=r"holds no DICOM file of series 1\.2\.9"):
        checked_format(folder.with_name("s#1.2.9"))
    assert file_digest(first) != file_digest(second)
    assert file_size(first) + file_size(second) == file_size(folder)


def test_the_uid_of_anonymised_series_may_be_any_text(tmp_path):
    for number, uid in enumerate(("ID_15dcd6057a", "ID_67ab")):
        write_series(
            tmp_path / "s",
            VOLUME + 100 * number,
            names=[f"{uid}{i}" for i in range(4)],
            SeriesInstanceUID=uid,
        )
    first, second = (tmp_path / "s#ID_15dcd6057a", tmp_path / "s" / ".." / "s#ID_67ab")
    np.testing.assert_array_equal(read_image(first, 3, 1)[0] + 100, read_image(second, 3, 1)[0])
    assert checked_format(first) is DICOM
    inside = tmp_path / "s" / ".#ID_67ab"  # of the files of the image root itself
    assert file_digest(inside) == file_digest(second)
    with pytest.raises(ImageError, match="holds no DICOM file of series ID_9"):
        checked_format(tmp_path / "s#ID_9")
    for name in ("gone#ID_67ab", "s#"):
        with pytest.raises(ImageError, match="no such file"):
            checked_format(tmp_path / name)


def test_a_file_that_is_there_is_no_series_of_the_folder_before_the_mark(tmp_path):
    write_series(tmp_path / "s", VOLUME)
    path = write_dicom(tmp_path / "s#left", VOLUME[0])
    assert series_files(path) is None
    np.testing.assert_array_equal(read_image(path, 2, 1).pixels[0], VOLUME[0])
    write_series(tmp_path / "s#1", VOLUME)
    assert len(series_files(tmp_path / "s#1") or []) == len(VOLUME)


def test_a_file_without_preamble_hides_no_series_of_its_folder(tmp_path):
    folder = write_series(tmp_path / "s", VOLUME, SeriesInstanceUID="1.2.1")
    write_series(folder, VOLUME, names=["e", "f", "g", "h"], SeriesInstanceUID="1.2.2")
    bare = folder / "001.dcm"
    bare.write_bytes(bare.read_bytes()[132:])
    (folder / "notes.txt").write_text("no DICOM at all")
    (folder / "empty").touch()
    one, other = (folder.with_name(f"s#1.2.{i}") for i in (1, 2))
    assert [file.name for file in series_files(one) or []] == [f"00{i}.dcm" for i in range(4)]
    assert len(series_files(other) or []) == 4
    np.testing.assert_array_equal(read_image(one, 3, 1)[0], read_image(other, 3, 1)[0])


def test_a_series_has_a_digest_that_file_names_do_not_change(tmp_path):
    first = write_series(tmp_path / "a", VOLUME)
    digest, stamp = file_digest(first), file_stamp(first)
    (first / "000.dcm").rename(first / "zzz.dcm")
    assert file_digest(first) == digest
    changed = first / "001.dcm"
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x07")
    assert file_digest(first) != digest
    assert file_stamp(first) != stamp
    assert file_digests([first], tmp_path / "memory.json") == [file_digest(first)]


def test_a_folder_without_dicom_is_no_series(tmp_path):
    with pytest.raises(ImageError, match="holds no DICOM file"):
        checked_format(tmp_path)


def test_pixels_that_cannot_be_had_are_explained(tmp_path):
    plane = ramp((5, 6))
    report = write_dicom(tmp_path / "r.dcm", plane, PixelData=None)
    with pytest.raises(ImageError, match="the DICOM file holds no pixels"):
        read_image(report, 2, 1)
    table = Dataset()
    frame = Dataset()
    frame.PixelValueTransformationSequence = [table]
    path = write_dicom(tmp_path / "e.dcm", plane, PerFrameFunctionalGroupsSequence=[frame])
    with pytest.raises(ImageError, match="a rescale of each frame, which is not read"):
        read_image(path, 2, 1)


def test_a_compressed_file_that_is_damaged_or_without_a_decoder_says_so(tmp_path):
    data = encapsulate([b"\xff\x4f\xff\x51 this is no codestream"])
    path = write_dicom(
        tmp_path / "c.dcm", ramp((5, 6)), TransferSyntaxUID=JPEG2000Lossless, PixelData=data
    )
    with pytest.raises(ImageError, match=r"compressed \(JPEG 2000 .* cannot be decoded here: .*$"):
        read_image(path, 2, 1)
    # The same in a Python that has not got the extra.
    code = (
        "import sys; sys.modules['gdcm'] = sys.modules['imagecodecs'] = None\n"
        "from pathlib import Path; from pipeline.formats import read_image\n"
        "try: read_image(Path(sys.argv[1]), 2, 1)\nexcept ValueError as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "pip install 'patientfold[dicom]' brings decoders" in done.stdout
    assert done.stderr == ""


SMOOTH = np.add.outer(np.arange(32), np.arange(32)).astype(np.uint16) * 60


def test_12_bit_lossy_jpeg_is_decoded(tmp_path):
    frame = imagecodecs.jpeg8_encode(SMOOTH, bitspersample=12, level=95)
    assert b"\xff\xc1\x00\x0b\x0c" in frame  # extended sequential, 12 bits
    tags = {"BitsStored": 12, "HighBit": 11, "TransferSyntaxUID": JPEGExtended12Bit}
    path = write_dicom(tmp_path / "a.dcm", SMOOTH, PixelData=encapsulate([bytes(frame)]), **tags)
    image = read_image(path, 2, 1)
    assert image.bit_depth == 12
    np.testing.assert_allclose(image.pixels[0], SMOOTH, atol=2)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEGLosslessSV1, partial(imagecodecs.ljpeg_encode, bitspersample=12)),
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (
            JPEG2000Lossless,
            lambda plane: imagecodecs.jpeg2k_encode(plane, level=0, codecformat="j2k"),
        ),
    ],
)
def test_other_compressed_files_are_decoded_to_the_last_bit(tmp_path, syntax, encode):
    tags = {"BitsStored": 12, "HighBit": 11, "TransferSyntaxUID": syntax}
    data = encapsulate([encode(SMOOTH)])
    path = write_dicom(tmp_path / "a.dcm", SMOOTH, PixelData=data, **tags)
    np.testing.assert_array_equal(read_image(path, 2, 1).pixels[0], SMOOTH)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("lost", ["preamble", "meta header"])
def test_a_file_without_preamble_or_meta_header_is_read(tmp_path, syntax, lost):
    content = write_dicom(tmp_path / "a.dcm", VOLUME[0], TransferSyntaxUID=syntax).read_bytes()
    start = 132 if lost == "preamble" else 144 + int.from_bytes(content[140:144], "little")
    path = tmp_path / "IM0001"
    path.write_bytes(content[start:])
    assert checked_format(path) is DICOM
    np.testing.assert_array_equal(read_image(path, 2, 1).pixels[0], VOLUME[0])
    path.write_bytes(content[start:-1])
    with pytest.raises(ImageError, match="cannot be decoded"):
        read_image(path, 2, 1)


def test_a_number_that_is_there_but_empty_is_missing(tmp_path):
    names = ("RescaleSlope", "RescaleIntercept", "SliceThickness", "SpacingBetweenSlices")
    tags = dict.fromkeys((*names, "PixelSpacing"), "")
    image = read_image(write_dicom(tmp_path / "a.dcm", VOLUME[0], **tags), 2, 1)
    np.testing.assert_array_equal(image.pixels[0], VOLUME[0])
    np.testing.assert_array_equal(image.affine, np.eye(4))
    image = read_image(write_dicom(tmp_path / "b.dcm", VOLUME, **dict.fromkeys(names, "")), 3, 1)
    np.testing.assert_array_equal(image.pixels[0], VOLUME)
    folder = write_series(tmp_path / "s", VOLUME, ImagePositionPatient="")
    with pytest.raises(ImageError, match="4 of 4 slices have no ImagePositionPatient"):
        read_image(folder, 3, 1)


@pytest.mark.parametrize(
    ("shape", "spatial_dims", "expected"),
    [
        ((5, 6), 2, (1, 5, 6)),
        ((5, 6, 3), 2, (3, 5, 6)),
        ((5, 6, 1), 2, (1, 5, 6)),
        ((4, 5, 6), 3, (1, 4, 5, 6)),
        ((4, 5, 3), 3, (1, 4, 5, 3)),
        ((4, 5, 6, 3), 3, (3, 4, 5, 6)),
    ],
)
def test_npy_axes_follow_spatial_dims(tmp_path, shape, spatial_dims, expected):
    stored = ramp(shape, np.float32)
    np.save(tmp_path / "a.npy", stored)
    array, affine, *_ = read_image(tmp_path / "a.npy", spatial_dims, expected[0])
    assert array.shape == expected
    np.testing.assert_array_equal(affine, np.eye(4))
    moved = np.moveaxis(stored, -1, 0) if stored.ndim > spatial_dims else stored[None]
    np.testing.assert_array_equal(array, moved)


@pytest.mark.parametrize(
    ("array", "spatial_dims", "message"),
    [
        (
            np.zeros((3, 5, 6)),
            2,
            r"shape \(3, 5, 6\); .* must be \(H, W\) or \(H, W, C\) with C <= 4",
        ),
        (np.zeros((5, 6)), 3, r"must be \(D, H, W\) or"),
        (np.zeros((0, 6)), 2, "empty array"),
        (np.array([["a"]]), 2, "not numbers"),
        (np.full((5, 6), np.nan), 2, "not finite"),
    ],
)
def test_npy_that_is_no_image_is_refused(tmp_path, array, spatial_dims, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ImageError, match=message):
        read_image(tmp_path / "a.npy", spatial_dims, 1)


def test_a_pickle_is_never_opened(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ImageError, match="cannot be decoded"):
        read_image(tmp_path / "a.npy", 2, 1)
