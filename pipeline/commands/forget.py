"""Forget a patient: patientfold forget patient=007, and then the same with yes=true

Looks into every file of text in the study folder. Deletes the plans and predictions of the run
folders that name the patient (they become void: metrics and models are kept, nothing can be
continued), pages of checks, and all caches of decoded images. Lists what it does not touch: models
that saw the patient, what MLflow has, and your own files. Without yes=true it only lists.

Delete the patient's rows from your CSV too, else the next command reads them again.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from pipeline.commands.settings import ForgetSettings
from pipeline.config import UserError
from pipeline.console import say
from pipeline.engine.traces import Traces, find_traces, forget, names_of
from pipeline.words import one_line


def main(settings: ForgetSettings) -> None:
    """List everything, and with `yes` delete what can be deleted."""
    folder, cache_dir = Path(settings.folder), Path(settings.cache_dir)
    if not folder.is_dir():
        raise UserError(f"folder {folder}: no such folder (searched from {Path.cwd()})")
    names = names_of(settings.patient, Path(settings.key_file))
    traces = find_traces(folder, names, cache_dir)
    if not traces.is_named:
        raise UserError(
            f"no file in {folder.resolve()} names the patient {settings.patient!r}: is it written "
            f"as in the CSV? Nothing was deleted. {_unnamed(traces, cache_dir)}".strip()
        )
    say(describe(traces, done=settings.yes), console := Console())
    if settings.yes:
        forget(traces)
        say(["done; delete the patient from your own files as well"], console)
    else:
        say(["nothing was changed: the same command with yes=true deletes"], console)


def describe(traces: Traces, done: bool) -> Iterator[str]:
    """Lines: what is deleted, what becomes void, what is kept, what is not ours to touch."""
    verb = "deleting" if done else "would delete"
    files = [path for run in traces.runs for path in run.files]
    yield from _block(f"{verb}: plans and predictions of run folders", files)
    yield from _block(f"{verb}: pages of checks", traces.pages)
    yield from _block(f"{verb}: all caches, which do not say whose images they hold", traces.caches)
    yield from _block("void from now on, run folders", [run.dir for run in traces.runs])
    models = [f"{run.dir}/{line}" for run in traces.runs for line in run.models]
    yield from _block(
        "kept: models that saw the patient (delete the folder, if they must go)", models
    )
    yield from _block(
        "kept: bundles of these models (delete them, and what was given away of them)",
        traces.bundles,
    )
    servers = sorted({run.server for run in traces.runs if run.server})
    yield from _block(
        "not touched: MLflow has copies of these runs, with predictions unless tracking.upload "
        "kept them back; delete the runs there, then: mlflow gc --backend-store-uri",
        servers,
    )
    yield from _block("not touched: MLflow's files that name the patient", traces.mlflow)
    yield from _block(
        "not touched: your own files that name the patient, and the images they list; a frozen "
        "plan is made again without the patient",
        traces.others,
    )


def _block(heading: str, lines: Sequence[object]) -> Iterator[str]:
    if lines:
        yield f"{heading} ({len(lines)})"
        yield from (f"  {one_line(str(line))}" for line in lines)


def _unnamed(traces: Traces, cache_dir: Path) -> str:
    """Caches that may hold images all the same."""
    hint = f"{cache_dir} has caches that do not say whose images they hold: delete it to be sure."
    return hint if traces.caches else ""
