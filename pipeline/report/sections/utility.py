"""Decision curves: is it better to act on the model than to treat all, or nobody?"""

from collections.abc import Iterator

import numpy as np

from pipeline.arrays import Floats
from pipeline.engine.finished import Finished
from pipeline.evaluation.cases import cases_of, one_by_one
from pipeline.evaluation.utility import decision_curve
from pipeline.levels import Level
from pipeline.report.blocks import Section, Words, charts_of_levels
from pipeline.report.charts import BLUE, GREY, INK, Band, Chart, Line

MOST_CLASSES = 6
HOW = (
    "Net benefit, in true positives per case, for whoever would treat from a threshold probability "
    "on: at 20 %, one missed case is taken to be as bad as four treated for nothing. Where the "
    "line of the model is above both others, it is of use. It takes the probabilities at their "
    "word, and says nothing of costs beside these. Shaded: 95 % over patients."
)


def utility(run: Finished) -> Section:
    """Patients first; of more than two classes each against the rest."""
    charts = charts_of_levels({level: list(_charts(run, level)) for level in run.levels})
    return Section("utility", "Decision curves", [Words(HOW, "muted"), *charts])


def _charts(run: Finished, level: Level) -> Iterator[Chart]:
    cases, units = cases_of(run.cases(level), run.classes), run.units(level)
    for name, of_class in one_by_one(cases, run.classes)[:MOST_CLASSES]:
        found = decision_curve(of_class, units)
        top = max(float(found.high.max()), float(of_class.labels.mean()), 0.05) * 1.05
        at = found.thresholds.tolist()
        floor = -0.3 * top
        yield Chart(
            f"{name}, {level} level",
            "threshold probability",
            "net benefit",
            [
                Line("model", at, _above(found.model, floor), BLUE, width=2.5),
                Line("treat all", at, _above(found.treat_all, floor), GREY, "dashed"),
                Line("treat nobody", [0, 1], [0, 0], INK, "dotted"),
            ],
            [_band(at, np.maximum(found.low, floor), np.maximum(found.high, floor))],
            x_range=(0, 1),
            y_range=(floor, top),
            in_words=f"decision curve of {name}, {level} level",
        )


def _band(at: list[float], low: Floats, high: Floats) -> Band:
    return Band("95 %, over patients", at, low.tolist(), high.tolist(), BLUE)


def _above(values: Floats, floor: float) -> list[float | None]:
    """Without what lies far below the chart."""
    return [value if value >= floor else None for value in values.tolist()]
