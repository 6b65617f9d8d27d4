"""ROC and precision-recall curves: each fold, their mean, and a band over patients."""

from collections.abc import Iterator, Sequence

from pipeline.arrays import AnyInts
from pipeline.engine.finished import Finished
from pipeline.evaluation.cases import Cases, cases_of, one_by_one
from pipeline.evaluation.curves import FEWEST, GRID, Curve, curves_of
from pipeline.evaluation.floors import floor_of
from pipeline.levels import Level
from pipeline.report.blocks import Block, Charts, Heading, Section, Words
from pipeline.report.charts import BLUE, GREY, INK, Band, Chart, Line, color_of

MANY_FOLDS, MANY_CLASSES = 10, 6
EDGES = (-0.01, 1.01)
HOW = (
    "Thin: the test part of each fold. Thick: their mean at each point; the area under it is the "
    "AUROC, or the average precision. Shaded: 95 % of bootstrap draws of patients, at each point "
    "by itself. Points: what the decisions of each fold come to. Dotted: a random order."
)


def ranking(run: Finished) -> Section:
    """Patients first; of more than two classes each against the rest."""
    blocks: list[Block] = [Words(HOW, "muted")]
    for level in run.levels:
        blocks += [Heading(f"{level.capitalize()} level"), *_of_level(run, level)]
    return Section("curves", "ROC and precision-recall curves", blocks)


def _of_level(run: Finished, level: Level) -> Iterator[Block]:
    table, units = run.cases(level), run.units(level)
    cases, folds = cases_of(table, run.classes), table["fold"].to_numpy()
    each = one_by_one(cases, run.classes)
    found = {name: curves_of(of, folds, units) for name, of in each}
    if len(each) > MANY_CLASSES:
        yield Charts(list(_together(run, level, list(found.values()))))
    else:
        rest = "" if len(each) == 1 else " against the rest"
        yield Charts(
            [
                chart
                for name, of in each
                for chart in _charts(f"{name}{rest}", level, of, folds, found[name])
            ]
        )
    if any(roc.mean is None for roc, _ in found.values()):
        yield Words("No mean where the test part of a fold lacks a class.", "muted")
    elif any(roc.band is None for roc, _ in found.values()):
        text = f"No band with fewer than {FEWEST} patients of a class: it would be too narrow."
        yield Words(text, "muted")


def _charts(
    name: str, level: Level, cases: Cases, folds: AnyInts, curves: tuple[Curve, Curve]
) -> Iterator[Chart]:
    """The two charts of one class."""
    sensitivity, alarms, precision = _points(cases, folds)
    prevalence = floor_of("average_precision", cases, folds)
    chance = Line("random order", [0, 1], [0, 1], GREY, "dotted")
    points = Line("decisions of a fold", alarms, sensitivity, INK, "points", in_legend=True)
    yield Chart(
        f"ROC, {name}",
        "1 - specificity",
        "sensitivity",
        [*_lines(curves[0]), chance, points],
        list(_bands(curves[0])),
        x_range=EDGES,
        y_range=EDGES,
        in_words=f"ROC curves of {name}, {level} level",
    )
    level_line = 0.0 if prevalence is None else prevalence[1]
    chance = Line("prevalence", [0, 1], [level_line] * 2, GREY, "dotted")
    points = Line("decisions of a fold", sensitivity, precision, INK, "points", in_legend=True)
    yield Chart(
        f"Precision-recall, {name}",
        "recall (sensitivity)",
        "precision (PPV)",
        [*_lines(curves[1], steps=True), chance, points],
        list(_bands(curves[1])),
        x_range=EDGES,
        y_range=EDGES,
        in_words=f"precision-recall curves of {name}, {level} level",
    )


def _lines(curve: Curve, steps: bool = False) -> Iterator[Line]:
    many = len(curve.folds) > MANY_FOLDS
    for fold, (x, y) in curve.folds.items():
        color = GREY if many else color_of(fold)
        width = 0.6 if many else 1.0
        in_legend = not many
        yield Line(f"fold {fold}", x.tolist(), y.tolist(), color, "line", width, steps, in_legend)
    if curve.mean is not None:
        yield Line("mean of folds", GRID.tolist(), curve.mean.tolist(), BLUE, width=3)


def _bands(curve: Curve) -> Iterator[Band]:
    if curve.band is not None:
        low, high = curve.band
        yield Band("95 %, over patients", GRID.tolist(), low.tolist(), high.tolist(), BLUE)


def _points(
    cases: Cases, folds: AnyInts
) -> tuple[list[float | None], list[float | None], list[float | None]]:
    """Sensitivity, false alarms and precision of each fold's decisions."""
    sensitivity, alarms, precision = [], [], []
    for fold in sorted(set(folds.tolist())):
        (right, alarm), (missed, hit) = cases.at((folds == fold).nonzero()[0]).confusion.tolist()
        sensitivity.append(_ratio(hit, hit + missed))
        alarms.append(_ratio(alarm, alarm + right))
        precision.append(_ratio(hit, hit + alarm))
    return sensitivity, alarms, precision


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _together(run: Finished, level: Level, found: Sequence[tuple[Curve, Curve]]) -> Iterator[Chart]:
    """Many classes: only their means, in one chart of each kind."""
    kinds = ("ROC", "1 - specificity", "sensitivity"), ("Precision-recall", "recall", "precision")
    for kind, (title, x_label, y_label) in enumerate(kinds):
        lines = [
            Line(run.classes[code], GRID.tolist(), mean.tolist(), color_of(code))
            for code, curves in enumerate(found)
            if (mean := curves[kind].mean) is not None
        ]
        text = f"{title} of {len(lines)} classes, mean of folds, {level} level"
        title = f"{title}, each class against the rest"
        yield Chart(title, x_label, y_label, lines, x_range=EDGES, y_range=EDGES, in_words=text)
