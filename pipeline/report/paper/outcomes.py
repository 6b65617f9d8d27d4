"""The results of a run in Markdown: the answer, the tables, each fold, the operating points."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.evaluation.metrics import named_metrics
from pipeline.evaluation.summary import MetricEntry
from pipeline.levels import LEVELS, PLURALS, Level
from pipeline.report.paper import patients
from pipeline.report.paper.facts import Facts
from pipeline.report.paper.markdown import (
    MISSING,
    escaped,
    interval,
    joined,
    named,
    number,
    span,
    table,
    with_interval,
)
from pipeline.words import counted

MOST_ROWS = 25
"""Folds that a table shows one by one."""
BY_CLASS = (
    ("prevalence", "auroc", "average_precision", "sensitivity", "specificity"),
    ("ppv", "npv", "f1", "mcc"),
    ("brier", "brier_skill", "log_loss", "ece", "calibration_slope", "calibration_intercept"),
)
"""What each class has of its own, a table each."""
FIRST = (
    "auroc",
    "average_precision",
    "balanced_accuracy",
    "accuracy",
    "sensitivity",
    "specificity",
)
"""What the tables of folds show."""


def headline(facts: Facts) -> str:
    """The answer, in the form of journals."""
    level = facts.level
    entries = facts.entries(level)
    num = facts.summary["num"]
    who = f"{num['patients']:,} patients"
    if level != "patient":
        who = f"{num['images']:,} images of {who}"
    marks = sorted({mark for name in FIRST if name in entries for mark in entries[name]["marks"]})
    marked = f" Some values are {joined(marks)} (see Statistical analysis)." if marks else ""
    return f"Internal test, {level} level, {who}: {_main(entries)}.{marked}"


def results(facts: Facts) -> Iterator[str]:
    """Blocks of Markdown, patient level first."""
    if one := patients.characteristics(facts):
        yield "### Patients"
        yield one
    for level in facts.levels:
        order = " (primary)" if level == facts.level else " (secondary)"
        yield f"### {level.capitalize()} level{order}"
        yield overall(facts, level)
        yield from _by_class(facts, level)
        if (note := _missing(facts, level)) is not None:
            yield note
        yield confusion(facts, level)
    if len(facts.results) > 1:
        yield "### Folds"
        yield folds(facts)
    if points := operating_points(facts):
        yield "### Operating points"
        yield points
    if groups := patients.subgroups(facts):
        yield "### Subgroups"
        yield groups
    if facts.run.locked is not None:
        yield "### Locked patients"
        yield locked(facts.run.locked)


def locked(summary: Mapping[str, Any]) -> str:
    """What the models of all folds together gave for patients that no fold has seen."""
    level = next(level for level in LEVELS if summary.get(level) is not None)
    entries: Mapping[str, MetricEntry] = summary[level]
    opened = counted(len(summary["opened"]), "run")
    return (
        f"{summary['num']['patients']:,} patients had been locked away from all folds. The models "
        f"of all folds together gave, at {level} level: {_main(entries)}. They were opened for "
        f"{opened}."
    )


def _main(entries: Mapping[str, MetricEntry]) -> str:
    """The values that a sentence names."""
    parts = [
        f"{named(name)} {with_interval(entries[name])}"
        for name in ("auroc", "balanced_accuracy", "sensitivity", "specificity")
        if name in entries and entries[name]["value"] is not None
    ]
    return joined(parts) or "no metric of the ranking or the decisions can be computed"


def overall(facts: Facts, level: Level) -> str:
    """Every metric of all classes together, with interval and range over folds."""
    known, rows = named_metrics(facts.classes, level), []
    for name, entry in facts.entries(level).items():
        if name in known and known[name][1] is not None:
            continue
        rows.append([named(name), number(entry["value"]), interval(entry), *_folds(entry)])
    what = "patients, rarest class"
    if facts.positive is not None:
        what = f"patients with {escaped(facts.positive)}"
    header = ["metric", "value", "95 % CI", "folds, smallest to largest", what, "marks"]
    return table(header, rows)


def _folds(entry: MetricEntry) -> list[str]:
    values = [value for value in entry["per_fold"] if value is not None]
    shown = span(values, number) if len(values) == len(entry["per_fold"]) else ""
    if not shown:
        shown = f"{entry['num_missing']} of {len(entry['per_fold'])} not defined"
    positive = entry.get("num_positive")
    counted_ = MISSING if positive is None else f"{positive:,}"
    return [shown, counted_, ", ".join(entry.get("marks", [])) or MISSING]


def _by_class(facts: Facts, level: Level) -> Iterator[str]:
    """A row for each class or label, where each has metrics of its own."""
    if len(facts.classes) == 2 and not facts.is_multilabel:
        return
    entries, what = facts.entries(level), "label" if facts.is_multilabel else "class"
    for wanted in BY_CLASS:
        shown = [m for m in wanted if all(f"{m}_{name}" in entries for name in facts.classes)]
        if not shown:
            continue
        rows = []
        for name in facts.classes:
            of_class = [entries[f"{metric}_{name}"] for metric in shown]
            cells = [with_interval(entry).replace("95 % CI ", "") for entry in of_class]
            rows.append([escaped(name), f"{of_class[0]['num_positive']:,}", *cells])
        header = [what, "patients with it", *map(named, shown)]
        yield f"Each {what} against the rest (95 % confidence interval):\n\n{table(header, rows)}"


def _missing(facts: Facts, level: Level) -> str | None:
    """Why a value is not there."""
    entries = facts.entries(level)
    lacking = [name for name in FIRST if name in entries and entries[name]["value"] is None]
    if not lacking:
        return None
    num = max(entries[name]["num_missing"] for name in lacking)
    return (
        f"{joined([named(name) for name in lacking])} cannot be computed: in {num} of "
        f"{len(facts.results)} folds the test part lacks a class. A mean over the other folds "
        "would mislead, and so would a ranking of all folds' scores together: each fold has a "
        "model of its own, with scores of its own scale."
    )


def confusion(facts: Facts, level: Level) -> str:
    """Counts of labels by decisions, over all folds."""
    matrix = facts.summary["confusion"][level]
    if matrix is None:
        return ""
    if facts.is_multilabel:
        rows = [
            [escaped(name), *(f"{n:,}" for n in (of[1][1], of[1][0], of[0][1], of[0][0]))]
            for name, of in zip(facts.classes, matrix, strict=True)
        ]
        header = ["label", "true positives", "false negatives", "false positives", "true negatives"]
        return f"Decisions by label ({PLURALS[level]}):\n\n{table(header, rows)}"
    names = [escaped(name) for name in facts.classes]
    rows = [
        [f"labelled {name}", *(f"{n:,}" for n in row), f"{sum(row):,}"]
        for name, row in zip(names, matrix, strict=True)
    ]
    header = [PLURALS[level], *(f"called {name}" for name in names), "all"]
    return f"Labels by decisions:\n\n{table(header, rows)}"


def folds(facts: Facts) -> str:
    """The values of each fold, with their range; never a mean with its SD."""
    entries, per_fold = facts.entries(facts.level), facts.summary["num"]["per_fold"]
    shown = [name for name in FIRST if name in entries]
    if len(per_fold) > MOST_ROWS:
        return (
            f"{len(per_fold)} folds, from {span([fold['patients'] for fold in per_fold])} test "
            "patients each; their values are in `metrics.json` (`per_fold`)."
        )
    rows = [
        [
            str(fold["fold"]),
            f"{fold['patients']:,}",
            f"{fold['images']:,}",
            *(number(entries[name]["per_fold"][i]) for name in shown),
        ]
        for i, fold in enumerate(per_fold)
    ]
    header = ["fold", "test patients", "test images", *map(named, shown)]
    return f"Test values of each fold, {facts.level} level:\n\n{table(header, rows)}"


def operating_points(facts: Facts) -> str | None:
    """What the threshold of each fold reached where it was chosen, and on test."""
    level = facts.level
    points = [
        (result["thresholds"].get(level), result["val"].get(level), result["test"].get(level))
        for result in facts.results
    ]
    rows = []
    for result, (threshold, val, test) in zip(facts.results, points, strict=True):
        if not isinstance(threshold, int | float) or not val or not test:
            return None
        values = [of.get(side) for side in ("sensitivity", "specificity") for of in (val, test)]
        rows.append([str(result["fold"]), number(threshold), *map(number, values)])
    if len(rows) > MOST_ROWS:
        return None
    header = ["fold", "threshold"]
    header += [
        f"{side}, {part}"
        for side in ("sensitivity", "specificity")
        for part in ("validation", "test")
    ]
    is_fixed = facts.get("evaluation.threshold") == "fixed"
    where = "" if is_fixed else ", where it was chosen,"
    return (
        f"The threshold of each fold ({level} level), and what it reached on the validation part"
        f"{where} and on the test part:\n\n{table(header, rows)}"
    )


def errors(facts: Facts) -> str | None:
    """How many were called wrongly, and what."""
    matrix, level = facts.summary["confusion"][facts.level], facts.level
    if matrix is None:
        return None
    if facts.is_multilabel:
        texts = [
            f"{escaped(name)} {of[1][0]:,} missed, {of[0][1]:,} called wrongly"
            for name, of in zip(facts.classes, matrix, strict=True)
        ]
        return f"By label ({PLURALS[level]}): {'; '.join(texts)}"
    total = sum(map(sum, matrix))
    wrong = total - sum(matrix[i][i] for i in range(len(matrix)))
    worst = max(
        ((matrix[i][j], i, j) for i in range(len(matrix)) for j in range(len(matrix)) if i != j),
    )
    cases, repeats = f"{counted(total, level)} {{}} called wrongly", facts.plan.repeats
    if repeats > 1:
        cases = f"{counted(total, 'decision')} ({repeats} repeats, {level} level) {{}} wrong"
    if not wrong:
        return f"None of {cases.format('was')}"
    names = [escaped(name) for name in facts.classes]
    return (
        f"{wrong:,} of {cases.format('were')}; most often "
        f"{names[worst[1]]} was called {names[worst[2]]} ({worst[0]:,})"
    )
