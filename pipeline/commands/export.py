"""Hand a model over: patientfold export run_dir=runs/demo/KEY to=onnx

Writes a bundle of the networks of all folds (or of network=final) into a new folder: weights, how
images are prepared, classes, thresholds, calibration, hash of the plan, a card that says what the
model is for and how good it was, and the SHA-256 of every file. to=onnx and to=torch_export are one
graph for the whole ensemble, which onnxruntime or torch alone can use; to=mlflow can be served and
answers image files; to=folder is for patientfold itself. It holds nothing of a patient.

register=NAME puts it (to=mlflow) into MLflow's model registry. With champion=true it gets the alias
`champion`, unless there is one that it is not shown to be better than, over the same patients.
"""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from pipeline.commands.settings import ExportSettings
from pipeline.commands.trusted import trusted_uri
from pipeline.console import say
from pipeline.engine.finished import Finished
from pipeline.export.champion import judge
from pipeline.export.exporting import Exported, export
from pipeline.tracking.registry import (
    ALIAS,
    BUNDLE,
    KEY,
    NETWORK,
    PLAN,
    RUN_DIR,
    refuse_upload,
    registry,
)
from pipeline.words import one_line


def main(settings: ExportSettings) -> None:
    """Write the bundle, and register it if asked to."""
    run, console = Finished.read(Path(settings.run_dir)), Console()
    uri = None
    if settings.register:
        told = settings.tracking.uri
        uri = told or trusted_uri(run.dir, "export", f"run_dir={run.dir}", f"to={settings.to}")
        refuse_upload(run.dir, uri, settings.tracking.upload)  # before minutes of work
    out = None if settings.out is None else Path(settings.out)
    keeps = settings.register is not None  # a registration that failed is tried again
    made = export(run, settings.to, settings.network, out, settings.plugins, keeps)
    done = "there already" if made.was_there else "written"
    say([one_line(f"{done}: {made.folder}"), *made.words], console)
    say([f"SHA-256 of its list of sums: {made.digest}"], console)
    if settings.register:
        say(_registered(settings, run, made, uri), console)


def _registered(
    settings: ExportSettings, run: Finished, made: Exported, uri: str | None
) -> Iterator[str]:
    """Register it, decide about the alias, and tell."""
    name = settings.register
    assert name is not None
    assert uri is not None, "it was looked for before the bundle was written"
    tags = {
        KEY: run.key,
        RUN_DIR: str(run.dir.resolve()),
        PLAN: str(run.plan[0]["plan_hash"]),
        NETWORK: settings.network,
        BUNDLE: made.bundle,
    }
    with registry(run.dir, name, uri) as models:
        champion = models.champion if settings.champion else None
        found = judge(run, champion, settings.metric, settings.replace, settings.plugins)
        number, is_new = models.add(made.folder, tags, f"export {run.name}", made.card)
        yield f"{'registered' if is_new else 'there already'}: {name}, version {number}, at {uri}"
        if not settings.champion:
            return
        if champion is not None and champion.number == number:
            yield f"version {number} is the champion already"
            return
        models.decide(number, found.moves, found.why)
        yield one_line(f"{ALIAS}: {found.why}")
        if found.moves:
            yield f"to serve it: mlflow models serve --env-manager local -m models:/{name}@{ALIAS}"
