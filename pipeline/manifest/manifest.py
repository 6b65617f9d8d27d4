"""The table of samples that everything else is built on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.config import UserError, fingerprint
from pipeline.manifest.findings import Finding
from pipeline.manifest.grouping import Grouping

PROBLEMS_SHOWN = 50


class ManifestError(UserError):
    """Every problem of a manifest at once."""

    def __init__(self, path: Path | str, problems: list[str], hint: str = "") -> None:
        shown = [f"  {problem}" for problem in problems[:PROBLEMS_SHOWN]]
        hidden = len(problems) - len(shown)
        more = [f"  and {hidden} more"] if hidden else []
        advice = [f"  hint: {hint}"] if hint else []
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"manifest {path}: {count}", *shown, *more, *advice]))
        self.problems = problems
        self.findings: tuple[Finding, ...] = ()

    @classmethod
    def of(cls, path: Path | str, findings: Sequence[Finding], hint: str = "") -> "ManifestError":
        """The error that lists these findings; it keeps them in `findings`."""
        error = cls(path, [str(finding) for finding in findings], hint)
        error.findings = tuple(findings)
        return error


@dataclass(frozen=True)
class Manifest:
    """Samples in canonical order (patient id, then image path), whatever the CSV's row order.

    `table` has the columns patient_id, image_path, label, group, line, and every other column
    of the CSV as text; its index is 0..N-1. Rows with one `group` must stay together.
    """

    path: Path
    image_root: Path
    classes: tuple[str, ...]
    table: pd.DataFrame
    left_out: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Rows without a label that were left out on request; they still link patients."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The CSV's names of columns -> what `table` calls them, where that differs."""
    findings: tuple[Finding, ...] = ()
    """Warnings and notes of the lint; an error would have stopped it."""
    grouping: Grouping = field(default_factory=Grouping)
    """How many groups there are and which keys made them."""
    twin_digests: tuple[str | None, ...] = ()
    """(N,) digest of each file that has a byte-identical twin, None for the others."""
    purged: frozenset[int] = frozenset()
    """Row numbers that no part may hold, e.g. too early for their patient's period; the rows stay
    in `table`, which is aligned with the packed images."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def num_left_out(self) -> int:
        return len(self.left_out)

    @property
    def warnings(self) -> list[str]:
        """The findings that deserve a look."""
        return [str(finding) for finding in self.findings if finding.severity == "warning"]

    def column(self, name: str) -> str | None:
        """What `table` calls the CSV's column `name`; None when there is none."""
        ours = self.names.get(name, name)
        return ours if ours in self.table and ours not in ("line", "group") else None

    def name_of(self, column: str) -> str:
        """What the CSV calls a column of `table`."""
        theirs = {ours: name for name, ours in self.names.items()}
        return theirs.get(column, column)

    @property
    def column_names(self) -> list[str]:
        """The columns as the CSV calls them."""
        return [self.name_of(str(c)) for c in self.table if c not in ("line", "group")]

    @cached_property
    def patients(self) -> tuple[str, ...]:
        """All patient ids that have a row in use, sorted."""
        return tuple(sorted(self.samples["patient_id"].unique()))

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The rows of `table` that are not purged."""
        return self.table.drop(index=sorted(self.purged)) if self.purged else self.table

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class index of each sample."""
        index = pd.Index(self.classes).get_indexer(pd.Index(self.table["label"]))
        return np.asarray(index, dtype=np.int64)

    @cached_property
    def image_files(self) -> list[Path]:
        """(N,) where each sample's image lies."""
        return [self.image_root / path for path in self.table["image_path"]]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of what a plan depends on: patients, images, labels, groups, classes."""
        rows = self.table[["patient_id", "image_path", "label", "group"]]
        return fingerprint([list(self.classes), rows.to_numpy().tolist()])

    def of(self, patients: Collection[str]) -> NDArray[np.int64]:
        """Row numbers of the samples of `patients`, ascending, without purged ones."""
        rows = np.flatnonzero(self.table["patient_id"].isin(list(patients)).to_numpy())
        return rows[~np.isin(rows, list(self.purged))] if self.purged else rows

    def num_per_class(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(C,) images of each class among `rows`."""
        counts = np.bincount(self.labels[rows], minlength=len(self.classes))
        return counts.astype(np.int64)

    def num_patients_per_class(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(C,) patients that have at least one image of each class among `rows`."""
        part = self.table.iloc[rows]
        counts = part.groupby("label", observed=True)["patient_id"].nunique()
        return np.array([int(counts.get(c, 0)) for c in self.classes], dtype=np.int64)
