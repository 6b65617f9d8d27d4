"""Cross-validations that all write to one MLflow at once: is anything lost, or there twice?

    python tests/shared_mlflow/run.py postgres 3 FOLDER
    python tests/shared_mlflow/run.py sqlite 4 FOLDER epochs=2

By hand; takes minutes. For postgres it starts a server of its own, with the programs of Debian's
package postgresql.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

sys.path.insert(0, str(Path(__file__).parents[1] / "files"))
from postgres_server import postgres_server

from pipeline.tracking.journal import EpochEnded, read_journal
from pipeline.tracking.postgres import with_driver

NUM_FOLDS = 3
OF_A_FOLD = {"predictions_val.csv", "predictions_test.csv", "journal.jsonl", "result.json"}
OF_THE_RUN = {"metrics.json", "predictions.csv", "plan.csv", "report.html", "report.md", "plots"}


@contextmanager
def store(kind: str, folder: Path) -> Iterator[str]:
    """The address of an empty store."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/mlflow.db"
        return
    with postgres_server() as uri:
        yield uri


def cross_validations(folder: Path, uri: str, num: int, epochs: int) -> list[str]:
    """Run them all at once; what they said besides, such as that MLflow is behind."""
    words = [sys.executable, "-m", "pipeline", "cv", "experiment=demo", f"tracking.uri='{uri}'"]
    words += [f"training.epochs={epochs}", f"split.num_folds={NUM_FOLDS}", "engine.device=cpu"]
    words += ["engine.folds_at_once=1"]
    begun = [
        subprocess.Popen(
            [*words, f"training.seed={seed}", f"run_dir=run_{seed}"],
            cwd=folder,
            stdout=(folder / f"run_{seed}.log").open("w"),
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(num)
    ]
    said = [process.communicate()[1] for process in begun]
    assert not any(process.returncode for process in begun), said
    logs = [(folder / f"run_{seed}.log").read_text() for seed in range(num)]
    return [line for text in [*said, *logs] for line in text.splitlines() if "MLflow" in line]


def problems(folder: Path, uri: str, num: int) -> Iterator[str]:
    """What is missing or there too often, against the run folders."""
    client = MlflowClient(tracking_uri=with_driver(uri))
    (experiment,) = client.search_experiments(filter_string="name = 'demo'")
    runs = list(client.search_runs([experiment.experiment_id], max_results=1000))
    print(f"{len(runs)} runs, {sum(len(run.data.metrics) for run in runs)} metrics")
    if len(runs) != num * (1 + NUM_FOLDS):
        yield f"{len(runs)} runs instead of {num * (1 + NUM_FOLDS)}"
    for seed in range(num):
        run_dir = folder / f"run_{seed}"
        own = [r for r in runs if r.data.tags["patientfold.run_dir"] == str(run_dir)]
        parents = [run for run in own if run.data.tags["patientfold.role"] == "cv"]
        if len(parents) != 1 or len(own) != 1 + NUM_FOLDS:
            yield f"{run_dir}: {len(parents)} parents and {len(own) - len(parents)} folds"
        yield from _lacks(client, parents, OF_THE_RUN)
        for fold in range(NUM_FOLDS):
            found = [r for r in own if r.data.tags.get("patientfold.fold") == str(fold)]
            yield from _lacks(client, found, OF_A_FOLD)
            events = read_journal(run_dir / f"fold_{fold:02d}" / "journal.jsonl")
            epochs = [event for event in events if isinstance(event, EpochEnded)]
            for name in ("train/loss", "val/image/auroc"):
                wanted = [(event.epoch, event.metrics[name]) for event in epochs]
                for run in found:
                    points = client.get_metric_history(run.info.run_id, name)
                    there = sorted((point.step, point.value) for point in points)
                    if there != wanted:
                        yield f"{run_dir} fold {fold} {name}: {there} instead of {wanted}"


def _lacks(client: MlflowClient, runs: Sequence[Run], files: set[str]) -> Iterator[str]:
    for run in runs:
        if run.info.status != "FINISHED":
            yield f"{run.info.run_name} is {run.info.status}"
        found = {file.path for file in client.list_artifacts(run.info.run_id)}
        if missing := files - found:
            yield f"{run.info.run_name}: no {', '.join(sorted(missing))} among {sorted(found)}"


def main(kind: str, num: int, folder: Path, epochs: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    if not (folder / "demo").exists():
        subprocess.run([sys.executable, "-m", "pipeline", "demo"], cwd=folder, check=True)
    with store(kind, folder) as uri:
        began = time.monotonic()
        said = cross_validations(folder, uri, num, epochs)
        print(f"{kind}: {num} cross-validations at once, {time.monotonic() - began:.0f} s")
        print(f"{len(said)} lines about MLflow", *said, sep="\n  ")
        found = list(problems(folder, uri, num))
        print(*found, sep="\n")
    if found:
        sys.exit(f"{len(found)} problems")
    print("all is there, once")


if __name__ == "__main__":
    kind, num, where, *rest = sys.argv[1:]
    main(kind, int(num), Path(where), int(rest[0].removeprefix("epochs=")) if rest else 1)
