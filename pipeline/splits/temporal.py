"""Who was seen last is tested: parts are periods of time, cut by one or two dates."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.arrays import Ints
from pipeline.config import SplitConfig, UserError
from pipeline.manifest import Manifest
from pipeline.splits.balance import Quantities
from pipeline.splits.deal import carved
from pipeline.splits.folds import PARTS, LeakageError, Plan

Cuts = tuple[str, ...]
"""First days (YYYY-MM-DD) of the test period, or of the validation and the test period."""


def cuts_of(split: SplitConfig) -> Cuts:
    """The cuts that the settings ask for.

    Raises:
        UserError: when validation does not begin before the test.
    """
    cuts = tuple(day for day in (split.val_from, split.test_from) if day)
    if list(cuts) != sorted(set(cuts)):
        raise UserError(f"split.val_from={split.val_from} must be before {split.test_from}.")
    return cuts


def purged_manifest(manifest: Manifest, cuts: Cuts) -> Manifest:
    """Without the images of a group that are earlier than the period of its latest image.

    A group goes to the period of its latest image; its earlier ones would be look-ahead's mirror
    image: the same patient in the time that others are trained on.
    """
    if "date" not in manifest.table:
        raise UserError(f"split.scheme=temporal: {manifest.path} has no date column.")
    period, latest = _periods(manifest, cuts)
    return replace(manifest, purged=frozenset(np.flatnonzero(period < latest).tolist()))


def temporal_rounds(
    manifest: Manifest, names: list[str], quantities: Quantities, free: Ints, split: SplitConfig
) -> Iterator[tuple[Ints, Ints]]:
    """The one fold's (test, val): positions of groups among `names`, of which `free` are in use.

    Raises:
        UserError: when a period is empty.
    """
    latest = manifest.samples.groupby("group")["date"].max().reindex(names).to_numpy()[free]
    assert split.test_from is not None
    test = free[latest >= split.test_from]
    before = free[latest < split.test_from]
    days = manifest.table["date"]
    if not len(test) or len(before) < 2:
        raise UserError(
            f"split.test_from={split.test_from} leaves {len(before)} independent patient(s) before "
            f"it and {len(test)} from it on; the dates run from {days.min()} to {days.max()}."
        )
    if split.val_from is None:
        yield test, carved(quantities, before, split.val_fraction, split.seed)
        return
    val = free[(latest >= split.val_from) & (latest < split.test_from)]
    if not 0 < len(val) < len(before):
        raise UserError(
            f"split.val_from={split.val_from} leaves {len(before) - len(val)} independent "
            f"patient(s) to train and {len(val)} to validate; the dates run from {days.min()} to "
            f"{days.max()}."
        )
    yield test, val


def check_dates(plan: Plan, manifest: Manifest) -> None:
    """Prove that every image still lies in the period of its part; a manifest's hash has no dates.

    Raises:
        LeakageError: naming the first line that does not.
    """
    if "date" not in manifest.table:
        raise LeakageError("the plan is temporal; name the dates with manifest.columns.date.")
    (fold,) = plan.folds
    names = {"train": "train", "val": "val", "test": "test"}
    if len(plan.cuts) == 1:  # both are before the test
        names |= dict.fromkeys(("train", "val"), "train and val")
    place = {patient: names[part] for part in PARTS for patient in fold.of(part)}
    was = manifest.table["patient_id"].map(place)
    was[manifest.table["image_path"].isin(plan.purged_images)] = "the purged images"
    period, latest = _periods(manifest, plan.cuts)
    now = np.array(list(dict.fromkeys(names.values())))[latest]
    now = np.where(period < latest, "the purged images", now)
    odd = manifest.table.assign(was=was, now=now)[was.notna() & (was != now)]  # locked: nowhere
    if len(odd):
        first = odd.sort_values("line").iloc[0]
        raise LeakageError(
            f"the plan is temporal, and line {first['line']} (patient {first['patient_id']!r}, "
            f"{first['date']}) belongs to {first['now']} by its date, not to {first['was']} "
            f"({len(odd)} image(s) in all); dates have changed: make a new plan."
        )


def _periods(manifest: Manifest, cuts: Cuts) -> tuple[Ints, Ints]:
    """(N,) the period that each row is in, from 0, and the latest one of its group."""
    days = manifest.table["date"].to_numpy(dtype=str)
    period = np.searchsorted(np.array(cuts), days, side="right")
    latest = pd.Series(period).groupby(manifest.table["group"].to_numpy()).transform("max")
    return period, latest.to_numpy()
