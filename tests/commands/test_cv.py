"""What the cross-validation prints beside its results."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from pipeline.commands.cv import decoded, next_steps
from pipeline.commands.door import load_config
from pipeline.config import ManifestConfig


@pytest.mark.parametrize("on_the_path", [True, False])
def test_the_next_commands_can_be_typed_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_the_path: bool
) -> None:
    bin_dir = tmp_path / ".venv" / "bin"
    bin_dir.mkdir(parents=True)
    for name in ("python", "patientfold", "mlflow"):
        (bin_dir / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(bin_dir / "python"))
    monkeypatch.setenv("PATH", str(bin_dir) if on_the_path else "/nowhere")
    monkeypatch.chdir(tmp_path)
    config = load_config(["manifest.path=x.csv", "tracking.uri=sqlite:///my runs.db"])
    ui, sweep = next_steps(config, ["experiment=demo", "folds=[0]"]).strip().splitlines()
    before = "" if on_the_path else ".venv/bin/"
    assert ui == (
        f"compare the folds: MLFLOW_DISABLE_TELEMETRY=true {before}mlflow ui "
        "--backend-store-uri 'sqlite:///my runs.db'"
    )
    assert sweep == (
        f"sweep settings: {before}patientfold cv -m experiment=demo optimizer.lr=1e-3,3e-4"
    )


@pytest.mark.parametrize("copied", [True, False])
def test_groups_are_described_again_when_copies_join_patients(
    tmp_path: Path, make_cohort: Callable[..., ManifestConfig], copied: bool
) -> None:
    cohort = make_cohort({f"P{i}": ["no", "no"] if i % 2 else ["yes"] for i in range(8)})
    images = Path(cohort.path).parent / "images"
    if copied:
        with Image.open(images / "P1_00.png") as image:
            image.save(images / "P3_00.png", compress_level=1)
    console = Console(record=True, width=200)
    config = load_config(
        [
            f"manifest.path={cohort.path}",
            f"images.cache_dir={tmp_path}/cache",
            "split.num_folds=3",
            "images.num_processes=1",
            f"tracking.uri=sqlite:///{tmp_path}/mlflow.db",
            "manifest.largest_group=1.0",
            "engine.device=cpu",
        ]
    )
    decoded(config, console)
    printed = console.export_text()
    assert printed.count("8 leakage groups of 8 patients") == 1
    assert ("copied images join patients:\n7 leakage groups of 8 patients" in printed) == copied


def test_runs_on_a_server_are_seen_at_its_address() -> None:
    config = load_config(["manifest.path=x.csv", "tracking.uri=http://127.0.0.1:5000"])
    assert "compare the folds: http://127.0.0.1:5000\n" in next_steps(config, [])
