"""MetaImage (.mha, .mhd) and NRRD volumes, read by SimpleITK, which is an extra."""

import math
from pathlib import Path

import nibabel
import numpy as np

from pipeline.formats.limits import inflated
from pipeline.formats.nifti import canonical
from pipeline.formats.table import Claim, ImageError, StoredImage
from pipeline.formats.text_header import TextHeader, read_text_header
from pipeline.formats.values import to_float32

NEEDED = "MetaImage and NRRD files are read by SimpleITK; pip install 'patientfold[itk]'"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_WBITS = {"zlib": 15, "gzip": 31}


def claim_of_itk(path: Path) -> Claim:
    return _header(path).claim


def read_itk(path: Path, _: int) -> StoredImage:
    """(C, X, Y, Z) in the closest canonical (RAS) axes, as a NIfTI file of the same object.

    A fourth axis, and the components of a vector, are channels.
    """
    try:
        import SimpleITK
    except ModuleNotFoundError:
        raise ImageError(NEEDED) from None
    header = _header(path)
    _check_checksum(path, header)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if header.is_nrrd else "MetaImageIO")
    reader.SetFileName(str(path))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ImageError(f"SimpleITK cannot read it: {lines[-1]}") from None
    array, affine = SimpleITK.GetArrayFromImage(image), np.eye(4)  # (T, Z, Y, X, components)
    num_axes = image.GetDimension()
    if array.size != math.prod(header.claim.shape) or array.dtype.kind not in "biuf":
        raise ImageError(f"has the shape {array.shape}, its header claims {header.claim.shape}")
    if num_axes == 4 and array.ndim == 5:
        raise ImageError(f"has four axes, and {array.shape[-1]} components besides")
    spatial = array.transpose(*reversed(range(num_axes)), *range(num_axes, array.ndim))
    if num_axes == 2:
        spatial = spatial[:, :, None]
    n = min(num_axes, 3)
    directions = np.reshape(image.GetDirection(), (num_axes, num_axes))[:n, :n]
    affine[:n, :n] = directions * np.array(image.GetSpacing()[:n])
    affine[:n, 3] = image.GetOrigin()[:n]
    to_ras = LPS_TO_RAS @ affine
    pixels, turned = canonical(nibabel.Nifti1Image(to_float32(spatial), to_ras))
    channels = "its 4th axis, or the components of a vector" * (len(pixels) > 1)
    return StoredImage(pixels, turned, header.bits, channels, "".join(nibabel.aff2axcodes(to_ras)))


def _header(path: Path) -> TextHeader:
    header = read_text_header(path)
    if header is None:
        raise ImageError("has no header of MetaImage or NRRD")
    return header


def _check_checksum(path: Path, header: TextHeader) -> None:
    """ITK stops before the checksum of compressed pixels, so that flipped bits become pixels."""
    if header.packed not in _WBITS:
        return
    expected = math.prod(header.claim.shape) * header.bits // 8
    with (header.raw or path).open("rb") as file:
        file.seek(header.start)
        found = sum(map(len, inflated(file, _WBITS[header.packed], expected)))
    if found != expected:
        raise ImageError(f"unpacks to {found:,} bytes, its header claims {expected:,}")
