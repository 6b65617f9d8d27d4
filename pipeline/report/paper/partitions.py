"""Who was in the study, and how patients came to be trained on, validated on and tested."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import PurePath

from pipeline.levels import PLURALS
from pipeline.report.paper.facts import Facts
from pipeline.report.paper.markdown import escaped, joined, percent, span
from pipeline.splits.folds import PARTS
from pipeline.words import counted

BLOCKS = "training", "validation (tuning)", "internal test"
"""What the parts are called in a paper, in the order of PARTS."""


def data(facts: Facts) -> str:
    """Patients, images, classes and prevalence."""
    name, rows = escaped(str(facts.get("manifest.name"))), facts.record.dataset.num_rows
    images = counted(rows, "image")
    if facts.plan.unsafe:
        return f"The data set {name} has {images}. {classes(facts)}"
    patients = counted(len(facts.plan.groups), "patient")
    return f"The data set {name} has {images} of {patients}. {classes(facts)}"


def classes(facts: Facts) -> str:
    """The classes, and how many tested patients and images have each."""
    shown = []
    for name in facts.classes:
        parts = []
        for level, numbers in facts.num_per_class.items():
            total = len(facts.tested_images)
            if level == "patient" and facts.tested_patients is not None:
                total = len(facts.tested_patients)
            parts.append(f"{counted(numbers[name], level)}, {percent(numbers[name] / total)}")
        shown.append(f"{escaped(name)} ({'; '.join(parts)})")
    if facts.is_multilabel:
        what = "An image can have several labels, or none; in numbers of those tested:"
    else:
        num = "two" if len(facts.classes) == 2 else str(len(facts.classes))
        what = f"Images are labelled with one of {num} classes; in numbers of those tested:"
    positive = f" The positive class is {escaped(facts.positive)}." if facts.positive else ""
    return f"{what} {joined(shown)}.{positive}"


def used(facts: Facts) -> str:
    """How many images were tested, and why the others were not."""
    rows, plan = facts.record.dataset.num_rows, facts.plan
    num_tested, flow = len(facts.tested_images), facts.run.flow
    before = ""
    if flow is not None and flow["read"]["rows"] != rows:
        before = f"The manifest has {counted(flow['read']['rows'], 'row')}, of which "
        before += f"{rows:,} have a label. "
    all_ = "All" if num_tested == rows else f"{num_tested:,} of"
    text = f"{all_} {counted(rows, 'image')} were tested"
    reasons = []
    if plan.locked:
        reasons.append(f"{counted(len(plan.locked), 'patient')} locked away from all folds")
    if plan.purged_images:
        reasons.append(
            f"{counted(len(plan.purged_images), 'image')} left out because they are earlier than "
            "the period of their patient"
        )
    if untested := sum(times == 0 for times in plan.times_tested.values()):
        reasons.append(f"{counted(untested, 'patient')} in training or validation parts only")
    return f"{before}{text}{': ' + joined(reasons) if reasons else ''}."


def groups(facts: Facts) -> str:
    """What is kept together, and how many were."""
    plan = facts.plan
    sizes = Counter(plan.groups.values())
    linked = [size for size in sizes.values() if size > 1]
    links = _links(facts)
    why = f" Patients linked by {joined(links, 'or')} form one leakage group." if links else ""
    found = "no two patients were linked"
    if linked:
        held = f"{counted(len(linked), 'group')} of {span(linked)} patients"
        found = f"there {'was' if len(linked) == 1 else 'were'} {held}{_joins(facts)}"
    units = counted(len(sizes), "independent unit")
    return f"{why} In these data {found}, which leaves {units}."


def _joins(facts: Facts) -> str:
    """Why patients were linked, and how often, where flow.json says."""
    flow = facts.run.flow
    joins = {} if flow is None else flow["groups"]["joins"]
    listed = [f"{escaped(str(key))} {num:,}" for key, num in joins.items()]
    return f" (links by {', '.join(listed)})" if listed else ""


def _links(facts: Facts) -> list[str]:
    """What joins patients, as the settings say."""
    found = []
    if study := facts.get("manifest.columns.study"):
        found.append(f"the column {escaped(str(study))}")
    found += [f"the column {escaped(name)}" for name in facts.get("manifest.group_columns") or ()]
    if facts.get("audit.content"):
        near = " or nearly identical" if facts.get("audit.near") == "merge" else ""
        found.append(f"an identical{near} image (decoded pixels were compared)")
    return found


def unit(facts: Facts) -> str:
    """At which level the parts are disjoint."""
    plan = facts.plan
    if plan.unsafe:
        return (
            "**Images, not patients, were dealt, so that a patient may be in the training and in "
            f"the test part of each of the {counted(plan.num_folds, 'fold')}: this run shows what "
            "such leakage costs, and its values are no result.**"
        )
    folds = "the partition" if plan.num_folds == 1 else f"each of the {plan.num_folds:,} folds"
    return (
        "Partitions are disjoint at the level of patients, or of leakage groups where patients "
        f"are linked: in {folds} no patient is in two parts.{groups(facts)}"
    )


def _kfold(facts: Facts) -> str:
    plan = facts.plan
    k = plan.num_folds // plan.repeats
    columns = ["class", *map(escaped, facts.get("split.stratify") or ())]
    rest = "the remaining block was" if k == 3 else f"the other {k - 2} blocks were"
    text = (
        f"Patients were dealt to {k} blocks that are as alike as possible in their numbers of "
        f"patients and images and in the shares of each {joined(columns)} (seed {plan.seed}). In "
        "fold i, block i was the internal test part, block i + 1 (of the last fold: block 0) the "
        f"validation (tuning) part, and {rest} the training part. Both parts rotate: each patient "
        "was "
    )
    if plan.repeats == 1:
        return text + "tested once and used for validation once."
    return text + (
        f"tested once and used for validation once in each of {plan.repeats} repeats, which were "
        f"dealt with the seeds {plan.seed} to {plan.seed + plan.repeats - 1}; {plan.num_folds} "
        "folds in all."
    )


def _leave_one_out(facts: Facts) -> str:
    what = str(facts.get("split.leave_out") or "patient")
    one = "patient" if what == "patient" else f"value of the column {escaped(what)}"
    return (
        f"Each of {counted(facts.plan.num_folds, 'fold')} tested one {one}; of the others, "
        f"{span(facts.num_patients('val'))} patients were dealt to the validation (tuning) part "
        f"(seed {facts.plan.seed}) and the rest was the training part."
    )


def _holdout(facts: Facts) -> str:
    return (
        "Patients were dealt once to a training, a validation (tuning) and an internal test part "
        f"with like shares of each class (seed {facts.plan.seed}). Only the patients of the test "
        f"part, {facts.num_patients('test')[0]:,} of {len(facts.plan.groups):,}, were tested."
    )


def _temporal(facts: Facts) -> str:
    plan = facts.plan
    text = f"Parts are periods: patients with images from {plan.cuts[-1]} on were tested"
    text += f", those from {plan.cuts[0]} on were validated on" if len(plan.cuts) > 1 else ""
    text += ", earlier ones trained on."
    if plan.purged_images:
        text += (
            f" {counted(len(plan.purged_images), 'image')} from before the period of their patient "
            "were left out."
        )
    return text


def _predefined(facts: Facts) -> str:
    source = facts.get("split.assignments")
    column = facts.get("manifest.columns.fold") or facts.get("manifest.columns.part")
    where = "a file" if source else f"the column {escaped(str(column))} of the manifest"
    return (
        f"The {counted(facts.plan.num_folds, 'fold')} were given in {where}, made elsewhere. "
        "TODO(author): how patients were assigned there."
    )


SCHEMES: Mapping[str, Callable[[Facts], str]] = {
    "kfold": _kfold,
    "leave_one_out": _leave_one_out,
    "holdout": _holdout,
    "temporal": _temporal,
    "predefined": _predefined,
}


def assignment(facts: Facts) -> str:
    """How patients came to their parts, in words."""
    plan = facts.plan
    text = SCHEMES[plan.made_by.name](facts)
    if file := facts.get("split.file"):
        frozen = PurePath(str(file).replace("\\", "/")).name
        text += f" The plan was made before this run and read from a file ({escaped(frozen)}"
        text += f", version {plan.version})." if plan.version > 1 else ")."
    if plan.locked:
        text += (
            f" Before, {counted(len(plan.locked), 'patient')} had been locked away; no fold has "
            "seen them."
        )
    return text


def sizes(facts: Facts) -> str:
    """Patients and images in each part."""
    what = "images" if facts.plan.unsafe else "patients"
    shown = []
    for part, name in zip(PARTS, BLOCKS, strict=True):
        text = f"{span(facts.num_patients(part))} {what}"
        images = facts.num_images(part)
        if images is not None and not facts.plan.unsafe:
            text += f" ({span(images)} images)"
        shown.append(f"{text} in the {name} part")
    return f"A fold has {joined(shown)}."


def balance(facts: Facts) -> str:
    """How alike the test parts are in their classes."""
    per_fold = facts.summary["num"]["per_fold"]
    if len(per_fold) == 1:
        return ""
    shown = []
    for name in facts.classes:
        shares = []
        for fold in per_fold:
            numbers = fold["patients_per_class"] or fold["images_per_class"]
            total = fold["patients"] if fold["patients_per_class"] else fold["images"]
            shares.append(numbers[name] / total)
        shown.append(f"{span(shares, percent)} ({escaped(name)})")
    whose = PLURALS[facts.level]
    return f" The share of a class among the {whose} of a test part is {joined(shown)}."


def identity(facts: Facts) -> str:
    """Hashes by which plan and manifest are known again."""
    header, _ = facts.run.plan
    plan, manifest = header["plan_hash"][:12], header["manifest_hash"][:12]
    return (
        f"Who is in which part of which fold is kept in `plan.csv` (SHA-256 of the plan {plan}, of "
        f"the manifest {manifest})."
    )
