"""Reliability diagrams: does what the model predicts happen that often?"""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.arrays import AnyInts
from pipeline.engine.finished import Finished
from pipeline.evaluation.cases import Cases, LabelCases, cases_of, one_by_one
from pipeline.evaluation.reliability import reliability
from pipeline.evaluation.summary import MetricEntry
from pipeline.levels import PLURALS, Level
from pipeline.report.blocks import Block, Section, Words, charts_of_levels
from pipeline.report.charts import BLUE, GREY, Bars, Chart, Line
from pipeline.report.numbers import number
from pipeline.words import counted

MOST_CLASSES = 6
EDGES = (-0.02, 1.02)
HOW = (
    "Cases of all test parts, in bins of as many each by the probability that the model gives. On "
    "the dotted line, as many have the class as the model says; below it the model says too much. "
    "Bars: 95 % intervals over patients."
)


def reliability_section(run: Finished) -> Section:
    """Patients first; of more than two classes each against the rest."""
    blocks: list[Block] = [Words(HOW, "muted")]
    charts = {level: list(_charts(run, level)) for level in run.levels}
    blocks += charts_of_levels(charts)
    blocks += [
        Words(text)
        for level in run.levels
        for text in calibration_words(run.numbers[level] or {}, level)
    ]
    if len(run.classes) > MOST_CLASSES:
        blocks.append(Words(f"The first {MOST_CLASSES} of {len(run.classes)} classes.", "muted"))
    return Section("reliability", "Reliability of the probabilities", blocks)


def _charts(run: Finished, level: Level) -> Iterator[Chart]:
    cases = cases_of(run.cases(level), run.classes)
    yield from reliability_charts(cases, run.units(level), run.classes, level)


def reliability_charts(
    cases: Cases | LabelCases, units: AnyInts, classes: Sequence[str], level: Level
) -> Iterator[Chart]:
    """One for each of the first classes, of cases (N,) and their units (N,)."""
    for name, of_class in one_by_one(cases, classes)[:MOST_CLASSES]:
        found = reliability(of_class, units)
        notes = [counted(int(num), level) for num in found.num_cases]
        predicted, observed, low, high = (
            of.tolist() for of in (found.predicted, found.observed, found.low, found.high)
        )
        bars = Bars(f"{PLURALS[level]} in bins", predicted, observed, low, high, BLUE, notes)
        yield Chart(
            f"{name}, {level} level",
            f"probability of {name}",
            f"share with {name}",
            [Line("as predicted", [0, 1], [0, 1], GREY, "dotted")],
            bars=[bars],
            x_range=EDGES,
            y_range=EDGES,
            in_words=f"reliability diagram of {name}, {level} level",
        )


def calibration_words(entries: Mapping[str, MetricEntry], level: Level) -> Iterator[str]:
    """What metrics.json says of a level's probabilities, in a line."""
    words = {
        "calibration_slope": "slope {} (1 is right; below 1 the probabilities are too extreme)",
        "calibration_intercept": "intercept {} (0 is right; above 0 they are too low on the whole)",
        "ece": "expected calibration error {}",
        "brier": "Brier score {}",
    }
    found = [
        text.format(number(entries[name]["value"]))
        for name, text in words.items()
        if name in entries and entries[name]["value"] is not None
    ]
    if found:
        yield f"{level.capitalize()} level: {'; '.join(found)}."
