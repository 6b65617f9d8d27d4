"""What is sent to a fold's worker hardly grows with the number of images."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.commands.door import load_config
from pipeline.config import ImagesConfig, ManifestConfig
from pipeline.images.packed import PackedImages
from pipeline.images.packing import pack_images
from pipeline.manifest import Manifest, read_manifest
from pipeline.splits import plan_folds
from pipeline.training.job import FoldJob

MOST_BYTES_PER_IMAGE = 120
"""Id, image path, label and group of each; a table of all columns and facts takes 1,500."""


def job_of(manifest: Manifest, images: PackedImages, tmp_path: Path) -> FoldJob:
    config = load_config(["experiment=demo"])
    plan = plan_folds(manifest, config.split)
    return FoldJob(config, manifest, plan.folds[0], images, tmp_path / "fold_00", "key")


def with_many_rows(manifest: Manifest, times: int) -> Manifest:
    """The same rows under other names, with a long column of the hospital's own."""
    rows = np.tile(np.arange(len(manifest)), times)
    number = np.repeat(np.arange(times), len(manifest)).astype(str)
    table = manifest.table.iloc[rows].reset_index(drop=True)
    for column in ("patient_id", "group", "image_path"):
        table[column] = table[column] + "_" + number
    table["line"] = np.arange(2, len(table) + 2)
    table["report"] = "findings of a long report " * 10
    return replace(manifest, table=table, twin_digests=("a" * 64,) * len(table))


def test_a_job_takes_little_for_each_image(
    tmp_path: Path, make_cohort: Callable[..., ManifestConfig]
) -> None:
    manifest = read_manifest(make_cohort({f"P{i}": ["ab"[i % 2]] * 3 for i in range(10)}))
    sizes = []
    for times in (10, 40):
        many = with_many_rows(manifest, times)
        images = PackedImages(tmp_path, "key")
        images.__dict__["facts"] = [{"pixel_digest": str(i) * 20} for i in range(len(many))]
        job = job_of(many, images, tmp_path)
        assert job.emphasis is not None  # worked out here, and there anew
        assert many.hash
        sizes.append(len(pickle.dumps(job)) / len(many))
        sent = pickle.loads(pickle.dumps(job))
        assert sent.manifest.hash == many.hash
        assert sent.rows("train").tolist() == job.rows("train").tolist()
    assert sizes[1] < MOST_BYTES_PER_IMAGE


def test_normalisation_reads_sums_alone(
    tmp_path: Path, make_cohort: Callable[..., ManifestConfig]
) -> None:
    """As exact as from all facts."""
    manifest = read_manifest(make_cohort({f"P{i}": ["ab"[i % 2]] for i in range(6)}))
    packed = pack_images(manifest, ImagesConfig(cache_dir=str(tmp_path / "c")), lambda *_: None)
    rows = np.array([0, 2, 3])
    found = packed.fit_normalisation(rows)
    assert "facts" not in packed.__dict__
    pixels = packed.array[rows].astype(np.float64)
    np.testing.assert_allclose(found.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-9)
    np.testing.assert_allclose(found.std, pixels.std(axis=(0, 2, 3)), rtol=1e-9)
