"""A user's own packages, named in `plugins`: found without being imported, and told apart."""

import hashlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.config.leaf import PACKAGES, is_within, mappings
from pipeline.config.sections import Target
from pipeline.errors import ConfigError

TAKEN = {package.split(".")[0] for package in PACKAGES} | set(sys.stdlib_module_names)


def plugin_problems(names: Iterable[str]) -> Iterator[str]:
    """Names that cannot be plugins: no module, one that is checked already, or Python's own."""
    for name in names:
        if not re.fullmatch(r"[A-Za-z]\w*", name) or name in TAKEN:
            yield (
                f"plugins: must name packages or modules of yours, e.g. my_lab for ./my_lab.py, "
                f"got {name!r}"
            )
        elif not _files(name):
            yield (
                f"plugins: there is no module {name!r}: neither ./{name}.py nor an installed "
                "package"
            )


def plugin_facts(name: str) -> dict[str, str]:
    """A plugin's place, the SHA-256 of its code, and its version if it is installed."""
    if problems := list(plugin_problems([name])):
        raise ConfigError(problems)
    files = _files(name)
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(files[0].parent).as_posix()}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    facts = {"file": str(files[0]), "sha256": digest.hexdigest()}
    try:
        return facts | {"version": version(name)}
    except PackageNotFoundError:
        return facts


def plugin_hashes(leaves: Iterable[Target | None]) -> list[str]:
    """SHA-256 of each plugin that a leaf names, in the order of their names."""
    found = [mapping for leaf in leaves for _, mapping in mappings(leaf, "")]
    targets = [str(mapping["_target_"]) for mapping in found if "_target_" in mapping]
    names = {target.split(".")[0] for target in targets if not is_within(target, PACKAGES)}
    return [plugin_facts(name)["sha256"] for name in sorted(names)]


def make_importable() -> None:
    """Let modules of the current folder be found, after everything that is installed."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def _files(name: str) -> list[Path]:
    """The module's file, or `__init__.py` and then the other Python files of a package."""
    make_importable()
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return []
    first = Path(spec.origin)
    if spec.submodule_search_locations is None:
        return [first]
    return [first, *sorted(path for path in first.parent.rglob("*.py") if path != first)]
