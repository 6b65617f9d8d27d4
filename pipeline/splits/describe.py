"""A plan in words: what it does, whom it leaves out, how sure its result can be."""

import numpy as np

from pipeline.manifest import Manifest
from pipeline.splits.balance import balance, rand_index
from pipeline.splits.counts import count_groups, group_names
from pipeline.splits.folds import Plan
from pipeline.splits.precision import accuracy_half_width, auroc_half_width

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


def describe_plan(plan: Plan, manifest: Manifest) -> list[str]:
    """Lines: scheme and hash, locked and purged patients, balance and its floor, precision."""
    words = WORDS.get(plan.scheme, "UNSAFE: every image is dealt as if it were a patient")
    lines = [f"plan: {plan.scheme}, {plan.num_folds} fold(s), hash {plan.hash[:12]}; {words}"]
    if plan.locked:
        lines.append(f"  {len(plan.locked)} patient(s) are locked away and in no fold")
    if plan.purged_images:
        lines.append(
            f"  purged: {len(plan.purged_images)} image(s) earlier than their patient's period, "
            f"{len(plan.purged_patients)} patient(s) wholly"
        )
    if plan.scheme.startswith("kfold"):
        lines += _rotation(plan, manifest)
    return [*lines, *_precision(plan, manifest)]


def _rotation(plan: Plan, manifest: Manifest) -> list[str]:
    """Balance of the blocks, and how different the repeats are."""
    group_of = plan.groups
    k = plan.num_folds // plan.repeats
    dealings = []
    for repeat in range(plan.repeats):
        block = {group_of[p]: f.index % k for f in plan.folds[repeat * k :][:k] for p in f.test}
        dealings.append(block)
    names = [name for name in group_names(manifest) if name in dealings[0]]
    blocks = [np.array([block[name] for name in names]) for block in dealings]
    found = balance(count_groups(manifest, names), blocks[0], np.full(k, 1 / k))
    lines = [
        f"  class shares of a block are off by at most {found.image_prevalence:.3f} (images) and "
        f"{found.patient_prevalence:.3f} (patients), its size by {found.image_size:.1%} and "
        f"{found.patient_size:.1%}; together {found.objective:.3f}, where whole patients force "
        f"{found.floor:.3f} or more"
    ]
    if plan.repeats > 1:
        pairs = [(a, b) for i, a in enumerate(blocks) for b in blocks[:i]]
        rand = float(np.mean([rand_index(a, b) for a, b in pairs]))
        same = "; the repeats are nearly the same plan and add little" if rand > 0.95 else ""
        lines.append(f"  {plan.repeats} repeats, mean Rand index between them {rand:.2f}{same}")
    return lines


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
