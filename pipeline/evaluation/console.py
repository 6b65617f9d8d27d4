"""The summary on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from pipeline.evaluation.metrics import named_metrics
from pipeline.evaluation.notes import notes_on_choices
from pipeline.evaluation.subgroups import Subgroups, flagged, sentence
from pipeline.evaluation.summary import (
    IMPRECISE_ABOVE,
    UNSTABLE_BELOW,
    MetricEntry,
    Summary,
    classes_of,
    levels_of,
    shifted,
)
from pipeline.label_names import LabelNames
from pipeline.levels import MIDDLES, PLURALS, Level
from pipeline.words import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 80
OVER_FOLDS = {
    "pooled decisions": "from the decisions of all folds together",
    "pooled probabilities": "from the probabilities of all folds together",
}
BOUNDS = ("low", "high")
MARKS = {
    "unstable": f"fewer than {UNSTABLE_BELOW} patients of a class",
    "imprecise": f"the interval is wider than {2 * IMPRECISE_ABOVE:.2f}",
}
LABEL_METRICS = (
    "prevalence",
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
)
"""What the table of labels shows."""
Columns = dict[str, list[str]]


def print_summary(summary: Summary, level: Level, console: Console) -> None:
    """Print one row per fold, one over folds, its interval, and below it what each value is.

    At most 80 columns wide: metrics that do not fit follow in a table below. Those that each class
    has of its own, of more than two, are in metrics.json only; labels that do not exclude each
    other have a table with a row each. Plain ASCII off a terminal.
    """
    from rich.text import Text

    entries = summary[level]
    if entries is None:
        console.print(f"No {level}-level metrics.")
        return
    classes = classes_of(summary)
    named = named_metrics(classes, level)
    shown = {
        name: entries[name]
        for name, (metric, target) in named.items()
        if target is None and metric.headline and name in entries
    }
    shown |= {name: entries[name] for name in summary.get("own", {}) if name in entries}
    gap = "\N{EN DASH}" if console.is_terminal and not console.options.ascii_only else "-"
    counts = _count_columns(summary, level)
    scores = {
        name: [
            gap if value is None else f"{value:.3f}"
            for value in (*entry["per_fold"], entry["value"], entry["ci_low"], entry["ci_high"])
        ]
        for name, entry in shown.items()
    }
    console.print(Text(f"Test results, {level} level", style="bold"))
    for columns in _tables(counts, scores):
        console.print(_table(columns))
    if isinstance(classes, LabelNames):
        console.print(Text("By label, over all folds", style="bold"))
        console.print(_table(_label_columns(classes, entries, gap)))
    for line in _notes(summary, level, shown, gap):
        console.print(Text(one_line(line)))
    if (found := summary.get("subgroups")) and found["level"] == level:
        for line, style in _of_subgroups(found):
            console.print(Text(one_line(line), style=style))
    of_patients, of_middle = summary.get("image_count"), summary.get("middle_count")
    count = of_patients if level == "patient" else of_middle
    if count is not None and level != "image":
        console.print(Text(one_line(count["note"]), style="bold"))
    for fit in summary.get("fit", []) if level == levels_of(summary)[0] else []:
        console.print(Text(fit["note"], style="bold"))


def _of_subgroups(found: Subgroups) -> Iterator[tuple[str, str]]:
    """Lines and their styles: which groups fare worse, and the AUROC within sites."""
    for one in flagged(found):
        yield f"subgroup {sentence(one, found['num_comparisons'])}", "bold"
    if (site := found.get("within_site")) is None:
        return
    yield (
        (
            f"auroc within a {site['column']}: {site['within']:.3f} [{site['within_low']:.3f}, "
            f"{site['within_high']:.3f}], over all {site['over_all']:.3f}"
        ),
        "",
    )
    if site["note"]:
        yield site["note"], "bold"


def _tables(counts: Columns, scores: Columns) -> list[Columns]:
    """Columns of one table after the other; the first has the counts, each has the folds."""
    tables = [dict(counts)]
    for name, cells in scores.items():
        wider = tables[-1] | {name: cells}
        widths = [max(map(len, [*n.split("_"), *column])) for n, column in wider.items()]
        if sum(widths) + len(widths) - 1 > WIDTH:
            tables.append({"fold": counts["fold"]})
        tables[-1][name] = cells
    return tables


def _table(columns: Columns) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in columns:
        words = name.split("_")
        rule = "-" * max(map(len, words))
        table.add_column(Text("\n".join([*words, rule])), justify="right", vertical="bottom")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, row))  # a name in brackets is no markup
    return table


def _label_columns(classes: LabelNames, entries: Mapping[str, MetricEntry], gap: str) -> Columns:
    """A row for each label, a column for each of its metrics, over folds."""
    columns = {"label": [one_line(name) for name in classes]}
    for metric in LABEL_METRICS:
        values = [entries[f"{metric}_{name}"]["value"] for name in classes]
        columns[metric] = [gap if value is None else f"{value:.3f}" for value in values]
    return columns


def _count_columns(summary: Summary, level: Level) -> Columns:
    """Fold numbers and counts: one value per fold, the one over folds, none for its bounds."""
    num, folds = summary["num"], summary["num"]["per_fold"]
    columns = {
        "fold": [*(_name(fold["fold"]) for fold in folds), "all", *BOUNDS],
        "patients": [*(str(count["patients"]) for count in (*folds, num)), "", ""],
    }
    for middle in (middle for middle in MIDDLES if middle in summary):
        numbers = [*(count["middle"] for count in (*folds, num)), "", ""]
        columns[PLURALS[middle]] = list(map(str, numbers))
    columns["images"] = [*(str(count["images"]) for count in (*folds, num)), "", ""]
    if len(summary["classes"]) == 2 and not summary.get("multilabel"):
        key: Literal["patients_per_class", "middle_per_class", "images_per_class"]
        key = "middle_per_class" if level in MIDDLES else "images_per_class"
        key = "patients_per_class" if level == "patient" else key
        positives = [(of[key] or {})[summary["classes"][1]] for of in (*folds, num)]
        columns["positive"] = [*map(str, positives), "", ""]
    return columns


def _name(fold: int) -> str:
    return str(fold) if fold >= 0 else "locked"


def _notes(summary: Summary, level: Level, shown: Mapping[str, MetricEntry], gap: str) -> list[str]:
    """Say what the last row is, what positive means, and why values are missing."""
    notes = []
    for how in dict.fromkeys(entry["how"] for entry in shown.values()):
        names = [name for name, entry in shown.items() if entry["how"] == how]
        notes.append(f"all: {OVER_FOLDS.get(how, how)} for {', '.join(names)}")
    notes.append(f"{', '.join(BOUNDS)}: 95 % confidence interval of all, over patients")
    for mark, why in MARKS.items():
        if names := [name for name, entry in shown.items() if mark in entry["marks"]]:
            notes.append(f"{mark} ({why}): {', '.join(names)}")
    if summary.get("multilabel"):
        names = [name for name in shown if name in LABEL_METRICS]
        notes.append(f"{', '.join(names)} of all: mean over the labels")
    elif len(summary["classes"]) == 2:
        notes.append(f"positive: {PLURALS[level]} labelled {summary['classes'][1]}")
    num_folds = len(summary["num"]["per_fold"])
    for num in dict.fromkeys(entry["num_missing"] for entry in shown.values()):
        if num:
            names = [name for name, entry in shown.items() if entry["num_missing"] == num]
            notes.append(
                f"{gap}: {', '.join(names)} not defined in {num} of {num_folds} folds, whose test "
                f"{PLURALS[level]} lack a class; a mean over the other folds would mislead"
            )
    ranked = [n for n, of in shown.items() if of["num_missing"] and "pooled" in of]
    if ranked:
        notes.append(
            f"{', '.join(ranked)}: not of all folds together either, since each fold has a network "
            "of its own, with scores of another scale"
        )
    return [*notes, *_shifts(shown), *notes_on_choices(summary, level)]


def _shifts(shown: Mapping[str, MetricEntry]) -> Iterator[str]:
    """Where the scores of the folds are shifted against one another."""
    if (found := shifted(shown)) is not None:
        yield (
            f"auroc of all folds' scores together is {found[0]:.3f}, not {found[1]:.3f}: the "
            "networks of the folds have scores of different scales. Take the mean over folds, and "
            "no threshold for all of them"
        )
