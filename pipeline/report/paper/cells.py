"""What a checklist says of a run: where in report.md it stands, and the facts in short.

Each function here is named in a `filled_by` of a guideline's CSV file.
"""

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.evaluation.metrics import named_metrics
from pipeline.report.paper import (
    analysis,
    outcomes,
    partitions,
    patients,
    preprocessing,
    recipe,
    software,
)
from pipeline.report.paper.facts import Facts
from pipeline.report.paper.limitations import limitations
from pipeline.report.paper.markdown import (
    escaped,
    interval,
    joined,
    named,
    number,
    span,
    with_interval,
)
from pipeline.splits.folds import PARTS
from pipeline.words import counted


class Cell(NamedTuple):
    """A statement of a checklist."""

    where: str
    """Heading in report.md; "" for what stands in the run folder only."""
    text: str


# --- data


def technology(facts: Facts) -> Cell:
    return Cell("Model", f"{recipe.technology(facts)}, on the data set {_name(facts)}")


def _name(facts: Facts) -> str:
    return escaped(str(facts.get("manifest.name")))


def steps(facts: Facts) -> Cell:
    return Cell("Image preprocessing", preprocessing.steps(facts))


def normalisation(facts: Facts) -> Cell:
    return Cell("Image preprocessing", preprocessing.normalisation(facts))


def rows_used(facts: Facts) -> Cell:
    return Cell("Data", partitions.used(facts))


def missing_values(facts: Facts) -> Cell | None:
    text = preprocessing.missing(facts)
    return Cell("Data", text) if text else None


def pseudonyms(facts: Facts) -> Cell | None:
    used = facts.get("privacy.pseudonyms")
    if used is None:
        return None
    how = "by keyed pseudonyms" if used else "by the ids of the manifest"
    patients = counted(len(facts.plan.groups), "patient")
    return Cell("", f"Plan and predictions name {patients} {how}; this report names none")


def inputs(facts: Facts) -> Cell:
    what = preprocessing.features(facts) if facts.is_baseline else "the pixels of the image"
    dims, channels = facts.get("images.spatial_dims"), facts.get("images.num_channels")
    return Cell("Model", f"The only predictors: {what} ({dims}D, {counted(channels, 'channel')})")


def classes(facts: Facts) -> Cell:
    return Cell("Data", partitions.classes(facts))


# --- partitions


def assignment(facts: Facts) -> Cell:
    plan = facts.plan
    parts = [
        f"{name} {span(facts.num_patients(part))}"
        for part, name in zip(PARTS, partitions.BLOCKS, strict=True)
    ]
    return Cell(
        "Data partitions",
        f"Scheme {escaped(plan.scheme)}, {counted(plan.num_folds, 'fold')}, seed {plan.seed}; "
        f"patients by part: {', '.join(parts)}; plan {plan.hash[:12]}",
    )


def disjoint(facts: Facts) -> Cell:
    if facts.plan.unsafe:
        return Cell("Data partitions", partitions.unit(facts))
    return Cell("Data partitions", f"Patient level or higher.{partitions.groups(facts)}")


def precision(facts: Facts) -> Cell:
    return Cell("", analysis.width(facts))


def events(facts: Facts) -> Cell:
    """Participants and outcome events of each analysis."""
    return Cell("Data partitions", f"{partitions.sizes(facts)} {partitions.classes(facts)}")


# --- model


def model(facts: Facts) -> Cell:
    return Cell("Model", recipe.model(facts))


def software_used(facts: Facts) -> Cell:
    return Cell("Software and hardware", software.software(facts))


def initialisation(facts: Facts) -> Cell:
    return Cell("Model", recipe.initialisation(facts))


def training(facts: Facts) -> Cell:
    return Cell("Training", f"{recipe.optimisation(facts)} {recipe.augmentation(facts)}")


def loss(facts: Facts) -> Cell:
    return Cell("Training", recipe.loss(facts))


def imbalance(facts: Facts) -> Cell:
    text = f"{recipe.imbalance(facts)} {analysis.calibration(facts)}"
    return Cell("Training", text)


def selection(facts: Facts) -> Cell:
    return Cell("Selection and decision threshold", recipe.selection(facts))


def threshold(facts: Facts) -> Cell:
    return Cell("Selection and decision threshold", analysis.decision(facts))


def output(facts: Facts) -> Cell:
    return Cell("Model", f"The model gives {recipe.output(facts)}")


def ensembling(facts: Facts) -> Cell:
    text = recipe.ensembling(facts)
    if average := facts.get("training.average"):
        text += f" Weights are a moving average over steps (decay {average:g})."
    return Cell("Model", text)


def prediction(facts: Facts) -> Cell:
    """How predictions were calculated, and with which models."""
    digests = [r.get("best_sha256") or r.get("best_recipe_sha256") for r in facts.results]
    known = [str(digest)[:8] for digest in digests if digest]
    files = "`best.json`" if facts.is_baseline else "`best.pt`"
    listed = f"{', '.join(known[:10])}{', ...' * (len(known) > 10)}"
    shown = f" (SHA-256 begins with {listed})" if known else ""
    return Cell("", f"By {files} of each fold's folder{shown}. {analysis.aggregation(facts)}")


# --- evaluation


def metrics(facts: Facts) -> Cell:
    """The names alone: the table of Results has the values."""
    named_ = dict.fromkeys(analysis.base(facts, name) for name in facts.entries(facts.level))
    levels = joined([f"{level} level" for level in facts.levels], "then")
    return Cell("Statistical analysis", f"{joined([*map(named, named_)])}; {levels}")


def intervals(facts: Facts) -> Cell:
    """That there are some, for what, and the first."""
    entries = facts.entries(facts.level)
    have = [name for name, entry in entries.items() if entry.get("ci_low") is not None]
    if not have:
        return Cell("Statistical analysis", analysis.intervals(facts))
    return Cell(
        "Statistical analysis",
        f"95 % confidence intervals over {analysis.units(facts)} for {len(have)} of "
        f"{len(entries)} metrics, e.g. {named(have[0])} {interval(entries[have[0]])}, with "
        f"{analysis.method_of(facts, have[0])}. {analysis.tests_of_significance(facts)}",
    )


def stability(facts: Facts) -> Cell | None:
    """What of robustness a run shows by itself: its range over folds."""
    values = [v for v in facts.entries(facts.level)["auroc"]["per_fold"] if v is not None]
    if len(values) < 2:
        return None
    folds, repeats = counted(len(values), "fold"), counted(facts.plan.repeats, "repeat")
    return Cell("Folds", f"AUROC {span(values, number)} in {folds}, {repeats}")


def subgroups(facts: Facts) -> Cell | None:
    text = patients.groups_in_short(facts)
    return Cell("Subgroups", text) if text else None


def sites(facts: Facts) -> Cell | None:
    """Where the plan leaves each site out."""
    site = facts.get("manifest.columns.site")
    if not site or facts.get("split.leave_out") != site or facts.plan.scheme != "leave_one_out":
        return None
    num = counted(len(facts.results), "fold")
    return Cell("Folds", f"Each value of the column {escaped(site)} is tested by itself, in {num}")


def internal(facts: Facts) -> Cell:
    num = facts.summary["num"]
    who = f"{counted(num['patients'], 'patient')} ({counted(num['images'], 'image')})"
    folds = counted(len(facts.results), "fold")
    return Cell("Results", f"Internal test on {who} of the data set {_name(facts)}, in {folds}")


def performance(facts: Facts) -> Cell:
    return Cell("Results", outcomes.headline(facts))


def accuracy(facts: Facts) -> Cell:
    """Diagnostic accuracy and its precision, of each class."""
    entries, known = facts.entries(facts.level), named_metrics(facts.classes, facts.level)
    found = []
    for side in ("sensitivity", "specificity"):
        for name, (metric, target) in known.items():
            if metric.name == side and name in entries:
                of = "" if target is None else f" of {escaped(facts.classes[target])}"
                found.append(f"{side}{of} {with_interval(entries[name])}")
    return Cell("Results", f"{facts.level.capitalize()} level: {joined(found)}")


def cross_table(facts: Facts) -> Cell | None:
    text = outcomes.errors(facts)
    return Cell("Results", f"Table of labels by decisions. {text}") if text else None


def failures(facts: Facts) -> Cell | None:
    text = outcomes.errors(facts)
    return Cell("Results", f"{text}; `predictions.csv` has each of them") if text else None


def flow(facts: Facts) -> Cell:
    return Cell("Data", f"{partitions.used(facts)} {partitions.sizes(facts)}")


def characteristics(facts: Facts) -> Cell:
    columns = patients.grouping_columns(facts)
    more = f" Table 1 also has {joined([escaped(name) for name in columns])}." if columns else ""
    return Cell("Patients", f"{partitions.classes(facts)}{partitions.balance(facts)}{more}")


def shown_limitations(facts: Facts) -> Cell:
    found = [text for text in limitations(facts) if "TODO(author)" not in text]
    shown = f"{len(found)} of them; the first: {found[0]}"
    return Cell("Limitations that the data show", shown)


def availability(facts: Facts) -> Cell:
    header: Mapping[str, str] = facts.run.plan[0]
    plan, manifest = header["plan_hash"][:12], header["manifest_hash"][:12]
    return Cell("", f"Plan {plan}, manifest {manifest}. {software.commit(facts)}")


def outputs_kept(facts: Facts) -> Cell:
    num, key = len(facts.run.images), facts.environment["key"][:12]
    return Cell(
        "",
        f"All {num:,} test predictions are kept in `predictions.csv`, with SHA-256 in each fold's "
        f"`result.json` (run {key})",
    )
