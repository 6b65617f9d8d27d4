"""A fold's result.json and the run's metrics.json as metrics of MLflow, without gaps."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pipeline.config import FORMER_METRICS, UserError, fingerprint
from pipeline.files import read_json, sha256
from pipeline.levels import LEVELS
from pipeline.tracking.journal import TRAIN_AGAIN, VERSION

SINGLE = ("best_epoch", "num_epochs", "seconds", "num_parameters")
NEEDED: Mapping[str, type | tuple[type, ...]] = {
    "fold": int,
    "best_epoch": int,
    "num_epochs": int,
    "select_by": str,
    "select_value": float,
    "thresholds": dict,
    "time": (int, float),
}
HASHED = {
    "predictions_val.csv": "predictions_val_sha256",
    "predictions_test.csv": "predictions_test_sha256",
    "best.pt": "best_sha256",
    "best.json": "best_recipe_sha256",
}
KEPT = ("best.pt", "best.json")
"""Of a network, of a baseline."""
SEAL = "seal"
BEST = "best/"
ENDINGS = {"value": "", "ci_low": "_ci_low", "ci_high": "_ci_high"}


def seal(result: dict[str, Any], fold_dir: Path) -> dict[str, Any]:
    """A result with the hashes of the files that it stands for, and one of itself."""
    there = [name for name in HASHED if name not in KEPT or (fold_dir / name).exists()]
    return with_seal(result | {HASHED[name]: sha256(fold_dir / name) for name in there})


def with_seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with a hash of itself."""
    return {**record, SEAL: fingerprint(record)}


def check_seal(record: Mapping[str, Any], path: Path, advice: str) -> None:
    """UserError if a record was changed after it was sealed; earlier versions did not seal all."""
    rest = {name: value for name, value in record.items() if name != SEAL}
    if SEAL in record and record[SEAL] != fingerprint(rest):
        raise UserError(f"{path} was changed after it was written. {advice}")


def read_sealed(path: Path, advice: str) -> dict[str, Any] | None:
    """The content of a sealed file without its seal; None where there is no such file.

    Raises:
        UserError: it is damaged, or was changed by hand.
    """
    if not path.exists():
        return None
    content = read_json(path, advice)
    check_seal(content, path, advice)
    content.pop(SEAL, None)
    return content


def read_result(path: Path) -> dict[str, Any]:
    """The content of a done fold's result.json, whatever version wrote it: epochs count from 1.

    Raises:
        UserError: it is missing, damaged or was changed by hand.
    """
    result = read_json(path, TRAIN_AGAIN)
    if wrong := [name for name, kind in NEEDED.items() if not isinstance(result.get(name), kind)]:
        raise UserError(f"{path}: {', '.join(wrong)}: missing or of a wrong type. {TRAIN_AGAIN}")
    check_seal(result, path, TRAIN_AGAIN)
    if "version" not in result:  # written when epochs counted from 0
        name = result["select_by"]
        result["version"], result["best_epoch"] = VERSION, result["best_epoch"] + 1
        result["select_by"] = FORMER_METRICS.get(name, name)
    return result


def check_files(result: Mapping[str, Any], fold_dir: Path) -> None:
    """Are the predictions and the checkpoint those that the result stands for?

    A result that an earlier version wrote has no hashes of the predictions. The checkpoint may have
    been deleted to save room: no number is computed from it.

    Raises:
        UserError: one is missing, or was changed after the fold was done.
    """
    for name, key in HASHED.items():
        path = fold_dir / name
        if not path.is_file():
            if name in KEPT:
                continue
            raise UserError(f"{path} is missing, though the fold is done. {TRAIN_AGAIN}")
        if key in result and sha256(path) != result[key]:
            raise UserError(f"{path} was changed after the fold was done. {TRAIN_AGAIN}")


def result_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """A fold's final metrics: best/val/<level>/..., test/<level>/..., threshold/<level>,
    calibration/temperature, ...
    """
    fit = result.get("calibration") or {}
    parts = {
        "test": result.get("test"),
        "threshold": result.get("thresholds"),
        "calibration": {name: fit[name] for name in ("temperature", "bias") if name in fit},
    }
    single = {name: result.get(name) for name in SINGLE}
    return _chosen(result) | dict(numbers({**parts, **single}))


def summary_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The run's, under the names that a fold's have, plus _ci_low and _ci_high."""
    return dict(numbers({f"test/{level}": summary.get(level) for level in LEVELS}))


def validation_metrics(results: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """val/<level>/... of the chosen epochs: the mean over folds.

    It is also there as best/val/<level>/..., as a fold calls its own: so that a table of runs
    and folds has one column for both, and MLflow, which sorts by name, begins with validation. The
    metric that chose the epochs comes first; at each level it has its extremes too (_min, _max).
    What one fold lacks is missing.
    """
    folds = [_chosen(result) for result in results]
    shared = [name for name in folds[0] if all(name in fold for fold in folds)] if folds else []
    values = {name: [fold[name] for fold in folds] for name in shared}
    best = {name: fmean(values[name]) for name in shared}
    means = {name.removeprefix(BEST): mean for name, mean in best.items()}
    chosen_by = results[0]["select_by"].rpartition("/")[2] if results else ""
    extremes = {
        name.removeprefix(BEST) + end: way(values[name])
        for name in shared
        if name.rpartition("/")[2] == chosen_by
        for end, way in (("_min", min), ("_max", max))
    }
    return best | means | {name: value for name, value in extremes.items() if name not in means}


def _chosen(result: Mapping[str, Any]) -> dict[str, float]:
    """best/val/... of the epoch that was chosen, first what it was chosen by."""
    chosen_by = {result["select_by"]: result["select_value"]}
    return dict(numbers({**chosen_by, "val": result.get("val")}, BEST))


def numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers among the values, at any depth; an interval gives up to three."""
    for name, value in values.items():
        if isinstance(value, Mapping) and "value" in value:
            bounds = {name + ending: value.get(key) for key, ending in ENDINGS.items()}
            yield from numbers(bounds, prefix)
        elif isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif type(value) in (int, float) and math.isfinite(value):
            yield prefix + name, float(value)
