"""The benchmark's own arithmetic, and the whole benchmark on made images."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from speed.bare import augment
from speed.data import settings_for
from speed.figures import Line, Spread, disagreement, faster_than, ratios, table
from speed.loop import mean_auroc, split
from speed.ours import facts_of
from speed.page import put, sizes_block
from speed.process import run
from speed.task import FoldRows, Task
from speed.workload import IDC, MADE
from training_settings import AS_IT_IS
from training_settings import table as table_of_settings

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
COUNTS = {"train_images": 6.0, "val_images": 2.0, "test_images": 2.0, "steps": 3.0, "auroc": 0.8}


def measured(working: float, whole: float) -> dict[str, float]:
    return {"working": working, "whole": whole, "processor": 2 * whole, **COUNTS}


ROUNDS = [
    {"bare": measured(10, 20), "ours": measured(12, 30), "MONAI": measured(60, 80)},
    {"bare": measured(20, 30), "ours": measured(21, 33)},
    {"bare": measured(10, 20), "ours": measured(11, 24)},
]


def test_a_setting_is_compared_round_by_round() -> None:
    lines = table_of_settings({AS_IT_IS: [1.0, 2.0, 4.0], "x=1": [2.0, 3.0, 2.0]})
    assert lines[2:] == ["| as it is | 2.00 | 1.00 |", "| `x=1` | 2.00 | 1.50 (0.50 to 2.00) |"]


def test_a_ratio_is_of_one_round_and_their_median_is_shown_with_its_spread() -> None:
    assert ratios(ROUNDS, "ours", "bare", "working") == pytest.approx([1.2, 1.05, 1.1])
    assert ratios(ROUNDS, "MONAI", "ours", "working") == pytest.approx([5.0])
    assert faster_than(ROUNDS, "ours", ["MONAI"]) == ["MONAI / ours, working time: 5.0"]
    assert Spread.of([1.2, 1.05, 1.1]).text(2) == "1.10 (1.05 to 1.20)"


def test_the_table_has_a_row_for_what_was_measured() -> None:
    lines = table(ROUNDS, ["bare", "ours", "nothing", "MONAI"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    whole = "1.20 (1.10 to 1.50)"
    assert rows == [
        ["bare", "10.0", "1.00", "20.0", "1.00", "40.0", "1.00", "0.800", "3"],
        ["ours", "12.0", "1.10 (1.05 to 1.20)", "30.0", whole, "60.0", whole, "0.800", "3"],
        ["MONAI", "60.0", "6.00", "80.0", "4.00", "160.0", "4.00", "0.800", "1"],
    ]
    assert {line.count("|") for line in lines} == {10}


def test_a_line_through_sizes_knows_how_well_it_fits() -> None:
    line = Line.through([1000, 2000, 5000, 10000], [7.0, 9.0, 15.0, 25.0])
    assert (line.start, line.slope, line.r2) == pytest.approx((5.0, 0.002, 1.0))
    assert Line.through([1, 2, 3], [1, 4, 9]).r2 == pytest.approx(48 / 49)
    with pytest.raises(ValueError, match="three sizes or more, got 2"):
        Line.through([1, 2], [1, 2])


def test_variants_that_did_other_work_or_did_it_badly_are_not_compared() -> None:
    good = measured(1, 2)
    assert disagreement({"a": good, "b": good}, 0.8) == []
    fewer = disagreement({"a": good, "b": {**good, "train_images": 5.0}}, 0.8)
    assert fewer == ["train_images differ: {'a': 6.0, 'b': 5.0}"]
    chance = disagreement({"a": good, "b": {**good, "auroc": 0.5}}, 0.6)
    assert chance == ["b: AUROC on val is 0.500, expected 0.6 or more"]
    assert disagreement({"a": {**good, "auroc": float("nan")}}, 0.6)


def test_only_what_is_between_the_marks_of_a_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- idc -->\nold\n<!-- /idc -->\nb\n<!-- x -->\nc\n<!-- /x -->\n")
    put(["new", r"\1"], "idc", page)
    put(["new", r"\1"], "idc", page)
    kept = "b\n<!-- x -->\nc\n<!-- /x -->\n"
    assert page.read_text() == f"a\n<!-- idc -->\nnew\n\\1\n<!-- /idc -->\n{kept}"
    with pytest.raises(ValueError, match="expected one <!-- other -->"):
        put(["new"], "other", page)


def test_sizes_are_shown_with_their_line_and_what_an_image_costs() -> None:
    measured = [(1000, 7.0), (2000, 9.0), (5000, 15.0), (10000, 25.0)]
    found = {
        "command": "python x.py",
        "machine": dict.fromkeys(("date", "device", "processor", "system", "packages"), "m"),
        "used_by_others": 0.3,
        "sizes": [{"images": n, "whole": s, "processor": 2 * s} for n, s in measured],
    }
    text = "\n".join(sizes_block(found))
    assert "| 5,000 | 15.0 | 3.0 | 15.0 | 30 |" in text
    assert "5.0 s + 2.00 ms an image, R² 1.0000" in text
    assert "largest set takes 0.36 times as long as one of the smallest" in text
    assert "30% of the processors meanwhile: only ratios of processor time" in text


def test_the_loops_auroc_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 200)
    scores = generator.integers(1, 9, (200, 3)) + 2.0 * np.eye(3)[labels]  # with ties
    shares = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    expected = roc_auc_score(labels, shares, multi_class="ovr", average="macro")
    assert mean_auroc(shares, labels) == pytest.approx(expected)


def test_a_last_batch_of_one_joins_its_neighbour() -> None:
    sizes = [[len(batch) for batch in split(torch.arange(n), 4)] for n in (1, 4, 8, 9, 10)]
    assert sizes == [[1], [4], [4, 4], [4, 5], [4, 4, 2]]


def test_one_resampling_flips_as_a_flip_does() -> None:
    still = a_task(rotate_degrees=0.0, zoom=0.0, flip_axes=[0])
    images = torch.rand(64, 1, 6, 8)
    torch.manual_seed(0)
    found = augment(images, still)
    same = torch.isclose(found, images, atol=1e-5).flatten(1).all(dim=1)
    flipped = torch.isclose(found, images.flip(2), atol=1e-5).flatten(1).all(dim=1)
    assert (same ^ flipped).all()
    assert 0 < int(flipped.sum()) < 64


def a_task(**changed: object) -> Task:
    fold = FoldRows([0, 1, 2, 3, 4], [5, 6], [7], [0.0], [1.0])
    values: dict[str, object] = {
        "pixels": "",
        "files": [],
        "labels": [],
        "num_classes": 2,
        "folds": [fold],
        "network": {},
        "transforms": [],
        "num_channels": 1,
        "epochs": 2,
        "batch_size": 2,
        "lr": 1e-3,
        "flip_axes": [],
        "rotate_degrees": 0.0,
        "zoom": 0.0,
        "device": "cpu",
        "precision": "float32",
        "channels_last": True,
        "num_processes": 2,
        "loader_workers": 0,
    }
    return Task(**{**values, **changed})  # type: ignore[arg-type]


def test_a_task_is_read_as_it_was_written(tmp_path: Path) -> None:
    task = a_task()
    task.write(tmp_path / "task.json")
    assert Task.read(tmp_path / "task.json") == task


def test_our_times_and_counts_come_from_journals_and_results(tmp_path: Path) -> None:
    fold_dir = tmp_path / "run" / "fold_00"
    fold_dir.mkdir(parents=True)
    ran = run([sys.executable, "-c", "sum(range(10**7))"], tmp_path)
    began = ran.began
    events = [{"event": "start", "time": began + 3.0}]
    events += [
        {"event": "epoch", "time": began + 3.0 + end, "metrics": {"val/image/auroc": 0.6 + n / 10}}
        for n, end in enumerate((4.0, 6.0))
    ]
    lines = "".join(f"{json.dumps(event)}\n" for event in events)
    (fold_dir / "journal.jsonl").write_text(lines)
    (fold_dir / "result.json").write_text(json.dumps({"time": began + 10.0}))
    (fold_dir / "predictions_val.csv").write_text("header\n1\n2\n")
    (fold_dir / "predictions_test.csv").write_text("header\n1\n")
    facts = facts_of(tmp_path / "run", ran, a_task())
    assert facts["working"] == pytest.approx(7.0)
    assert facts["start"] == pytest.approx(3.0)
    assert facts["first_epoch"] == pytest.approx(2.0)
    assert facts["auroc"] == pytest.approx(0.7)
    counts = {name: facts[name] for name in COUNTS if name != "auroc"}
    assert counts == {"train_images": 10, "val_images": 4, "test_images": 1, "steps": 4}
    assert ran.processor > 0


def test_the_processor_time_of_processes_that_outlive_their_parent_counts(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {busy!r}])"
    assert run([sys.executable, "-c", script], tmp_path).processor > 0.5


def test_a_command_that_fails_is_shown_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)exit code 3.*no such thing"):
        run([sys.executable, "-c", "print('no such thing'); raise SystemExit(3)"], tmp_path)


def test_a_smaller_set_is_of_whole_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / IDC.folder / "manifest.csv"
    source.parent.mkdir()
    rows = [f"P{i // 7:03d},{i}.png,a" for i in range(700)]
    source.write_text("\n".join(["patient_id,image_path,label", *rows, ""]))
    monkeypatch.setenv("PATIENTFOLD_DATA", str(tmp_path))
    settings_for(IDC, tmp_path / "data", 100)
    kept = (tmp_path / "data" / "manifest.csv").read_text().splitlines()[1:]
    assert len(kept) == 105  # the first multiple of 7
    assert set(kept) <= set(rows)
    patients = {line.split(",")[0] for line in kept}
    assert len(patients) == 15
    assert patients != {f"P{i:03d}" for i in range(15)}  # from all over the set


def test_made_images_are_those_that_their_manifest_lists(tmp_path: Path) -> None:
    settings_for(MADE, tmp_path, 13)
    lines = (tmp_path / "manifest.csv").read_text().splitlines()[1:]
    assert len(lines) == 13
    assert all((tmp_path / line.split(",")[1]).is_file() for line in lines)
    assert {line.split(",")[2] for line in lines} == {"healthy", "lesion"}


QUICK = ["bare", "ours, cold", "MONAI CacheDataset"]
"""One of each script; the others differ by a word."""


@pytest.mark.slow
def test_a_quick_measurement_from_end_to_end(tmp_path: Path) -> None:
    page, out = tmp_path / "page.md", tmp_path / "found.json"
    page.write_text("<!-- made -->\n<!-- /made -->\n")
    command = [sys.executable, str(BENCHMARKS / "cross_validation.py"), "--quick"]
    command += ["--out", str(out), "--docs", str(page), "--only", *QUICK]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert list(found["rounds"][0]) == found["variants"] == QUICK
    assert all(values["working"] > 0 for values in found["rounds"][0].values())
    rows = [line.split("|")[1].strip() for line in page.read_text().splitlines() if "|" in line]
    assert rows[2:] == QUICK
    assert f"--out {out}" not in found["command"]
