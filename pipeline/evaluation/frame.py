"""The summary as a table of pandas, and as HTML, for notebooks."""

from collections.abc import Sequence
from html import escape

import pandas as pd

from pipeline.evaluation.metrics import named_metrics
from pipeline.evaluation.summary import Summary, classes_of, levels_of
from pipeline.levels import Level
from pipeline.words import one_line

BOUNDS = {"value": "value", "ci_low": "low", "ci_high": "high"}


def metrics_table(summary: Summary) -> pd.DataFrame:
    """A row for each level and metric; `value`, its 95 % interval, `low` and `high`, and each fold.

    The index is (level, metric). What cannot be computed is missing (`<NA>`), never 0.
    """
    rows = {
        (level, name): {
            **{shown: entry[key] for key, shown in BOUNDS.items()},  # type: ignore[literal-required]
            **{
                f"fold_{fold:02d}": value
                for fold, value in zip(folds, entry["per_fold"], strict=True)
            },
        }
        for folds in [[of["fold"] for of in summary["num"]["per_fold"]]]
        for level in levels_of(summary)
        for name, entry in (summary[level] or {}).items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index").astype("Float64")
    table.index = pd.MultiIndex.from_tuples(rows, names=["level", "metric"])
    return table


def headline(summary: Summary, level: Level) -> pd.DataFrame:
    """Of `metrics_table`, what a console shows of a level: not what each class has of its own."""
    named = named_metrics(classes_of(summary), level)
    shown = [name for name, (metric, of) in named.items() if of is None and metric.headline]
    table = metrics_table(summary).xs(level)
    assert isinstance(table, pd.DataFrame), "a level has a row for each metric"
    return table.loc[[name for name in [*shown, *summary.get("own", {})] if name in table.index]]


def as_html(title: str, lines: Sequence[str], table: pd.DataFrame | None) -> str:
    """A title, lines and a table with three decimals; text of others cannot become HTML."""
    parts = [f"<p><b>{escape(one_line(title))}</b>"]
    parts += [f"<br>{escape(one_line(line))}" for line in lines]
    parts.append("</p>")
    if table is not None:
        parts.append(table.to_html(float_format="{:.3f}".format, na_rep="&ndash;", border=0))
    return "\n".join(parts)
