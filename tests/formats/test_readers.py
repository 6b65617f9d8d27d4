import gzip
import io
import random
import re
import struct

import nibabel
import numpy as np
import pytest
from PIL import Image

from pipeline.formats import ImageError, read_image

GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (9, 7), dtype=np.uint8)
RGB = GENERATOR.integers(0, 256, (9, 7, 3), dtype=np.uint8)
LUMINANCE = RGB.astype(np.float64) @ [0.299, 0.587, 0.114]


def saved(picture, path, **options):
    picture.save(path, **options)
    return path


def pixels_of(path, spatial_dims=2, num_channels=1):
    array, affine, *_ = read_image(path, spatial_dims, num_channels)
    assert array.dtype == np.float32
    assert affine.shape == (4, 4)
    return array


def nifti(path, array, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
def test_grey_pixels_come_as_stored(tmp_path, suffix):
    path = saved(Image.fromarray(GREY), tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(pixels_of(path), GREY[None])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_rgb_pixels_come_channel_first(tmp_path, suffix):
    path = saved(Image.fromarray(RGB), tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(pixels_of(path, num_channels=3), np.moveaxis(RGB, -1, 0))


def test_the_suffix_may_be_upper_case(tmp_path):
    path = nifti(tmp_path / "v.nii", np.ones((2, 3, 4), np.int16)).rename(tmp_path / "v.NII")
    assert pixels_of(path, spatial_dims=3).shape == (1, 2, 3, 4)


def test_alpha_is_dropped(tmp_path):
    alpha = GREY[..., None]
    rgba = saved(Image.fromarray(np.concatenate([RGB, alpha], axis=2)), tmp_path / "rgba.png")
    la = saved(Image.fromarray(np.stack([GREY, GREY // 2], axis=2), "LA"), tmp_path / "la.png")
    np.testing.assert_array_equal(pixels_of(rgba, num_channels=3), np.moveaxis(RGB, -1, 0))
    np.testing.assert_array_equal(pixels_of(la), GREY[None])


def test_a_palette_gives_its_colours_not_its_numbers(tmp_path):
    palette = Image.fromarray(RGB).quantize(64)
    path = saved(palette, tmp_path / "p.png")
    assert Image.open(path).mode == "P"
    expected = np.moveaxis(np.asarray(palette.convert("RGB")), -1, 0)
    np.testing.assert_array_equal(pixels_of(path, num_channels=3), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept(tmp_path, suffix):
    deep = GENERATOR.integers(0, 65536, (9, 7)).astype(np.uint16)
    assert deep.max() > 60000
    path = saved(Image.fromarray(deep), tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(pixels_of(path), deep[None])


def test_one_bit_is_black_and_white(tmp_path):
    path = saved(Image.fromarray(GREY > 127), tmp_path / "a.png")
    assert Image.open(path).mode == "1"
    np.testing.assert_array_equal(pixels_of(path), 255.0 * (GREY > 127)[None])


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_tiff_of_32_bits(tmp_path, dtype):
    values = (GENERATOR.normal(size=(9, 7)) * 1000).astype(dtype)
    path = saved(Image.fromarray(values), tmp_path / "a.tif")
    np.testing.assert_array_equal(pixels_of(path), values[None].astype(np.float32))


def test_a_colour_model_other_than_grey_or_rgb_is_refused(tmp_path):
    path = saved(Image.fromarray(RGB, "LAB"), tmp_path / "a.tif")
    with pytest.raises(ImageError, match="colour model LAB, which is neither grey nor RGB"):
        read_image(path, 2, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_exif_orientation_is_applied(tmp_path, orientation, name):
    stored = np.zeros((32, 48), np.uint8)
    stored[:16, :24] = 250  # the corner that is stored top left
    exif = Image.Exif()
    exif[274] = orientation
    path = saved(Image.fromarray(stored), tmp_path / name, exif=exif, quality=95)
    upright = pixels_of(path)[0]
    corner = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}[orientation]
    assert upright.shape == ((32, 48) if orientation <= 4 else (48, 32))
    means = {
        f"{row}{column}": half.mean()
        for row, rows in zip("tb", np.split(upright, 2), strict=True)
        for column, half in zip("lr", np.split(rows, 2, axis=1), strict=True)
    }
    assert max(means, key=lambda name: means[name]) == corner
    assert means[corner] > 240


def test_pages_of_a_tiff_are_a_volume(tmp_path):
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY), Image.fromarray(GREY // 2)]
    path = saved(pages[0], tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    expected = np.stack([GREY, 255 - GREY, GREY // 2])[None]
    np.testing.assert_array_equal(pixels_of(path, spatial_dims=3), expected)


@pytest.mark.parametrize("num_pages", [2, 3, 5])
@pytest.mark.parametrize("num_channels", [1, 3])
def test_pages_are_never_taken_for_channels(tmp_path, num_pages, num_channels):
    pages = [Image.fromarray(GREY)] * num_pages
    path = saved(pages[0], tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    message = rf"has 3 spatial dimensions \(shape \({num_pages}, 9, 7\)\), .*spatial_dims is 2"
    with pytest.raises(ImageError, match=message):
        read_image(path, 2, num_channels)


def test_pages_of_different_shapes_are_refused(tmp_path):
    pages = [Image.fromarray(GREY), Image.fromarray(GREY[:5])]
    path = saved(pages[0], tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match="pages of different shapes"):
        read_image(path, 3, 1)


def test_the_preview_in_a_camera_jpeg_is_left_out(tmp_path):
    path = tmp_path / "a.jpg"
    preview = Image.fromarray(GREY[:5])
    Image.fromarray(GREY).save(path, format="MPO", save_all=True, append_images=[preview])
    assert pixels_of(path).shape == (1, 9, 7)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_nifti_is_turned_to_canonical_axes(tmp_path, name):
    volume = GENERATOR.integers(-500, 3000, (4, 5, 6)).astype(np.int16)
    from_lps = np.diag([-2.0, -1.0, 3.0, 1.0])
    array, affine, *_ = read_image(nifti(tmp_path / name, volume, from_lps), 3, 1)
    np.testing.assert_array_equal(array, volume[None, ::-1, ::-1])
    np.testing.assert_array_equal(np.diag(affine), [2, 1, 3, 1])


def test_nifti_axes_are_exchanged(tmp_path):
    volume = GENERATOR.integers(0, 9, (4, 5, 6)).astype(np.int16)
    affine = np.eye(4)[[2, 0, 1, 3]]  # the first axis of the file is y, the second z, the third x
    np.testing.assert_array_equal(
        pixels_of(nifti(tmp_path / "v.nii", volume, affine), spatial_dims=3),
        volume.transpose(2, 0, 1)[None],
    )


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_nifti_scale_and_offset_are_applied(tmp_path, name):
    volume = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    data = bytearray(nifti(tmp_path / "plain.nii", volume).read_bytes())
    struct.pack_into("<ff", data, 112, 0.5, -1024.0)  # scl_slope and scl_inter of the header
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    np.testing.assert_array_equal(pixels_of(path, spatial_dims=3)[0], volume * 0.5 - 1024)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_nifti_of_the_second_version_is_read(tmp_path, name):
    volume = GENERATOR.integers(0, 9, (4, 5, 6)).astype(np.int16)
    nibabel.save(nibabel.Nifti2Image(volume, np.eye(4)), tmp_path / name)
    np.testing.assert_array_equal(pixels_of(tmp_path / name, spatial_dims=3), volume[None])


def test_a_single_time_point_is_a_volume_and_more_are_channels(tmp_path):
    series = GENERATOR.integers(0, 9, (4, 5, 6, 3)).astype(np.int16)
    one = nifti(tmp_path / "one.nii.gz", series[..., :1])
    three = nifti(tmp_path / "three.nii.gz", series)
    expected = np.moveaxis(series, -1, 0)
    np.testing.assert_array_equal(pixels_of(one, spatial_dims=3), expected[:1])
    np.testing.assert_array_equal(pixels_of(three, spatial_dims=3, num_channels=3), expected)
    with pytest.raises(
        ImageError, match=r"has 3 channels \(its 4th axis.*images.num_channels is 2"
    ):
        read_image(three, 3, 2)


@pytest.mark.parametrize("axis", range(3))
def test_a_volume_of_one_slice_is_an_image(tmp_path, axis):
    volume = np.expand_dims(GREY.astype(np.int16), axis)
    np.testing.assert_array_equal(pixels_of(nifti(tmp_path / "v.nii", volume)), GREY[None])


def test_grey_is_repeated_for_rgb(tmp_path):
    flat = saved(Image.fromarray(GREY), tmp_path / "a.png")
    np.testing.assert_array_equal(pixels_of(flat, num_channels=3), np.stack([GREY] * 3))
    volume = GENERATOR.integers(0, 9, (4, 5, 6)).astype(np.int16)
    path = nifti(tmp_path / "v.nii", volume)
    np.testing.assert_array_equal(
        pixels_of(path, spatial_dims=3, num_channels=3), np.stack([volume] * 3)
    )


def test_rgb_becomes_grey_by_luminance(tmp_path):
    path = saved(Image.fromarray(RGB), tmp_path / "a.png")
    np.testing.assert_allclose(pixels_of(path)[0], LUMINANCE, rtol=1e-6)
    yellow = RGB[..., [0, 0, 2]]  # two equal channels are no grey
    path = saved(Image.fromarray(yellow), tmp_path / "b.png")
    expected = yellow.astype(np.float64) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(pixels_of(path)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    volume = np.ones((4, 5, 6), np.float32)
    volume[1, 2, 3] = value
    with pytest.raises(ImageError, match="values that are not finite"):
        read_image(nifti(tmp_path / "v.nii.gz", volume), 3, 1)


def test_the_wrong_number_of_dimensions_is_an_error(tmp_path):
    flat = saved(Image.fromarray(RGB), tmp_path / "a.png")
    volume = nifti(tmp_path / "v.nii", np.ones((3, 5, 6), np.int16))
    expected = r"has 2 spatial dimensions \(shape \(9, 7\)\), images.spatial_dims is 3"
    with pytest.raises(ImageError, match=expected):
        read_image(flat, 3, 3)
    expected = r"has 3 spatial dimensions \(shape \(3, 5, 6\)\), images.spatial_dims is 2"
    with pytest.raises(ImageError, match=expected):
        read_image(volume, 2, 3)


def encoded(picture, **options):
    file = io.BytesIO()
    picture.save(file, **options)
    return file.getvalue()


def sound_files(folder):
    rgb, grey = Image.fromarray(RGB), Image.fromarray(GREY)
    exif = Image.Exif()
    exif[274] = 6
    volume = GENERATOR.integers(0, 200, (6, 7, 8)).astype(np.int16)
    return {
        "rgb.png": encoded(rgb, format="PNG"),
        "palette.png": encoded(rgb.quantize(16), format="PNG"),
        "a.jpg": encoded(rgb, format="JPEG", exif=exif),
        "plain.tif": encoded(grey, format="TIFF"),
        "lzw.tif": encoded(grey, format="TIFF", compression="tiff_lzw"),
        "pages.tif": encoded(grey, format="TIFF", save_all=True, append_images=[grey]),
        "v.nii": nifti(folder / "v.nii", volume).read_bytes(),
        "v.nii.gz": nifti(folder / "v.nii.gz", volume).read_bytes(),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["rgb.png", "a.jpg", "lzw.tif", "v.nii", "v.nii.gz"])
def test_a_truncated_file_is_refused(tmp_path, name):
    data = sound_files(tmp_path)[name]
    path = tmp_path / name
    spatial_dims = 3 if "nii" in name else 2
    path.write_bytes(data)
    read_image(path, spatial_dims, 1)
    for share in (0.02, 0.3, 0.6, 0.9):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(ImageError, match=r"^cannot be decoded: \w+"):
            read_image(path, spatial_dims, 1)


def test_flipped_bits_in_a_gzip_never_become_pixels(tmp_path):
    data = sound_files(tmp_path)["v.nii.gz"]
    path = tmp_path / "v.nii.gz"
    sound = pixels_of(path, spatial_dims=3)
    positions = range(len(data) // 4, len(data), 3)
    num_refused = 0
    for position in positions:
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        try:
            np.testing.assert_array_equal(pixels_of(path, spatial_dims=3), sound)
        except ImageError:
            num_refused += 1
    assert num_refused >= len(positions) - 2  # a few bits of the format mean nothing


def test_a_gzip_of_something_else_is_refused(tmp_path):
    path = tmp_path / "v.nii.gz"
    path.write_bytes(gzip.compress(b"not a volume"))
    with pytest.raises(ImageError, match="cannot be decoded: "):
        read_image(path, 3, 1)


def test_a_refusal_never_names_the_file(tmp_path, monkeypatch):
    """The name may be that of a patient, and the caller know a pseudonym."""
    path, folder = tmp_path / "Quitte.jpg", tmp_path / "Quitte"
    path.write_bytes(b"\xff\xd8\xff" + bytes(200))
    with pytest.raises(ImageError, match=r"the file is damaged: its header cannot be read$"):
        read_image(path, 2, 1)
    path.write_bytes(b"in no known format")

    def own_reader(file):
        raise ValueError(f"no magic in {file}, {str(file)!r} or {file!r}")

    with pytest.raises(ImageError, match=r"no magic in the file, the file or the file$"):
        read_image(path, 2, 1, own_reader)

    def forbidden(file):
        raise PermissionError(13, "Permission denied", str(file / "IM-1"))

    folder.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.iterdir", forbidden)
        with pytest.raises(ImageError, match=r"as a DICOM series: Permission denied$"):
            read_image(folder, 2, 1)
    with pytest.raises(ImageError, match=r"^cannot be decoded: Permission denied$"):
        read_image(path, 2, 1, forbidden)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Cut off, or with some bits flipped; half the flips hit the header."""
    if dice.random() < 0.3:
        return data[: dice.randrange(len(data))]
    flipped = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 8])):
        end = len(data) if dice.random() < 0.5 else min(len(data), 400)
        flipped[dice.randrange(end)] ^= 1 << dice.randrange(8)
    return bytes(flipped)


def refusal_of(path, spatial_dims):
    """What the reader says of a file that it refuses; a whole image where it does not."""
    try:
        array, _, *_ = read_image(path, spatial_dims, 1)
    except ImageError as error:
        return str(error)
    assert array.ndim == spatial_dims + 1
    assert array.shape[0] == 1
    assert np.isfinite(array).all()
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(40))
def test_nothing_but_an_image_error_leaves_the_reader(tmp_path, seed):
    dice, num_refused = random.Random(seed), 0
    for name, data in sound_files(tmp_path).items():
        path = tmp_path / name
        for _ in range(3):
            path.write_bytes(damaged(data, dice))
            for spatial_dims in (2, 3):
                refusal = refusal_of(path, spatial_dims)
                num_refused += refusal is not None
                assert refusal is None or re.fullmatch(
                    r"(cannot be decoded: |has |holds ).+", refusal
                )
    assert num_refused > 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_grey_that_is_stored_as_colour_is_the_same_grey_to_the_last_bit(tmp_path, mode):
    """Else a lossless copy in another mode would not be found as one."""
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = saved(Image.fromarray(every).convert(mode), tmp_path / "a.png")
    np.testing.assert_array_equal(pixels_of(path), every[None])


@pytest.mark.parametrize(
    ("shape", "spatial_dims", "advice"),
    [
        ((4, 5, 6), 2, "images=mri48, or your own with images.spatial_dims=3"),
        ((4, 5), 3, "images=grey64, or your own with images.spatial_dims=2"),
    ],
)
def test_the_number_of_dimensions_comes_with_the_setting(tmp_path, shape, spatial_dims, advice):
    path = nifti(tmp_path / "a.nii", np.ones(shape, np.float32))
    with pytest.raises(ImageError, match=re.escape(advice)):
        read_image(path, spatial_dims, 1)
