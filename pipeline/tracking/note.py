"""What a run is, in a few lines of Markdown: the note (`mlflow.note.content`) on its page."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.tracking.record import RunRecord
from pipeline.words import counted, one_line

NOTE_TAG = "mlflow.note.content"
OURS = ("Cross-validation", "Fold ", "Final network", "**UNSAFE")
"""Beginnings of our notes: somebody's own stays."""
UNSAFE_TAG = "patientfold.unsafe"
UNSAFE = "**UNSAFE, optimistic: split by image, so that patients are in training and in test.** "
BREAK = "  \n"
"""Of lines of one paragraph: the page of a run folds away what is long."""
LEVELS = ("patient", "image")


def cv_note(
    record: RunRecord, summary: Mapping[str, Any] | None, num_done: int, report: str = ""
) -> str:
    """What a cross-validation is, with its headline once `summary` (metrics.json) is there.

    `report`: names the artifact that has more.
    """
    begun = record.note or f"Cross-validation {one_line(record.run_name)}."
    first, *others = begun.split("\n\n")
    num_folds = len(record.fold_params)
    if summary is None:
        result = f"Result: not yet, {num_done} of {counted(num_folds, 'fold')} done."
    else:
        result = _headline(summary, record.select_by)
    if report:
        result += f" More in {report} (Artifacts)."
    unsafe = UNSAFE if UNSAFE_TAG in record.tags else ""
    return BREAK.join([unsafe + first, result, *others])


def fold_note(record: RunRecord, fold: int, result: Mapping[str, Any] | None) -> str:
    """What a fold is; with its results once they are there."""
    num_folds = len(record.fold_params)
    unsafe = UNSAFE if UNSAFE_TAG in record.tags else ""
    lines = [f"{unsafe}Fold {fold} of {counted(num_folds, 'fold')} of {one_line(record.run_name)}."]
    params = record.fold_params[fold]
    sizes = [
        f"{part} {params[f'num_images/{part}']} images of {params[f'num_patients/{part}']} patients"
        for part in ("train", "val", "test")
        if f"num_images/{part}" in params and f"num_patients/{part}" in params
    ]
    if sizes:
        lines.append(f"Parts: {', '.join(sizes)}.")
    if result is None:
        lines.append(
            f"Epochs are compared by {record.select_by} on its val part; test is not opened yet."
        )
        return BREAK.join(lines)
    chosen_by, value = result["select_by"], result["select_value"]
    lines.append(
        f"Epoch {result['best_epoch']} of {result['num_epochs']} was chosen by {chosen_by} "
        f"({value:.3f}) on its val part, and tested once."
    )
    test = result.get("test") or {}
    found = [
        f"{level} level {_shown(name)} {test[level][name]:.3f}"
        for level in LEVELS
        if (name := _metric(test.get(level), chosen_by))
    ]
    if found:
        lines.append(f"Test part: {', '.join(found)}.")
    lines.append("Its interval is that of all folds together: see the parent run.")
    return BREAK.join(lines)


def _headline(summary: Mapping[str, Any], select_by: str) -> str:
    """The metric that the epochs were chosen by, on the test parts, of the patient level first."""
    for level in LEVELS:
        name = _metric(summary.get(level), select_by)
        if name:
            return _result(summary, level, name)
    return "Result: no test metric can be computed."


def expected_result(
    summary: Mapping[str, Any], select_by: str
) -> tuple[str, str, Mapping[str, Mapping[str, Any]]]:
    """The same in plain words, its level, and all metrics of that level."""
    for level in LEVELS:
        if name := _metric(summary.get(level), select_by):
            value, more = _value(summary, level, name)
            return f"{value}{more} ({level} level)", level, summary[level]
    return "performance unknown: no test metric can be computed", "", {}


def final_note(record: RunRecord, result: Mapping[str, Any] | None) -> str:
    """What the final network is; with what can be expected of it once it is there."""
    lines = [
        f"Final network of {one_line(record.run_name)}: trained on all patients of the folds at "
        "once, and tested on nobody. It has no metric of its own.",
    ]
    if result is not None:
        lines += [f"{result['expected']['line']}."]
        lines += [of for of in [result["expected"]["optimism"]] if of]
        lines += [result["rule"]]
    return BREAK.join(lines)


def _value(summary: Mapping[str, Any], level: str, name: str) -> tuple[str, str]:
    """A metric with its interval, and what the interval is over."""
    entry = summary[level][name]
    value, low, high = (entry.get(key) for key in ("value", "ci_low", "ci_high"))
    text, more = f"{_shown(name)} {value:.3f}", ""
    if low is not None and high is not None:
        text += f" [{low:.3f}, {high:.3f}]"
        if people := summary.get("num", {}).get("patients"):
            more = f", 95 % interval over {counted(people, 'patient')}"
    return text, more


def _result(summary: Mapping[str, Any], level: str, name: str) -> str:
    entry = summary[level][name]
    value, more = _value(summary, level, name)
    text = f"**Test, {level} level: {value}**{more}"
    folds = _numbers(entry.get("per_fold", ()))
    if len(folds) > 1:
        text += f"; folds {min(folds):.3f} to {max(folds):.3f}"
    if marks := entry.get("marks"):
        text += f"; {' and '.join(marks)}"
    return f"{text}."


def _metric(metrics: Mapping[str, Any] | None, select_by: str) -> str:
    """The last word of `select_by` if these metrics have a value of it, else of auroc, or ""."""
    for name in (select_by.rpartition("/")[2], "auroc"):
        found = (metrics or {}).get(name)
        value = found.get("value") if isinstance(found, Mapping) else found
        if value is not None:
            return name
    return ""


def _shown(name: str) -> str:
    return "AUROC" if name == "auroc" else name.replace("_", " ")


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]
