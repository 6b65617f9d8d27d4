"""Who a manifest is about: classes, patients, images of each, sites."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.arrays import Bools
from pipeline.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Counts only; C classes."""

    classes: tuple[str, ...]
    is_multilabel: bool
    num_images: int
    num_patients: int
    num_independent: int
    """Leakage groups: patients who share a study or an image count once."""
    images_per_class: tuple[int, ...]
    """(C,)"""
    independent_per_class: tuple[int, ...]
    """(C,) groups with an image of the class; of labels the smaller number of those with and
    without it."""
    median_images: float
    """Of a patient."""
    num_effective: float
    """Patients, counted by what each gives of the images (Kish 1965)."""
    num_mixed: int
    """Patients whose images have different labels."""
    positive_share: float
    """Two classes: share of positive images among those of a patient who has one; the median."""
    count_auroc: float
    """Two classes: how well the number of images alone tells patients with a positive image from
    the others; 0.5 for none, and where it cannot be computed."""
    num_unlabelled: int = 0
    """Rows that are left out."""
    num_sites: int = 0
    num_one_class_sites: int = 0
    """Sites all of whose images have the same label."""

    @property
    def rarest(self) -> int:
        """The class with the fewest independent patients."""
        return int(np.argmin(self.independent_per_class))

    @property
    def rarest_share(self) -> float:
        """Of the images: the class with the fewest."""
        total = self.num_images if self.is_multilabel else sum(self.images_per_class)
        return min(self.images_per_class) / total


def cohort_of(manifest: Manifest) -> Cohort:
    """Count a manifest's rows."""
    table, has_class = manifest.samples, manifest.has_class[manifest.samples.index.to_numpy()]
    images = table.groupby("patient_id").size()
    positive_share, count_auroc = _positives(table, has_class)
    sites = _classes_of_sites(table)
    labels = table.groupby("patient_id")["label"].nunique()
    return Cohort(
        classes=tuple(manifest.classes),
        is_multilabel=manifest.is_multilabel,
        num_images=len(table),
        num_patients=len(images),
        num_independent=table["group"].nunique(),
        images_per_class=tuple(has_class.sum(axis=0).tolist()),
        independent_per_class=_independent(manifest, table["group"], has_class),
        median_images=float(images.median()),
        num_effective=float(images.sum() ** 2 / (images**2).sum()),
        num_mixed=int((labels > 1).sum()),
        positive_share=positive_share,
        count_auroc=count_auroc,
        num_unlabelled=manifest.num_left_out,
        num_sites=len(sites),
        num_one_class_sites=int((sites == 1).sum()),
    )


def _independent(manifest: Manifest, groups: "pd.Series[str]", has_class: Bools) -> tuple[int, ...]:
    found = []
    for has in has_class.T:
        number = groups[has].nunique()
        found.append(min(number, groups[~has].nunique()) if manifest.is_multilabel else number)
    return tuple(found)


def _classes_of_sites(table: pd.DataFrame) -> "pd.Series[int]":
    """How many labels each site has; of no site where there is no such column."""
    if "site" not in table:
        return pd.Series(dtype=int)
    known = table[table["site"].str.strip() != ""]
    return known.groupby("site")["label"].nunique()


def _positives(table: pd.DataFrame, has_class: Bools) -> tuple[float, float]:
    """`Cohort.positive_share` and `Cohort.count_auroc`."""
    if has_class.shape[1] != 2:
        return 1.0, 0.5
    patients = pd.Series(has_class[:, 1], index=table.index).groupby(table["patient_id"])
    share, number = patients.mean(), patients.size()
    positive = share > 0
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return float(share[positive].median()) if num_positive else 1.0, 0.5
    ranks = float(number.rank()[positive].sum())
    above = ranks - num_positive * (num_positive + 1) / 2
    return float(share[positive].median()), above / (num_positive * num_negative)
