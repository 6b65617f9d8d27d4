"""Near copies across the parts of a split made elsewhere: cv, plan and check say which."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted import CHANGES, texture
from rich.console import Console

from pipeline.audit.content import AuditError, Content, look_at_images
from pipeline.audit.copies import Copies, Copy
from pipeline.audit.crossing import crossing_findings, crossing_warnings
from pipeline.audit.report import write_report
from pipeline.commands.check import examine
from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.config import Config
from pipeline.manifest import read_manifest
from pipeline.training.planning import make_plan

SURE, DOUBTFUL = "rescaled by 0.9", "cropped by 2 %"  # correlations of 0.999 and 0.94
PARTS = {f"P{i:02d}": "train" if i < 6 else "val" if i < 8 else "test" for i in range(12)}
BLOCKS = {f"P{i:02d}": str(i // 4) for i in range(12)}


def config_of(
    folder: Path,
    planted: Sequence[tuple[str, str, str]] = (),
    split: Mapping[str, str] = PARTS,
    overrides: Sequence[str] = (),
) -> Config:
    """Twelve patients with two textures each, some of them copies, and their parts or folds."""
    generator = np.random.default_rng(0)
    for patient in split:
        for i in range(2):
            Image.fromarray(texture(generator, 64)).save(folder / f"{patient}_{i}.png")
    for source, target, change in planted:
        with Image.open(folder / source) as image:
            changed = CHANGES[change](image.convert("L"), generator)
        changed.resize((64, 64)).save(folder / target)
    with (folder / "m.csv").open("w", newline="") as file:
        rows = [
            (p, f"{p}_{i}.png", ("well", "ill")[int(p[1:]) % 2], split[p])
            for p in split
            for i in range(2)
        ]
        csv.writer(file).writerows([("patient_id", "image_path", "label", "where"), *rows])
    column = "fold" if "0" in split.values() else "part"
    return load_config(
        [
            f"manifest.path={folder}/m.csv",
            f"manifest.columns.{column}=where",
            "split=predefined",
            f"images.cache_dir={folder}/cache",
            "images.num_processes=1",
            "manifest.largest_group=1.0",
            f"audit.out_dir={folder}/out",
            "audit.shortcuts=false",
            "engine.device=cpu",
            f"run_dir={folder}/run",
            f"tracking.uri=sqlite:///{folder}/mlflow.db",
            *overrides,
        ]
    )


def content_of(config: Config) -> Content:
    return look_at_images(config, read_manifest(config.manifest), Console(quiet=True))


def test_doubtful_pairs_are_named_by_pair_of_patients(tmp_path: Path) -> None:
    """Two pairs of P02 and P09, one of P03 and P06; one within train is nobody's business."""
    config = config_of(
        tmp_path,
        [
            ("P02_0.png", "P09_0.png", DOUBTFUL),
            ("P02_1.png", "P09_1.png", DOUBTFUL),
            ("P06_0.png", "P03_0.png", DOUBTFUL),
            ("P00_0.png", "P01_0.png", DOUBTFUL),
        ],
    )
    content = content_of(config)
    (told,) = crossing_warnings(make_plan(config, content.manifest).plan, content)
    assert told.startswith("3 pairs of images that are nearly the same in two parts of the split: ")
    assert " = 'P09' (line 2" in told
    assert (
        "'P02' (line 6, P02_0.png, in train) = 'P09' (line 20, P09_0.png, in test), corr" in (told)
        or "'P02' (line 7, P02_1.png, in train) = 'P09' (line 21, P09_1.png, in test), corr" in told
    )
    assert "and 1 more pair of these two patients" in told
    assert "'P03' (line 8, P03_0.png, in train) = 'P06' (line 14, P06_0.png, in val), " in told
    assert "correlation 0.9" in told
    assert "'P00'" not in told


def test_a_sure_pair_across_parts_ends_cv_before_training(tmp_path: Path) -> None:
    """As check does for an audited split."""
    config = config_of(tmp_path, [("P02_0.png", "P09_0.png", SURE)])
    with pytest.raises(AuditError) as caught:
        cross_validate(config)
    first, second = str(caught.value).splitlines()
    assert first == f"the split of {tmp_path}/m.csv:"
    assert "'P02' (line 6, P02_0.png, in train) = 'P09' (line 20, P09_0.png, in test), " in second
    assert "put both patients into one part, or take one's rows out of the manifest" in second
    assert not (tmp_path / "run").exists()


def test_a_sure_pair_within_one_part_is_no_error(tmp_path: Path) -> None:
    config = config_of(tmp_path, [("P02_0.png", "P03_0.png", SURE)])
    content = content_of(config)
    assert [pair.exact for pair in content.copies.pairs] == [False]
    assert crossing_warnings(make_plan(config, content.manifest).plan, content) == []


@pytest.mark.parametrize(("change", "rule"), [(SURE, "shared_images"), (DOUBTFUL, "near_images")])
def test_check_says_the_same_and_its_verdict_is_not_green(
    tmp_path: Path, change: str, rule: str
) -> None:
    config = config_of(tmp_path, [("P02_0.png", "P09_0.png", change)])
    report = examine(config, Console(file=StringIO()))
    (told,) = (finding.message for finding in report.findings if finding.rule == rule)
    assert "'P02' (line 6, P02_0.png, in train) = 'P09' (line 20, P09_0.png, in test), " in told
    assert report.split is not None
    assert report.split.lines[-1] == f"but: {told}"
    page = write_report(report, tmp_path / "out").read_text()
    assert "Fit for a cross-validation" not in page
    assert ("Not fit: 1 error" if change == SURE else "the split may share pictures") in page


def test_blocks_are_told_by_the_first_fold_that_sets_them_apart(tmp_path: Path) -> None:
    config = config_of(tmp_path, [("P01_0.png", "P09_0.png", DOUBTFUL)], BLOCKS)
    content = content_of(config)
    (told,) = crossing_warnings(make_plan(config, content.manifest).plan, content)
    assert "P01_0.png, in test of fold 0) = 'P09' (line 20, P09_0.png, in train of fold 0)" in told


def test_many_pairs_are_counted(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    manifest = read_manifest(config.manifest)
    pairs = [Copy(i, j, False, 0.95) for i in range(12) for j in range(16, 24)]
    content = Content(manifest, Copies(tuple(pairs)), ())
    (told,) = crossing_findings(make_plan(config, manifest).plan, content)
    assert told.message.startswith("96 pairs of images ")
    assert told.message.count(" = ") == 10
    assert "and 14 more;" in told.message


def test_our_own_plans_are_not_meant(tmp_path: Path) -> None:
    """What stays together in them is audit.near's business."""
    config = config_of(
        tmp_path, [("P02_0.png", "P09_0.png", SURE)], overrides=["split.scheme=holdout"]
    )
    content = content_of(config)
    assert len(content.copies.pairs) == 1
    assert crossing_warnings(make_plan(config, content.manifest).plan, content) == []
