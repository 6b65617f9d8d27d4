"""A folder of a run that version 1 began and a kill ended opens, goes on and is mirrored.

tests/files/old_run holds it (fold 0 done, fold 1 killed after 3 of 8 epochs, fold 2 not begun), its
cohort, and the files that version 1 gave when nothing killed it.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from system_runs import NUM_FOLDS, mlflow_client, mlflow_runs

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.config import FORMER_METRICS
from pipeline.tracking.journal import EpochEnded, read_journal
from pipeline.tracking.mirror import sync
from pipeline.tracking.result import read_result

OLD_RUN = Path(__file__).parents[1] / "files" / "old_run"
NUM_EPOCHS = 8
NETWORK = (
    "{_target_:torch.nn.Sequential,_args_:[{_target_:torch.nn.Flatten},"
    "{_target_:torch.nn.Linear,in_features:64,out_features:2}]}"
)
OVERRIDES = [
    "name=old",
    "manifest.path=cohort/manifest.csv",
    "manifest.image_root=cohort",
    "manifest.columns.site=null",
    "manifest.classes=[healthy,lesion]",
    "images.transforms=[]",
    "images.dtype=auto",  # the folder says uint8: what grey64 said then
    "augment=none",
    "~model",
    f"+model={NETWORK}",
    "sampler.balance=class",
    "evaluation.prior=none",  # nothing was corrected then
    "split.num_folds=3",
    "training.batch_size=2",
    "training.select_by=val/image/auroc",
    f"training.epochs={NUM_EPOCHS}",
    "engine.device=cpu",
    "engine.folds_at_once=1",
]
FRACTION = re.compile(r"-?\d+(?:\.\d+(?:e-?\d+)?|e-\d+)")


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, beside its cohort and a database that knows nothing of it."""
    shutil.copytree(OLD_RUN, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "folder" / "tracking.json"
    record = json.loads(path.read_text()) | {"uri": f"sqlite:///{tmp_path}/mlflow.db"}
    path.write_text(json.dumps(record))
    return tmp_path / "folder"


def steps(client: MlflowClient, metric: str) -> dict[str | None, list[int]]:
    """Fold -> the steps of its points, doubles included."""
    _, folds = mlflow_runs(client, "old")
    return {
        str(run.info.run_name).removesuffix(" of old-d839e2f1"): sorted(
            point.step for point in client.get_metric_history(run.info.run_id, metric)
        )
        for run in folds
    }


def assert_same_but_for_rounding(text: str, expected: str) -> None:
    """Another processor adds up in another order."""
    assert FRACTION.sub("", text) == FRACTION.sub("", expected)
    found, wanted = (list(map(float, FRACTION.findall(of))) for of in (text, expected))
    assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6)


SINCE = {
    *("seal", "ci_low", "ci_high", "num_positive", "marks", "pooled"),
    *("ppv", "npv", "f1", "mcc", "brier", "brier_skill", "log_loss", "ece"),
    *("calibration_slope", "calibration_intercept", "patients_per_class", "images_per_class"),
}
"""What metrics.json has now and had not then."""


def assert_holds(found: Any, expected: Any) -> None:
    """All that it had; intervals, counts and a seal have come since."""
    if isinstance(expected, dict):
        assert set(found) - set(expected) <= SINCE
        for name, value in expected.items():
            assert_holds(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_holds(one, other)
    else:
        assert found == (pytest.approx(expected) if isinstance(expected, float) else expected)


def test_an_old_folder_goes_on_as_if_nothing_had_changed(
    run_dir: Path, tmp_path: Path, empty_database: Path
) -> None:
    old_files = {file: file.read_bytes() for file in (run_dir / "fold_00").iterdir()}
    cross_validate(load_config([*OVERRIDES, f"run_dir={run_dir}"]))

    expected = [file for file in (OLD_RUN / "expected").rglob("*") if file.is_file()]
    assert len(expected) == 2 + 2 * NUM_FOLDS
    for file in expected:
        name = file.relative_to(OLD_RUN / "expected")
        text = (run_dir / name).read_text()
        if name.name == "metrics.json":
            assert_holds(json.loads(text), json.loads(file.read_text()))
        else:
            assert_same_but_for_rounding(text, file.read_text())
    for file, content in old_files.items():
        assert file.read_bytes() == content, f"{file} of a finished fold was touched"
    for fold in range(NUM_FOLDS):
        events = read_journal(run_dir / f"fold_{fold:02d}" / "journal.jsonl")
        epochs = [event for event in events if isinstance(event, EpochEnded)]
        assert [event.epoch for event in epochs] == list(range(1, NUM_EPOCHS + 1))
        result = read_result(run_dir / f"fold_{fold:02d}" / "result.json")
        best = epochs[result["best_epoch"] - 1]
        assert best.best
        assert best.metrics[result["select_by"]] == result["select_value"]

    (tmp_path / "fresh").mkdir()
    shutil.copy(empty_database, tmp_path / "fresh" / "mlflow.db")
    sync(run_dir, uri=f"sqlite:///{tmp_path}/fresh/mlflow.db")
    sync(run_dir, uri=f"sqlite:///{tmp_path}/fresh/mlflow.db")
    for cwd in (tmp_path, tmp_path / "fresh"):
        found = steps(mlflow_client(cwd), "val/image/auroc")
        assert found == {f"fold-{fold:02d}": list(range(1, NUM_EPOCHS + 1)) for fold in range(3)}
        for old_name in FORMER_METRICS:
            assert not any(steps(mlflow_client(cwd), old_name).values())


def test_an_old_folder_is_mirrored_as_it_is(run_dir: Path, tmp_path: Path) -> None:
    assert "KILLED; folds: 1 FINISHED, 1 KILLED" in sync(run_dir)
    client = mlflow_client(tmp_path)
    expected = {"fold-00": list(range(1, 9)), "fold-01": [1, 2, 3]}
    assert steps(client, "train/loss") == expected
    assert steps(client, "val/image/auroc") == expected
    _, (fold, _) = mlflow_runs(client, "old")
    result = json.loads((run_dir / "fold_00" / "result.json").read_text())
    assert fold.data.metrics["best_epoch"] == result["best_epoch"] + 1
