"""Prediction tables as CSV files that read back bit for bit."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import UserError
from pipeline.evaluation.predictions import (
    SAMPLE_COLUMNS,
    as_float32,
    prob_columns,
    probability_problem,
)
from pipeline.files import write_whole


class PredictionError(UserError):
    """A predictions file that cannot be used."""


def write_predictions(table: pd.DataFrame, path: Path) -> None:
    """Write atomically; the same table gives the same bytes on every machine."""
    names = list(table.columns)
    probs = names[4:-1]
    if names[:4] != ["fold", *SAMPLE_COLUMNS] or names[-1] != "predicted" or len(probs) < 2:
        raise RuntimeError(f"Expected a prediction table with decisions, got the columns {names}.")
    table = table.astype(dict.fromkeys(probs, np.float32))
    # 9 digits are enough to tell any two float32 apart
    text = table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
    write_whole(path, text)


def read_predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Read what `write_predictions` wrote; text stays text (`007`, `NA`).

    PredictionError unless the file holds exactly these classes' columns and sound values.
    """
    header, *rows = _read_rows(path, ["fold", *SAMPLE_COLUMNS, *prob_columns(classes), "predicted"])
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    try:
        folds = [int(text) for text in columns["fold"]]
        probabilities = np.array([columns[name] for name in prob_columns(classes)], np.float64).T
    except ValueError as error:
        raise PredictionError(f"{path}: expected numbers in fold and prob_*: {error}.") from None
    problems = [probability_problem(probabilities)]
    for name in ("label", "predicted"):
        if unknown := sorted(set(columns[name]) - set(classes)):
            problems.append(f"{name} must be among {list(classes)}, got {unknown}")
    if found := [problem for problem in problems if problem]:
        raise PredictionError(f"{path}: {'; '.join(found)}.")
    numbers = zip(prob_columns(classes), as_float32(probabilities).T, strict=True)
    return pd.DataFrame({**columns, "fold": folds, **dict(numbers)})


def _read_rows(path: Path, expected: list[str]) -> list[list[str]]:
    """Return header and at least one row, all of the expected width."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PredictionError(f"{path}: cannot be read: {error}.") from None
    header = rows[0] if rows else []
    if header != expected:
        raise PredictionError(f"{path}: expected the columns {expected}, got {header}.")
    if len(rows) == 1:
        raise PredictionError(f"{path}: holds no predictions, only a header.")
    if wrong := [number for number, row in enumerate(rows, 1) if len(row) != len(expected)]:
        raise PredictionError(
            f"{path}: {len(wrong)} row(s) have not {len(expected)} values, e.g. row {wrong[0]}."
        )
    return rows
