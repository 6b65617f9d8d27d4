"""Complete or rebuild the MLflow runs of a run folder, once, in the foreground."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from pipeline.tracking.mirror import SUMMARY, Mirror, Status


def sync(run_dir: Path, running: Collection[int] = (), uri: str | None = None) -> str:
    """Mirror the run folder to MLflow and set the final statuses; returns a summary line.

    A fold without result and without failure is KILLED unless it is in `running`; the
    cross-validation is FINISHED when all folds that began have finished and metrics.json is there.
    Another `uri` than the recorded one makes the runs there, and leaves the recorded one alone.

    Raises:
        TrackingError: MLflow cannot be reached or refuses.
        UserError: not a run folder, a damaged file, or a cross-validation that is still running.
    """
    with Mirror(run_dir, uri) as mirror:
        mirror.catch_up()
        status = _outcome(mirror.statuses(), running, (run_dir / SUMMARY).exists())
        mirror.finish(status, running)
        folds = Counter(mirror.statuses().values())
        counts = ", ".join(f"{num} {name}" for name, num in sorted(folds.items()))
        return f"{run_dir} -> {mirror.uri}: {status}; folds: {counts or 'none begun'}."


def _outcome(folds: dict[int, str], running: Collection[int], has_summary: bool) -> Status:
    if running:
        return "RUNNING"
    if "FAILED" in folds.values():
        return "FAILED"
    if has_summary and set(folds.values()) == {"FINISHED"}:
        return "FINISHED"
    return "KILLED"
