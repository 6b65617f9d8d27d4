"""The table of samples that everything else is built on, and how its patients are grouped."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.arrays import Bools, Floats, Ints
from pipeline.config import fingerprint
from pipeline.formats.looks import Looks
from pipeline.label_names import LabelNames, matrix_of
from pipeline.levels import Middle
from pipeline.manifest.findings import Finding, by_cause
from pipeline.words import counted, one_line

SEVERAL = "|"
"""Between the paths of a sample's images."""
_TRAINED_ON = ("patient_id", "image_path", "label", "group", "line", "weight")
SMALL_GROUP = 10
"""A group of at most so many patients never stops a command, whatever its share of a small set."""


@dataclass(frozen=True)
class Grouping:
    """How patients were merged into groups."""

    num_groups: int = 0
    num_patients: int = 0
    joins: Mapping[str, int] = field(default_factory=dict)
    """Key -> by how many that key alone lowers the number of groups; keys may overlap."""
    largest_name: str = ""
    largest_num_patients: int = 0
    largest_sample: tuple[str, ...] = ()
    """Some patients of the largest group."""
    commonest_file: str = ""
    """The file that most rows show, in words; empty when no two rows show the same."""
    largest_share: float = 1.0
    """Share of all patients that one group may hold (`manifest.largest_group`)."""

    def describe(self) -> list[str]:
        """Lines for the console: how many groups, what made them, and the largest."""
        groups = counted(self.num_groups, "leakage group")
        total = f"{groups} of {counted(self.num_patients, 'patient')}"
        if self.num_groups == self.num_patients:
            return [f"{total}: nothing links two of them"]
        sample = " = ".join(map(one_line, self.largest_sample))
        more = " = ..." if self.largest_num_patients > len(self.largest_sample) else ""
        return [
            f"{total} (joined by {self.made_by()})",
            f"the largest group {self.largest_name!r} holds {self.largest_num_patients} patients: "
            f"{sample}{more}",
        ]

    def made_by(self) -> str:
        """The keys that joined patients, and how often."""
        return ", ".join(f"{key} {num}" for key, num in self.joins.items() if num)

    def problem(self) -> str:
        """That one group holds more than its share, and more than SMALL_GROUP; else nothing."""
        if self.largest_num_patients <= max(SMALL_GROUP, self.largest_share * self.num_patients):
            return ""
        sample = ", ".join(map(one_line, self.largest_sample))
        share = self.largest_num_patients / self.num_patients
        file = f" ({self.commonest_file})" if self.joins.get("identical files") else ""
        return (
            f"one leakage group holds {self.largest_num_patients} of {self.num_patients} patients "
            f"({share:.1%}; allowed {self.largest_share:.1%}): {sample}, ...; joined by "
            f"{self.made_by()}{file}; look for a key or a file that does not mean the same "
            f"person, or allow it with manifest.largest_group={min(1.0, share + 0.005):.2f}"
        )


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
    looks: Looks = field(default_factory=Looks)
    """What a first look at the files showed, by line."""
    twin_digests: tuple[str | None, ...] = ()
    """(N,) digest of each file that has a byte-identical twin, None for the others."""
    true_names: Mapping[str, str] = field(default_factory=dict)
    """Pseudonym -> the patient or image path in the CSV; empty without `privacy.pseudonyms`. Never
    written anywhere."""
    ids_in_csv: Mapping[str, str] = field(default_factory=dict)
    """The CSV's image path -> its patient id there; empty without `manifest.patient_pattern`."""
    image_columns: tuple[str, ...] = ("image_path",)
    """The CSV's columns of a sample's images; of several, `image_path` holds all paths, with |
    between them."""
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
        return [str(f) for f in by_cause(self.findings) if f.severity == "warning"]

    def column(self, name: str) -> str | None:
        """What `table` calls the CSV's column `name`; None when there is none."""
        ours = self.names.get(name, name)
        return ours if ours in self.table and ours not in ("line", "group") else None

    def name_of(self, column: str) -> str:
        """What the CSV calls a column of `table`."""
        return next((theirs for theirs, ours in self.names.items() if ours == column), column)

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
    def labels(self) -> Ints:
        """(N,) class index of each sample; multilabel: (N, L) 1 for each label that it has."""
        if isinstance(self.classes, LabelNames):
            return self.classes.matrix(self.table["label"]).astype(np.int64)
        return pd.Index(self.classes).get_indexer(pd.Index(self.table["label"])).astype(np.int64)

    @cached_property
    def has_class(self) -> Bools:
        """(N, C) which classes each sample has: one, or any number of labels."""
        return matrix_of(self.classes, self.labels)

    @property
    def is_multilabel(self) -> bool:
        return isinstance(self.classes, LabelNames)

    @cached_property
    def weights(self) -> Floats:
        """(N,) what each image counts in the training loss (`manifest.columns.weight`); else 1."""
        if "weight" not in self.table:
            return np.ones(len(self.table))
        return self.table["weight"].to_numpy(dtype=np.float64)

    @cached_property
    def image_files(self) -> list[Path]:
        """(N,) where each sample's image lies; of several the first."""
        return [files[0] for files in self.image_sets]

    @cached_property
    def image_sets(self) -> list[tuple[Path, ...]]:
        """(N,) where all images of each sample lie, in the order of `image_columns`."""
        return [self.files_of(path) for path in self.table["image_path"]]

    def files_of(self, image_path: str) -> tuple[Path, ...]:
        """Where the images lie that `table` calls so."""
        true = self.true_names.get(image_path, image_path)
        paths = true.split(SEVERAL) if len(self.image_columns) > 1 else [true]
        return tuple(self.image_root / path for path in paths)

    @property
    def images(self) -> pd.DataFrame:
        """`table`, with a row for each image of a sample that has several."""
        if len(self.image_columns) == 1:
            return self.table
        paths = self.table["image_path"].str.split(SEVERAL, regex=False)
        return self.table.assign(image_path=paths).explode("image_path", ignore_index=True)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of what a plan depends on: patients, images, labels, groups, classes."""
        names = ("patient_id", "image_path", "label", "group")
        rows = list(zip(*(self.table[name].tolist() for name in names), strict=True))
        task = ["multilabel"] * self.is_multilabel
        return fingerprint([list(self.classes), rows, *task])

    def of(self, patients: Collection[str]) -> Ints:
        """Row numbers of the samples of `patients`, ascending, without purged ones."""
        codes, ids = self._patient_codes
        known = ids.get_indexer(pd.Index(list(patients), dtype=object))
        is_wanted = np.zeros(len(ids) + 1, bool)
        is_wanted[known] = True
        is_wanted[-1] = False  # where nobody has the id
        rows = np.flatnonzero(is_wanted[codes])
        return rows[~np.isin(rows, list(self.purged))] if self.purged else rows

    def with_purged(self, rows: Collection[int]) -> "Manifest":
        """The manifest with these rows purged; itself, with all it has counted, where they are."""
        purged = frozenset(rows)
        return self if purged == self.purged else replace(self, purged=purged)

    def without(self, rows: Collection[int]) -> "Manifest":
        """The manifest without these rows; the others keep their groups, which are counted anew."""
        if not rows and not self.purged:
            return self
        table = self.table.drop(index=sorted(rows)).reset_index(drop=True)
        twins = tuple(twin for row, twin in enumerate(self.twin_digests) if row not in rows)
        grouping = self.grouping
        if "group" in table and len(table):
            members = table[["group", "patient_id"]].drop_duplicates()
            sizes = members.groupby("group").size()
            largest = str(sizes.idxmax())
            of_largest = members["patient_id"][members["group"] == largest].tolist()
            grouping = replace(
                grouping,
                num_groups=len(sizes),
                num_patients=table["patient_id"].nunique(),
                largest_name=largest,
                largest_num_patients=len(of_largest),
                largest_sample=tuple(of_largest[: len(grouping.largest_sample)]),
            )
        return replace(self, table=table, twin_digests=twins, grouping=grouping, purged=frozenset())

    @cached_property
    def _patient_codes(self) -> tuple[Ints, pd.Index]:
        """(N,) a number for each row's patient, and the ids that they stand for."""
        codes, ids = pd.factorize(self.table["patient_id"].to_numpy(object))
        return codes, pd.Index(ids, dtype=object)

    def for_training(self, middle: Middle | None) -> "Manifest":
        """The same rows, of which only what a fold's worker needs is left; `middle` is a column."""
        columns = [*_TRAINED_ON, *([middle] if middle else [])]
        table = self.table[[name for name in columns if name in self.table]]
        return Manifest(
            self.path,
            self.image_root,
            self.classes,
            table,
            names=self.names,
            image_columns=self.image_columns,
            purged=self.purged,
        )

    def num_per_class(self, rows: Ints) -> Ints:
        """(C,) images of each class among `rows`."""
        numbers: Ints = self.has_class[rows].sum(axis=0, dtype=np.int64)
        return numbers

    def num_patients_per_class(self, rows: Ints) -> Ints:
        """(C,) patients that have at least one image of each class among `rows`."""
        patients = self._patient_codes[0][rows]
        sample, code = np.nonzero(self.has_class[rows])
        pairs = np.unique(patients[sample] * len(self.classes) + code)
        counts = np.bincount(pairs % len(self.classes), minlength=len(self.classes))
        return counts.astype(np.int64)

    def describe(self) -> list[str]:
        """Lines: how many images and patients of which class, and how they are grouped."""
        rows = self.of(self.patients)
        numbers = zip(self.num_per_class(rows), self.num_patients_per_class(rows), strict=True)
        per_class = ", ".join(
            f"{one_line(name)} {counted(images, 'image')} of {counted(patients, 'patient')}"
            for name, (images, patients) in zip(self.classes, numbers, strict=True)
        )
        total = f"{counted(len(rows), 'image')} of {counted(len(self.patients), 'patient')}"
        lines = [f"manifest {one_line(str(self.path))}: {total}", f"  {per_class}"]
        if self.is_multilabel:
            number = int((~self.has_class[rows].any(axis=1)).sum())
            lines.append(f"  none of these labels: {counted(number, 'image')}")
        elif len(self.classes) == 2:
            lines.append(f"  positive class: {self.classes[1]!r} (manifest.classes)")
        if self.purged:
            lines.append(f"  purged besides: {counted(len(self.purged), 'image')}")
        if self.num_left_out:
            lines.append(f"  left out: {counted(self.num_left_out, 'row')} without a label")
        return [*lines, *(f"  {line}" for line in self.grouping.describe())]
