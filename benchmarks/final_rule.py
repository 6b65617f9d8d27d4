"""Which rule makes the better network on everybody? Asked on patients who are locked away.

Locks three patients of ten away, trains all folds, then networks on all other patients by several
rules, and scores each on the locked ones. Repeats that with other seeds. Prints the mean AUROC of
the locked patients and, for each rule, the mean difference from the rule of `patientfold final`
with its standard error over seeds. Needs PATIENTFOLD_DATA.

    python benchmarks/final_rule.py experiment=hippocampus3d --seeds 10
"""

import argparse
import math
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from pipeline.arrays import Floats, Ints
from pipeline.commands.door import load_config
from pipeline.config import TrainingConfig
from pipeline.images.batches import BatchSource
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
from pipeline.splits import Everybody, plan_folds
from pipeline.tracking.journal import history_of
from pipeline.tracking.result import read_result
from pipeline.training import fold as loop
from pipeline.training.checkpoint import load_checkpoint
from pipeline.training.epoch import outputs
from pipeline.training.fold import train_fold
from pipeline.training.job import FoldJob
from pipeline.training.learner import build_learner
from pipeline.training.progress import Progress
from pipeline.training.settled import Settled, settled_epochs, settled_validation, stretched

RECORD = {"folds": {}, "thresholds": {}, "expected": {"line": "", "optimism": ""}}


@dataclass(frozen=True)
class Rule:
    epochs: int
    """That the network trains for."""
    schedule: int
    """That warm-up and schedule are made for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="+")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    if "PATIENTFOLD_DATA" not in os.environ:
        sys.exit("PATIENTFOLD_DATA must name the folder of the data sets; nothing measured")
    torch.set_num_threads(1)
    rounds: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            rounds.append(_round(Path(folder), options.overrides, seed))
            print(seed, *(f"{name} {value:.4f}" for name, value in rounds[-1].items()), flush=True)
    ours = np.array([of["median, stretched"] for of in rounds])
    for name in rounds[0]:
        values = np.array([of[name] for of in rounds])
        differences = values - ours
        error = differences.std(ddof=1) / math.sqrt(len(rounds)) if len(rounds) > 1 else math.nan
        print(f"{name}: {values.mean():.4f}, {differences.mean():+.4f} (SE {error:.4f})")


def _round(folder: Path, overrides: list[str], seed: int) -> dict[str, float]:
    """Rule, and what stands beside it -> AUROC of the locked patients."""
    more = [f"split.seed={seed}", f"training.seed={seed}", "split.locked_fraction=0.3"]
    more += [f"images.cache_dir={folder}/cache", "engine.device=cpu"]
    config = load_config([*overrides, *more])
    manifest = read_manifest(config.manifest)
    images = pack_images(manifest, config.images, lambda _done, _total: None)
    plan = plan_folds(manifest, config.split)
    jobs = [
        FoldJob(config, manifest, fold, images, folder / f"{seed}_{fold.index}", "key")
        for fold in plan.folds
    ]
    locked = manifest.of(plan.locked)

    def score(found: Floats) -> float:
        labels = manifest.labels[locked]
        found = found[:, 1] if found.shape[1] == 2 else found
        return float(roc_auc_score(labels, found, multi_class="ovr"))

    for job in jobs:
        job.fold_dir.mkdir()
        train_fold(job)
    of_folds = [_predicted(job, locked) for job in jobs]
    results = [read_result(job.fold_dir / "result.json") for job in jobs]
    chosen = {i: int(result["best_epoch"]) for i, result in enumerate(results)}
    histories = {i: history_of(job.fold_dir / "journal.jsonl") for i, job in enumerate(jobs)}
    most, settled = config.training.epochs, settled_epochs(chosen)
    whole = FoldJob(
        config,
        manifest,
        Everybody(plan.folds),
        images,
        folder,
        "key",
        settled=Settled(settled_validation(histories, config.training.select_by, most)),
    )
    fewer = math.ceil(settled * jobs[0].steps_per_epoch / whole.steps_per_epoch)
    rules = {
        "median, stretched": Rule(settled, settled),
        "as many steps, stretched": Rule(fewer, fewer),
        "median, schedule cut off": Rule(settled, most),
        "all epochs": Rule(most, most),
    }
    found = {"epochs": float(settled), "one fold": float(np.mean([score(of) for of in of_folds]))}
    found["mean of folds"] = score(np.mean(of_folds, axis=0))
    for name, rule in rules.items():
        found[name] = score(_of_rule(whole, rule, folder / f"{seed} {name}", locked))
    return found


def _of_rule(whole: FoldJob, rule: Rule, folder: Path, rows: Ints) -> Floats:
    assert whole.settled is not None, "it is trained on everybody"
    folder.mkdir()
    settled = replace(whole.settled, record=RECORD)
    config = stretched(whole.config, rule.schedule)
    job = replace(whole, config=config, fold_dir=folder, settled=settled)

    def is_finished(progress: Progress, config: TrainingConfig) -> bool:
        return progress.num_epochs >= min(rule.epochs, config.epochs)

    before = loop._is_finished
    loop._is_finished = is_finished
    try:
        train_fold(job)
    finally:
        loop._is_finished = before
    return _predicted(job, rows)


def _predicted(job: FoldJob, rows: Ints) -> Floats:
    """(N, C) of the kept network."""
    learner = build_learner(job)
    learner.judged.load_state_dict(load_checkpoint(job.fold_dir / "best.pt", job)["network"])
    device, crop = torch.device(job.device), job.config.augment.crop
    source = BatchSource.open(job.images, job.normalisation, device, crop)
    return outputs(learner, source, job, rows)[0].astype(np.float64)


if __name__ == "__main__":
    main()
