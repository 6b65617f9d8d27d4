"""What was chosen on validation, in words: did thresholds hold on test, what was calibrated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.evaluation.decision import asked_for
from pipeline.evaluation.operating_points import Reached
from pipeline.evaluation.summary import MetricEntry, Summary
from pipeline.levels import Level


def notes_on_choices(summary: Summary, level: Level) -> Iterator[str]:
    """Lines for the console; none where nothing was chosen."""
    points, entries = summary.get("operating_points", {}).get(level, {}), summary.get(level) or {}
    if summary.get("multilabel"):
        yield from _of_labels(points, entries)
    else:
        for point in points.values():
            yield from _of_threshold(point, entries)
    yield from _of_calibration(summary)


def _of_threshold(point: Reached, entries: Mapping[str, MetricEntry]) -> Iterator[str]:
    if point["rule"] == "fixed":
        return
    if (asked := asked_for(point["rule"])) is None:
        shares = ", ".join(
            f"{name} {_short(point['val'][name])} on validation, {_bounds(entries[name])} on test"
            for name in ("sensitivity", "specificity")
        )
        yield f"threshold ({point['rule']}): {shares}"
        return
    name, least = asked
    on_test = _bounds(entries[name])
    yield (
        f"threshold: asked for {name} {least:.2f}; reached on validation "
        f"{_short(point['val'][name])}, on test {on_test}{_verdict(entries[name], least)}"
    )


def _of_labels(points: Mapping[str, Reached], entries: Mapping[str, MetricEntry]) -> Iterator[str]:
    """Those labels alone whose interval lies below what was asked for."""
    missed = []
    for label, point in points.items():
        if (asked := asked_for(point["rule"])) is None:
            continue
        entry = entries[f"{asked[0]}_{label}"]
        if _verdict(entry, asked[1]):
            missed.append(f"{label} {_bounds(entry)} ({point['rule']})")
    if missed:
        yield f"thresholds: on test less than was asked for: {', '.join(missed)}"


def _of_calibration(summary: Summary) -> Iterator[str]:
    if (found := summary.get("calibration")) is None:
        return
    told = [
        value
        for of in found["temperature"]
        for value in (of.values() if isinstance(of, Mapping) else [of])
    ]
    yield (
        f"calibrated on validation ({found['method']}): temperatures {min(told):.2f} to "
        f"{max(told):.2f}"
    )
    for fold, reasons in found["skipped"].items():
        for name, why in reasons.items():
            what = "" if name == "all" else f"{name} "
            yield f"fold {fold}: {what}not calibrated: {why}"


def _verdict(entry: MetricEntry, least: float) -> str:
    """Only where the interval leaves no doubt."""
    return ": not kept" if entry["ci_high"] is not None and entry["ci_high"] < least else ""


def _bounds(entry: MetricEntry) -> str:
    if entry["ci_low"] is None:
        return _short(entry["value"])
    return f"{_short(entry['value'])} [{_short(entry['ci_low'])}, {_short(entry['ci_high'])}]"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
