"""Run folders of finished cross-validations, without images and without training.

Everything is written by what writes it in a run: plan, thresholds, results, metrics. Only the
probabilities are drawn: as good as `SIGNAL` makes them.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from pipeline.arrays import Floats, Ints
from pipeline.commands.door import load_config
from pipeline.config import written
from pipeline.engine.finished import Finished
from pipeline.engine.results import evaluate_folds
from pipeline.engine.run_folder import FLOW, Run
from pipeline.evaluation.predictions import gather_folds, read_predictions, write_predictions
from pipeline.files import write_json
from pipeline.images.packed import PackedImages
from pipeline.label_names import LabelNames
from pipeline.manifest import Manifest
from pipeline.splits import Plan, plan_folds, save_plan
from pipeline.splits.folds import PARTS
from pipeline.tracking.journal import EpochEnded, Journal, Started
from pipeline.tracking.record import DatasetRecord, RunRecord
from pipeline.tracking.result import with_seal
from pipeline.training.closing import close
from pipeline.training.job import FoldJob
from pipeline.training.judge import Judge
from pipeline.training.progress import Progress

SIGNAL = 1.5
BASELINE = ["model=logistic", "images.transforms=[]", "images.dtype=float32", "engine.device=cpu"]


def cohort(
    num_patients: int = 30,
    classes: Sequence[str] = ("healthy", "lesion"),
    labels: Sequence[str] | None = None,
) -> Manifest:
    """1 to 3 images a patient; every third patient has the second class.

    `labels` of patients, in turn, which do not exclude each other.
    """
    in_turn = labels or [classes[i] for i in ((0, 0, 1) if len(classes) == 2 else (0, 1, 2))]
    rows = [
        {
            "patient_id": f"Patient-{i:03}",
            "image_path": f"pictures/secret-{i:03}-{j}.png",
            "label": in_turn[i % len(in_turn)],
            "group": f"Patient-{i:03}",
            "site": ("north", "south", "west")[i // 3 % 3],
            "date": f"20{10 + i // 4:02}-01-0{1 + j}",
        }
        for i in range(num_patients)
        for j in range(1 + i % 3)
    ]
    table = pd.DataFrame(rows).assign(line=np.arange(2, 2 + len(rows)))
    names = LabelNames(classes) if labels is not None else tuple(classes)
    return Manifest(Path("cohort.csv"), Path(), names, table)


def finished_run(
    run_dir: Path,
    *overrides: str,
    manifest: Manifest | None = None,
    flow: Mapping[str, object] | None = None,
    plan: Plan | None = None,
) -> Finished:
    """A finished run of `cohort()` with these settings."""
    manifest = manifest or cohort()
    config = load_config(
        [*BASELINE, "manifest.path=cohort.csv", f"run_dir={run_dir}", *map(str, overrides)]
    )
    plan = plan or plan_folds(manifest, config.split)
    run = Run(config, manifest, plan, PackedImages(run_dir, "0" * 64))
    save_plan(run.plan, _made(run.dir) / "plan.csv")
    (run.dir / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(written(config))))
    environment = {
        "key": run.key,
        "identity": dict(run.identity),
        "unsafe": plan.unsafe,
        "git_commit": run.key[:40],
        "python": "3.11.7",
        "platform": "Linux",
        "num_cores": 2,
        "packages": {"patientfold": "0.1.0", "scikit-learn": "1.9.1"},
        "plugins": {},
    }
    write_json(run.dir / "environment.json", environment)
    if flow is not None:
        write_json(run.dir / FLOW, with_seal(flow))
    record_of(run).save(run.dir)
    for index in run.folds:
        _fold(run, index)
    gather(run)
    return Finished.read(run.dir)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def record_of(run: Run) -> RunRecord:
    return RunRecord(
        uri="sqlite:////nowhere/mlflow.db",
        experiment=run.config.name,
        run_name="logistic",
        started=1.0,
        tags={},
        params={},
        fold_params=[
            {f"num_images/{part}": str(len(run.manifest.of(fold.of(part)))) for part in PARTS}
            for fold in run.plan.folds
        ],
        dataset=DatasetRecord(
            name=run.config.manifest.name,
            path="cohort.csv",
            digest=run.manifest.hash,
            num_rows=len(run.manifest),
        ),
    )


def _fold(run: Run, index: int) -> None:
    folder = _made(run.fold_dir(index))
    job = FoldJob(run.config, run.manifest, run.plan.folds[index], run.images, folder, run.key)
    judge = Judge(job, lambda rows: (_drawn(run, index, rows), 0.5))
    with Journal(folder / "journal.jsonl") as journal:
        journal.append(Started(fold=index, epochs=1, device="cpu", pid=1))
        journal.append(EpochEnded(epoch=1, metrics=judge.validate(), best=True))
    (folder / "best.pt").write_bytes(b"weights")
    facts = {
        "num_parameters": 1000,
        "candidate": {"C": 0.1},
        "normalisation": {"mean": [100.0 + index], "std": [10.0 + index]},
        "seconds": 90.0,
    }
    close(judge, Progress().after(0.75, "max"), facts)


def _drawn(run: Run, index: int, rows: Ints) -> Floats:
    """(N, C) probabilities: noise, and `SIGNAL` where a sample has the class."""
    manifest = run.manifest
    generator = np.random.default_rng([index, len(rows), int(rows[0])])
    has = manifest.has_class[rows].astype(float)
    logits = generator.normal(size=has.shape) + SIGNAL * has
    if manifest.is_multilabel:
        return np.asarray(1 / (1 + np.exp(-logits)))
    odds = np.exp(logits)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def gather(run: Run) -> None:
    classes = run.manifest.classes
    paths = [run.fold_dir(fold) / "predictions_test.csv" for fold in run.folds]
    tables = [read_predictions(path, classes) for path in paths]
    everything = gather_folds(tables, run.manifest.samples, run.plan.times_tested)
    write_predictions(everything, run.dir / "predictions.csv")
    summary = evaluate_folds(run, run.folds)
    if run.plan.unsafe:
        summary["unsafe"] = True
    write_json(run.dir / "metrics.json", with_seal(summary))


def with_settings(run: Finished, settings: Mapping[str, object]) -> Finished:
    """The same run with other settings (`split.seed` -> 1), as far as its config.yaml goes."""
    changed = Finished(run.dir)
    config = OmegaConf.create(deepcopy(dict(run.settings)))
    for key, value in settings.items():
        OmegaConf.update(config, key, value, merge=False, force_add=True)
    vars(changed)["settings"] = OmegaConf.to_container(config)
    return changed
