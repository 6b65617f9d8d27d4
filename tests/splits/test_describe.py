"""A plan in words: the numbers are those that a count by hand gives."""

import re
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import SplitConfig
from pipeline.manifest import Manifest
from pipeline.splits import plan_folds
from pipeline.splits.describe import describe_plan

EVEN = """  largest deviation of a {0}: class shares 0.000 (images), 0.000 (patients)
  largest deviation of a {0}: size 0.0% (images), 0.0% (patients)
  imbalance 0.000 (0: all alike; whole patients allow 0.000)"""


def cohort(num_patients=60):
    """Two images a patient; class and site repeat, so that three blocks of 60 can be equal."""
    rows = []
    for i in range(num_patients):
        patient, label, site = f"P{i:03}", "ab"[i % 2], "ns"[i // 2 % 2]
        for j in range(2):
            rows.append([patient, f"{i}_{j}.png", label, patient, site, f"2020-0{1 + i // 10}-01"])
    columns = ["patient_id", "image_path", "label", "group", "site", "date"]
    return Manifest(Path("x.csv"), Path(), ("a", "b"), pd.DataFrame(rows, columns=columns))


def said(manifest, split):
    return "\n".join(describe_plan(plan_folds(manifest, split), manifest, split))


def test_blocks_that_are_equal_are_off_by_nothing():
    text = said(cohort(), SplitConfig(num_folds=3))
    assert EVEN.format("block") in text


def test_the_columns_of_stratify_have_a_line_of_their_own():
    manifest = cohort(14)
    split = SplitConfig(num_folds=3, stratify=("site",))
    plan = plan_folds(manifest, split)
    site_of = dict(zip(manifest.table["patient_id"], manifest.table["site"], strict=True))
    shares = [sum(site_of[p] == "n" for p in fold.test) / len(fold.test) for fold in plan.folds]
    off = max(abs(share - 8 / 14) for share in shares)
    assert off > 0  # the 8 of a site cannot be divided by 3
    lines = describe_plan(plan, manifest, split)
    (line,) = [line for line in lines if "by site" in line]
    class_off = max(
        abs(sum(p[-1] in "02468" for p in fold.test) / len(fold.test) - 7 / 14)
        for fold in plan.folds
    )
    size = max(abs(len(fold.test) * 3 / 14 - 1) for fold in plan.folds)
    together = class_off + max(class_off, off) + 0.25 * (size + size)
    assert line == f"  largest deviation of a block: shares of patients by site {off:.3f}"
    assert any(line.startswith(f"  imbalance {together:.3f} (0: all alike") for line in lines)
    by_class = next(line for line in lines if "class shares" in line)
    assert "site" not in by_class


@pytest.mark.parametrize(
    "split",
    [
        SplitConfig(scheme="holdout", test_fraction=0.2, val_fraction=0.2),
        SplitConfig(scheme="temporal", test_from="2020-05-01", val_from="2020-04-01"),
    ],
    ids=lambda split: split.scheme,
)
def test_the_parts_of_a_single_fold_are_compared_with_the_whole(split):
    assert EVEN.format("part") in said(cohort(), split)


def test_a_class_that_comes_late_is_reported():
    manifest = cohort()
    late = manifest.table["date"] >= "2020-05-01"
    manifest.table.loc[late, "label"] = "b"  # 40 of 60 have b now: 2/3, but all of the last 20
    text = said(manifest, SplitConfig(scheme="temporal", test_from="2020-05-01"))
    assert "class shares 0.333 (images), 0.333 (patients)" in text


def test_folds_that_deal_anew_have_no_common_blocks():
    text = said(cohort(12), SplitConfig(scheme="leave_one_out", leave_out="site"))
    assert not re.search("deviation|imbalance", text)


def test_a_fold_names_the_sites_that_it_tests():
    manifest = cohort(12)
    split = SplitConfig(scheme="leave_one_out", leave_out="site")
    assert "fold tests site: 0 'n', 1 's'" in said(manifest, split)
    manifest.table["site"] = [f"w{i // 8}" for i in range(24)]
    manifest.table.loc[0, "site"] = "w1"  # P000 is at w0 and w1
    text = said(manifest, split)
    assert "fold tests site: 0 'w0' with 'w1', 1 'w2'" in text
    assert "(values in one fold share a patient or a leakage group)" in text


def test_repeats_say_how_alike_they_are():
    text = said(cohort(30), SplitConfig(num_folds=3, repeats=2))
    assert re.search(r"2 repeats, mean Rand index between them 0\.[4-9]\d$", text, re.MULTILINE)
