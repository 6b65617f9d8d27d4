"""Predict with the ONNX graph of this bundle, without patientfold and without torch.

    python run_onnx.py image.png [more images]

Needs numpy, pillow and onnxruntime; nibabel for NIfTI files, pydicom for DICOM files. Prints a line
of JSON for each image. Where the training prepared images in a way that this script does not do
(resampling to millimetres, steps of your own, several files for one image), it says so, and takes
images that were prepared elsewhere: arrays (C, H, W) or (C, D, H, W) in .npy files.
"""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[np.float32]
HERE = Path(__file__).resolve().parent
NPY = b"\x93NUMPY"
MONAI = "monai.transforms."
LUMINANCE = (0.299, 0.587, 0.114)


class CannotError(Exception):
    """Why an image gets no answer, in one line."""


# --- what of the training's preparation is done here


def unsupported(contents: Mapping[str, Any]) -> list[str]:
    """The steps of a bundle's preparation that this script does not do."""
    images, found = contents["images"], []
    if images["spacing"] is not None:
        found.append("images.spacing: resampling to millimetres")
    if images["reader"] is not None:
        found.append(f"images.reader: {images['reader']['_target_']}")
    if contents["images_per_sample"] > 1:
        found.append(f"{contents['images_per_sample']} files for one image")
    for leaf in images["transforms"]:
        name, known = leaf["_target_"].removeprefix(MONAI), TRANSFORMS
        size = leaf.get("spatial_size", [])
        is_size = isinstance(size, list | tuple) and min(size, default=1) > 0
        if not is_size or name not in known or not {*leaf} - {"_target_"} <= known[name][1]:
            found.append(f"images.transforms: {json.dumps(leaf)}")
    return found


def steps_of(images: Mapping[str, Any]) -> Iterator[Callable[[Pixels], Pixels]]:
    """The preparation, in the order of the training."""
    dims = images["spatial_dims"]
    if images["window"] is not None:
        low, high = images["window"]
        yield lambda image: windowed(image, low, high)
    if images["percentiles"] is not None:
        yield lambda image: spread(image, images["percentiles"])
    for leaf in images["transforms"]:
        yield monai_step(leaf)
    if images["size"] is not None:
        size = per_axis(images["size"], dims)
        yield lambda image: (resized if images["fit"] == "stretch" else fitted)(image, size)
    if images["normalise"] == "image":
        yield standardised


def monai_step(leaf: Mapping[str, Any]) -> Callable[[Pixels], Pixels]:
    """One of TRANSFORMS with its arguments."""
    make, _ = TRANSFORMS[leaf["_target_"].removeprefix(MONAI)]
    return lambda image: make(image, leaf)


def per_axis(values: Sequence[int], dims: int) -> tuple[int, ...]:
    """A single value stands for all axes."""
    return tuple(values) * dims if len(values) == 1 else tuple(values)


def windowed(image: Pixels, low: float, high: float) -> Pixels:
    """`low` becomes 0 and `high` 1; what is beyond is cut."""
    return ((image - np.float32(low)) / np.float32(high - low)).clip(0, 1)


def spread(image: Pixels, percentiles: Sequence[float]) -> Pixels:
    """Each channel from its lower percentile, 0, to its upper one, 1; cut beyond."""
    channels = []
    for channel in image:
        low, high = np.percentile(channel, percentiles).tolist()
        if low == high:
            low, high = float(channel.min()), float(channel.max())
        channels.append(windowed(channel, low, high) if high > low else np.zeros_like(channel))
    return np.stack(channels)


def resized(image: Pixels, size: tuple[int, ...]) -> Pixels:
    """(C, ...) resampled to `size`: the means of areas, as torch and MONAI have them."""
    if image.shape[1:] == size:
        return image
    sums: NDArray[Any] = image.astype(np.float64)
    counts = []
    for axis, (num_in, num_out) in enumerate(zip(image.shape[1:], size, strict=True), start=1):
        places = np.arange(num_out)
        begins, ends = places * num_in // num_out, -((places + 1) * num_in // -num_out)
        before = np.insert(np.cumsum(sums, axis=axis), 0, 0, axis=axis)
        sums = before.take(ends, axis=axis) - before.take(begins, axis=axis)
        shape = [1] * image.ndim
        shape[axis] = num_out
        counts.append((ends - begins).astype(np.float32).reshape(shape))
    means = sums.astype(np.float32)
    for count in counts:
        means = means / count
    return means


def fitted(image: Pixels, size: tuple[int, ...]) -> Pixels:
    """(C, ...) cropped around its centre or padded with 0 on both sides, to `size`."""
    for axis, wanted in enumerate(size, start=1):
        if (there := image.shape[axis]) > wanted:
            begin = there // 2 - wanted // 2
            image = image.take(np.arange(begin, begin + wanted), axis=axis)
        else:
            width = [(0, 0)] * image.ndim
            width[axis] = ((wanted - there) // 2, wanted - there - (wanted - there) // 2)
            image = np.pad(image, width)
    return image


def standardised(image: Pixels) -> Pixels:
    """Each channel with mean 0 and SD 1."""
    axes = tuple(range(1, image.ndim))
    mean, std = image.mean(axes, keepdims=True), image.std(axes, keepdims=True)
    found: Pixels = (image - mean) / np.where(std == 0, np.float32(1), std)
    return found


def scaled(image: Pixels, leaf: Mapping[str, Any]) -> Pixels:
    """MONAI's ScaleIntensityRange, or that between percentiles of the image."""
    if "lower" in leaf:
        low, high = np.percentile(image, [leaf["lower"], leaf["upper"]]).tolist()
    else:
        low, high = leaf["a_min"], leaf["a_max"]
    b_min, b_max = leaf.get("b_min"), leaf.get("b_max")
    if high == low:
        return image - np.float32(low) + np.float32(b_min or 0)
    image = (image - np.float32(low)) / np.float32(high - low)
    if b_min is not None and b_max is not None:
        image = image * np.float32(b_max - b_min) + np.float32(b_min)
    is_clipped = leaf.get("clip") and (b_min is not None or b_max is not None)
    return np.clip(image, b_min, b_max) if is_clipped else image


TRANSFORMS: Mapping[str, tuple[Callable[[Pixels, Any], Pixels], set[str]]] = {
    "Resize": (lambda image, leaf: resized(image, tuple(leaf["spatial_size"])), {"spatial_size"}),
    "ResizeWithPadOrCrop": (
        lambda image, leaf: fitted(image, tuple(leaf["spatial_size"])),
        {"spatial_size"},
    ),
    "ScaleIntensityRange": (scaled, {"a_min", "a_max", "b_min", "b_max", "clip"}),
    "ScaleIntensityRangePercentiles": (scaled, {"lower", "upper", "b_min", "b_max", "clip"}),
}
"""What is done here of MONAI, and the arguments that are understood."""


# --- reading


def read(path: Path, images: Mapping[str, Any]) -> tuple[Pixels, int]:
    """The pixels of a file, (C, H, W) or (C, D, H, W), with the channels and axes asked for, and
    how many bits they had.
    """
    try:
        head = path.open("rb").read(352)
    except OSError as error:
        raise CannotError(f"cannot be read: {error.strerror}") from None
    try:
        if head.startswith((b"\x89PNG", b"\xff\xd8\xff")):
            pixels, is_colour, bits = picture(path)
        elif head[128:132] == b"DICM":
            pixels, is_colour, bits = dicom(path)
        elif head.startswith(b"\x1f\x8b") or head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
            pixels, is_colour, bits = nifti(path)
        else:
            raise CannotError("is neither PNG, JPEG, NIfTI, DICOM nor .npy")
    except ImportError as error:
        raise CannotError(f"needs the package {error.name}: pip install {error.name}") from None
    except CannotError:
        raise
    except Exception as error:  # noqa: BLE001  (decoders raise almost anything)
        raise CannotError(f"cannot be decoded: {error}") from None
    check_values(pixels, bits, images)
    if images["nonfinite"] == "fill":
        pixels = np.where(np.isfinite(pixels), pixels, np.float32(images["fill_value"]))
    shape, dims = pixels.shape[1:], images["spatial_dims"]
    if len(shape) == dims + 1 and 1 in shape:
        pixels = pixels.squeeze(1 + shape.index(1))
    elif len(shape) != dims:
        raise CannotError(f"has {len(shape)} axes (shape {shape}), the network takes {dims}")
    return with_channels(pixels, is_colour, images["num_channels"]), bits


def check_values(pixels: Pixels, bits: int, images: Mapping[str, Any]) -> None:
    """Refuse what the training would have refused."""
    if images["nonfinite"] == "error" and not np.isfinite(pixels).all():
        raise CannotError("holds values that are nan or infinite")
    if not np.isfinite(pixels).any():
        raise CannotError("holds no value that is finite")
    low, high = float(np.nanmin(pixels)), float(np.nanmax(pixels))
    if images["unit"] == "HU" and (bits <= 8 or low >= 0 or (low > -50 and high < 50)):
        raise CannotError(f"has values from {low:g} to {high:g}, which are no Hounsfield units")


def picture(path: Path) -> tuple[Pixels, bool, int]:
    """A PNG or JPEG, upright; alpha is left out."""
    with Image.open(path) as image:
        if image.format == "PNG" and ";16" in str(image.tile[0].args) and "I" not in image.mode:
            raise CannotError("has several channels of 16 bits, which Pillow does not keep")
        upright = ImageOps.exif_transpose(image)
        bits = {"1": 1, "I": 32, "F": 32}.get(image.mode, 16 if "I;16" in image.mode else 8)
        if upright.mode in ("L", "1", "LA"):
            upright = upright.convert("L")
        elif upright.mode in ("RGB", "P", "RGBA", "CMYK", "YCbCr", "PA"):
            upright = upright.convert("RGB")
        elif not upright.mode.startswith(("I", "F")):
            raise CannotError(f"has the colour model {upright.mode}")
        array = np.asarray(upright).astype(np.float32)
    if array.ndim == 2:
        return array[None], False, bits
    return np.moveaxis(array, -1, 0), True, bits


def nifti(path: Path) -> tuple[Pixels, bool, int]:
    """A NIfTI volume of plain numbers in the closest canonical (RAS) axes."""
    import nibabel

    stored: Any = nibabel.load(path)
    dtype = stored.get_data_dtype()
    if dtype.kind not in "iuf" or len(stored.shape) not in (3, 4):
        raise CannotError(f"holds {dtype} of shape {stored.shape}; convert it to 3 or 4 axes")
    array = np.asarray(nibabel.as_closest_canonical(stored).dataobj, dtype=np.float32)
    bits = dtype.itemsize * 8
    return (np.moveaxis(array, -1, 0) if array.ndim == 4 else array[None]), False, bits


def dicom(path: Path) -> tuple[Pixels, bool, int]:
    """One DICOM file: values of the rescale, a larger one always brighter."""
    from pydicom import dcmread
    from pydicom.pixels.utils import pixel_array

    data = dcmread(path)
    kind = str(data.get("PhotometricInterpretation", "MONOCHROME2"))
    frames = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    groups = [data, *(group for tag in frames for group in data.get(tag) or [])]
    needed = ("ModalityLUTSequence", "PixelValueTransformationSequence")
    if kind == "PALETTE COLOR" or any(tag in group for tag in needed for group in groups):
        raise CannotError("needs a lookup table or a rescale of each frame, which is not read here")
    array = pixel_array(data).astype(np.float32)
    bits = int(data.get("BitsStored") or 8)
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        return np.moveaxis(array, -1, 0), True, bits
    slope, offset = (
        float(data.get(tag) or usual)
        for tag, usual in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    array = array * np.float32(slope) + np.float32(offset)
    if kind == "MONOCHROME1":
        lowest_and_highest = -1 if data.get("PixelRepresentation") else 2**bits - 1
        array = np.float32(slope * lowest_and_highest + 2 * offset) - array
    return array[None], False, bits


def with_channels(pixels: Pixels, is_colour: bool, wanted: int) -> Pixels:
    """Grey becomes colour by repetition, colour grey by luminance (ITU-R 601-2)."""
    found = len(pixels)
    if found == wanted:
        return pixels
    if found == 1 and wanted == 3:
        return np.repeat(pixels, 3, axis=0)
    if is_colour and wanted == 1:
        if np.array_equal(pixels[0], pixels[1]) and np.array_equal(pixels[0], pixels[2]):
            return pixels[:1]
        return np.tensordot(np.array(LUMINANCE, np.float32), pixels, axes=1)[None]
    raise CannotError(f"has {found} channels, the network takes {wanted}")


def prepared(path: Path, contents: Mapping[str, Any]) -> NDArray[Any]:
    """(C, ...) as the graph takes it."""
    images, wanted = contents["images"], contents["input"]
    dtype, shape = np.dtype(wanted["dtype"]), tuple(wanted["shape"])
    with path.open("rb") as file:
        is_array = file.read(len(NPY)) == NPY
    if is_array:
        pixels: NDArray[Any] = np.load(path, allow_pickle=False)
        if pixels.dtype != dtype:
            raise CannotError(f"holds {pixels.dtype}, the graph takes {dtype}")
    elif missing := unsupported(contents):
        raise CannotError(
            f"is not prepared here, for the training did {'; '.join(missing)}. Prepare it with "
            f"patientfold, or give a .npy file of {dtype} {shape}"
        )
    else:
        pixels, bits = read(path, images)
        for step in steps_of(images):
            pixels = step(pixels)
        before, pixels = pixels, stored(pixels, dtype)
        if bits > 8 and is_flattened(before, pixels):
            raise CannotError(f"would lose its contrast: the training kept its images as {dtype}")
    if pixels.shape != shape:
        raise CannotError(f"has shape {pixels.shape} when it is prepared, the graph takes {shape}")
    return pixels


def stored(pixels: Pixels, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Rounded to the type in which the training kept its images."""
    high = 255.5 if dtype == np.uint8 else float(np.finfo(dtype).max)
    low = -0.5 if dtype == np.uint8 else -high
    if not (pixels.min() >= low and pixels.max() <= high):
        raise CannotError(f"has values from {pixels.min():g} to {pixels.max():g}, not of {dtype}")
    if dtype == np.uint8:
        pixels = pixels.round().clip(0, 255)
    return pixels.astype(dtype)


def is_flattened(pixels: Pixels, kept: NDArray[Any]) -> bool:
    """Does rounding take more than a hundredth of what is seen in an image (C, ...)?"""
    lost = np.mean((kept.astype(np.float32) - pixels) ** 2, dtype=np.float64)
    seen = np.mean([channel.var(dtype=np.float64) for channel in pixels])
    return bool(seen > 0 and lost > 0.01 * seen)


# --- answering


def answer(
    contents: Mapping[str, Any], members: NDArray[Any], mean: NDArray[Any]
) -> dict[str, Any]:
    """What is said of one image, of (M, K) and (K,) probabilities."""
    classes = contents["classes"]
    return {
        "predicted": predicted(contents, mean),
        "probabilities": dict(zip(classes, map(float, mean), strict=True)),
        "smallest": dict(zip(classes, map(float, members.min(axis=0)), strict=True)),
        "largest": dict(zip(classes, map(float, members.max(axis=0)), strict=True)),
    }


def predicted(contents: Mapping[str, Any], mean: NDArray[Any]) -> str:
    """At the bundle's thresholds of images; of several classes the most probable."""
    classes, limits = contents["classes"], contents["thresholds"]["image"] or {}
    if contents["task"] == "multilabel":
        named = [name for name, p in zip(classes, mean, strict=True) if float(p) >= limits[name]]
        return "|".join(named) or "none"
    if len(classes) == 2:
        return str(classes[int(float(mean[1]) >= limits[classes[1]])])
    return str(classes[int(mean.argmax())])


def check_sums(folder: Path) -> None:
    """Is every file of the bundle as it was made?"""
    for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file():
            raise CannotError(f"{path} is missing: the bundle is not whole")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise CannotError(f"{path} was changed after the bundle was made")


def main(names: Sequence[str]) -> int:
    """Answer for each file; 1 where one of them got no answer."""
    if not names or names[0] in ("-h", "--help"):
        sys.stdout.write(f"{__doc__}\n")
        return 0
    try:
        check_sums(HERE)
        import onnxruntime
    except (CannotError, OSError, ImportError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    contents = json.loads((HERE / "bundle.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(HERE / "model.onnx", providers=["CPUExecutionProvider"])
    is_whole = True
    for name in names:
        try:
            image = prepared(Path(name), contents)
            members, mean = session.run(None, {"images": image[None]})
            if not math.isfinite(float(np.sum(mean))):
                raise CannotError("gets no finite answer")
            said: dict[str, Any] = answer(contents, members[:, 0], mean[0])
        except (CannotError, OSError) as error:
            said, is_whole = {"error": str(error)}, False
        sys.stdout.write(f"{json.dumps({'file': name, **said})}\n")
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
