"""In what two runs differ: settings that their numbers depend on, other settings, and software."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import UserError, defaults, distinctive
from pipeline.config.plain import flatten
from pipeline.engine.finished import Finished
from pipeline.engine.soundness import check_config, read_environment
from pipeline.files import refuse_foreign_files

ABSENT = "-"
OF_A_COMMAND = ("folds", "run_dir")
"""Settings of one command, not of the run."""


@dataclass(frozen=True)
class Difference:
    """A setting, and its text in either run; ABSENT where it has none."""

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Differences:
    numbers: tuple[Difference, ...]
    """What the numbers depend on: data, plan, pixels and code of plugins are there as hashes."""
    other: tuple[Difference, ...]
    """Where a run is kept, on what it was trained, what it is called."""
    software: tuple[Difference, ...]

    @property
    def is_same(self) -> bool:
        """Whether they are the same cross-validation."""
        return not self.numbers


def differences(first: Path, second: Path) -> Differences:
    """Of two run folders, which may be of different versions: what one of them did not know yet
    has its default there.

    Raises:
        UserError: one is no run folder, or its settings were changed by hand.
    """
    environments = [_environment(run_dir) for run_dir in (first, second)]
    identities = [environment["identity"] for environment in environments]
    usual = dict(flatten(defaults(), ""))
    one, two = (distinctive(of) for of in identities)
    numbers = _differing(one, two, [usual | of for of in identities])
    settings = [usual | dict(flatten(Finished(of).settings, "")) for of in (first, second)]
    counted = identities[0].keys() | identities[1].keys() | {*OF_A_COMMAND}
    others = [{n: text for n, text in of.items() if n not in counted} for of in settings]
    software = [dict(_software(of)) for of in environments]
    other = _differing(others[0], others[1], others)
    return Differences(numbers, other, _differing(software[0], software[1], software))


def _differing(
    first: Mapping[str, str], second: Mapping[str, str], shown: Sequence[Mapping[str, str]]
) -> tuple[Difference, ...]:
    names = sorted(first.keys() | second.keys())
    return tuple(
        Difference(name, *(of.get(name, ABSENT) for of in shown))
        for name in names
        if first.get(name) != second.get(name)
    )


def _environment(run_dir: Path) -> dict[str, Any]:
    if not (run_dir / "environment.json").exists():
        where = "no such folder" if not run_dir.is_dir() else "not the folder of a run"
        raise UserError(f"run folder {run_dir}: {where} (searched from {Path.cwd()})")
    refuse_foreign_files(run_dir)
    check_config(run_dir)
    return read_environment(run_dir)


def _software(environment: Mapping[str, Any]) -> dict[str, str]:
    names = ("git_commit", "python", "platform", "num_cores", "packages", "plugins")
    return dict(flatten({name: environment.get(name) or ABSENT for name in names}, ""))
