"""The page of a check, as a browser lays it out on a phone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from browser import laid_out

from pipeline.audit.report import Report, split_of, write_report
from pipeline.audit.shortcuts import Shortcut
from pipeline.config import ManifestConfig, SplitConfig
from pipeline.manifest import Finding, read_manifest
from pipeline.splits import plan_folds

CLASSES = ("well", "pneumonia_of_both_lower_lobes", "effusion", "unclear", "z_the_last_of_all")


@pytest.mark.parametrize("width", [400, 320, 1000])
def test_a_narrow_page_shows_every_column_within_its_width(
    tmp_path: Path, make_cohort: Callable[..., ManifestConfig], width: int
) -> None:
    labels = {f"P{i:02d}": [CLASSES[i % len(CLASSES)]] * 2 for i in range(30)}
    manifest = read_manifest(make_cohort(labels))
    split = SplitConfig(num_folds=3)
    long = Finding("image_file", "error", f"no such file: {tmp_path}/{'a_long_name_' * 12}.png", 7)
    shortcut = Shortcut("file metadata", 30, 0.912, 0.871, 0.944)
    planned = split_of(plan_folds(manifest, split), manifest, split)
    report = Report(f"{'study_' * 20}.csv").read(manifest).measured([shortcut])
    page = write_report(report.divided(manifest, planned, [long]), tmp_path / "out")
    found = laid_out(page, width)
    assert found["width"] <= width
    shown = [(name, end) for name, wide, end in found["cells"] if wide]
    assert len(shown) > 100
    assert max(end for _, end in shown) <= width
    last = [name for name, _ in shown if name == CLASSES[-1]]
    assert len(last) == 9  # three parts of three folds
