"""Handing over, as a user does it: from the cross-validation to a server that answers curl."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from command_line import called
from dicom_files import write_dicom
from mlflow import MlflowClient
from PIL import Image
from run_with_networks import noise, run_with_networks
from system_runs import make_cohort, run_cv

from pipeline.engine.finished import Finished
from pipeline.ensemble import Ensemble
from pipeline.evaluation.predictions import read_predictions
from pipeline.export import load_bundle
from pipeline.tracking.registry import ALIAS, VERDICT

CLASSES = ["healthy", "lesion"]


@pytest.fixture(scope="module")
def study(made_once: Callable[..., Path]) -> Path:
    """runs/first and runs/second of one plan, runs/other of another; with their images."""

    def make(folder: Path) -> None:
        cohort = make_cohort(folder / "cohort", num_patients=18)
        for name, more in {
            "first": ["training.epochs=2"],
            "second": ["training.epochs=1", "optimizer.lr=1e-6"],
            "other": ["training.epochs=1", "split.seed=1"],
        }.items():
            settings = [*cohort.overrides, "name=study", "images.dtype=auto", *more]
            ended = run_cv(folder, *settings, f"run_dir=runs/{name}")
            assert ended.returncode == 0, ended.stderr

    return made_once("exported_study", make)


@pytest.fixture
def here(study: Path, tmp_path: Path) -> Path:
    """A copy whose MLflow is its own."""
    shutil.copytree(study, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "runs").glob("*/tracking.json"):
        record = json.loads(path.read_text()) | {"uri": f"sqlite:///{tmp_path}/mlflow.db"}
        path.write_text(json.dumps(record))
    return tmp_path


def test_the_runs_own_predictions_ours_and_onnx_agree(here: Path) -> None:
    ended = called(here, "export", "run_dir=runs/first", "to=onnx", "out=bundle")
    assert ended.returncode == 0, ended.stderr
    assert "written: bundle" in ended.stdout
    assert "python run_onnx.py IMAGE" in ended.stdout
    bundle = load_bundle(here / "bundle")
    run = Finished.read(here / "runs" / "first")
    for fold in range(3):
        table = read_predictions(run.dir / f"fold_{fold:02d}" / "predictions_test.csv", CLASSES)
        paths = [here / "cohort" / name for name in table["image_path"]]
        images = [bundle.image((path,)) for path in paths]
        own = table[[f"prob_{name}" for name in CLASSES]].to_numpy()
        ours = bundle.member_probabilities(images)
        np.testing.assert_allclose(ours[fold], own, atol=1e-6)
        theirs = Ensemble.read(run).member_probabilities(torch.from_numpy(np.stack(images)))
        np.testing.assert_array_equal(ours, theirs)
        done = subprocess.run(
            [sys.executable, "run_onnx.py", *map(str, paths[:5])],
            cwd=here / "bundle",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        said = [json.loads(line)["probabilities"] for line in done.stdout.splitlines()]
        found = np.array([[row[name] for name in CLASSES] for row in said])
        np.testing.assert_allclose(found, ours.mean(axis=0)[:5], atol=1e-4)
    for path in (here / "bundle").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            private = (b"P00", b"P17", b"p00_", str(here).encode(), b"manifest.csv")
            assert not [text for text in private if text in content], path


@contextmanager
def served(model: str, folder: Path, **environment: str) -> Iterator[str]:
    """A server of MLflow; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    address = f"http://127.0.0.1:{port}"
    programs = folder / "programs"  # uvicorn may be installed elsewhere than this Python
    programs.mkdir()
    (programs / "uvicorn").write_text(f'#!/bin/sh\nexec {sys.executable} -m uvicorn "$@"\n')
    (programs / "uvicorn").chmod(0o700)
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "-m", model, "-p", str(port), "-h", "127.0.0.1"],
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", **environment},
        )
        try:
            for _ in range(240):
                ping = subprocess.run(["curl", "-sf", f"{address}/ping"], capture_output=True)
                if ping.returncode == 0:
                    break
                assert server.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.5)
            yield address
        finally:
            server.terminate()
            server.wait(30)


def curl(address: str, folder: Path, rows: list[dict[str, str]]) -> tuple[int, str]:
    """Status and answer."""
    (folder / "request.json").write_text(json.dumps({"dataframe_records": rows}))
    done = subprocess.run(
        [
            *("curl", "-s", "-w", "\n%{http_code}", "-H", "Content-Type: application/json"),
            *("-d", "@request.json", f"{address}/invocations"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    text, _, status = done.stdout.rpartition("\n")
    return int(status), text


def sent(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_registered_champion_is_served_and_answers_curl(here: Path) -> None:
    words = ["run_dir=runs/first", "to=mlflow", "register=lesions", "champion=true", "out=served"]
    failed = called(here, "export", *words, f"tracking.uri=sqlite:///{here}/cohort/manifest.csv")
    assert failed.returncode == 1
    ended = called(here, "export", *words)
    assert ended.returncode == 0, ended.stderr
    assert "there already: served" in ended.stdout
    assert "registered: lesions, version 1" in ended.stdout
    assert "champion: the first champion of this name" in ended.stdout
    pixels = np.asarray(Image.open(here / "cohort" / "p00_0.png"))
    write_dicom(here / "a.dcm", pixels.astype(np.uint16))
    uri = f"sqlite:///{here}/mlflow.db"
    with served(f"models:/lesions@{ALIAS}", here, MLFLOW_TRACKING_URI=uri) as address:
        rows = [
            {"image": sent(here / "cohort" / "p00_0.png"), "patient_id": "A"},
            {"image": sent(here / "a.dcm"), "patient_id": "A"},
            {"image": base64.b64encode(b"broken").decode()},
        ]
        status, text = curl(address, here, rows)
        assert status == 200, text
        wrong, refused = curl(address, here, [{"picture": rows[0]["image"]}])
    png, dicom, broken = json.loads(text)["predictions"]
    bundle = load_bundle(here / "served")
    members = bundle.member_probabilities([bundle.image((here / "cohort" / "p00_0.png",))])
    for said in (png, dicom):
        assert said["prob_lesion"] == pytest.approx(members[:, 0, 1].mean(), abs=1e-6)
        assert said["patient_prob_lesion"] == pytest.approx(said["prob_lesion"])
        assert said["highest_lesion"] >= said["prob_lesion"] >= said["lowest_lesion"]
    assert "in no known format" in broken["error"]
    assert broken["prob_lesion"] is None
    assert wrong == 400
    assert "image" in refused


def test_a_served_volume_answers_as_nifti(tmp_path: Path) -> None:
    overrides = ("images.spatial_dims=3", "model=resnet10", "augment.flip_axes=[]")
    run_with_networks(tmp_path / "run", *overrides, shape=(1, 8, 9, 10))
    ended = called(tmp_path, "export", "run_dir=run", "to=mlflow", "out=served")
    assert ended.returncode == 0, ended.stderr
    nibabel.save(nibabel.Nifti1Image(noise((8, 9, 10)), np.eye(4)), tmp_path / "a.nii.gz")
    with served("served", tmp_path) as address:
        example = json.loads((tmp_path / "served" / "serving_input_example.json").read_text())
        (tmp_path / "example.json").write_text(json.dumps(example))
        status, text = curl(address, tmp_path, [{"image": sent(tmp_path / "a.nii.gz")}])
    assert status == 200, text
    (said,) = json.loads(text)["predictions"]
    assert said["error"] is None
    assert 0 < said["prob_lesion"] < 1


def test_a_champion_is_not_replaced_silently(here: Path) -> None:
    def export(name: str, *words: str) -> str:
        ended = called(
            here, "export", f"run_dir=runs/{name}", "to=mlflow", "register=lesions",
            "champion=true", f"out=out_{name}_{len(words)}", *words,
        )  # fmt: off
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def champion() -> str:
        return str(client.get_model_version_by_alias("lesions", ALIAS).version)

    client = MlflowClient(f"sqlite:///{here}/mlflow.db")
    export("first")
    said = export("second")
    assert "version 1 stays the champion: this run is not shown to be better" in said
    assert champion() == "1"
    assert "another plan than" in export("other")
    assert champion() == "1"
    assert "there already: lesions, version 2" in export("second", "replace=true")
    assert champion() == "2"
    tag = client.get_model_version("lesions", "2").tags[VERDICT]
    assert tag.startswith("replace=true: version 1 was the champion")
    version = client.get_model_version("lesions", "1")
    assert version.description.startswith("# Model card")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["to=onnx", "run_dir=runs/nowhere"], "run folder runs/nowhere: no such folder"),
        (["run_dir=runs/first"], "to: missing"),
        (
            ["to=keras", "run_dir=runs/first"],
            "to: must be one of folder, onnx, torch_export, mlflow",
        ),
        (
            ["to=onnx", "register=a", "run_dir=runs/first"],
            "register=a needs to=mlflow, got to=onnx",
        ),
        (["to=mlflow", "champion=true", "run_dir=runs/first"], "needs a name in the registry"),
        (["to=mlflow", "replace=true", "run_dir=runs/first"], "replace=true needs champion=true"),
        (["to=mlflow", "register=a/b", "run_dir=runs/first"], "register: must be a name"),
        (["to=folder", "network=best", "run_dir=runs/first"], "network: "),
        (["to=folder", "out=cohort", "run_dir=runs/first"], "cohort is there already"),
        (
            ["to=mlflow", "register=a", "run_dir=runs/first", "tracking.upload=metrics"],
            "tracking.upload=metrics lets no file of runs/first go to a server",
        ),
    ],
)
def test_what_cannot_be_handed_over_is_told(study: Path, words: list[str], message: str) -> None:
    before = sorted(study.rglob("*"))
    ended = called(study, "export", *words)
    assert ended.returncode == 1
    assert message in ended.stderr
    assert ended.stderr.count("error:") == 1
    assert sorted(study.rglob("*")) == before


def test_a_baseline_has_no_network_to_hand_over(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    assert run_cv(tmp_path, *cohort.overrides, "model=majority", "run_dir=runs/a").returncode == 0
    ended = called(tmp_path, "export", "run_dir=runs/a", "to=folder")
    assert ended.returncode == 1
    assert "its model is a baseline of scikit-learn" in ended.stderr
