"""Which group each patient (or image) belongs to, by a column of the manifest."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.levels import COLUMNS, Level

MISSING, SEVERAL, OTHER = "missing", "several values", "all other values"
MOST_GROUPS = 12
"""Of a column; the smaller ones share one."""
FEWEST_VALUES = 6
"""Different numbers from which a column is cut into bands; fewer are groups of their own."""
AGES = (18.0, 40.0, 65.0)
"""Where the bands of ages begin, in years."""
OLDEST = 130.0
_AGE_WITH_UNIT = re.compile(r"0*(\d{1,3})\s*([YMWD])", re.IGNORECASE)
_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


@dataclass(frozen=True)
class Grouping:
    """Which groups the N rows of a table of predictions are of."""

    columns: Mapping[str, pd.Series]
    """Column, as the CSV names it -> the group of each row (N,)."""
    sites: pd.Series | None = None
    """(N,) the hospital or scanner of each row, however many there are; blank where it is missing,
    or one of several. Its name is that of its column; None where no column holds sites."""

    @classmethod
    def of(
        cls, samples: pd.DataFrame, columns: Mapping[str, str], table: pd.DataFrame, level: Level
    ) -> "Grouping":
        """Of a level's table; `columns`, the CSV's names -> ours, are those of `samples`."""
        key = COLUMNS["image" if level == "image" else "patient"]
        keys, wanted = samples[key], table[key]
        site = next((name for name, ours in columns.items() if ours == "site"), None)
        sites = None if site is None else _texts_of(samples["site"], keys, wanted).rename(site)
        found = {
            name: _most_frequent(sites)
            if name == site and sites is not None
            else groups_of(samples[ours], keys, wanted, name)
            for name, ours in columns.items()
        }
        if sites is not None:
            sites = sites.where(~sites.isin([MISSING, SEVERAL]), "")
        return cls(found, sites)


def groups_of(cells: pd.Series, keys: pd.Series, wanted: pd.Series, name: str) -> pd.Series:
    """The group of each of `wanted`: texts, in the order of `wanted`.

    `cells` are a column's texts and `keys` whose they are, a patient's or an image's; `wanted` are
    such keys. Numbers become bands of round bounds, a column of ages 0, 18, 40 and 65 years; of a
    patient's several numbers the mean counts, of several texts SEVERAL stands for all. A blank cell
    is a group of its own, unless the patient has others. Beside the most frequent groups, OTHER.
    """
    cells = cells.str.strip().reset_index(drop=True)
    keys = keys.reset_index(drop=True)
    is_age = bool(re.search(r"(^|[^a-z])age([^a-z]|$)", name.casefold()))
    numbers = _numbers(cells, is_age)
    is_number = numbers.notna()
    filled = cells != ""
    many = numbers.nunique() >= FEWEST_VALUES
    if many and is_number.sum() > filled.sum() / 2:
        means = numbers.groupby(keys).mean()
        bands = _bands(means, is_age)
        texts = cells[filled & ~is_number]
        others = _one_text(texts, keys[texts.index])
        found = wanted.map(bands).fillna(wanted.map(others))
        return _most_frequent(found.fillna(MISSING).astype(str))
    return _most_frequent(_texts_of(cells, keys, wanted))


def _texts_of(cells: pd.Series, keys: pd.Series, wanted: pd.Series) -> pd.Series:
    """The text of each of `wanted`, SEVERAL or MISSING."""
    cells = cells.str.strip().reset_index(drop=True)
    filled = cells != ""
    each = _one_text(cells[filled], keys.reset_index(drop=True)[filled])
    return wanted.map(each).fillna(MISSING).astype(str)


def _most_frequent(groups: pd.Series) -> pd.Series:
    """OTHER in the place of the rarer ones, where there are many."""
    sizes = groups.value_counts()
    if len(sizes) <= MOST_GROUPS:
        return groups
    kept = [*sizes.index[: MOST_GROUPS - 1], MISSING]
    return groups.where(groups.isin(kept), OTHER)


def in_order(groups: pd.Series) -> list[str]:
    """The groups that occur: bands by their bounds, texts by the alphabet, the rest last."""
    last = (SEVERAL, OTHER, MISSING)
    return sorted(
        groups.unique(), key=lambda g: (last.index(g) + 1 if g in last else 0, _natural(g))
    )


def _natural(text: str) -> list[tuple[int, float, str]]:
    parts = re.split(r"(\d+(?:\.\d+)?)", text.removeprefix("under "))
    order = [(0, float(p), "") if p[:1].isdigit() else (1, 0.0, p) for p in parts if p]
    return [(-1, 0.0, ""), *order] if text.startswith("under ") else order


def _one_text(texts: pd.Series, keys: pd.Series) -> pd.Series:
    """Key -> its text, or SEVERAL."""
    each = pd.DataFrame({"key": keys, "text": texts}).drop_duplicates()
    first = each.drop_duplicates("key").set_index("key")["text"]
    return first.where(~each["key"].duplicated(keep=False).groupby(each["key"]).any(), SEVERAL)


def _numbers(cells: pd.Series, is_age: bool) -> pd.Series:
    """As numbers; of ages also 045Y and 006M, as DICOM writes them, in years."""
    if is_age:
        found = cells.map(_AGE_WITH_UNIT.fullmatch)
        years = found.map(lambda m: float(m[1]) / _PER_YEAR[m[2].upper()] if m else None)
        cells = years.astype(object).where(years.notna(), cells)
    numbers = pd.to_numeric(cells, errors="coerce").astype(np.float64)
    return numbers.replace([np.inf, -np.inf], np.nan)


def _bands(values: pd.Series, is_age: bool) -> pd.Series:
    """Key -> in which band its value lies; a value on a bound belongs to the band above."""
    values = values.dropna()
    if is_age and values.between(0, OLDEST).all():
        bounds: Sequence[float] = AGES
    else:
        bounds = _quartiles(values.to_numpy())
    texts = [f"{bound:g}" for bound in bounds]
    names = [f"under {texts[0]}"]
    names += [f"{low} to under {high}" for low, high in pairwise(texts)]
    names += [f"{texts[-1]} or more"]
    codes = np.searchsorted(np.array(bounds), values.to_numpy(), side="right")
    return pd.Series([names[code] for code in codes], index=values.index, dtype=object)


def _quartiles(values: Floats) -> list[float]:
    """Round bounds near the quartiles; at least one, and each with values on both sides."""
    quartiles = np.quantile(values, (0.25, 0.5, 0.75))
    width = (quartiles[2] - quartiles[0]) or np.ptp(values)
    step = 10.0 ** np.floor(np.log10(width / 4))
    bounds = sorted({round(float(np.round(q / step) * step), 10) for q in quartiles})
    inner = [b for b in bounds if (values < b).any() and (values >= b).any()]
    return inner or [float(np.mean([values.min(), values.max()]))]
