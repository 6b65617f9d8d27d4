"""Where a study folder names a patient, and what is deleted when that patient is forgotten."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.engine.access import IN_USE, VOID
from pipeline.errors import UserError
from pipeline.files import lock, read_json, write_whole
from pipeline.images.seal import cache_folders
from pipeline.manifest import Pseudonyms
from pipeline.splits import Everybody, load_plan
from pipeline.splits.folds import PARTS
from pipeline.tracking.untested import FINAL

READ = {".csv", ".tsv", ".json", ".jsonl", ".html", ".yaml", ".yml", ".txt", ".md", ".log", ".db"}
READ |= {".out", ".err"}
"""Files that are looked into; others are images, models and archives."""
BUNDLE = "bundle.json"
"""In a bundle of `patientfold export`; it names nobody, and the run that it is of."""
SKIPPED = {".git", ".venv", "__pycache__"}
NAMING = (
    *("plan.csv", "plan.json", "predictions.csv", "cohort.csv", "flow.json"),
    *("report.html", "report.md", "training_images.json"),
    *("fold_*/predictions_*.csv", "locked/predictions.csv", "failures/*", "explain/*"),
)
"""What of a run folder names its patients, shows them, or would know their images again."""
KEPT = {"config.yaml", "environment.json", "metrics.json", "result.json", "tracking.json"}
KEPT |= {"final.json"}
"""Of a run folder, what holds settings and numbers."""
PAGES = {
    "check.json": ("check.html", "copies.png"),
    "preflight.json": ("batch.png",),
    "predict.json": (
        *("predictions.csv", "patients.csv", "studies.csv", "slides.csv", "unusable.csv"),
        *("progress.jsonl", "report.html"),
    ),
}
"""What names patients in its folder -> what shows them beside it."""
REASON = """\
This run folder is void: {date}, a patient was forgotten, and the files that named patients (plan,
predictions) were deleted. It cannot be continued. Metrics and models are kept; of these models
{models}
"""


@dataclass(frozen=True)
class RunTraces:
    """A run folder that names the patient."""

    dir: Path
    files: tuple[Path, ...]
    """To delete."""
    models: tuple[str, ...]
    """Each fold's models, and in which part the patient was."""
    server: str


@dataclass(frozen=True)
class Traces:
    """Everything that was found."""

    runs: tuple[RunTraces, ...]
    pages: tuple[Path, ...]
    """Of checks and preflights, with their pictures; to delete."""
    caches: tuple[Path, ...]
    """Decoded images do not say whose they are: all are deleted, and built again when needed."""
    mlflow: tuple[Path, ...]
    others: tuple[Path, ...]
    """The user's own files."""
    bundles: tuple[Path, ...] = ()
    """That `patientfold export` has written of these runs' models."""

    @property
    def is_named(self) -> bool:
        """Whether a file names the patient."""
        return bool(self.runs or self.pages or self.mlflow or self.others)


def names_of(patient: str, key_file: Path) -> tuple[str, ...]:
    """The patient as files may name it: the id, and its pseudonym where there is a key."""
    if not key_file.exists():
        return (patient,)
    return patient, Pseudonyms.open(key_file).of("patient_id", patient)


def find_traces(folder: Path, names: Sequence[str], cache_dir: Path) -> Traces:
    """Look into every file of text below `folder`, and for caches of images in `cache_dir`."""
    named = [path for path in _files(folder, cache_dir) if _names(path, names)]
    runs: dict[Path, list[Path]] = {}
    pages: list[Path] = []
    mlflow: list[Path] = []
    others: list[Path] = []
    for path in named:
        if run_dir := _run_dir(path, folder):
            if path.name not in KEPT:
                runs.setdefault(run_dir, []).append(path)
        elif page := _page(path):
            pages += [path for path in page if path not in pages]
        elif path.suffix == ".db" or "mlartifacts" in path.parts:
            mlflow.append(path)
        else:
            others.append(path)
    found = tuple(_run_traces(run_dir, paths, names) for run_dir, paths in runs.items())
    return Traces(
        found,
        tuple(pages),
        tuple(_caches(cache_dir)),
        tuple(mlflow),
        tuple(others),
        tuple(_bundles(folder, cache_dir, [run.dir for run in found if run.models])),
    )


def forget(traces: Traces) -> None:
    """Delete what is to be deleted; the run folders are marked as void first.

    Raises:
        UserError: a run folder is in use; what came before it is done, the same command goes on.
    """
    for run in traces.runs:
        with lock(run.dir / ".lock", IN_USE.format(run.dir)):
            before = (run.dir / VOID).read_text() if (run.dir / VOID).exists() else ""
            models = "\n".join(f"  {line}" for line in run.models or ("none saw the patient",))
            date = datetime.now(UTC).date().isoformat()
            write_whole(run.dir / VOID, before + REASON.format(date=date, models=models))
            for path in run.files:
                path.unlink(missing_ok=True)
    for path in traces.pages:
        path.unlink(missing_ok=True)
    for path in traces.caches:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _bundles(folder: Path, cache_dir: Path, runs: Sequence[Path]) -> Iterator[Path]:
    """Folders with copies of the models of these runs."""
    keys = set()
    for run_dir in runs:
        with suppress(UserError):
            keys.add(read_json(run_dir / "environment.json").get("key"))
    for path in _files(folder, cache_dir) if runs else ():
        if path.name == BUNDLE:
            with suppress(UserError):
                if read_json(path).get("key") in keys:
                    yield path.parent


def _files(folder: Path, cache_dir: Path) -> Iterator[Path]:
    """The files of text below a folder, sorted; links are not followed."""
    caches = cache_dir.resolve()
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or path.name in SKIPPED or path.resolve() == caches:
            continue
        if path.is_dir():
            yield from _files(path, cache_dir)
        elif path.is_file() and path.suffix.lower() in READ:
            yield path


def _names(path: Path, names: Sequence[str]) -> bool:
    """Whether a file names the patient: in a cell of a table, or as a word of any other text."""
    content = path.read_bytes()
    is_table = path.suffix.lower() in (".csv", ".tsv")
    forms = {form for name in names for form in (name, _quoted(name, is_table))}
    there = [form for form in forms if form.encode() in content]
    if is_table and there:
        text = content.decode("utf-8-sig", errors="replace")
        return any(re.search(_cell(form), text) for form in there)
    return any(re.search(_pattern(form).encode(), content) for form in there)


def _quoted(name: str, in_table: bool) -> str:
    """As it stands between double quotes, in a table or in JSON."""
    return name.replace('"', '""') if in_table else json.dumps(name, ensure_ascii=False)[1:-1]


def _cell(name: str) -> str:
    """A name that fills a cell, or a part of one that is as UNSAFE|<patient>|<image>."""
    between, blanks = r'[,;\t|"\r\n]', r"[^\S\t\r\n]*"
    return rf"(?:\A|{between}){blanks}{re.escape(name)}{blanks}(?:\Z|{between})"


def _pattern(name: str) -> str:
    """A name as a word; one that may be a number, or a common word, counts in quotes only."""
    quote = r"(?:['\"]|&#3[49];)"
    if len(name) < 4 or name.isdigit():
        return f"{quote}{re.escape(name)}{quote}"
    return rf"(?<![\w-]){re.escape(name)}(?![\w-])"


def _page(path: Path) -> list[Path]:
    """The files of the report that a file belongs to; none if it belongs to none."""
    for name, others in PAGES.items():
        if (path.parent / name).exists() and path.name in (name, *others):
            return [page for n in (name, *others) if (page := path.parent / n).exists()]
    return []


def _run_dir(path: Path, folder: Path) -> Path | None:
    """The run folder that a file lies in."""
    within = [parent for parent in path.parents if parent.is_relative_to(folder)]
    return next((p for p in within if (p / "environment.json").exists()), None)


def _run_traces(run_dir: Path, named: Sequence[Path], names: Sequence[str]) -> RunTraces:
    files = {path for pattern in NAMING for path in run_dir.glob(pattern)} | {*named}
    server = ""
    with suppress(UserError):
        server = str(read_json(run_dir / "tracking.json").get("uri", ""))
    return RunTraces(run_dir, tuple(sorted(files)), tuple(_models(run_dir, names)), server)


def _models(run_dir: Path, names: Sequence[str]) -> Iterator[str]:
    """The models of each fold, and in which part the patient was; the final one."""
    try:
        folds = load_plan(run_dir / "plan.csv").folds
    except UserError as error:
        yield f"fold_*: any model may have seen the patient: {error}"
        return
    for fold in folds:
        parts = [part for part in PARTS if any(_is(id_, names) for id_ in fold.of(part))]
        kept = sorted((run_dir / f"fold_{fold.index:02d}").glob("*.pt"))
        if parts and kept:
            files = ", ".join(path.name for path in kept)
            yield f"{kept[0].parent.name}: {files}: the patient was in {' and '.join(parts)}"
    kept = sorted((run_dir / FINAL).glob("*.pt"))
    if kept and any(_is(id_, names) for id_ in Everybody(folds).train):
        files = ", ".join(path.name for path in kept)
        yield f"{FINAL}: {files}: trained on all patients, and so on this one"


def _is(patient_id: str, names: Sequence[str]) -> bool:
    """Whether a plan's id is the patient's; a plan by image has UNSAFE|<patient>|<image>."""
    return any(patient_id == name or patient_id.startswith(f"UNSAFE|{name}|") for name in names)


def _caches(cache_dir: Path) -> Iterator[Path]:
    """Packed caches, those half built or removed, and the memory of digests, which holds paths."""
    yield from cache_folders(cache_dir)
    yield from sorted(cache_dir.glob("*.partial"))
    yield from cache_dir.glob("digests.json")
