"""Prediction tables, gathered by sample index, and CSV files that read back bit for bit.

Columns: fold, patient_id, image_path, label, prob_<class>... in class order, predicted; study or
slide after label where `evaluation.middle` asks for that level.
Probabilities are float64 columns that hold float32 values: what a file gives back is bit for bit
what was written, and sums over a patient's images do not depend on their order.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.arrays import AnyFloats, AnyInts, Floats
from pipeline.config import UserError
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.recalibration import Calibration
from pipeline.files import write_whole
from pipeline.label_names import BETWEEN, NONE, LabelNames
from pipeline.levels import MIDDLES, Middle
from pipeline.words import counted

SAMPLE_COLUMNS = ["patient_id", "image_path", "label"]
_SUM_TOLERANCE = 1e-4


class PredictionError(UserError):
    """A predictions file that cannot be used."""


def prob_columns(classes: Sequence[str]) -> list[str]:
    """One column per class, in class order."""
    return [f"prob_{name}" for name in classes]


def prediction_table(
    samples: pd.DataFrame,
    probabilities: AnyFloats,
    indices: AnyInts,
    classes: Sequence[str],
    fold: int,
    middle: Middle | None = None,
) -> pd.DataFrame:
    """Give every sample of a part its probabilities; rows sorted by (patient_id, image_path).

    `probabilities` is (N, C), `indices` (N,) says to which sample (0..N-1) each row belongs, in
    any order. RuntimeError unless every sample occurs exactly once, with probabilities that are
    finite and sum to 1 (of labels that do not exclude each other: each lies in [0, 1]).
    """
    _check_exactly_once(indices, len(samples), fold)
    if probabilities.shape != (len(samples), len(classes)):
        raise RuntimeError(
            f"Fold {fold}: expected probabilities of shape {(len(samples), len(classes))}, "
            f"got {probabilities.shape}."
        )
    if problem := _probability_problem(probabilities, classes):
        raise RuntimeError(f"Fold {fold}: {problem}.")
    if unknown := unknown_labels(samples["label"], classes):
        raise RuntimeError(f"Fold {fold}: labels must be among {list(classes)}, got {unknown}.")
    kept = [*SAMPLE_COLUMNS, middle] if middle else SAMPLE_COLUMNS
    table = samples[kept].reset_index(drop=True)
    table.insert(0, "fold", fold)
    table[prob_columns(classes)] = as_float32(probabilities[np.argsort(indices)])
    return _sorted(table)


def unknown_labels(labels: Iterable[str], classes: Sequence[str]) -> list[str]:
    """The labels that are none of the classes, also within sets of labels."""
    if not isinstance(classes, LabelNames):
        return sorted(set(labels) - set(classes))
    names = {name for text in set(labels) - {NONE} for name in text.split(BETWEEN)}
    return sorted(names - set(classes))


def with_calibration(table: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """The table with calibrated probabilities; RuntimeError for rows of another fold."""
    if others := set(table["fold"]) - {calibration.fold}:
        raise RuntimeError(
            f"A calibration of fold {calibration.fold} is for its own rows, got some of "
            f"{sorted(others)}."
        )
    columns = prob_columns(calibration.classes)
    found = as_float32(calibration.apply(table[columns].to_numpy()))
    return table.assign(**dict(zip(columns, found.T, strict=True)))


def with_decisions(table: pd.DataFrame, classes: Sequence[str], decision: Decision) -> pd.DataFrame:
    """Add `predicted`: positive where the positive class reaches its threshold.

    Of more than two classes the most probable is predicted (of equals the first). Binary: the
    positive class is the last one. Labels that do not exclude each other have a threshold each, and
    all that reach theirs are predicted. RuntimeError for anything but a decision of this very fold.
    """
    if not isinstance(decision, Decision):
        raise RuntimeError(
            f"Expected a decision that knows where it was chosen, got {decision!r}: a threshold "
            "by itself decides nothing."
        )
    if others := set(table["fold"]) - {decision.fold}:
        raise RuntimeError(
            f"A decision of fold {decision.fold} is for its own rows, got some of {sorted(others)}."
        )
    if list(decision.classes) != list(classes):
        raise RuntimeError(
            f"A decision between {list(decision.classes)} does not decide between {list(classes)}."
        )
    probabilities = table[prob_columns(classes)].to_numpy()  # (N, C)
    limits = [threshold.value for threshold in decision.thresholds.values()]
    if isinstance(classes, LabelNames):
        return table.assign(predicted=classes.texts(probabilities >= np.array(limits)))
    if limits:
        codes = (probabilities[:, 1] >= limits[0]).astype(np.int64)
    else:
        codes = probabilities.argmax(axis=1)
    return table.assign(predicted=np.asarray(classes, dtype=object)[codes].astype(str))


def gather_folds(
    tables: Sequence[pd.DataFrame], samples: pd.DataFrame, times_tested: Mapping[str, int]
) -> pd.DataFrame:
    """Join the folds' test tables into one out-of-fold table, in the order of one fold's table.

    RuntimeError unless every sample was predicted in exactly as many folds as `times_tested` says
    of its patient, with the label it has in `samples`.
    """
    gathered = pd.concat(tables, ignore_index=True)
    times = samples["patient_id"].map(times_tested).fillna(0).astype(int)
    expected = samples.loc[samples.index.repeat(times)]
    surplus = gathered.value_counts(SAMPLE_COLUMNS).sub(
        expected.value_counts(SAMPLE_COLUMNS), fill_value=0
    )
    missing, extra = (sorted(surplus.index[side]) for side in (surplus < 0, surplus > 0))
    folds = gathered.groupby("patient_id")["fold"].nunique()
    wrong = folds[folds != folds.index.map(lambda patient: times_tested.get(patient, 0))]
    whose = "patient" if len(wrong) == 1 else "patients"
    if problems := _with_examples(
        (f"of {len(expected)} have no prediction", missing),
        ("predicted twice or not a sample", extra),
        (f"{whose} tested in another number of folds", [repr(name) for name in wrong.index]),
    ):
        raise RuntimeError(f"Expected every sample tested as often as the plan says: {problems}.")
    return _sorted(gathered)


def write_predictions(table: pd.DataFrame, path: Path) -> None:
    """Write atomically; the same table gives the same bytes on every machine."""
    names = list(table.columns)
    first = _first_columns(names)
    probs = names[len(first) : -1]
    if names[: len(first)] != first or names[-1] != "predicted" or len(probs) < 2:
        raise RuntimeError(f"Expected a prediction table with decisions, got the columns {names}.")
    table = table.astype(dict.fromkeys(probs, np.float32))
    # 9 digits are enough to tell any two float32 apart
    text = table.to_csv(index=False, float_format="%.9g", lineterminator="\n")
    write_whole(path, text)


def read_predictions(path: Path, classes: Sequence[str]) -> pd.DataFrame:
    """Read what `write_predictions` wrote; text stays text (`007`, `NA`).

    PredictionError unless the file holds exactly these classes' columns and sound values.
    """
    header, *rows = _read_rows(path, [*prob_columns(classes), "predicted"])
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    try:
        folds = [int(text) for text in columns["fold"]]
        probabilities = np.array([columns[name] for name in prob_columns(classes)], np.float64).T
    except ValueError as error:
        raise PredictionError(f"{path}: expected numbers in fold and prob_*: {error}.") from None
    problems = [_probability_problem(probabilities, classes)]
    for name in ("label", "predicted"):
        if unknown := unknown_labels(columns[name], classes):
            problems.append(f"{name} must be among {list(classes)}, got {unknown}")
    if found := [problem for problem in problems if problem]:
        raise PredictionError(f"{path}: {'; '.join(found)}.")
    numbers = zip(prob_columns(classes), as_float32(probabilities).T, strict=True)
    return pd.DataFrame({**columns, "fold": folds, **dict(numbers)})


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values(["patient_id", "image_path"], ignore_index=True)


def as_float32(probabilities: AnyFloats) -> Floats:
    """Round to float32 in [0, 1], kept in float64: as tables hold them."""
    return probabilities.astype(np.float32).clip(0, 1).astype(np.float64)


def _check_exactly_once(indices: AnyInts, num_samples: int, fold: int) -> None:
    samples = np.arange(num_samples)
    found, times = np.unique(indices, return_counts=True)
    if problems := _with_examples(
        ("have no prediction", np.setdiff1d(samples, found)),
        ("have more than one", np.intersect1d(samples, found[times > 1])),
        ("not among the samples", np.setdiff1d(found, samples)),
    ):
        raise RuntimeError(
            f"Fold {fold}: each of {num_samples} samples must be predicted exactly once: "
            f"{problems}."
        )


def _with_examples(*cases: tuple[str, Sequence[object] | AnyInts]) -> str:
    """How many there are of each case, with the first; cases of none are left out."""
    return "; ".join(f"{len(of)} {case}, e.g. {of[0]}" for case, of in cases if len(of))


def _probability_problem(probabilities: AnyFloats, classes: Sequence[str]) -> str | None:
    """Say what is wrong with probabilities (N, C), if anything is."""
    values = probabilities.astype(np.float64)  # (N, C)
    with np.errstate(invalid="ignore"):  # inf - inf is nan, and nan fails every comparison
        sums_to_1 = np.abs(values.sum(axis=1) - 1) <= _SUM_TOLERANCE
    sound = sums_to_1 & (values >= -_SUM_TOLERANCE).all(axis=1)
    expected = "lie in [0, 1] and sum to 1"
    if isinstance(classes, LabelNames):
        sound = ((values >= -_SUM_TOLERANCE) & (values <= 1 + _SUM_TOLERANCE)).all(axis=1)
        expected = "lie in [0, 1]"
    if not (bad := np.flatnonzero(~sound)).size:
        return None
    return (
        f"probabilities must {expected}, not so in {bad.size} of {len(values)} "
        f"rows, e.g. row {bad[0]}: {values[bad[0]].tolist()}"
    )


def _first_columns(header: Sequence[str]) -> list[str]:
    """What stands before the probabilities: with the study or slide if a table has that."""
    columns = ["fold", *SAMPLE_COLUMNS]
    return columns + [name for name in header[len(columns) :][:1] if name in MIDDLES]


def _read_rows(path: Path, last: list[str]) -> list[list[str]]:
    """Return header and at least one row, all of the expected width."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PredictionError(f"{path}: cannot be read: {error}.") from None
    header = rows[0] if rows else []
    expected = _first_columns(header) + last
    if header != expected:
        raise PredictionError(f"{path}: expected the columns {expected}, got {header}.")
    if len(rows) == 1:
        raise PredictionError(f"{path}: holds no predictions, only a header.")
    if wrong := [number for number, row in enumerate(rows, 1) if len(row) != len(expected)]:
        raise PredictionError(
            f"{path}: expected {len(expected)} values in each row, not so in "
            f"{counted(len(wrong), 'row')}, e.g. row {wrong[0]}."
        )
    return rows
