"""Run folders at a glance, damaged ones among them."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.engine.access import VOID
from pipeline.engine.overview import find_run_folders, overview
from pipeline.engine.run_folder import UNSAFE_SUFFIX
from pipeline.files import read_json, write_json
from pipeline.tracking.mirror import PRUNED

OLD_RUN = Path(__file__).parents[1] / "files" / "old_run" / "folder"


@pytest.fixture
def run_dir(one_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(one_run, tmp_path / "runs" / "demo" / "one"))


def test_a_finished_run(run_dir: Path) -> None:
    found, summary = overview(run_dir), read_json(run_dir / "metrics.json")
    entry = summary["patient"]["auroc"]
    assert (found.state, found.level, found.problem) == ("done", "patient", None)
    assert (found.value, found.ci_low, found.ci_high) == (
        entry["value"],
        entry["ci_low"],
        entry["ci_high"],
    )
    assert found.folds_done == found.num_folds == 5
    assert found.plan == read_json(run_dir / "plan.json")["plan_hash"]
    assert found.bytes == sum(path.stat().st_size for path in run_dir.rglob("*") if path.is_file())
    assert found.touched.endswith("+00:00")
    assert json.loads(json.dumps(asdict(found))) == asdict(found)


def test_a_run_of_the_first_version() -> None:
    found = overview(OLD_RUN)
    assert (found.state, found.folds_done, found.num_folds) == ("begun", 1, 3)
    assert found.value is None


@pytest.mark.parametrize(
    ("break_it", "state"),
    [
        (lambda run: (run / "fold_02" / "result.json").unlink(), "begun"),
        (lambda run: (run / "metrics.json").unlink(), "to report"),
        (lambda run: (run / PRUNED).write_text("{}"), "stopped early"),
        (lambda run: (run / VOID).write_text("void"), "void"),
        (lambda run: (run / "plan.json").write_text("{}"), "damaged"),
        (lambda run: (run / "environment.json").write_text("{"), "damaged"),
        (lambda run: (run / "environment.json").unlink(), "damaged"),
        (lambda run: (run / "tracking.json").unlink(), "damaged"),
        (lambda run: (run / "metrics.json").write_text('{"patient": 3}'), "damaged"),
        (lambda run: _better(run / "metrics.json"), "damaged"),
    ],
)
def test_every_state_is_told_and_stops_no_list(run_dir: Path, break_it, state: str) -> None:
    break_it(run_dir)
    (found,) = map(overview, find_run_folders(run_dir.parents[1])[0])
    assert found.state == state
    assert (found.problem is not None) == (state == "damaged")
    assert found.value is None


def _better(path: Path) -> None:
    """Somebody has changed the result, and not its seal."""
    content = read_json(path)
    content["patient"]["auroc"]["value"] = 0.999
    write_json(path, content)


def test_numbers_of_a_split_by_image_are_not_shown(run_dir: Path) -> None:
    unsafe = run_dir.rename(run_dir.with_name(f"one{UNSAFE_SUFFIX}"))
    assert (overview(unsafe).state, overview(unsafe).value) == ("UNSAFE", None)


def test_folders_are_found_at_any_depth_and_links_are_not_followed(
    run_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs" / "link").symlink_to(run_dir)
    (tmp_path / "runs" / "sweeps" / "2026").mkdir(parents=True)
    (tmp_path / "plan.csv").write_text("a frozen plan beside the runs is none\n")
    assert find_run_folders(tmp_path) == ([run_dir], [])
    assert find_run_folders(run_dir) == ([run_dir], [])


def test_a_folder_that_cannot_be_read_hides_no_other(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = [run_dir.with_name(name) for name in ("a-closed", "z-closed")]
    for folder in closed:
        folder.mkdir()

    def is_run_folder(folder: Path) -> bool:
        if folder in closed:  # as Path.exists of what lies in it
            raise PermissionError(13, "Permission denied", str(folder))
        return (folder / "environment.json").exists()

    monkeypatch.setattr("pipeline.engine.overview.is_run_folder", is_run_folder)
    assert find_run_folders(tmp_path) == ([run_dir], closed)
