"""SHA256SUMS: what each file of a bundle was when it was made, in the form of `sha256sum -c`."""

import re
from pathlib import Path

from pipeline.config import UserError
from pipeline.files import sha256, write_whole
from pipeline.words import listed, one_line

FILE_NAME = "SHA256SUMS"
INNER = Path("data") / "bundle"
"""Where a model of MLflow keeps its bundle, with sums of its own."""
ADVICE = "It is not loaded: export it again, or copy it anew from where it was whole."


def seal(folder: Path) -> str:
    """Write the sums of all files below the folder; SHA-256 of the list, which stands for all."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != FILE_NAME)
    lines = [f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    write_whole(folder / FILE_NAME, "".join(lines))
    return sha256(folder / FILE_NAME)


def check_sums(folder: Path) -> None:
    """Is every file that the list names as it was? Others are not looked at, and never opened.

    Raises:
        UserError: there is no such list, or a file is missing or has another byte.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise UserError(f"{folder}: not a bundle of patientfold: it has no {FILE_NAME}")
    problems: dict[str, list[str]] = {"missing": [], "changed": []}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        name = "" if found is None else found[2]
        if found is None or ".." in Path(name).parts or Path(name).is_absolute():
            raise UserError(f"{path}, line {number}: expected a SHA-256 and a file, got {line!r}")
        file = folder / name
        if not file.is_file() or file.is_symlink():
            problems["missing"].append(name)
        elif sha256(file) != found[1]:
            problems["changed"].append(name)
    told = [f"{what}: {listed(names)}" for what, names in problems.items() if names]
    if told:
        text = f"bundle {folder} is not as it was made; {'; '.join(told)}. {ADVICE}"
        raise UserError(one_line(text))
