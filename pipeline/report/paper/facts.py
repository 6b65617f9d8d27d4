"""What the folder of a finished run says, in the form that sentences need."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

import numpy as np
import pandas as pd

from pipeline.arrays import Bools
from pipeline.config.leaf import is_baseline
from pipeline.engine.finished import Finished
from pipeline.evaluation.summary import MetricEntry, Summary
from pipeline.label_names import LabelNames
from pipeline.levels import Level
from pipeline.report.paper.markdown import escaped
from pipeline.splits import Plan
from pipeline.splits.folds import Part
from pipeline.tracking.record import RunRecord

Statement = Callable[["Facts"], str | None]
"""On a run, in Markdown; None where its folder does not say."""


@dataclass(frozen=True)
class Facts:
    """A finished run, asked for what a paper reports."""

    run: Finished

    # --- settings

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        return self.run.settings

    def get(self, key: str) -> Any:
        """The value of a setting, `split.seed`; None in a folder older than the setting."""
        value: Any = self.settings
        for name in key.split("."):
            if not isinstance(value, Mapping) or name not in value:
                return None
            value = value[name]
        return value

    def others(self, group: str, known: Sequence[str]) -> str:
        """Settings of a group that the sentences do not know, so that none is passed over."""
        unused: tuple[object, ...] = (None, False, 0, "", "none", [], {})
        found = self.get(group) or {}
        new = {name: value for name, value in found.items() if name not in known}
        listed = [f"{group}.{name} = {v}" for name, v in new.items() if v not in unused]
        return f" Further settings: {escaped('; '.join(listed))}." if listed else ""

    @property
    def is_baseline(self) -> bool:
        return is_baseline(self.settings["model"])

    # --- folds

    @property
    def plan(self) -> Plan:
        return self.run.folds

    @cached_property
    def results(self) -> Sequence[Mapping[str, Any]]:
        """Of each fold, in order."""
        return [self.run.results[fold] for fold in sorted(self.run.results)]

    @property
    def environment(self) -> Mapping[str, Any]:
        return self.run.environment

    @cached_property
    def record(self) -> RunRecord:
        return RunRecord.load(self.run.dir)

    def num_patients(self, part: Part) -> list[int]:
        """Of each fold's part."""
        return [len(fold.of(part)) for fold in self.plan.folds]

    def num_images(self, part: Part) -> list[int] | None:
        """The same of images; None where tracking.json does not say."""
        key = f"num_images/{part}"
        params = self.record.fold_params
        return [int(of[key]) for of in params] if all(key in of for of in params) else None

    # --- what was tested

    @cached_property
    def classes(self) -> Sequence[str]:
        return self.run.classes

    @property
    def is_multilabel(self) -> bool:
        return isinstance(self.classes, LabelNames)

    @property
    def positive(self) -> str | None:
        """The class that a binary decision is about."""
        return self.classes[1] if len(self.classes) == 2 and not self.is_multilabel else None

    @property
    def summary(self) -> Summary:
        """metrics.json; where an earlier version wrote it, with the intervals of this one."""
        return self.run.numbers

    @property
    def level(self) -> Level:
        """The first that is reported."""
        return self.levels[0]

    @property
    def levels(self) -> list[Level]:
        """From patients to images."""
        return [level for level in get_args(Level) if self.summary.get(level) is not None]

    def entries(self, level: Level) -> Mapping[str, MetricEntry]:
        found: Mapping[str, MetricEntry] = self.summary[level] or {}
        return found

    @cached_property
    def tested_images(self) -> pd.DataFrame:
        """Each tested image once, however often repeats test it."""
        return self.run.images.drop_duplicates(["patient_id", "image_path"])

    @cached_property
    def tested_patients(self) -> pd.DataFrame | None:
        """Each tested patient once, with its label; None where there is no patient level."""
        if self.level != "patient":
            return None
        return self.run.cases("patient").drop_duplicates("patient_id")

    @cached_property
    def num_per_class(self) -> Mapping[Level, Mapping[str, int]]:
        """Tested images and patients of each class."""
        tables: dict[Level, pd.DataFrame | None] = {
            "patient": self.tested_patients,
            "image": self.tested_images,
        }
        return {
            level: self._per_class(of["label"]) for level, of in tables.items() if of is not None
        }

    def _per_class(self, labels: pd.Series) -> dict[str, int]:
        if isinstance(self.classes, LabelNames):
            sums = self.classes.matrix(labels).sum(axis=0)
            return dict(zip(self.classes, map(int, sums), strict=True))
        counts = Counter(labels)
        return {name: counts[name] for name in self.classes}

    def rarest(self, target: int | None = None, *, in_groups: bool = False) -> int:
        """Tested patients, or leakage groups, with or without a class, whichever are fewer.

        At the level that is reported; without `target`, of the class that has the fewest.
        """
        cases = self.run.cases(self.level)
        whose = cases["patient_id"].map(self.plan.groups) if in_groups else cases["patient_id"]
        names = self.classes if target is None else [self.classes[target]]
        sides = [self._has(cases["label"], name) for name in names]
        return min(int(whose[side == has].nunique()) for side in sides for has in (True, False))

    def _has(self, labels: pd.Series, name: str) -> Bools:
        if isinstance(self.classes, LabelNames):
            return self.classes.matrix(labels)[:, self.classes.index(name)]
        return np.asarray(labels == name)
