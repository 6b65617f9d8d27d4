"""Small DICOM files for the tests."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

AXIAL = (1, 0, 0, 0, 1, 0)


def write_dicom(path: Path, array: NDArray[Any], **tags: Any) -> Path:
    """A file with these stored pixels, (H, W), (D, H, W) or (H, W, 3); tag None removes it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID(f"1.2.{zlib.crc32(str(path).encode())}")
    meta.TransferSyntaxUID = tags.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    colour = array.ndim == 3 and array.shape[-1] == 3
    rows_first = array.ndim == 2 or colour
    facts: dict[str, Any] = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "PatientID": "P1",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "StudyDate": "20200131",
        "Modality": "CT",
        "Rows": array.shape[0 if rows_first else 1],
        "Columns": array.shape[1 if rows_first else 2],
        "SamplesPerPixel": 3 if colour else 1,
        "PlanarConfiguration": 0 if colour else None,
        "NumberOfFrames": None if rows_first else array.shape[0],
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": array.dtype.itemsize * 8,
        "BitsStored": array.dtype.itemsize * 8,
        "HighBit": array.dtype.itemsize * 8 - 1,
        "PixelRepresentation": int(array.dtype.kind == "i"),
        "PixelData": array.tobytes() + b"\0" * (array.nbytes % 2),
    }
    for name, value in (facts | tags).items():
        if value is not None:
            setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    volume: NDArray[Any],
    gap: float = 2.5,
    names: Sequence[str] | None = None,
    **tags: Any,
) -> Path:
    """One file a slice of a (D, H, W) volume, at z = 0, gap, 2 gap, ... in axial orientation."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, plane in enumerate(volume):
        name = names[number] if names else f"{number:03d}"
        position = {"ImagePositionPatient": [-10.0, -20.0, number * gap]}
        orientation = {"ImageOrientationPatient": list(AXIAL), "PixelSpacing": [0.5, 0.75]}
        write_dicom(folder / f"{name}.dcm", plane, **(position | orientation | tags))
    return folder


def ramp(shape: tuple[int, ...], dtype: DTypeLike = np.int16) -> NDArray[Any]:
    """0, 1, 2, ... in this shape."""
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)
