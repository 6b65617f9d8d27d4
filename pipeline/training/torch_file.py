"""A file of torch, read as far as it is numbers and text: no code in it is run."""

import pickle
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import torch


class TorchFileError(Exception):
    """Why a file cannot be read, in one line."""


def read_torch_file(path: Path, device: str, former: bool = False) -> dict[str, Any]:
    """The dictionary that `torch.save` wrote; `former`: also before torch wrote zip files.

    Raises:
        TorchFileError: it is damaged, holds code, or no dictionary.
        torch.OutOfMemoryError: the device has no room for it.
    """
    try:
        if not former or is_zipfile(path):  # torch writes checksums of its tensors, but reads none
            with ZipFile(path) as archive:
                if broken := archive.testzip():
                    raise BadZipFile(f"the checksum of {broken} is wrong")
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
