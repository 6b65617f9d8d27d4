"""A file of torch, read as far as it is numbers and text: no code in it is run."""

import pickle
import warnings
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch

ZIPPED, PICKLED = b"PK", b"\x80"
"""How files of `torch.save` begin, today and before."""


class TorchFileError(Exception):
    """Why a file cannot be read, in one line."""


def read_torch_file(path: Path, device: str, former: bool = False) -> dict[str, Any]:
    """The dictionary that `torch.save` wrote; `former`: also before torch wrote zip files.

    Raises:
        TorchFileError: it is damaged, holds code, or no dictionary.
        torch.OutOfMemoryError: the device has no room for it.
    """
    try:
        with path.open("rb") as file:
            begins = file.read(2)
        if former and not begins.startswith((ZIPPED, PICKLED)):
            raise TypeError("torch.save did not write it")
        if former and begins == ZIPPED and not is_zipfile(path):
            raise BadZipFile("it is damaged, or its end is missing")
        if not former or begins == ZIPPED:  # torch writes checksums of its tensors, but reads none
            with ZipFile(path) as archive:
                if broken := archive.testzip():
                    raise BadZipFile(f"the checksum of {broken} is wrong")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle that is newer than torch expects
            state = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state, dict):
            raise TypeError("it holds no dictionary of weights")
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (a damaged file makes torch raise almost anything)
        reason = first_line(error)
        if isinstance(error, pickle.UnpicklingError):  # torch's advice is to run the code in it
            reason = "it holds something other than numbers and text, and is not opened further"
        raise TorchFileError(reason) from None
    return state


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]
