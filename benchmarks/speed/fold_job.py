"""One fold of a workload, to be trained in this process: decoded, planned, with a warm cache."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.commands.door import load_config
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
from pipeline.splits import plan_folds
from pipeline.training.job import FoldJob
from speed.data import settings_for
from speed.workload import Workload


def fold_job(workload: Workload, folder: Path, epochs: int, further: Sequence[str] = ()) -> FoldJob:
    """Fold 0; `further` are settings of the command. Calls with one folder share its cache."""
    data = settings_for(workload, folder / "data", workload.num_images)
    settings = [*workload.overrides(epochs), *data, f"images.cache_dir={folder}/cache", *further]
    config = load_config(settings)
    manifest = read_manifest(config.manifest)
    images = pack_images(manifest, config.images, lambda _done, _total: None)
    fold_dir = folder / "fold_00"
    fold_dir.mkdir(exist_ok=True)
    fold = plan_folds(manifest, config.split).folds[0]
    return FoldJob(config, manifest, fold, images, fold_dir, "benchmark", workload.device)
