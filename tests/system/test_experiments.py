"""Every file in conf/experiment/ is run, on its own images where they are here."""

import csv
import os
from collections import defaultdict
from pathlib import Path

import pytest

from pipeline.commands import demo
from pipeline.commands.cv import cross_validate
from pipeline.commands.door import CONF_DIR, load_config
from pipeline.config import Config

EXPERIMENTS = sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))
NUM_PATIENTS = 24
IMAGES_PER_PATIENT = 2


def test_there_are_experiments() -> None:
    assert {"demo", "idc", "kermany", "hippocampus3d"} <= set(EXPERIMENTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own settings on a few of its patients, one epoch of one fold."""
    if name in ("demo", "leakage_cost"):
        demo.make_images(tmp_path / "demo")
        demo.write_manifest(tmp_path / "demo" / "manifest.csv")
    elif "PATIENTFOLD_DATA" not in os.environ:
        pytest.skip(f"PATIENTFOLD_DATA is not set: no images for experiment={name}")
    monkeypatch.chdir(tmp_path)
    overrides = [
        f"experiment={name}",
        "training.epochs=1",
        "folds=[0]",
        "split.num_folds=3",
        "engine.device=cpu",
        f"run_dir={tmp_path}/run",
        f"images.cache_dir={tmp_path}/cache",
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
    ]
    config = load_config(overrides)
    few = _few_patients(config, tmp_path / "few.csv")
    root = config.manifest.image_root or str(Path(config.manifest.path).parent)
    outcome = cross_validate(
        load_config([*overrides, f"manifest.path={few}", f"manifest.image_root={root}"])
    )
    assert 0 <= outcome.mean <= 1
    assert (tmp_path / "run" / "fold_00" / "result.json").exists()


def _few_patients(config: Config, path: Path) -> Path:
    """A manifest of the first patients of every class, a few images each."""
    columns = config.manifest.columns
    with Path(config.manifest.path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if row[columns.label]]
        header = list(reader.fieldnames or [])
    patients: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        patients[row[columns.label]].setdefault(row[columns.patient])
    assert config.manifest.classes is not None
    per_class = NUM_PATIENTS // len(config.manifest.classes)
    chosen = {p for label in patients.values() for p in list(label)[:per_class]}
    taken: dict[tuple[str, str], int] = defaultdict(int)
    kept = []
    for row in rows:
        taken[row[columns.patient], row[columns.label]] += 1
        few = taken[row[columns.patient], row[columns.label]] <= IMAGES_PER_PATIENT
        if row[columns.patient] in chosen and few:
            kept.append(row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(kept)
    return path
