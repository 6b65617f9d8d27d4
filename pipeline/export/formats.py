"""In which form a model is handed over: each is a module with one function, and a line here."""

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pipeline.export.handover import Handover

Write = Callable[["Handover", Path], list[str]]
"""Fills an empty folder with a whole bundle; lines that say how it is used."""

FORMATS: Mapping[str, str] = {
    "folder": "pipeline.export.to_folder",
    "onnx": "pipeline.export.to_onnx",
    "torch_export": "pipeline.export.to_torch_export",
    "mlflow": "pipeline.export.to_mlflow",
}
"""Name -> the module, whose function is `write`; it may import torch."""


def known_format(name: str) -> str:
    """ValueError for a format that does not exist."""
    if name not in FORMATS:
        raise ValueError(f"must be one of {', '.join(FORMATS)}")
    return name


def writer(name: str) -> Write:
    """The function that writes a format."""
    return cast(Write, import_module(FORMATS[name]).write)
