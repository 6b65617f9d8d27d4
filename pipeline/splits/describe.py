"""A plan in words: what it does, whom it leaves out, how sure its result can be."""

from dataclasses import replace
from itertools import combinations
from math import sqrt

import numpy as np

from pipeline.arrays import Floats, Ints
from pipeline.config import SplitConfig
from pipeline.manifest import Manifest
from pipeline.splits.dealing.balance import Quantities, balance
from pipeline.splits.dealing.counts import count_groups, group_names
from pipeline.splits.folds import PARTS
from pipeline.splits.plan import Plan
from pipeline.words import counted

Z = 1.959964
"""Half of a 95 % interval, in standard errors."""


def promise(plan: Plan) -> str:
    """How often everybody is tested."""
    times = set(plan.times_tested.values())
    if times == {1} and not plan.locked and not plan.purged_patients:
        return "every patient is tested exactly once"
    if times == {plan.repeats} and plan.repeats > 1:
        return f"every patient is tested {plan.repeats} times, once per repeat"
    num_tested = sum(count > 0 for count in plan.times_tested.values())
    return f"{num_tested} of {len(plan.groups)} patients are tested, none twice"


def describe_plan(plan: Plan, manifest: Manifest, split: SplitConfig) -> list[str]:
    """Lines: scheme and hash, locked and purged patients, balance and its bound, precision.

    `split` names the columns (`stratify`) whose balance is reported beside that of the classes.
    """
    scheme = plan.made_by
    words = "UNSAFE: every image is dealt as if it were a patient" if plan.unsafe else scheme.words
    num_folds = counted(plan.num_folds, "fold")
    lines = [f"plan: {plan.scheme}, {num_folds}, hash {plan.hash[:12]}; {words}"]
    if plan.locked:
        lines.append(f"  locked: {counted(len(plan.locked), 'patient')}, in no fold")
    if plan.purged_images:
        lines.append(
            f"  purged: {counted(len(plan.purged_images), 'image')} earlier than the period of "
            f"their patient; all images of {counted(len(plan.purged_patients), 'patient')}"
        )
    if scheme.lines:
        lines += scheme.lines(plan.folds, manifest, split)
    if dealings := _dealings(plan):
        lines += _evenness(dealings[0], manifest, split)
    if len(dealings) > 1:
        lines.append(_likeness(dealings))
    return [*lines, _precision(plan, manifest)]


def _dealings(plan: Plan) -> list[dict[str, str]]:
    """Group -> its block or part; one per repeat, none where each fold deals anew."""
    k = plan.num_folds // plan.repeats
    if not plan.out_of_turn:
        repeats = [plan.folds[start : start + k] for start in range(0, plan.num_folds, k)]
        return [
            {plan.groups[p]: f"block {fold.index % k}" for fold in folds for p in fold.test}
            for folds in repeats
        ]
    if plan.num_folds > 1:
        return []
    return [{plan.groups[p]: part for part in PARTS for p in plan.folds[0].of(part)}]


def _evenness(place: dict[str, str], manifest: Manifest, split: SplitConfig) -> list[str]:
    """How far blocks or parts are from the whole, and how near whole patients let them come."""
    names = [name for name in group_names(manifest) if name in place]
    places, blocks = np.unique([place[name] for name in names], return_inverse=True)
    what = "block" if places[0].startswith("block") else "part"
    quantities = count_groups(manifest, names, split.stratify, split.num_bins)
    sizes = np.bincount(blocks, weights=quantities.num_patients)
    # What a part should hold is its share of the patients; blocks should be alike.
    shares = np.full(len(places), 1 / len(places)) if what == "block" else sizes / sizes.sum()
    found = balance(quantities, blocks, shares)
    classes, others = np.split(quantities.patients, [len(manifest.classes)], axis=1)
    by_class = _off_by(classes, quantities, blocks, shares)
    off = f"  largest deviation of a {what}:"
    lines = [
        f"{off} class shares {found.image_prevalence:.3f} (images), {by_class:.3f} (patients)",
        f"{off} size {found.image_size:.1%} (images), {found.patient_size:.1%} (patients)",
    ]
    if split.stratify:
        by_column = _off_by(others, quantities, blocks, shares)
        lines.append(f"{off} shares of patients by {', '.join(split.stratify)} {by_column:.3f}")
    return [
        *lines,
        f"  imbalance {found.objective:.3f} (0: all alike; whole patients allow {found.floor:.3f})",
    ]


def _off_by(patients: Floats, quantities: Quantities, blocks: Ints, shares: Floats) -> float:
    """Largest deviation of the shares of patients in the columns `patients` (G, P)."""
    some = replace(quantities, patients=patients)
    return balance(some, blocks, shares).patient_prevalence


def _likeness(dealings: list[dict[str, str]]) -> str:
    """How different the repeats are."""
    from sklearn.metrics import rand_score

    blocks = [[dealing[name] for name in dealings[0]] for dealing in dealings]
    rand = float(np.mean([rand_score(a, b) for a, b in combinations(blocks, 2)]))
    same = "; the repeats are nearly the same plan and add little" if rand > 0.95 else ""
    return f"  {len(dealings)} repeats, mean Rand index between them {rand:.2f}{same}"


def _precision(plan: Plan, manifest: Manifest) -> str:
    tested = [patient for patient, times in plan.times_tested.items() if times]
    half = accuracy_half_width(len(tested))
    line = f"  {counted(len(tested), 'test patient')}: the 95 % interval of an accuracy of 0.80 "
    line += f"will be +-{half:.2f}"
    counts = manifest.num_patients_per_class(manifest.of(tested))
    if len(counts) == 2 and counts.min() > 0 and not manifest.is_multilabel:
        width = auroc_half_width(int(counts[1]), int(counts[0]))
        line += f", that of an AUROC of 0.80 +-{width:.2f}"
    return line


def accuracy_half_width(num_patients: int) -> float:
    """Half of the 95 % interval of an accuracy of 0.80, normal approximation."""
    return Z * sqrt(0.8 * 0.2 / num_patients)


def auroc_half_width(num_positive: int, num_negative: int) -> float:
    """The same of an AUROC of 0.80 (Hanley and McNeil 1982, Radiology 143:29)."""
    auroc = 0.8
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (num_positive - 1) * (q1 - auroc**2)
    variance += (num_negative - 1) * (q2 - auroc**2)
    return Z * sqrt(variance / (num_positive * num_negative))
