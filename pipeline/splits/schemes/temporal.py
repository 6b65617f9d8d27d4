"""Who was seen last is tested: parts are periods of time, cut by one or two dates."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from pipeline.arrays import Ints
from pipeline.config import SplitConfig, UserError
from pipeline.manifest import Manifest
from pipeline.splits.dealing.deal import carved
from pipeline.splits.folds import PARTS, Fold, LeakageError
from pipeline.splits.schemes.scheme import Cuts, Groups, Rounds, Scheme
from pipeline.words import counted


def _purge(manifest: Manifest, split: SplitConfig) -> tuple[Manifest, Cuts]:
    """Without the images of a group that are earlier than the period of its latest image.

    A group goes to the period of its latest image. Its earlier images were made in the time that
    others are trained on, and are left out.
    """
    cuts = tuple(day for day in (split.val_from, split.test_from) if day)
    if list(cuts) != sorted(set(cuts)):
        raise UserError(f"split.val_from={split.val_from} must be before {split.test_from}.")
    if "date" not in manifest.table:
        raise UserError(f"split.scheme=temporal: {manifest.path} has no date column.")
    period, latest = _periods(manifest, cuts)
    return replace(manifest, purged=frozenset(np.flatnonzero(period < latest).tolist())), cuts


def _rounds(groups: Groups, split: SplitConfig) -> Rounds:
    assert split.test_from is not None
    dates = groups.manifest.samples.groupby("group")["date"].max()
    latest = dates.reindex(groups.names).to_numpy()[groups.free]
    test = groups.free[latest >= split.test_from]
    before = groups.free[latest < split.test_from]
    days = groups.manifest.table["date"]
    if not len(test) or len(before) < 2:
        num_before = counted(len(before), "independent patient")
        raise UserError(
            f"split.test_from={split.test_from} leaves {num_before} before it and {len(test)} from "
            f"it on; the dates run from {days.min()} to {days.max()}. Needed are 2 before it and 1 "
            "from it on."
        )
    if split.val_from is None:
        yield test, carved(groups.quantities, before, split.val_fraction, split.seed)
        return
    val = groups.free[(latest >= split.val_from) & (latest < split.test_from)]
    if not 0 < len(val) < len(before):
        num_train = counted(len(before) - len(val), "independent patient")
        raise UserError(
            f"split.val_from={split.val_from} leaves {num_train} to train and {len(val)} to "
            f"validate; the dates run from {days.min()} to {days.max()}. Both need 1 or more."
        )
    yield test, val


def _check_dates(
    folds: Sequence[Fold], cuts: Cuts, purged: frozenset[str], manifest: Manifest
) -> None:
    """Every image still lies in the period of its part; the manifest's hash has no dates."""
    if "date" not in manifest.table:
        raise LeakageError("the plan is temporal; name the dates with manifest.columns.date.")
    (fold,) = folds
    names = {"train": "train", "val": "val", "test": "test"}
    if len(cuts) == 1:  # both are before the test
        names |= dict.fromkeys(("train", "val"), "train and val")
    place = {patient: names[part] for part in PARTS for patient in fold.of(part)}
    was = manifest.table["patient_id"].map(place)
    was[manifest.table["image_path"].isin(purged)] = "the purged images"
    period, latest = _periods(manifest, cuts)
    now = np.array(list(dict.fromkeys(names.values())))[latest]
    now = np.where(period < latest, "the purged images", now)
    moved = manifest.table.assign(was=was, now=now)[was.notna() & (was != now)]  # locked: nowhere
    if len(moved):
        first = moved.sort_values("line").iloc[0]
        raise LeakageError(
            f"the plan is temporal, and line {first['line']} (patient {first['patient_id']!r}, "
            f"{first['date']}) belongs to {first['now']} by its date, not to {first['was']} "
            f"({counted(len(moved), 'image')} in all). Dates have changed: make a new plan."
        )


def _periods(manifest: Manifest, cuts: Cuts) -> tuple[Ints, Ints]:
    """(N,) the period that each row is in, from 0, and the latest one of its group."""
    days = manifest.table["date"].to_numpy(dtype=str)
    period = np.searchsorted(np.array(cuts), days, side="right")
    latest = pd.Series(period).groupby(manifest.table["group"].to_numpy()).transform("max")
    return period, latest.to_numpy()


SCHEME = Scheme(
    name="temporal",
    words="the latest patients are tested, earlier ones trained on",
    rounds=_rounds,
    remedy="move split.test_from or split.val_from, or use split.scheme=kfold",
    purge=_purge,
    check_manifest=_check_dates,
)
