"""What a node of a cluster does: look whether it has what the command has, and train a fold."""

import hashlib
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

from pipeline.engine import local
from pipeline.files import BLOCK, open_plain
from pipeline.training.job import FoldJob
from pipeline.words import one_line

PACKAGES = ("torch", "monai", "numpy", "pandas", "scikit-learn")
"""On whose versions a fold's numbers depend."""
PATIENCE_S = 5.0
"""A file system of many machines may show a new file late."""


@dataclass(frozen=True)
class Needed:
    """What a node must have, so that a fold does not know on which it trains."""

    code: str
    versions: Mapping[str, str]
    folder: Path
    """In which the command was given; all settings' paths start there."""
    files: Mapping[Path, str]
    """Absolute paths -> `stamp`."""
    written: tuple[Path, ...] = ()
    """Folders to write in."""

    @classmethod
    def of(cls, files: Sequence[Path], written: Sequence[Path] = ()) -> "Needed":
        """As they are on this machine."""
        stamps = {path.absolute(): stamp(path) for path in files}
        folders = tuple(path.absolute() for path in written)
        return cls(code(), versions(), Path.cwd(), stamps, folders)

    def missing(self) -> str:
        """What of it this machine lacks, in one line; "" for nothing."""
        if self.versions != (here := versions()):
            name = next(name for name in self.versions if self.versions[name] != here[name])
            return f"has {name} {here[name]}, and the command {self.versions[name]}"
        if self.code != code():
            return (
                f"has other code of patientfold {here['patientfold']} than the command; install "
                "the same on both"
            )
        if not self.folder.is_dir():
            return f"does not see {one_line(str(self.folder))}, where the command was given"
        deadline = time.monotonic() + PATIENCE_S
        while differ := [path for path, of in self.files.items() if stamp(path) != of]:
            if time.monotonic() >= deadline:
                state = "sees another" if differ[0].exists() else "does not see"
                return f"{state} {one_line(str(differ[0]))}"
            time.sleep(0.2)
        for folder in self.written:
            if not os.access(folder, os.W_OK | os.X_OK):
                return f"cannot write in {one_line(str(folder))}"
        return ""


def train(job: FoldJob, folder: Path) -> str:
    """Train one fold in a process of its own; why it failed, in one line, "" when it is done."""
    os.chdir(folder)
    with _no_script():
        failures = local.run_folds([job], [job.device], lambda _running: None)
    return failures.get(job.fold.index, "")


@contextmanager
def _no_script() -> Iterator[None]:
    """The process of a fold imports the script of the one that starts it: not that of a cluster."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def stamp(path: Path) -> str:
    """Differs for files of another size or another beginning; "" for one that cannot be read."""
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            return f"{size} {hashlib.sha256(file.read(BLOCK)).hexdigest()}"
    except OSError:
        return ""


def versions() -> dict[str, str]:
    """Of Python and the packages that count; builds for a CPU and a GPU are of one version."""
    found = {"Python": platform.python_version()}
    for name in ("patientfold", *PACKAGES):
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            found[name] = "(not installed)"
    return found


@cache
def code() -> str:
    """Hex SHA-256 of the package's own code."""
    package, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
