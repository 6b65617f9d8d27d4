"""A plan in words: what it does, whom it leaves out, how sure its result can be."""

from dataclasses import replace

import numpy as np

from pipeline.arrays import Floats, Ints
from pipeline.config import SplitConfig
from pipeline.manifest import Manifest
from pipeline.splits.balance import Measure, Quantities, balance, rand_index
from pipeline.splits.counts import count_groups, group_names
from pipeline.splits.folds import PARTS, Plan
from pipeline.splits.precision import accuracy_half_width, auroc_half_width

SHOWN = 12
WORDS = {
    "kfold": "fold i tests block i, validates on block i + 1, trains on the rest",
    "leave_one_out": "each fold tests one unit and validates on a part of the rest",
    "holdout": "one test part and one validation part, dealt by fractions",
    "temporal": "the latest patients are tested, earlier ones trained on",
    "predefined": "as given",
}


def promise(plan: Plan) -> str:
    """How often everybody is tested."""
    times = set(plan.times_tested.values())
    if times == {1} and not plan.locked and not plan.purged_patients:
        return "every patient is tested exactly once"
    if times == {plan.repeats} and plan.repeats > 1:
        return f"every patient is tested {plan.repeats} times, once a repeat"
    num_tested = sum(count > 0 for count in plan.times_tested.values())
    return f"{num_tested} of {len(plan.groups)} patients are tested, none twice"


def describe_plan(plan: Plan, manifest: Manifest, split: SplitConfig) -> list[str]:
    """Lines: scheme and hash, locked and purged patients, balance and its floor, precision.

    `split` names the columns (`stratify`) whose balance is told beside that of the classes.
    """
    words = WORDS.get(plan.scheme, "UNSAFE: every image is dealt as if it were a patient")
    lines = [f"plan: {plan.scheme}, {plan.num_folds} fold(s), hash {plan.hash[:12]}; {words}"]
    if plan.locked:
        lines.append(f"  {len(plan.locked)} patient(s) are locked away and in no fold")
    if plan.purged_images:
        lines.append(
            f"  purged: {len(plan.purged_images)} image(s) earlier than their patient's period, "
            f"{len(plan.purged_patients)} patient(s) wholly"
        )
    if plan.scheme == "leave_one_out" and (column := manifest.column(split.leave_out)):
        lines += _left_out(plan, manifest, split.leave_out, column)
    if dealings := _dealings(plan):
        lines += _evenness(dealings[0], manifest, split)
    if len(dealings) > 1:
        lines.append(_likeness(dealings))
    return [*lines, *_precision(plan, manifest)]


def _left_out(plan: Plan, manifest: Manifest, name: str, column: str) -> list[str]:
    """Which values each fold tests; several where a patient or a link has them all."""
    values = manifest.samples.assign(value=manifest.samples[column].astype(str).str.strip())
    tested_in = {p: fold.index for fold in plan.folds for p in fold.test}
    found = values.groupby(values["patient_id"].map(tested_in))["value"].unique()
    told = [
        f"{fold:.0f} {' with '.join(map(repr, sorted(of_fold)))}" for fold, of_fold in found.items()
    ]
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    line = f"  fold tests {name}: {', '.join(told[:SHOWN])}{more}"
    joined = any(len(of_fold) > 1 for of_fold in found)
    why = ["  (values in one fold share a patient or a leakage group)"] if joined else []
    return [line, *why]


def _dealings(plan: Plan) -> list[dict[str, str]]:
    """Group -> its block or part; one a repeat, none where each fold deals anew."""
    k = plan.num_folds // plan.repeats
    if all(f.val == plan.folds[i // k * k + (i + 1) % k].test for i, f in enumerate(plan.folds)):
        return [
            {plan.groups[p]: f"block {f.index % k}" for f in plan.folds[start : start + k]
             for p in f.test}
            for start in range(0, plan.num_folds, k)
        ]  # fmt: skip
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
    lines = [
        f"  class shares of a {what} are off by at most {found.image_prevalence:.3f} (images) and "
        f"{_largest_deviation(classes, quantities, blocks, shares):.3f} (patients), its size by "
        f"{found.image_size:.1%} and {found.patient_size:.1%}"
    ]
    if split.stratify:
        off = _largest_deviation(others, quantities, blocks, shares)
        lines.append(
            f"  shares of patients by {', '.join(split.stratify)} are off by at most {off:.3f}"
        )
    forced = f"together J = {found.objective:.3f}, where whole patients force {found.floor:.3f}"
    return [*lines[:-1], f"{lines[-1]}; {forced} or more"]


def _largest_deviation(
    patients: Floats, quantities: Quantities, blocks: Ints, shares: Floats
) -> float:
    """Of the shares of patients in the columns `patients` (G, P) of any block."""
    measure = Measure(replace(quantities, patients=patients), shares)
    loads = measure.loads(blocks, len(shares))
    return float(measure.deviations(loads, measure.fair)[:, 1].max())


def _likeness(dealings: list[dict[str, str]]) -> str:
    """How different the repeats are."""
    names = sorted(dealings[0])
    blocks = [np.unique([d[name] for name in names], return_inverse=True)[1] for d in dealings]
    pairs = [(a, b) for i, a in enumerate(blocks) for b in blocks[:i]]
    rand = float(np.mean([rand_index(a, b) for a, b in pairs]))
    same = "; the repeats are nearly the same plan and add little" if rand > 0.95 else ""
    return f"  {len(dealings)} repeats, mean Rand index between them {rand:.2f}{same}"


def _precision(plan: Plan, manifest: Manifest) -> list[str]:
    tested = [patient for patient, times in plan.times_tested.items() if times]
    rows = manifest.of(tested)
    half = accuracy_half_width(len(tested))
    line = f"  {len(tested)} test patients: an accuracy of 0.80 will be known to +-{half:.2f}"
    counts = manifest.num_patients_per_class(rows)
    if len(counts) == 2 and counts.min() > 0:
        width = auroc_half_width(int(counts[1]), int(counts[0]))
        line += f", an AUROC of 0.80 to +-{width:.2f} (95 % intervals, patient level)"
    return [line]
