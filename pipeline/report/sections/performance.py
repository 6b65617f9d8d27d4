"""Every metric with its interval and its value in each fold: patients first, then images."""

from collections.abc import Iterator, Sequence

from pipeline.engine.finished import Finished
from pipeline.evaluation.metrics import named_metrics
from pipeline.evaluation.summary import MetricEntry
from pipeline.levels import Level
from pipeline.report.blocks import Block, Cell, Folded, Heading, Section, Words, table
from pipeline.report.numbers import interval, metric_names, number, spread

MOST_FOLDS = 6
COUNTED = (
    "This run was made by an earlier version, whose metrics.json has no intervals: these numbers "
    "were counted anew for this page, from the predictions in the run folder."
)
IMAGES = (
    "Image level: each image counts by itself, although images of a patient are alike. Intervals "
    "are over patients all the same."
)


def performance(run: Finished) -> Section:
    """What metrics.json holds."""
    blocks: list[Block] = [Words(COUNTED, "muted")] * (run.numbers is not run.summary)
    for level in run.levels:
        blocks.append(Heading(f"{level.capitalize()} level"))
        if level == "image":
            blocks.append(Words(IMAGES, "muted"))
        blocks += _tables(run, level)
    return Section("performance", "All metrics", blocks)


def _tables(run: Finished, level: Level) -> Iterator[Block]:
    entries = run.numbers[level] or {}
    names = metric_names(entries, run.classes, level)
    of_class = {
        key for key, (_, target) in named_metrics(run.classes, level).items() if target is not None
    }
    whole = {key: entry for key, entry in entries.items() if key not in of_class}
    each = {key: entry for key, entry in entries.items() if key in of_class}
    if whole:
        yield _table(run, whole, names)
    if each:
        kind = "label" if run.numbers.get("multilabel") else "class"
        yield Folded(f"Of each {kind} by itself", [_table(run, each, names)])


def _table(run: Finished, entries: dict[str, MetricEntry], names: dict[str, str]) -> Block:
    folds = [of["fold"] for of in run.numbers["num"]["per_fold"]]
    each = len(folds) <= MOST_FOLDS
    columns = ["metric", "value", "95 % interval", "positive"]
    columns += [f"fold {fold}" for fold in folds] if each else ["smallest to largest fold"]
    rows: list[Sequence[str | Cell]] = []
    for key, entry in entries.items():
        marks = entry.get("marks", [])
        bounds = interval(entry.get("ci_low"), entry.get("ci_high"))
        per_fold = (
            [number(value) for value in entry["per_fold"]] if each else [spread(entry["per_fold"])]
        )
        rows.append(
            [
                names[key],
                Cell(number(entry["value"]), "doubt" if marks else "plain"),
                f"{bounds}{''.join(f', {mark}' for mark in marks)}",
                f"{entry['num_positive']:,}" if "num_positive" in entry else "",
                *per_fold,
            ]
        )
    return table(columns, rows, _note(entries, names, len(folds)))


def _note(entries: dict[str, MetricEntry], names: dict[str, str], num_folds: int) -> str:
    notes = []
    for how in dict.fromkeys(entry["how"] for entry in entries.values()):
        those = [names[key] for key, entry in entries.items() if entry["how"] == how]
        notes.append(
            f"{how.capitalize()}: {', '.join(those)}."
            if len(those) < len(entries)
            else f"All: {how}."
        )
    missing = {key: of["num_missing"] for key, of in entries.items() if of.get("num_missing")}
    if missing:
        most = max(missing.values())
        notes.append(
            f"A dash: cannot be computed, in up to {most} of {num_folds} folds, mostly since their "
            "test part lacks a class; a mean over the other folds would mislead."
        )
    return " ".join(notes)
