"""Every scheme of conf/split trains, tests and reports; what cannot be measured is missing."""

import json
from pathlib import Path

import pandas as pd
import pytest
from system_runs import make_cohort

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.config import UserError

SCHEMES = sorted(path.stem for path in Path("conf/split").glob("*.yaml"))
EXPECTED: dict[str, tuple[list[str], int, int]] = {
    # overrides, folds, patients that are tested
    "kfold": (["split.num_folds=3"], 3, 12),
    "holdout": (["split.test_fraction=0.3", "split.val_fraction=0.3"], 1, 3),
    "leave_one_out": (["split.leave_out=scanner", "split.val_fraction=0.4"], 3, 12),
    "temporal": (
        ["manifest.columns.date=day", "split.test_from=2024-07-01", "split.val_from=2024-04-01"],
        1,
        6,
    ),
    "predefined": (["manifest.columns.part=bucket"], 1, 4),
}


def test_every_option_of_the_group_is_run() -> None:
    assert set(SCHEMES) == set(EXPECTED)


def overrides_of(folder: Path, scheme: str) -> list[str]:
    """Twelve patients on three scanners, each with a day and a part; every third has a lesion."""
    cohort = make_cohort(folder / "cohort", num_patients=12)
    table = pd.read_csv(cohort.folder / "manifest.csv", dtype=str)
    number = table["patient_id"].str[1:].astype(int)
    table["scanner"] = "scanner " + (number // 4).astype(str)
    table["day"] = "2024-" + (number + 1).astype(str).str.zfill(2) + "-01"
    table["bucket"] = number.map(lambda n: "train" if n < 4 else "val" if n < 8 else "test")
    table.to_csv(cohort.folder / "manifest.csv", index=False)
    common = [o for o in cohort.overrides if "num_folds" not in o]
    return [
        f"split={scheme}",
        *common,
        "training.epochs=1",
        "training.select_by=val/loss",
        f"run_dir={folder}/run",
        "evaluation.threshold=fixed",
        *EXPECTED[scheme][0],
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_runs_from_csv_to_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    overrides = overrides_of(tmp_path, scheme)
    config = load_config(overrides)
    monkeypatch.chdir(tmp_path)
    cross_validate(config)
    _, num_folds, num_tested = EXPECTED[scheme]
    predictions = pd.read_csv(tmp_path / "run" / "predictions.csv", dtype={"patient_id": str})
    assert predictions["fold"].nunique() == num_folds
    assert predictions["patient_id"].nunique() == num_tested
    assert not predictions.duplicated("image_path").any()
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["patient"]["balanced_accuracy"]["value"] is not None
    assert len(list((tmp_path / "run").glob("fold_*/result.json"))) == num_folds


def test_one_patient_a_fold_has_no_auroc_and_pooled_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks of patients that different networks scored are no AUROC (Austin 2025)."""
    overrides = [o for o in overrides_of(tmp_path, "leave_one_out") if "leave_out=" not in o]
    config = load_config([*overrides, "split.val_fraction=0.3"])
    monkeypatch.chdir(tmp_path)
    cross_validate(config)
    patient = json.loads((tmp_path / "run" / "metrics.json").read_text())["patient"]
    assert patient["auroc"]["value"] is None
    assert patient["balanced_accuracy"]["value"] is not None
    assert pd.read_csv(tmp_path / "run" / "predictions.csv")["fold"].nunique() == 12


def test_leaving_out_the_only_scanner_with_a_class_is_told(tmp_path: Path) -> None:
    overrides = overrides_of(tmp_path, "leave_one_out")
    path = tmp_path / "cohort" / "manifest.csv"
    table = pd.read_csv(path, dtype=str)
    table["scanner"] = table["label"].map({"lesion": "A", "healthy": "B"})
    table.to_csv(path, index=False)
    with pytest.raises(UserError) as caught:
        cross_validate(load_config(overrides))
    assert "class 'lesion' has 4 patients, none in train of fold" in str(caught.value)
    assert "split.scheme=leave_one_out separates the class from the others" in str(caught.value)
    assert "split.num_folds" not in str(caught.value)
