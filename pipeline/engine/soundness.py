"""Is a run folder whole and as it was written? Every damaged file is named, with what to do."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.config import UserError
from pipeline.engine.cohort import FILE_NAME as COHORT
from pipeline.files import read_json, sha256
from pipeline.splits.plan_file import named, read_files
from pipeline.tracking.journal import TRAIN_AGAIN, EpochEnded, read_journal
from pipeline.tracking.record import FILE_NAME, RunRecord, former_uid
from pipeline.tracking.result import check_files, check_seal, read_result, read_sealed
from pipeline.tracking.untested import FINAL, read_untested

TRAINING_IMAGES = "training_images.json"
"""Made by `training_images.py`; earlier versions wrote none."""
WRITE_AGAIN = "Restore it, or delete it: the same cv command writes it again."


def check_run_folder(run_dir: Path) -> None:
    """All that a run folder is shown by; for a folder in which nobody works.

    Raises:
        UserError: with every file that is missing, damaged or was changed.
    """
    _all_of(
        [
            lambda: read_environment(run_dir),
            lambda: check_plan(run_dir),
            lambda: check_config(run_dir),
            lambda: _check_cohort(run_dir),
            lambda: RunRecord.load(run_dir),
            lambda: former_uid(run_dir),
            *(lambda path=path: check_fold(path) for path in _begun(run_dir)),
            lambda: _check_summary(run_dir),
            lambda: _check_final(run_dir),
            lambda: read_sealed(run_dir / TRAINING_IMAGES, WRITE_AGAIN),
        ]
    )


def check_before_going_on(run_dir: Path) -> None:
    """What a cross-validation that goes on does not write anew; there may be nothing yet.

    Raises:
        UserError: with every file that is damaged or was changed.
    """
    has_plan = any((run_dir / name).exists() for name in ("plan.csv", "plan.json"))
    has_record = (run_dir / FILE_NAME).exists()
    _all_of(
        [
            *[lambda: check_plan(run_dir)] * has_plan,
            *[lambda: RunRecord.load(run_dir)] * has_record,
            lambda: former_uid(run_dir),
            *(lambda path=path: check_fold(path) for path in _begun(run_dir)),
        ]
    )


def read_environment(run_dir: Path) -> dict[str, Any]:
    """What a run folder says of itself; UserError if that is missing or damaged."""
    path = run_dir / "environment.json"
    before = read_json(path, "Restore it, or delete the run folder to train anew.")
    key, known = before.get("key"), before.get("identity")
    are_settings = isinstance(known, dict) and all(type(value) is str for value in known.values())
    if not isinstance(key, str) or not are_settings:
        raise UserError(f"{path}: expected the key and identity of a run, got {key!r}, {known!r}.")
    return before


def check_plan(run_dir: Path) -> None:
    """UserError unless plan.csv and plan.json are those that were written together."""
    path = run_dir / "plan.csv"
    try:
        with named(path):
            read_files(path)
    except UserError as error:
        raise UserError(
            f"{error} Restore both files of the plan, or delete both: the same cv command writes "
            "them again."
        ) from None


def check_fold(fold_dir: Path) -> None:
    """UserError unless the journal can be read and a done fold is as it was when it ended."""
    path = fold_dir / "result.json"
    events = read_journal(fold_dir / "journal.jsonl")
    if not path.exists():
        return
    result = read_result(path)
    if fold_dir.name != f"fold_{result['fold']:02d}":
        raise UserError(f"{path} is that of fold {result['fold']}. {TRAIN_AGAIN}")
    check_files(result, fold_dir)
    epochs = {event.epoch for event in events if isinstance(event, EpochEnded)}
    if missing := set(range(1, result["num_epochs"] + 1)) - epochs:
        raise UserError(
            f"{fold_dir / 'journal.jsonl'}: epoch {min(missing)} of {result['num_epochs']} is "
            f"missing, though the fold is done. {TRAIN_AGAIN}"
        )


def _begun(run_dir: Path) -> list[Path]:
    folders = (path for path in run_dir.glob("fold_*") if path.is_dir())
    return sorted(path for path in folders if path.name.removeprefix("fold_").isdigit())


def check_config(run_dir: Path) -> None:
    """UserError unless config.yaml is as it was written; earlier versions kept no hash of it."""
    path, known = run_dir / "config.yaml", _json_or_nothing(run_dir / "environment.json")
    try:
        is_config = OmegaConf.is_dict(OmegaConf.load(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. {WRITE_AGAIN}") from None
    except (YAMLError, OmegaConfBaseException, ValueError, RecursionError):
        is_config = False
    if not is_config:
        raise UserError(f"{path} holds no settings. {WRITE_AGAIN}")
    if known.get("config_sha256", now := sha256(path)) != now:
        raise UserError(f"{path} was changed after it was written. {WRITE_AGAIN}")


def _check_cohort(run_dir: Path) -> None:
    """UserError unless cohort.csv is as it was written; earlier versions wrote none."""
    path, known = run_dir / COHORT, _json_or_nothing(run_dir / "environment.json")
    if "cohort_sha256" not in known:
        return
    if not path.is_file():
        raise UserError(f"{path} is missing. {WRITE_AGAIN}")
    if known["cohort_sha256"] != sha256(path):
        raise UserError(f"{path} was changed after it was written. {WRITE_AGAIN}")


def _json_or_nothing(path: Path) -> dict[str, Any]:
    """Of a file whose damage is told elsewhere."""
    with suppress(UserError):
        return read_json(path)
    return {}


def _check_summary(run_dir: Path) -> None:
    """UserError unless predictions.csv is made of the folds' predictions; none is right, too."""
    summary, gathered = run_dir / "metrics.json", run_dir / "predictions.csv"
    if summary.exists():
        check_seal(read_json(summary, WRITE_AGAIN), summary, WRITE_AGAIN)
    if not gathered.exists():
        if summary.exists():
            raise UserError(f"{gathered} is missing. {WRITE_AGAIN}")
        return
    folds = [path / "predictions_test.csv" for path in _begun(run_dir)]
    if _rows([gathered]) != _rows(path for path in folds if path.exists()):
        raise UserError(f"{gathered} differs from the predictions of the folds. {WRITE_AGAIN}")


def _check_final(run_dir: Path) -> None:
    """UserError unless the final network, if one was trained, is as it was when it was done."""
    read_journal(run_dir / FINAL / "journal.jsonl")
    read_untested(run_dir)


def _rows(paths: Iterable[Path]) -> Counter[tuple[str, ...]]:
    """The rows of all files, without their first lines."""
    found: Counter[tuple[str, ...]] = Counter()
    for path in paths:
        try:
            with path.open(encoding="utf-8", newline="") as file:
                found.update(map(tuple, list(csv.reader(file))[1:]))
        except (OSError, ValueError, csv.Error) as error:
            raise UserError(f"{path} cannot be read: {error}. {WRITE_AGAIN}") from None
    return found


def _all_of(checks: Iterable[Callable[[], object]]) -> None:
    problems = []
    for check in checks:
        try:
            check()
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
