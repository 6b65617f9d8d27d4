"""Rules for the image paths of a manifest and the files behind them."""

import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd

from pipeline.formats import ImageError, format_of_name
from pipeline.formats.files import checked_format
from pipeline.formats.looks import Looks
from pipeline.formats.table import UnknownFormatError
from pipeline.manifest.findings import Finding
from pipeline.processes import light_context, num_cores, process_pool
from pipeline.words import SHOWN, and_more, counted, one_line

_UNUSUAL = r"(?:^|/)\.{0,2}(?:/|$)|^ | $|[^ -~]"  # \s would be ten times slower
"""What a path has that could be written in another way."""
MANY, CHUNK = 2**17, 2**14
"""Files for which processes of their own pay, and those of one task."""


def duplicate_findings(table: pd.DataFrame) -> Iterator[Finding]:
    """No image is listed twice."""
    paths = table["image_path"]
    unusual = paths[paths.str.contains(_UNUSUAL)]
    tidy = unusual.map(lambda path: posixpath.normpath(path.strip()))
    paths = paths.where(~paths.index.isin(unusual.index), tidy) if len(unusual) else paths
    again = paths.duplicated(keep=False)
    twice = [table["line"][again], paths[again], table["patient_id"][again]]
    seen: dict[str, tuple[int, str]] = {}
    for line, image, patient in zip(*(cells.tolist() for cells in twice), strict=True):
        is_known = image in seen
        first_line, first_patient = seen.setdefault(image, (line, patient))
        if is_known and first_line == line and image != ".":
            text = f"image {image!r} stands in two columns of this line"
            yield Finding("duplicate_image", "error", text, line)
        elif is_known and image != ".":
            whose = "" if patient == first_patient else f", there for patient {first_patient!r}"
            text = f"image {image!r} is already on line {first_line}{whose}"
            yield Finding("duplicate_image", "error", text, line)


def outside_findings(table: pd.DataFrame, image_root: Path) -> Iterator[Finding]:
    """Paths whose text leads out of the image root; links are not followed."""
    # Only a path with one of these marks can leave; the rest is most rows.
    marked = table[table["image_path"].str.contains(r"^/|\.\.|:|\\")]
    for line, image in zip(marked["line"], marked["image_path"], strict=True):
        if _leaves(image.strip(), image_root):
            text = (
                f"image {image!r} lies outside the image root {image_root}; set "
                "manifest.image_root to a folder that holds all images, or "
                "manifest.accept=[outside_image_root]"
            )
            yield Finding("outside_image_root", "error", text, line)


def file_findings(table: pd.DataFrame, image_root: Path, looks: Looks) -> Iterator[Finding]:
    """Every image file is there and its content is of a known format; nothing is decoded.

    A file whose name says another format is read as what it is; of all of them one finding.
    `looks` are what a first look at each showed, and perhaps at others after them.
    """
    misnamed = []
    asked = np.flatnonzero(((looks.size < 0) | looks.is_misnamed)[: len(table)])
    rows = table[["line", "patient_id", "image_path"]].iloc[asked]
    for line, patient, image in rows.itertuples(index=False):
        if not image.strip():
            continue
        path = image_root / image
        try:
            found = checked_format(path)
        except ImageError as error:
            text = f"patient {patient!r}: image {one_line(str(path))}: {error}"
            if "\\" in image and not path.exists():
                text += "; write the path with / instead of \\"
            rule = "unknown_format" if isinstance(error, UnknownFormatError) else "image_file"
            yield Finding(rule, "error", text, line)
            continue
        if format_of_name(path) not in (None, found):
            misnamed.append(f"line {line}: {image!r} is {found.name}")
    if misnamed:
        text = (
            f"{counted(len(misnamed), 'image')} with a name of another format, read by content: "
            f"{and_more(misnamed[:SHOWN], len(misnamed))}"
        )
        yield Finding("misnamed", "warning", text)


@contextmanager
def first_looks(table: pd.DataFrame, image_root: Path) -> Iterator[Callable[[], Looks]]:
    """(N,) at the file of each row, if it is a plain one: taken by processes beside the block if
    they are many, and there once they are asked for in it.
    """
    images, root = table["image_path"].tolist(), str(image_root)
    paths = [image if image[:1] == "/" else f"{root}/{image}" for image in images]
    if len(paths) < MANY:
        yield cache(lambda: Looks.at_files(paths))
        return
    chunks = [paths[row : row + CHUNK] for row in range(0, len(paths), CHUNK)]
    with process_pool(max(1, num_cores() - 1), light_context()) as pool:
        parts = pool.map(Looks.at_files, chunks)
        yield cache(lambda: Looks.joined(parts))


def _leaves(image: str, image_root: Path) -> bool:
    if PureWindowsPath(image).drive:
        return True
    if image.startswith("/"):
        root = posixpath.normpath(image_root.absolute().as_posix())
        return not posixpath.normpath(image).startswith(root.rstrip("/") + "/")
    return posixpath.normpath(image.replace("\\", "/")).split("/")[0] == ".."
