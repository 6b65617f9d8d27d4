"""Image files below a folder, and what their paths say."""

import os
import re
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import NoReturn

from pipeline.errors import UserError
from pipeline.formats import format_of_name
from pipeline.formats.table import image_suffix
from pipeline.making.label_table import Row
from pipeline.making.patterns import Pattern
from pipeline.words import SHOWN, and_more, counted, listed

DOCUMENT = re.compile(r"\.(csv|tsv|xlsx?|json|xml|ya?ml|txt|md|log|html|pdf|docx|ini|db)$", re.I)
"""Files that lie beside images and are none; any other could be an image."""
KINDS_SHOWN = 8


def paths_below(root: Path) -> list[str]:
    """Every file below root as a path with forward slashes, sorted; hidden ones are left out.

    Raises:
        UserError: root is no folder, or names cannot be written in a CSV.
        OSError: a folder cannot be opened, so that nobody knows what is in it.
    """
    if not root.is_dir():
        raise UserError(f"root: {root} is not a folder (searched from {Path.cwd()})")
    found = []
    above = {
        str(root): [os.path.realpath(root)]
    }  # where each folder really lies, and those above it
    for folder, folders, names in os.walk(root, onerror=_raised, followlinks=True):
        within = above.pop(folder)
        places = {n: os.path.realpath(Path(folder) / n) for n in folders if not n.startswith(".")}
        folders[:] = [name for name, place in places.items() if place not in within]  # no loops
        above |= {os.path.join(folder, n): [*within, places[n]] for n in folders}  # noqa: PTH118
        below = Path(folder).relative_to(root)
        found += [(below / name).as_posix() for name in names if not name.startswith(".")]
    found.sort()
    if strange := [ascii(path) for path in found if path.encode(errors="ignore").decode() != path]:
        raise UserError(
            f"root: {counted(len(strange), 'file')} below {root} with a name that is not UTF-8: "
            f"{and_more(strange[:SHOWN], len(strange))}; rename them"
        )
    return found


def _raised(error: OSError) -> NoReturn:
    raise error


def rows_of_tree(paths: list[str], pattern: Pattern, skip_unmatched: bool) -> list[Row]:
    """A row for every path that fits; documents never fit."""
    others = [path for path in paths if not DOCUMENT.search(path)]
    found = dict(zip(others, pattern.parts_of(others), strict=True))
    rows = [{"image_path": path} | parts for path, parts in found.items() if parts is not None]
    unmatched = [path for path, parts in found.items() if parts is None]
    if not rows or (unmatched and not skip_unmatched):
        raise UserError(_unmatched(list(found), unmatched, pattern))
    return rows


def rows_of_classes(paths: list[str], patient: Pattern) -> list[Row]:
    """A row for every image `class/.../name`: label = first folder, patient from the name."""
    images = [path for path in paths if format_of_name(Path(path))]
    strays = [path for path in images if "/" not in path]
    inside = [path for path in images if "/" in path]
    parts_of = patient.parts_of([PurePosixPath(path).name for path in inside])
    found = dict(zip(inside, parts_of, strict=True))
    unmatched = [path for path, parts in found.items() if parts is None]
    problems = []
    if strays:
        problems.append(f"{counted(len(strays), 'image')} in no class folder: {listed(strays)}")
    if unmatched:
        problems.append(
            f"patient={patient.text!r} does not fit the name of {len(unmatched)} of "
            f"{counted(len(images), 'image')}: {listed(unmatched)}"
        )
    if not images:
        problems.append(f"no image files; found {_by_suffix(paths) or 'nothing'}")
    if problems:
        raise UserError("source=classes: " + "; ".join(problems))
    return [
        {"image_path": path} | parts | {"label": path.partition("/")[0]}
        for path, parts in found.items()
        if parts is not None
    ]


def left_out(kinds: dict[str, str]) -> str:
    """How many files of each kind are left out, and one of each; `kinds`: path -> kind."""
    examples = {kind: path for path, kind in reversed(kinds.items())}
    counts = Counter(kinds.values()).most_common()
    shown = [f"{num} {kind} (e.g. {examples[kind]})" for kind, num in counts[:KINDS_SHOWN]]
    if len(counts) > KINDS_SHOWN:
        shown.append(f"{sum(num for _, num in counts[KINDS_SHOWN:])} of other kinds")
    return f"{counted(len(kinds), 'file')} left out: {', '.join(shown)}"


def _unmatched(paths: list[str], unmatched: list[str], pattern: Pattern) -> str:
    if not paths:
        return "root: holds no files that could be images"
    if len(unmatched) < len(paths):
        advice = "skip_unmatched=true leaves them out"
    elif not pattern.text.endswith(tuple({image_suffix(Path(path)) for path in paths})):
        advice = "the pattern must end as the files do"
    elif pattern.text.count("/") < max(path.count("/") for path in paths):
        advice = "the pattern starts at root: begin it with **/ to allow any folders"
    else:
        advice = "a part {name} holds no slash; the text around the parts must be the same"
    return (
        f"pattern {pattern.text!r} does not fit {len(unmatched)} of {counted(len(paths), 'file')} "
        f"({_by_suffix(unmatched)}): {listed(unmatched)}; {advice}"
    )


def kind_of(path: str) -> str:
    """What a file left out is called: its suffix."""
    return image_suffix(Path(path)) or "no suffix"


def _by_suffix(paths: list[str]) -> str:
    counts = Counter(map(kind_of, paths))
    return ", ".join(f"{num} {suffix}" for suffix, num in counts.most_common(5))
