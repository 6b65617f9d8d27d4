"""The stored values come whole, whatever their depth, sign and layout, or the file is refused."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.formats import ImageError, read_image

GENERATOR = np.random.default_rng(0)
GREY, GREY_ALPHA, COLOUR, COLOUR_ALPHA = 0, 4, 2, 6  # the colour types of PNG
SHAPE = (13, 11)
LUMINANCE = np.array([0.299, 0.587, 0.114])


def sixteen_bits(*channels):
    return GENERATOR.integers(0, 65536, (*SHAPE, *channels), dtype=np.uint16)


def read(path, spatial_dims=2, num_channels=1, **options):
    return read_image(path, spatial_dims, num_channels, **options)


# --- PNG


def scan_lines(values, kind):
    """The filtered rows of one pass, as PNG's specification says in 9.2."""
    rows = [row.astype(">u2").tobytes() for row in values]
    width = 2 * values[0, 0].size
    above, lines = bytes(len(rows[0])), b""
    for row in rows:
        left, corner = bytes(width) + row[:-width], bytes(width) + above[:-width]
        expected = {
            0: bytes(len(row)),
            1: left,
            2: above,
            3: bytes((a + b) // 2 for a, b in zip(left, above, strict=True)),
            4: bytes(map(paeth, left, above, corner)),
        }[kind]
        lines += bytes([kind])
        lines += bytes((x - y) % 256 for x, y in zip(row, expected, strict=True))
        above = row
    return lines


def paeth(a, b, c):
    p = a + b - c
    return min((a, b, c), key=lambda x: abs(p - x))


ADAM7 = (
    (0, 8, 0, 8),
    (0, 8, 4, 8),
    (4, 8, 0, 4),
    (0, 4, 2, 4),
    (2, 4, 0, 2),
    (0, 2, 1, 2),
    (1, 2, 0, 1),
)


def write_png(path, values, colour_type, kind=0, interlaced=False, chunks=()):
    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    passes = [values[y::dy, x::dx] for y, dy, x, dx in ADAM7] if interlaced else [values]
    data = b"".join(scan_lines(each, kind) for each in passes if each.size)
    height, width = values.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, interlaced)
    body = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in body))
    return path


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize(
    ("colour_type", "stored", "kept"),
    [(GREY, 1, 1), (GREY_ALPHA, 2, 1), (COLOUR, 3, 3), (COLOUR_ALPHA, 4, 3)],
)
def test_png_of_16_bits_a_channel_is_never_cut(
    tmp_path, colour_type, stored, kept, kind, interlaced
):
    values = sixteen_bits(stored)
    path = write_png(tmp_path / "a.png", values, colour_type, kind, interlaced)
    image = read(path, num_channels=kept)
    np.testing.assert_array_equal(image.pixels, np.moveaxis(values[..., :kept], -1, 0))
    assert image.bit_depth == 16
    if kept == 3:
        expected = values[..., :3].astype(np.float64) @ LUMINANCE
        np.testing.assert_allclose(read(path).pixels[0], expected, rtol=1e-6)


def test_png_of_16_bit_colour_is_turned_upright(tmp_path):
    values, exif = sixteen_bits(3), Image.Exif()
    exif[274] = 6
    data = exif.tobytes().removeprefix(b"Exif\0\0")
    path = write_png(tmp_path / "a.png", values, COLOUR, chunks=[(b"eXIf", data)])
    expected = np.moveaxis(np.rot90(values, -1), -1, 0)
    np.testing.assert_array_equal(read(path, num_channels=3).pixels, expected)


def test_png_of_16_bit_colour_that_is_cut_short_is_refused(tmp_path):
    path = write_png(tmp_path / "a.png", sixteen_bits(3), COLOUR)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(ImageError, match="cannot be decoded"):
        read(path, num_channels=3)


# --- TIFF

WHITE, BLACK, RGB, PALETTE, CMYK = "miniswhite", "minisblack", "rgb", "palette", "separated"


def write_tiff(path, values, photometric, **options):
    tifffile.imwrite(path, values, photometric=photometric, metadata=None, **options)
    return path


def all_values(dtype, *channels):
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return (GENERATOR.normal(size=(*SHAPE, *channels)) * 100).astype(dtype)
    low, high = max(np.iinfo(dtype).min, -(2**24)), min(np.iinfo(dtype).max, 2**24)
    return GENERATOR.integers(low, high, (*SHAPE, *channels), dtype=dtype, endpoint=True)


TYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]
COMPRESSIONS = [None, "lzw", "zlib"]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", TYPES)
def test_grey_tiff_gives_what_is_stored(tmp_path, dtype, compression, order):
    values = all_values(dtype)
    path = write_tiff(tmp_path / "a.tif", values, BLACK, compression=compression, byteorder=order)
    np.testing.assert_array_equal(read(path).pixels[0], values.astype(np.float32))
    assert read(path).bit_depth == 8 * values.dtype.itemsize


@pytest.mark.parametrize("dtype", [name for name in TYPES if name[0] != "f"])
def test_where_white_is_zero_every_depth_is_turned_around(tmp_path, dtype):
    values = all_values(dtype)
    if values.dtype.itemsize > 2:  # turned around, they lie at the end of the range
        with pytest.raises(ImageError, match="32-bit floats cannot hold"):
            read(write_tiff(tmp_path / "a.tif", values.astype("u4"), WHITE))
        return
    bits = 8 * values.dtype.itemsize
    turned = (2**bits - 1 if dtype[0] == "u" else -1) - values.astype(np.int64)
    path = write_tiff(tmp_path / "a.tif", values, WHITE)
    np.testing.assert_array_equal(read(path).pixels[0], turned)


def test_white_is_zero_means_nothing_for_fractions(tmp_path):
    with pytest.raises(ImageError, match="no meaning for floating point numbers"):
        read(write_tiff(tmp_path / "a.tif", all_values("f4"), WHITE))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("alpha", [False, True])
def test_colour_tiff_gives_what_is_stored(tmp_path, dtype, compression, planar, alpha):
    values = all_values(dtype, 3 + alpha)
    stored = values if planar == "contig" else np.moveaxis(values, -1, 0)
    extra = {"extrasamples": ["unassalpha"]} if alpha else {}
    options = {"compression": compression, "planarconfig": planar, **extra}
    path = write_tiff(tmp_path / "a.tif", stored, RGB, **options)
    expected = np.moveaxis(values[..., :3], -1, 0).astype(np.float32)
    np.testing.assert_array_equal(read(path, num_channels=3).pixels, expected)
    assert read(path).pixels.shape == (1, *SHAPE), "its luminance"


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_cmyk_becomes_colour_in_all_its_bits(tmp_path, dtype):
    values = all_values(dtype, 4)
    path = write_tiff(tmp_path / "a.tif", values, CMYK)
    share = values / float(np.iinfo(dtype).max)
    expected = np.moveaxis((1 - share[..., :3]) * (1 - share[..., 3:]), -1, 0)
    found = read(path, num_channels=3).pixels / float(np.iinfo(dtype).max)
    np.testing.assert_allclose(found, expected, atol=1.1 / np.iinfo(dtype).max)


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_samples_that_are_no_colour_are_channels_or_an_error(tmp_path, samples):
    values = all_values("u1", samples)
    path = write_tiff(tmp_path / "a.tif", values, BLACK, planarconfig="contig")
    found = read(path, num_channels=samples).pixels
    np.testing.assert_array_equal(found, np.moveaxis(values, -1, 0))
    with pytest.raises(ImageError, match=rf"has {samples} channels .*images.num_channels is 1"):
        read(path)


def test_alpha_beside_deep_grey_is_left_out(tmp_path):
    values = all_values("u2", 2)
    path = write_tiff(tmp_path / "a.tif", values, BLACK, extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read(path).pixels[0], values[..., 0])


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", [WHITE, BLACK])
def test_few_bits_are_spread_over_0_to_255(tmp_path, bits, photometric):
    values = GENERATOR.integers(0, 2**bits, (13, 16), dtype=np.uint8)
    path = tmp_path / "a.tif"
    if bits == 1:
        write_tiff(path, values.astype(bool), photometric)
    else:
        write_tiff(path, values, photometric, bitspersample=bits)
    spread = values * (255 // (2**bits - 1))
    np.testing.assert_array_equal(
        read(path).pixels[0], 255 - spread if photometric == WHITE else spread
    )


def test_twelve_bits_are_as_stored(tmp_path):
    values = GENERATOR.integers(0, 4096, (13, 16), dtype=np.uint16)
    path = write_tiff(tmp_path / "a.tif", values, BLACK, bitspersample=12)
    np.testing.assert_array_equal(read(path).pixels[0], values)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize(
    ("orientation", "corner"), [*enumerate(["tl", "tr", "br", "bl", "tl", "tr", "br", "bl"], 1)]
)
def test_a_tiff_stands_upright(tmp_path, orientation, corner, dtype, compression):
    values = np.arange(15, dtype=dtype).reshape(3, 5)
    tags = [(274, 3, 1, orientation, True)]
    path = write_tiff(tmp_path / "a.tif", values, BLACK, compression=compression, extratags=tags)
    found = read(path).pixels[0]
    assert found[-(corner[0] == "b"), -(corner[1] == "r")] == 0, "the first pixel that is stored"
    steps = np.abs(np.diff(found, axis=0)), np.abs(np.diff(found, axis=1))
    assert [set(step.ravel()) for step in steps] == ([{5}, {1}] if orientation < 5 else [{1}, {5}])


def test_deep_pages_are_a_volume(tmp_path):
    values = GENERATOR.integers(-999, 999, (4, *SHAPE), dtype=np.int16)
    path = write_tiff(tmp_path / "a.tif", values, BLACK)
    np.testing.assert_array_equal(read(path, spatial_dims=3).pixels[0], values)


def test_a_palette_of_16_bits_and_complex_numbers_are_refused(tmp_path):
    with pytest.raises(ImageError, match="complex numbers"):
        read(write_tiff(tmp_path / "c.tif", np.ones(SHAPE, np.complex64), BLACK))
    palette = GENERATOR.integers(0, 65536, (3, 65536), dtype=np.uint16)
    path = write_tiff(tmp_path / "p.tif", all_values("u2"), PALETTE, colormap=palette)
    with pytest.raises(ImageError, match="16-bit pixels of the kind PALETTE, which is not read"):
        read(path)


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", ["i2", "u4", "f8"])
def test_a_deep_tiff_that_is_cut_short_is_refused(tmp_path, compression, dtype):
    values = all_values(dtype)
    path = write_tiff(tmp_path / "a.tif", values, BLACK, compression=compression)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ImageError, match="cannot be decoded"):
        read(path)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_rows_that_are_not_there_are_no_zeros(tmp_path, compression):
    values = all_values("i8")
    path = tmp_path / "a.tif"
    write_tiff(path, values, BLACK, compression=compression, rowsperstrip=4)
    np.testing.assert_array_equal(read(path).pixels[0], values)
    with tifffile.TiffFile(path, mode="r+") as file:
        counts = file.pages.first.tags["StripByteCounts"]
        counts.overwrite([*counts.value[:-1], 0])
    with pytest.raises(ImageError, match="cut short: a part of its pixels lies beyond its end"):
        read(path)


def test_a_compression_without_its_decoder_names_the_extra(tmp_path):
    path = write_tiff(tmp_path / "a.tif", all_values("f8"), BLACK, compression="lzw")
    code = (
        "import sys; sys.modules['imagecodecs'] = None; from pathlib import Path;"
        f"from pipeline.formats import read_image; read_image(Path({str(path)!r}), 2, 1)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root
    )
    assert "pip install 'patientfold[tiff]'" in done.stderr
    assert "ImageError: cannot be decoded: " in done.stderr


# --- whole numbers of many digits


@pytest.mark.parametrize("number", [2**24 + 1, -(2**31) + 1, 2**31 - 1])
def test_whole_numbers_that_floats_would_round_are_refused(tmp_path, number):
    values = np.full(SHAPE, number, np.int32)
    np.save(tmp_path / "a.npy", values)
    write_tiff(tmp_path / "a.tif", values, BLACK)
    nibabel.save(nibabel.Nifti1Image(values[..., None], np.eye(4)), tmp_path / "a.nii")
    for name in ("a.npy", "a.tif", "a.nii"):
        with pytest.raises(ImageError, match=f"such as {number}, which 32-bit floats cannot hold"):
            read(tmp_path / name)


def test_a_number_too_large_for_32_bits_is_no_infinity(tmp_path):
    np.save(tmp_path / "a.npy", np.full(SHAPE, 1e300))
    with pytest.raises(ImageError, match="too large for 32-bit floats"):
        read(tmp_path / "a.npy", fill=0.0)


# --- three is not colour


def save_nifti(path, array, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


VOLUME = GENERATOR.integers(-1000, 2000, (6, 7, 5)).astype(np.int16)
THREE = np.stack([VOLUME, VOLUME + 1, VOLUME + 2], axis=-1)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_volumes_over_time_are_no_colour(tmp_path, number):
    series = np.stack([VOLUME + i for i in range(number)], axis=-1)
    path = save_nifti(tmp_path / "a.nii.gz", series)
    message = (
        rf"has {number} channels \(its 4th axis: time points or sequences\), images.num_channels "
        rf"is 1; set images.num_channels={number} to use them all as channels, or store one"
    )
    with pytest.raises(ImageError, match=message):
        read(path, 3)
    np.testing.assert_array_equal(read(path, 3, number).pixels, np.moveaxis(series, -1, 0))


def test_a_vector_per_voxel_is_channels(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", THREE[:, :, :, None, :])
    np.testing.assert_array_equal(read(path, 3, 3).pixels, np.moveaxis(THREE, -1, 0))
    with pytest.raises(ImageError, match=r"3 channels \(its 5th axis: a vector per voxel\)"):
        read(path, 3, 1)
    both = np.stack([THREE, THREE], axis=3)
    message = "has the axes x 6, y 7, z 5, time 2, vector 3; only one beyond z may be longer than 1"
    with pytest.raises(ImageError, match=message):
        read(save_nifti(tmp_path / "b.nii.gz", both), 3, 6)


@pytest.mark.parametrize("from_lps", [False, True])
@pytest.mark.parametrize("names", ["RGB", "RGBA"])
def test_nifti_of_colours_is_colour(tmp_path, names, from_lps):
    volume = np.zeros((6, 7, 5), [(name, "u1") for name in names])
    volume["R"] = 100
    volume["B"] = np.arange(6)[:, None, None]
    path = save_nifti(
        tmp_path / "a.nii.gz", volume, np.diag([-1.0, -1, 1, 1]) if from_lps else None
    )
    image = read(path, 3, 3)
    blue = np.arange(6)[:: -1 if from_lps else 1, None, None]
    for channel, expected in zip(image.pixels, map(np.asarray, (100, 0, blue)), strict=True):
        np.testing.assert_array_equal(channel, np.broadcast_to(expected, (6, 7, 5)))
    assert image.bit_depth == 8
    grey = read(path, 3, 1).pixels[0]
    np.testing.assert_allclose(grey, np.broadcast_to(29.9 + 0.114 * blue, grey.shape), rtol=1e-6)


def test_complex_volumes_are_refused_in_words(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", VOLUME.astype(np.complex64))
    with pytest.raises(ImageError, match="complex numbers; store their magnitude or their phase"):
        read(path, 3)


def test_an_array_with_three_channels_is_no_colour(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 6, 3), np.uint8))
    message = r"has 3 channels \(the last axis of the array\), images.num_channels is 1; set"
    with pytest.raises(ImageError, match=message):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("num_channels", [2, 4])
def test_one_channel_is_repeated_for_colour_only(tmp_path, num_channels):
    with pytest.raises(ImageError, match=f"has 1 channel, images.num_channels is {num_channels}"):
        read(save_nifti(tmp_path / "a.nii.gz", VOLUME), 3, num_channels)
    assert read(tmp_path / "a.nii.gz", 3, 3).pixels.shape == (3, 6, 7, 5)


# --- flat files and single slices


@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_a_flat_file_is_turned_like_a_volume(tmp_path, signs):
    flat = VOLUME[:, :, 0]
    affine = np.diag([*signs, 1.0, 1.0])
    image = read(save_nifti(tmp_path / "a.nii.gz", flat, affine))
    expected = flat[:: signs[0], :: signs[1]]
    np.testing.assert_array_equal(image.pixels[0], expected)
    with pytest.raises(ImageError, match="has 2 spatial dimensions"):
        read(tmp_path / "a.nii.gz", 3)


def test_a_slice_keeps_the_spacing_of_its_own_axes(tmp_path):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    for axis, spacing in enumerate([(3, 4), (2, 4), (2, 3)]):
        volume = np.take(VOLUME, [0], axis=axis)
        image = read(save_nifti(tmp_path / "a.nii", volume, affine))
        np.testing.assert_array_equal(image.pixels[0], volume.squeeze(axis))
        assert image.spacing == spacing


def test_spacing_and_orientation_are_those_of_the_file(tmp_path):
    affine = np.array([[0, 0, 3.0, 0], [-1, 0, 0, 0], [0, -0.5, 0, 0], [0, 0, 0, 1]])
    image = read(save_nifti(tmp_path / "a.nii", VOLUME, affine), 3)
    assert image.orientation == "PIR"
    assert image.spacing == (3, 1, 0.5)
    picture = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(picture)
    assert (read(picture).spacing, read(picture).orientation) == (None, "")


# --- a background that is no number


def test_a_background_of_nan_is_filled_on_request(tmp_path):
    inside = np.zeros((6, 7, 5), np.float32)
    inside[2:4, 2:5, 1:4] = 5
    volume = np.where(inside > 0, inside, np.nan)
    path = save_nifti(tmp_path / "a.nii.gz", volume)
    share = 1 - 18 / 210
    message = rf"not finite \(nan or inf\) in {100 * share:.3g} % of its pixels; .*nonfinite=fill"
    with pytest.raises(ImageError, match=message):
        read(path, 3)
    image = read(path, 3, fill=-1.0)
    np.testing.assert_array_equal(image.pixels[0], np.where(inside > 0, inside, -1))
    assert image.filled == pytest.approx(share)


def test_an_image_without_one_number_is_refused(tmp_path):
    path = save_nifti(tmp_path / "a.nii.gz", np.full((4, 5, 6), np.nan, np.float32))
    with pytest.raises(ImageError, match="in 100 % of its pixels: nothing is left"):
        read(path, 3, fill=0.0)
