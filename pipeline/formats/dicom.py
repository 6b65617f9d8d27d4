"""DICOM files and series as arrays. Imports neither torch nor monai."""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from pydicom import FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGExtended12Bit

from pipeline.arrays import Floats, Floats32
from pipeline.formats.dicom_file import open_dicom
from pipeline.formats.files import series_files
from pipeline.formats.nifti import canonical
from pipeline.formats.table import COLOUR, Claim, StoredImage

get_decoder(JPEGExtended12Bit).add_plugin("imagecodecs", ("pipeline.formats.jpeg12", "decode"))
DECODERS = ("gdcm", "imagecodecs")
"""What the extra brings."""
SIZE_TAGS = {
    "NumberOfFrames": 1,
    "Rows": 1,
    "Columns": 1,
    "SamplesPerPixel": 1,
    "BitsAllocated": 0,
    "PhotometricInterpretation": 0,
}
"""Tags that say how large the pixels are; those of the shape with what they usually are."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MOST_GAP_DEVIATION = 0.1
"""Distances between slices may differ by this share of their median: headers round positions, and
a missing slice makes one distance twice as long."""


def read_dicom(path: Path, _: int) -> StoredImage:
    """One file, or all files of a series.

    Values are RescaleSlope * stored + RescaleIntercept (Hounsfield units for CT); MONOCHROME1 is
    inverted, so that a larger value is always brighter. Windows, overlays and lookup tables other
    than a palette are not applied.

    A file is (C, H, W), or (C, D, H, W) when it has several frames. Its axes stay (row, column) or
    (frame, row, column) as stored; the affine holds their spacing in mm, or 1 where the header has
    none. A series is (C, X, Y, Z) in the closest canonical (RAS) axes, like NIfTI. Its slices are
    ordered by ImagePositionPatient along the normal of the image plane, never by file name or
    InstanceNumber; missing, doubled and unlike slices are refused. A series of one file is read
    like that file.
    """
    slices = [_open(file) for file in _files_of(path)]
    bits = int(slices[0].get("BitsStored") or 8)
    if len(slices) > 1:
        array, affine, orientation = _volume(slices)
        return StoredImage(array, affine, bits, COLOUR * (len(array) == 3), orientation)
    data, array, known = slices[0], _pixels(slices[0]), _pixel_spacing(slices[0])
    sizes = [*(known or (1.0, 1.0)), 1.0]
    if array.ndim == 4:
        gap = _number(data, "SpacingBetweenSlices", 0) or _number(data, "SliceThickness", 0) or 1.0
        sizes = [gap, *sizes[:2]]
    image = StoredImage(array, np.diag([*sizes, 1.0]), bits, COLOUR * (len(array) == 3))
    return image._replace(has_spacing=known is not None)


def claim_of_dicom(path: Path) -> Claim:
    """All frames of a file, or of all files of a series."""
    claims = [_claim_of_file(file) for file in _files_of(path)]
    if len(claims) == 1:
        return claims[0]
    if len({claim.shape for claim in claims}) == 1:
        shape = (len(claims), *claims[0].shape)
    else:
        shape = (sum(math.prod(claim.shape) for claim in claims),)
    return Claim(shape, sum(claim.num_bytes for claim in claims))


def _files_of(path: Path) -> list[Path]:
    files = series_files(path)
    if files == []:
        raise ValueError("holds no DICOM file of that series")
    return files or [path]


def _claim_of_file(path: Path) -> Claim:
    data = _open(path, stop_before_pixels=True, specific_tags=list(SIZE_TAGS))
    shape = tuple(int(data.get(tag) or usual) for tag, usual in SIZE_TAGS.items() if usual)
    syntax = data.file_meta.TransferSyntaxUID
    is_plain = not (syntax.is_compressed or syntax.is_deflated or syntax.is_private)
    bits = int(data.get("BitsAllocated") or 0) if is_plain else 0
    num_bytes = math.prod(shape) * bits // 8
    if data.get("PhotometricInterpretation") == "YBR_FULL_422":
        num_bytes = num_bytes * 2 // 3
    return Claim(shape, num_bytes)


def _open(path: Path, **options: Any) -> FileDataset:
    with path.open("rb") as file:
        return open_dicom(file, **options)


def _volume(slices: list[FileDataset]) -> tuple[Floats32, Floats, str]:
    """The slices of a series, stacked, their affine (DICOM PS3.3 C.7.6.2.1.1), and where the
    axes slice, row and column pointed.
    """
    _check_alike(slices)
    cosines = np.array(slices[0].ImageOrientationPatient, dtype=np.float64)
    along_columns, along_rows = cosines[:3], cosines[3:]
    normal = np.cross(along_columns, along_rows)
    corners = np.array([data.ImagePositionPatient for data in slices], dtype=np.float64)
    order = np.argsort(corners @ normal, kind="stable")
    gap = _gap((corners @ normal)[order])
    arrays = [_pixels(slices[i]) for i in order]
    if {array.ndim for array in arrays} != {3}:
        raise ValueError("has several files, of which some hold several frames")
    rows, columns = _pixel_spacing(slices[order[0]]) or (1.0, 1.0)
    to_lps = np.eye(4)  # from (slice, row, column)
    to_lps[:3, :3] = np.stack([gap * normal, rows * along_rows, columns * along_columns], axis=1)
    to_lps[:3, 3] = corners[order[0]]
    volume = np.stack(arrays, axis=-1)  # (C, rows, columns, Z)
    to_ras = LPS_TO_RAS @ to_lps
    turned = canonical(nibabel.Nifti1Image(volume.transpose(3, 1, 2, 0), to_ras))
    return *turned, "".join(nibabel.aff2axcodes(to_ras))


def _pixels(data: FileDataset) -> Floats32:
    """(C, H, W) or (C, D, H, W) in the unit of the rescale."""
    if "PixelData" not in data and "FloatPixelData" not in data:
        raise ValueError("the DICOM file holds no pixels (a report, a plan?)")
    if "ModalityLUTSequence" in data or _has_rescale_per_frame(data):
        raise ValueError(
            "its values need a lookup table or a rescale of each frame, which is not read; "
            "convert the file to NIfTI"
        )
    try:
        stored = pixel_array(data)  # YBR comes as RGB
    except Exception as error:  # noqa: BLE001 (pydicom and its plugins raise almost anything)
        raise ValueError(_undecodable(data, error)) from None
    kind = str(data.get("PhotometricInterpretation", "MONOCHROME2"))
    if kind == "PALETTE COLOR":
        stored = apply_color_lut(stored, data)
    array = stored.astype(np.float32)
    if kind not in ("MONOCHROME1", "MONOCHROME2"):
        return np.moveaxis(array, -1, 0)
    slope, offset = _number(data, "RescaleSlope", 1), _number(data, "RescaleIntercept", 0)
    array = array * np.float32(slope) + np.float32(offset)
    if kind == "MONOCHROME1":
        # Around the stored range, not the image's: the same tissue keeps one value in every file.
        bits, signed = int(data.BitsStored), bool(data.get("PixelRepresentation"))
        lowest_and_highest = -1 if signed else 2**bits - 1  # their sum
        array = np.float32(slope * lowest_and_highest + 2 * offset) - array
    return array[None]


def _number(data: FileDataset, tag: str, usual: float) -> float:
    """A number of the header; one that is there but empty is missing."""
    value = str(data.get(tag) or "").strip()
    return float(value) if value else usual


def _undecodable(data: FileDataset, error: Exception) -> str:
    syntax, lines = data.file_meta.TransferSyntaxUID, str(error).splitlines() or [""]
    reason = f"{type(error).__name__} {lines[-1].strip()}"
    if not syntax.is_compressed:
        return f"its pixels cannot be decoded: {reason}"
    text = f"its pixels are compressed ({syntax.name}) and cannot be decoded here: {reason}"
    if all(find_spec(name) for name in DECODERS):
        return text
    return (
        f"{text}; pip install 'patientfold[dicom]' brings decoders for JPEG, JPEG-LS and "
        "JPEG 2000; or decompress the files first"
    )


def _has_rescale_per_frame(data: FileDataset) -> bool:
    """Enhanced multi-frame files keep the rescale apart from where plain ones do."""
    places = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    groups = [group for place in places for group in data.get(place, [])]
    return any("PixelValueTransformationSequence" in group for group in groups)


def _check_alike(slices: list[FileDataset]) -> None:
    for tag in ("SeriesInstanceUID", "Rows", "Columns", "PhotometricInterpretation"):
        found = sorted({str(data.get(tag)) for data in slices})
        if len(found) > 1:
            hint = "; write folder#SeriesInstanceUID" if tag == "SeriesInstanceUID" else ""
            raise ValueError(f"the slices differ in {tag}: {', '.join(found[:5])}{hint}")
    for tag in ("ImagePositionPatient", "ImageOrientationPatient"):
        if num := sum(not data.get(tag) for data in slices):
            raise ValueError(f"{num} of {len(slices)} slices have no {tag}, which orders them")
    for tag in ("ImageOrientationPatient", "PixelSpacing"):
        values = np.array([data.get(tag) or [1, 1] for data in slices], dtype=np.float64)
        if not np.allclose(values, values[0], atol=1e-3):
            raise ValueError(f"the slices differ in {tag}")


def _gap(positions: Floats) -> float:
    """Distance of neighbouring slices in mm, the same everywhere."""
    gaps = np.diff(positions)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    if (gaps < 1e-3).any():
        raise ValueError("two slices lie at one position (several time points or echoes?)")
    uneven = np.flatnonzero(np.abs(gaps - usual) > MOST_GAP_DEVIATION * usual)
    if len(uneven):
        first = uneven[0]
        raise ValueError(
            f"slices are missing: usually {usual:.2f} mm apart, but {gaps[first]:.2f} mm between "
            f"{positions[first]:.2f} and {positions[first + 1]:.2f} mm"
        )
    return float(gaps.mean())


def _pixel_spacing(data: FileDataset) -> tuple[float, float] | None:
    """Distance between rows and between columns in mm; None where the header has none."""
    spacing = data.get("PixelSpacing") or data.get("ImagerPixelSpacing")
    return (float(spacing[0]), float(spacing[1])) if spacing else None
