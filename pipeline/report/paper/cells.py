"""What a checklist says of a run: where in the report it stands, and the facts in short."""

from pipeline.evaluation.metrics import named_metrics
from pipeline.report.paper import analysis, outcomes, partitions, preprocessing, recipe, software
from pipeline.report.paper.facts import Facts
from pipeline.report.paper.limitations import limitations
from pipeline.report.paper.markdown import (
    escaped,
    interval,
    joined,
    over_folds,
    percent,
    span,
    with_interval,
)
from pipeline.splits.folds import PARTS
from pipeline.words import counted


def _in(section: str, text: str) -> str:
    return f"*{section}*: {text[0].upper()}{text[1:]}"


# --- data


def technology(facts: Facts) -> str:
    return _in("Model", f"{recipe.technology(facts)}, on the data set {_name(facts)}.")


def _name(facts: Facts) -> str:
    return escaped(str(facts.get("manifest.name")))


def preprocessing_steps(facts: Facts) -> str:
    return _in("Image preprocessing", preprocessing.steps(facts))


def normalisation(facts: Facts) -> str:
    return _in("Image preprocessing", preprocessing.normalisation(facts))


def rows_used(facts: Facts) -> str:
    return _in("Data", partitions.used(facts))


def missing_values(facts: Facts) -> str | None:
    if (text := preprocessing.missing(facts)) is None:
        return None
    return _in("Data", text)


def pseudonyms(facts: Facts) -> str | None:
    used = facts.get("privacy.pseudonyms")
    if used is None:
        return None
    how = "under keyed pseudonyms" if used else "by the ids of the manifest"
    return (
        f"`plan.csv` and `predictions.csv` name {counted(len(facts.plan.groups), 'patient')} {how}."
    )


def inputs(facts: Facts) -> str:
    what = preprocessing.features(facts) if facts.is_baseline else "the pixels of the image"
    dims, channels = facts.get("images.spatial_dims"), facts.get("images.num_channels")
    return _in(
        "Model", f"the only predictors are {what} ({dims}D, {counted(channels, 'channel')})."
    )


def outcome(facts: Facts) -> str:
    return _in("Data", partitions.classes(facts))


# --- partitions


def assignment(facts: Facts) -> str:
    plan = facts.plan
    parts = ", ".join(
        f"{name} {span(facts.num_patients(part))}"
        for part, name in zip(PARTS, partitions.BLOCKS, strict=True)
    )
    return _in(
        "Data partitions",
        f"scheme {plan.scheme}, {counted(plan.num_folds, 'fold')}, seed {plan.seed}; patients by "
        f"part: {parts}; plan {plan.hash[:12]}.",
    )


def disjoint(facts: Facts) -> str:
    if facts.plan.unsafe:
        return _in("Data partitions", partitions.unit(facts))
    return _in("Data partitions", f"patient level or higher.{partitions.groups(facts)}")


def precision(facts: Facts) -> str:
    return analysis.width(facts)


def events(facts: Facts) -> str:
    """Participants and outcome events of each analysis."""
    return f"{partitions.sizes(facts)} {partitions.classes(facts)}"


# --- model


def model(facts: Facts) -> str:
    return _in("Model", recipe.model(facts))


def software_used(facts: Facts) -> str:
    return _in("Software and hardware", software.software(facts))


def initialisation(facts: Facts) -> str:
    return _in("Model", recipe.initialisation(facts))


def training(facts: Facts) -> str:
    text = f"{recipe.optimisation(facts)} {recipe.augmentation(facts)}"
    return _in("Training", text)


def loss(facts: Facts) -> str:
    return _in("Training", recipe.loss(facts))


def imbalance(facts: Facts) -> str:
    return _in("Training", recipe.imbalance(facts).strip())


def selection(facts: Facts) -> str:
    return _in("Selection and decision threshold", recipe.selection(facts))


def threshold(facts: Facts) -> str:
    return _in("Selection and decision threshold", analysis.decision(facts))


def output(facts: Facts) -> str:
    names = joined([escaped(name) for name in facts.classes])
    return f"Probabilities of {names} ({facts.get('loss.output') or 'softmax'})."


def ensembling(facts: Facts) -> str:
    text = recipe.ensembling(facts)
    if average := facts.get("training.average"):
        text += f" Weights are a moving average over steps (decay {average:g})."
    return _in("Model", text)


def prediction(facts: Facts) -> str:
    """How predictions were calculated, and with which models."""
    digests = [r.get("best_sha256") or r.get("best_recipe_sha256") for r in facts.results]
    known = [str(digest)[:8] for digest in digests if digest]
    files = "`best.json`" if facts.is_baseline else "`best.pt`"
    shown = f" (SHA-256 {', '.join(known[:10])}{', ...' * (len(known) > 10)})" if known else ""
    return f"By {files} of each fold's folder{shown}. {analysis.aggregation(facts)}"


# --- evaluation


def metrics(facts: Facts) -> str:
    return _in("Statistical analysis", analysis.metrics(facts))


def intervals(facts: Facts) -> str:
    return _in("Statistical analysis", analysis.intervals(facts))


def stability(facts: Facts) -> str | None:
    """What of robustness a run shows by itself: its range over folds."""
    name, entries = "auroc", facts.entries(facts.level)
    values = [value for value in entries[name]["per_fold"] if value is not None]
    if len(values) < 2:
        return None
    of = f"*Folds*: AUROC {span(values, '{:.3f}'.format)} in {counted(len(values), 'fold')}"
    repeats = facts.plan.repeats
    return f"{of}, {counted(repeats, 'repeat')}."


def clusters(facts: Facts) -> str | None:
    """Sites, where the plan leaves each out."""
    site = facts.get("manifest.columns.site")
    if not site or facts.get("split.leave_out") != site or facts.plan.scheme != "leave_one_out":
        return None
    return _in("Folds", f"each value of the column {escaped(site)} is a fold, with its own values.")


def internal(facts: Facts) -> str:
    num = facts.summary["num"]
    return _in(
        "Results",
        f"internal test on {counted(num['patients'], 'patient')} ({counted(num['images'], 'image')})"
        f" of {_name(facts)}, in {counted(len(facts.results), 'fold')}.",
    )


def performance(facts: Facts) -> str:
    return _in("Results", outcomes.headline(facts))


def accuracy(facts: Facts) -> str:
    """Diagnostic accuracy and its precision: of each class."""
    entries, found = facts.entries(facts.level), []
    for side in ("sensitivity", "specificity"):
        named = named_metrics(facts.classes, facts.level)
        for name in (n for n, (metric, _) in named.items() if metric.name == side):
            if name in entries:
                found.append(f"{escaped(name.replace('_', ' ', 1))} {with_interval(entries[name])}")
    return _in("Results", f"{joined(found)}; {facts.level} level.")


def cross_table(facts: Facts) -> str | None:
    if (text := outcomes.errors(facts)) is None:
        return None
    return _in("Results", f"table of labels by decisions, {facts.level} level. {text}.")


def failures(facts: Facts) -> str | None:
    if (text := outcomes.errors(facts)) is None:
        return None
    return f"{text}; each is found in `predictions.csv`, with its probability."


def flow(facts: Facts) -> str:
    return f"{rows_used(facts)} {partitions.sizes(facts)}"


def characteristics(facts: Facts) -> str:
    return f"{partitions.classes(facts)}{partitions.balance(facts)}"


def shown_limitations(facts: Facts) -> str:
    found = [text for text in limitations(facts) if "TODO(author)" not in text]
    return _in("Limitations that the data show", " ".join(found))


def availability(facts: Facts) -> str:
    header, _ = facts.run.plan
    return (
        f"Plan {header['plan_hash'][:12]}, manifest {header['manifest_hash'][:12]}. "
        f"{software.commit(facts)}"
    )


def outputs_kept(facts: Facts) -> str:
    return (
        f"All {len(facts.run.images):,} test predictions are kept in `predictions.csv`, with SHA-256 "
        f"in each fold's `result.json` (run {facts.environment['key'][:12]})."
    )
