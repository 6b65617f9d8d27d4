"""What a study folder tells about its patients, and to whom."""

import io
import json
import os
import shutil
import signal
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.__main__ import main
from pipeline.files import make_private
from pipeline.manifest import Pseudonyms
from pipeline.splits import load_plan

NUM_PATIENTS = 15
SETTINGS = [
    "manifest.path=mine.csv",
    "manifest.name=mine",
    "manifest.columns.study=exam",
    "manifest.group_columns=[family]",
    "manifest.largest_group=1.0",
    "images.transforms=[]",
    "images.num_processes=1",
    "augment=none",
    "model=lenet5",
    "split.num_folds=3",
    "training.epochs=1",
    "training.batch_size=16",
    "training.select_by=val/loss",
    "engine.device=cpu",
    "engine.folds_at_once=1",
]
PSEUDONYMS = "privacy.pseudonyms=true"
SECRETS = [
    "tracking.uri='${oc.env:STUDY_DB}'",
    "optimizer.weight_decay='${oc.decode:${oc.env:STUDY_DECAY}}'",
]
ENVIRONMENT = {"STUDY_DB": "sqlite:///mlflow.db?timeout=61.2575", "STUDY_DECAY": "0.012347"}


def name_of(number: int) -> str:
    return f"Zwetschge{number:02d}Quitte"


def make_study(folder: Path) -> pd.DataFrame:
    """Fifteen patients with two images each; the first two share a picture."""
    generator = np.random.default_rng(0)
    (folder / "scans").mkdir(parents=True)
    rows = []
    for number in range(NUM_PATIENTS):
        for image in range(2):
            path = folder / "scans" / f"{name_of(number)}_{image}.png"
            seed = 99 if image == 0 and number < 2 else None
            pixels = np.random.default_rng(seed) if seed else generator
            Image.fromarray(pixels.integers(0, 255, (24, 24), dtype=np.uint8)).save(path)
            label = ("healthy", "lesion")[number % 2]
            exam, family = f"Exam{name_of(number)}", f"Family{name_of(number)}"
            rows.append((name_of(number), f"scans/{path.name}", label, exam, family))
    table = pd.DataFrame(rows, columns=["patient_id", "image_path", "label", "exam", "family"])
    table.loc[[0, 1], "label"] = "lesion"  # as its twin
    table.to_csv(folder / "mine.csv", index=False)
    return table


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def command(folder: Path, *words: str) -> Done:
    """A command as a user runs it in a folder; torch and monai were imported for others too."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["patientfold", *words])
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        umask, on_sigterm = os.umask(0o022), signal.getsignal(signal.SIGTERM)
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            os.umask(umask)
            signal.signal(signal.SIGTERM, on_sigterm)
    return Done(code, out.getvalue(), err.getvalue())


def contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and of the files in it, if it is an archive (checkpoints are)."""
    raw = path.read_bytes()
    yield raw
    if zipfile.is_zipfile(io.BytesIO(raw)):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def naming(folder: Path, text: str) -> list[str]:
    """The files of a study whose name or content holds a text; not the user's own."""
    own = {"mine.csv", "patientfold.key"}
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    shown = [p for p in files if p.name not in own and p.parent.name != "scans"]
    assert len(shown) > 20
    return [
        str(p.relative_to(folder))
        for p in shown
        if text in str(p.relative_to(folder))
        or any(text.encode() in content for content in contents(p))
    ]


@pytest.fixture(scope="module")
def study(made_once: Callable[..., Path]) -> Path:
    """A folder in which `check`, `plan` and `cv` ran with pseudonyms, each with one frozen plan."""

    def make(folder: Path) -> None:
        make_study(folder)
        for words in (
            ("check",),
            ("plan", "plan.out=plans/mine.csv"),
            ("cv", "split.file=plans/mine.csv", *SECRETS),
        ):
            done = command(folder, words[0], *SETTINGS, PSEUDONYMS, *words[1:])
            assert done.returncode == 0, done.stdout + done.stderr

    return made_once("study", make)


@pytest.fixture
def study_copy(study: Path, tmp_path: Path) -> Path:
    """One that a test may change."""
    return Path(shutil.copytree(study, tmp_path / "copy"))


def test_with_pseudonyms_no_file_names_a_patient(study: Path) -> None:
    for part in ("Zwetschge", "Quitte"):
        assert naming(study, part) == []
    assert list((study / "mlartifacts").rglob("predictions.csv"))
    planned = pd.read_csv(study / "plans" / "mine.csv", dtype=str)
    assert len(planned) == NUM_PATIENTS
    assert planned["patient_id"].str.fullmatch("p-[0-9a-f]{16}").all()
    assert naming(study, planned["patient_id"][0])  # what is looked for can be found
    assert stat.S_IMODE((study / "patientfold.key").stat().st_mode) == 0o600


def test_no_file_holds_what_came_from_the_environment(study_copy: Path) -> None:
    for secret in ("61.2575", ENVIRONMENT["STUDY_DECAY"]):
        assert naming(study_copy, secret) == []
    for name, places in (
        ("STUDY_DB", {"config.yaml"}),
        ("STUDY_DECAY", {"config.yaml", "mlflow.db"}),
    ):
        assert places <= {Path(path).name for path in naming(study_copy, name)}
    (run_dir,) = (study_copy / "runs" / "mine").iterdir()
    unknown = command(study_copy, "sync", f"run_dir={run_dir}")
    assert "came from the environment (${oc.env:STUDY_DB})" in unknown.stderr
    given = command(study_copy, "sync", f"run_dir={run_dir}", "tracking.uri=sqlite:///mlflow.db")
    assert "FINISHED" in given.stdout


def test_what_we_make_is_for_its_owner_only(study: Path) -> None:
    (run_dir,) = (study / "runs" / "mine").iterdir()
    (cache,) = [path.parent for path in (study / ".cache" / "images").rglob("cache.json")]
    folders = [
        *(study / "runs", run_dir, run_dir / "fold_00", study / "runs" / "check" / "mine"),
        *(cache.parent, cache, study / "mlartifacts"),
    ]
    assert {str(f): oct(stat.S_IMODE(f.stat().st_mode)) for f in folders} == {
        str(folder): "0o700" for folder in folders
    }
    assert stat.S_IMODE((study / "mlflow.db").stat().st_mode) == 0o600


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o750)
    make_private(shared / "a" / "b")
    modes = [stat.S_IMODE(p.stat().st_mode) for p in (shared, shared / "a", shared / "a" / "b")]
    assert modes == [0o750, 0o700, 0o700]


def test_a_plan_goes_with_the_key_that_it_was_made_with(study: Path, tmp_path: Path) -> None:
    make_study(tmp_path)
    frozen = [f"split.file={study}/plans/mine.csv"]
    other = command(tmp_path, "cv", *SETTINGS, PSEUDONYMS, *frozen)
    assert other.returncode == 1
    assert "its pseudonyms were made with another key" in other.stderr
    without = command(tmp_path, "cv", *SETTINGS, *frozen)
    assert "it has pseudonyms: privacy.pseudonyms=true" in without.stderr
    assert not (tmp_path / "runs").exists()


def test_a_forgotten_patient_is_in_no_file_of_ours(study_copy: Path) -> None:
    folder = study_copy
    ours = Pseudonyms.open(folder / "patientfold.key").of("patient_id", name_of(0))
    (run_dir,) = (folder / "runs" / "mine").iterdir()
    (fold,) = [f for f in load_plan(run_dir / "plan.csv").folds if ours in f.test]
    before = snapshot(folder)

    listed = command(folder, "forget", f"patient={name_of(0)}")
    assert listed.returncode == 0, listed.stderr
    assert "nothing was changed" in listed.stdout
    assert snapshot(folder) == before

    done = command(folder, "forget", f"patient={name_of(0)}", "yes=true")
    assert done.returncode == 0, done.stderr
    named = naming(folder, ours)
    assert named
    assert all(path.startswith(("plans/", "mlartifacts/")) for path in named)
    for path in [*named, "mine.csv", "${oc.env:STUDY_DB}"]:
        assert f"  {path}\n" in done.stdout
    models = f"{run_dir.relative_to(folder)}/fold_{fold.index:02d}: best.pt, last.pt"
    assert f"  {models}: the patient was in test\n" in done.stdout
    assert (run_dir / "fold_00" / "best.pt").exists()
    assert (run_dir / "metrics.json").exists()
    assert not [*(folder / ".cache").rglob("*.npy"), *(folder / ".cache").rglob("*.json")]
    assert not list((folder / "runs" / "check").rglob("check.*"))
    assert (folder / "mine.csv").read_bytes() == before["mine.csv"]

    for words in (
        ["cv", *SETTINGS, PSEUDONYMS, f"run_dir={run_dir}"],
        ["sync", f"run_dir={run_dir}"],
    ):
        refused = command(folder, *words)
        assert refused.returncode == 1
        assert "is void: a patient was forgotten" in refused.stderr


def snapshot(folder: Path) -> dict[str, bytes]:
    files = [
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in str(path)
    ]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_patient_whom_no_file_names_is_an_error(study_copy: Path) -> None:
    done = command(study_copy, "forget", "patient=Birne", "yes=true")
    assert done.returncode == 1
    assert "no file in" in done.stderr
    assert "caches that do not say whose" in done.stderr
    assert list((study_copy / ".cache" / "images").rglob("cache.json"))


def test_where_data_goes_is_said_before_training(study_copy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    make_study(folder)
    elsewhere = [
        "tracking.uri=http://192.0.2.1:9",
        "tracking.timeout_s=0.1",
        "tracking.upload=metrics",
    ]
    done = command(folder, "cv", *SETTINGS, *elsewhere, "folds=[0]")
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "(tracking.upload=metrics): http://192.0.2.1:9, on ANOTHER MACHINE" in said
    assert said.index("ANOTHER MACHINE") < said.index("run folder")
    assert "is plain http" in said
    (run_dir,) = (folder / "runs" / "mine").iterdir()
    assert json.loads((run_dir / "tracking.json").read_text())["upload"] == "metrics"
    secret = command(study_copy, "cv", *SETTINGS, PSEUDONYMS, *SECRETS, "split.file=plans/mine.csv")
    assert "ANOTHER MACHINE" not in secret.stdout
    assert "all folds are done already" in secret.stdout  # the identity is found again
