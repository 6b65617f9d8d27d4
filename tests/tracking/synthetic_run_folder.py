"""Synthetic run folders, as the parent and the workers write them."""

import functools
import tempfile
from pathlib import Path
from typing import Any

from pipeline.files import write_json
from pipeline.tracking.journal import EpochEnded, Failed, Journal, Started
from pipeline.tracking.record import DatasetRecord, RunRecord
from pipeline.tracking.server import connect, reaching

STARTED = 1_700_000_000.25


def make_run_folder(folder: Path, uri: str, num_folds: int = 2) -> Path:
    """A run folder of which no fold has begun."""
    folder.mkdir()
    manifest = folder.parent / "demo.csv"
    manifest.write_text("patient_id,image,label\n")
    (folder / "plan.csv").write_text("fold,part,patient_id\n")
    (folder / "config.yaml").write_text("training: {epochs: 3}\n")
    RunRecord(
        uri=uri,
        experiment="demo",
        run_name="demo-abc123",
        started=STARTED,
        tags={"patientfold.key": "abc123", "mlflow.source.git.commit": "f" * 40},
        params={"training.epochs": "3", "optimizer.lr": "0.001"},
        fold_params=[{"num_train_patients": str(10 + fold)} for fold in range(num_folds)],
        dataset=DatasetRecord(name="demo", path=str(manifest), digest="d" * 64, num_rows=40),
    ).save(folder)
    return folder


def fold_dir(run_dir: Path, fold: int) -> Path:
    folder = run_dir / f"fold_{fold:02d}"
    folder.mkdir(exist_ok=True)
    return folder


def train(run_dir: Path, fold: int, epochs: range) -> None:
    """Journal a start and some epochs, with the times that real epochs would have."""
    with Journal(fold_dir(run_dir, fold) / "journal.jsonl") as journal:
        began = STARTED + 100 * fold + 10 * epochs.start
        journal.append(Started(time=began, fold=fold, epochs_done=epochs.start))
        for epoch in epochs:
            journal.append(
                EpochEnded(
                    time=began + 10 * (epoch - epochs.start) + 7.125,
                    epoch=epoch + 1,
                    metrics={"train/loss": 1 / (epoch + 2), "val/image/auroc": None},
                )
            )


def fail(run_dir: Path, fold: int) -> None:
    with Journal(fold_dir(run_dir, fold) / "journal.jsonl") as journal:
        journal.append(Failed(time=STARTED + 900, error="loss is nan", traceback="..."))


def write_result(run_dir: Path, fold: int) -> None:
    folder = fold_dir(run_dir, fold)
    (folder / "best.pt").write_bytes(b"weights")
    (folder / "predictions_test.csv").write_text("fold,patient_id\n")
    result = {
        "version": 2,
        "fold": fold,
        "best_epoch": 2,
        "num_epochs": 3,
        "select_by": "val/image/auroc",
        "select_value": 0.7 + fold / 10,
        "thresholds": {"image": 0.41, "patient": None},
        "test": {"patient": None, "image": {"auroc": 0.9, "balanced_accuracy": None}},
        "val": {"patient": {"auroc": 0.8}, "image": {"auroc": 0.7 + fold / 10}},
        "device": "cpu",
        "seconds": 30.5,
        "time": STARTED + 100 * fold + 50,
    }
    write_json(folder / "result.json", result)  # whole, as the mirror may read it at any moment


def write_summary(run_dir: Path, auroc: float = 0.88) -> None:
    (run_dir / "plots").mkdir(exist_ok=True)
    (run_dir / "plots" / "roc.png").write_bytes(b"png")
    (run_dir / "predictions.csv").write_text("fold,patient_id\n")
    entry = {"value": auroc, "ci_low": 0.8, "ci_high": 0.95, "per_fold": [0.9, 0.86]}
    metrics = {"patient": {"auroc": entry, "f1": {"value": None}}, "image": {}}
    write_json(run_dir / "metrics.json", metrics)


@functools.cache
def _migrated_database() -> bytes:
    """An empty MLflow database; migrating one takes seconds, so the tests share its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        with reaching(f"sqlite:///{path}"):
            connect(f"sqlite:///{path}", "other", "val/image/auroc")
        return path.read_bytes()


def make_database(folder: Path) -> str:
    """A fresh database in the folder -> its address."""
    path = folder / "mlflow.db"
    path.write_bytes(_migrated_database())
    return f"sqlite:///{path}"


def replace_database(uri: str) -> None:
    """As if the database had been deleted and this process were a new one."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore._engine_map[uri].dispose()
    make_database(Path(uri.removeprefix("sqlite:///")).parent)


def runs_at(uri: str) -> dict[str, Any]:
    """Name -> active run of the experiment; two runs of one name are an error."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("demo")
    runs = client.search_runs([experiment.experiment_id])
    names = [run.info.run_name.partition(" of ")[0] for run in runs]
    assert len(set(names)) == len(names), f"doubles in {names}"
    return dict(zip(names, runs, strict=True))


def history(uri: str, run: Any, name: str) -> list[tuple[int, float]]:
    """(step, value) of every logged point, doubles included."""
    from mlflow import MlflowClient

    points = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in points)


def artifacts(uri: str, run: Any, folder: str | None = None) -> set[str]:
    from mlflow import MlflowClient

    files = MlflowClient(tracking_uri=uri).list_artifacts(run.info.run_id, folder)
    return {file.path for file in files}


def models_at(uri: str, **search: Any) -> dict[str, Any]:
    """Name -> active model of the experiment, as found; two models of one name are an error."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("demo")
    models = client.search_logged_models([experiment.experiment_id], **search)
    names = [model.name for model in models]
    assert len(set(names)) == len(names), f"doubles in {names}"
    return dict(zip(names, models, strict=True))


def model_files(uri: str, model: Any) -> set[str]:
    """Names of its artifacts."""
    from mlflow import MlflowClient

    return {file.path for file in MlflowClient(uri).list_logged_model_artifacts(model.model_id)}


def losses(epochs: range) -> list[tuple[int, float]]:
    """The history of train/loss that `train` journals, whose steps count from 1."""
    return [(epoch + 1, 1 / (epoch + 2)) for epoch in epochs]
