"""Markdown: text of strangers in it, tables, and numbers, names and lists in a sentence."""

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath
from statistics import median

from pipeline.evaluation.summary import MetricEntry
from pipeline.report.numbers import metric_words
from pipeline.words import one_line

MISSING = "\N{EN DASH}"
MOST_LISTED = 10
"""Folds whose values a sentence lists; of more it says the median and the range."""
Row = Sequence[str]


def escaped(text: str) -> str:
    """A name from outside, as Markdown shows it: nothing in it starts a format or ends a cell."""
    shown = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*|$~\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", shown)


def named(metric: str) -> str:
    """What a metric is called in a paper."""
    return escaped(metric_words(metric))


def table(header: Row, rows: Sequence[Row]) -> str:
    """A table of cells that are Markdown already; all but the first column to the right."""
    assert all(len(row) == len(header) for row in rows), "a row has as many cells as the header"
    rule = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join(_line(row) for row in (header, rule, *rows))


def text_table(header: Row, rows: Sequence[Row]) -> str:
    """The same with all columns to the left."""
    return "\n".join(_line(row) for row in (header, [":--"] * len(header), *rows))


def _line(cells: Row) -> str:
    safe = (re.sub(r"(?<!\\)\|", r"\\|", " ".join(cell.split())) for cell in cells)
    return f"| {' | '.join(safe)} |"


def number(value: float | None) -> str:
    """Three decimals, which is what the sizes of such studies bear; a dash where there is none."""
    return MISSING if value is None else f"{value:.3f}"


def percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def interval(entry: MetricEntry) -> str:
    """`0.880 to 0.992`; old run folders and metrics without an interval have none."""
    low, high = entry.get("ci_low"), entry.get("ci_high")
    return MISSING if low is None or high is None else f"{low:.3f} to {high:.3f}"


def with_interval(entry: MetricEntry) -> str:
    """`0.968 (95 % CI 0.880 to 0.992)`, the form of journals."""
    value, found = number(entry["value"]), interval(entry)
    return value if found == MISSING else f"{value} (95 % CI {found})"


def span(values: Sequence[float], shown: Callable[[float], str] = "{:,}".format) -> str:
    """`46 to 48`, or `46` where all are that."""
    low, high = shown(min(values)), shown(max(values))
    return low if low == high else f"{low} to {high}"


def joined(texts: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}"


def over_folds(values: Sequence[float], shown: Callable[[float], str] = "{:,}".format) -> str:
    """The value of each fold, in order; of many folds the median and the range."""
    if len(values) == 1:
        return shown(values[0])
    if len(values) > MOST_LISTED:
        return f"median {shown(median(values))}, range {span(values, shown)}"
    return f"{joined([shown(v) for v in values])} in folds 0 to {len(values) - 1}"


def leaf(target: object) -> str:
    """A class that the settings name with its arguments: `torch.optim.AdamW (lr 0.001)`."""
    if not isinstance(target, dict) or "_target_" not in target:
        return escaped(_plain(target))
    args = [f"{name} {_argument(value)}" for name, value in target.items() if name[0] != "_"]
    args = [*map(_argument, target.get("_args_", [])), *args]
    name = escaped(str(target["_target_"]))
    return f"{name} ({', '.join(args)})" if args else name


def _argument(value: object) -> str:
    if isinstance(value, dict):
        return leaf(value)
    if isinstance(value, list | tuple) and any(isinstance(inner, dict) for inner in value):
        return joined([_argument(inner) for inner in value])
    return escaped(_plain(value))


def _plain(value: object) -> str:
    """A value in words; of a path only the last part: folders may name people."""
    if isinstance(value, list | tuple):
        if len(value) < 4:
            return " x ".join(map(_plain, value))
        return f"({', '.join(map(_plain, value))})"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int):
        return f"{value:g}"
    text = str(value)
    return PurePath(text.replace("\\", "/")).name if "/" in text or "\\" in text else text
