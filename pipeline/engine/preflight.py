"""The checks before a long training: made in workers, told in plain words, kept in a folder."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.config import PreflightCheck, UserError
from pipeline.config.leaf import is_baseline
from pipeline.console import say
from pipeline.engine.devices import one_device
from pipeline.engine.run_folder import Run
from pipeline.engine.session import try_out
from pipeline.files import make_private, write_json
from pipeline.processes import process_pool
from pipeline.training.check import Check
from pipeline.training.job import FoldJob
from pipeline.words import counted, one_line

SHEET = "batch.png"
REPORT = "preflight.json"
NO_STEPS = "a baseline is fitted at once, it has no loss that begins somewhere and falls"
STYLES = {"passed": "green", "FAILED": "bold red", "accepted": "yellow", "not made": None}


class PreflightError(UserError):
    """A check failed that is not accepted."""


def preflight(run: Run, slots: Sequence[str], console: Console) -> None:
    """Make all checks on the first of the run's folds; its test part is not looked at.

    Raises:
        PreflightError: when one fails, with what it usually means and the setting to go on.
    """
    say(try_out(run), console)
    job = replace(run.job(run.folds[0]), device=one_device(slots[0]))
    folder = Path("runs") / "preflight" / run.config.name
    make_private(folder)
    (folder / SHEET).unlink(missing_ok=True)  # of an older preflight
    say([_title(job)], console)
    checks, patients = make_checks(job, folder, slots)
    accepted = run.config.preflight.accept
    for check in checks:
        verdict = _verdict(check, accepted)
        say([one_line(f"  {check.name:8}  {verdict:8}  {check.found}")], console, STYLES[verdict])
    files = [REPORT] + [SHEET] * bool(patients)
    say([one_line(f"written: {', '.join(str(folder / name) for name in files)}")], console)
    report = {
        "fold": job.fold.index,
        "checks": [_entry(check, _verdict(check, accepted)) for check in checks],
        "patients_on_the_sheet": patients,
    }
    write_json(folder / REPORT, report)
    failed = [check for check in checks if _verdict(check, accepted) == "FAILED"]
    if failed:
        raise PreflightError(_message(failed, len(checks), accepted, job.fold.index))


def _entry(check: Check, verdict: str) -> dict[str, Any]:
    values = {n: v if math.isfinite(v) else None for n, v in check.values.items()}
    return {**asdict(check), "values": values, "verdict": verdict}


def _title(job: FoldJob) -> str:
    patients = [len(job.fold.of(part)) for part in ("train", "val")]
    return (
        f"preflight of fold {job.fold.index}: {counted(patients[0], 'patient')} to train, "
        f"{patients[1]} to validate; the test part is not looked at"
    )


def make_checks(job: FoldJob, folder: Path, slots: Sequence[str]) -> tuple[list[Check], list[str]]:
    """All checks in their order, and the patients on the sheet; side by side where slots allow."""
    work: list[tuple[PreflightCheck, Callable[..., Check]]] = [
        ("shuffled", _check_shuffled),  # the longest first
        ("border", _check_border),
    ]
    if not is_baseline(job.config.model):
        work = [("overfit", _check_overfit), *work, ("start", _check_start)]
    threads = job.config.engine.threads_per_fold
    with process_pool(min(len(slots), len(work))) as pool:
        pending = {name: pool.submit(_checked, name, make, job, threads) for name, make in work}
        drawn = pool.submit(_draw, job, folder / SHEET) if job.config.images.preview else None
        found = {name: future.result() for name, future in pending.items()}
        patients = drawn.result() if drawn else []
    for name in ("start", "overfit"):
        found.setdefault(name, Check(name, None, NO_STEPS))
    return [found[name] for name in ("start", "overfit", "shuffled", "border")], patients


def _checked(
    name: PreflightCheck, make: Callable[[FoldJob], Check], job: FoldJob, num_threads: int
) -> Check:
    """One check, in a worker; a training that diverges has failed it."""
    if not is_baseline(job.config.model):
        from pipeline.training.device import prepare

        prepare(job.config.training, job.device, num_threads)
    try:
        return make(job)
    except UserError as error:
        return Check(name, False, str(error))


def _check_start(job: FoldJob) -> Check:
    from pipeline.training.sanity import check_start

    return check_start(job)


def _check_overfit(job: FoldJob) -> Check:
    from pipeline.training.sanity import check_overfit

    return check_overfit(job)


def _check_shuffled(job: FoldJob) -> Check:
    from pipeline.training.shuffled import check_shuffled

    return check_shuffled(job)


def _check_border(job: FoldJob) -> Check:
    from pipeline.training.border import check_border

    return check_border(job)


def _draw(job: FoldJob, path: Path) -> list[str]:
    from pipeline.training.batch_sheet import draw_batch_sheet

    return draw_batch_sheet(job, path)


def _verdict(check: Check, accepted: Sequence[str]) -> str:
    if check.passed is None:
        return "not made"
    if check.passed:
        return "passed"
    return "accepted" if check.name in accepted else "FAILED"


def _message(failed: Sequence[Check], num: int, accepted: Sequence[str], fold: int) -> str:
    lines = [f"preflight of fold {fold}: {len(failed)} of {counted(num, 'check')} failed"]
    for check in failed:
        lines.append(f"  {check.name}: {check.found}")
        lines += [f"    {check.meaning}"] * bool(check.meaning)
    names = ",".join([*accepted, *(check.name for check in failed)])
    lines.append(f"to go on all the same: preflight.accept=[{names}]")
    return "\n".join(lines)
