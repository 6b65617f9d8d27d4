"""A finished run's subgroups, worst mistakes and heat maps, as the commands leave them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from command_line import called
from PIL import Image
from system_runs import make_cohort, run_cv

from pipeline.engine.explanation import read_explanation
from pipeline.engine.finished import Finished

SEXES = ["F", "M"]


@pytest.fixture(scope="module")
def study(made_once: Callable[..., Path]) -> Path:
    """runs/net and runs/base, of a cohort with sex and age."""

    def make(folder: Path) -> None:
        cohort = make_cohort(folder / "cohort", num_patients=24)
        table = pd.read_csv(folder / "cohort" / "manifest.csv", dtype=str)
        number = table["patient_id"].str[1:].astype(int)
        table["sex"], table["age"] = number.map(lambda n: SEXES[n // 3 % 2]), 30 + number
        table.to_csv(folder / "cohort" / "manifest.csv", index=False)
        for name, model in (("net", "lenet5"), ("base", "logistic")):
            settings = [*cohort.overrides, "name=study", "training.epochs=2", f"model={model}"]
            settings += ["augment.crop=[22,21]"] * (name == "net")  # of 24 x 24
            ended = run_cv(folder, *settings, f"run_dir=runs/{name}")
            assert ended.returncode == 0, ended.stderr
        shutil.rmtree(folder / "cohort")  # neither images nor the manifest are needed

    return made_once("explained", make)


@pytest.fixture
def here(study: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(study, tmp_path / "copy"))


def test_the_run_folder_has_its_groups_and_its_worst_mistakes(study: Path) -> None:
    run = Finished.read(study / "runs" / "net")
    found = run.summary["subgroups"]
    assert {one["column"] for one in found["groups"]} == {"sex", "age"}
    assert {one["group"] for one in found["groups"] if one["column"] == "sex"} == {"F", "M"}
    for column in ("sex", "age"):
        sizes = {o["group"]: o["num_patients"] for o in found["groups"] if o["column"] == column}
        assert sum(sizes.values()) == 24
    assert run.cohort is not None
    assert list(run.cohort) == ["patient_id", "image_path", "label", "sex", "age"]
    assert len(run.cohort) == len(run.images)
    pictures = [case["picture"] for case in run.failures["cases"]]
    assert pictures
    for picture in pictures:
        assert picture is not None
        with Image.open(run.dir / "failures" / picture) as image:
            assert image.size == (96, 96)


def test_a_run_folder_of_an_earlier_version_has_mistakes_without_pictures(here: Path) -> None:
    before = Finished.read(here / "runs" / "net").failures["cases"]
    shutil.rmtree(here / "runs" / "net" / "failures")
    again = Finished.read(here / "runs" / "net").failures["cases"]
    assert [case | {"picture": None} for case in before] == again


def test_mistakes_are_explained_by_the_fold_that_tested_them(here: Path) -> None:
    ended = called(here, "explain", "run_dir=runs/net")
    assert ended.returncode == 0, ended.stderr
    run = Finished.read(here / "runs" / "net")
    found = run.explanation
    assert found is not None
    assert found["check"] in " ".join(ended.stdout.split())
    assert {case["image_path"] for case in found["cases"]} == {
        case["image_path"] for case in run.failures["cases"]
    }
    fold_of = dict(zip(run.images["patient_id"], run.images["fold"], strict=True))
    for case in found["cases"]:
        assert case["fold"] == fold_of[case["patient_id"]]
        with Image.open(run.dir / "explain" / case["picture"]) as image:
            assert min(image.size) > 300


def test_named_images_and_layers(here: Path) -> None:
    run = Finished.read(here / "runs" / "net")
    first = run.images["image_path"].iloc[0]
    ended = called(here, "explain", "run_dir=runs/net", f"images=[{first}]", "layer=features.0")
    assert ended.returncode == 0, ended.stderr
    found = read_explanation(run.dir)
    assert found is not None
    assert [case["image_path"] for case in found["cases"]] == [first]
    assert found["layer"] == "features.0"
    for words, told in {
        ("images=[other.png]",): "not among the images that were tested",
        ("layer=nothing",): "layer=nothing: the network has no layer of this name",
    }.items():
        ended = called(here, "explain", "run_dir=runs/net", *words)
        assert ended.returncode == 1
        assert told in " ".join(ended.stderr.split())


def test_what_cannot_be_explained_is_said(here: Path) -> None:
    def refused(*words: str) -> str:
        ended = called(here, "explain", *words)
        assert ended.returncode == 1
        return " ".join(ended.stderr.split())

    assert "a baseline of scikit-learn has no layers" in refused("run_dir=runs/base")
    folds = here / "runs" / "net"
    assert called(here, "explain", "run_dir=runs/net").returncode == 0
    before = {path.name: path.read_bytes() for path in (folds / "explain").iterdir()}
    assert len(before) > 1
    shutil.copy(folds / "fold_00" / "best.pt", folds / "kept.pt")
    (folds / "fold_00" / "best.pt").unlink()
    assert "fold_00/best.pt" in refused("run_dir=runs/net")
    assert {path.name: path.read_bytes() for path in (folds / "explain").iterdir()} == before
    shutil.copy(folds / "kept.pt", folds / "fold_00" / "best.pt")
    shutil.rmtree(here / ".cache")
    assert "no decoded images" in refused("run_dir=runs/net")


def test_another_folds_network_is_never_used(here: Path) -> None:
    """It has trained on these patients; that it is no longer the fold's own file is noticed too."""
    run = here / "runs" / "net"
    shutil.copy(run / "fold_01" / "best.pt", run / "fold_00" / "best.pt")
    result = run / "fold_00" / "result.json"
    content = json.loads(result.read_text())
    for name in ("best_sha256", "seal"):
        content.pop(name)
    result.write_text(json.dumps(content))
    ended = called(here, "explain", "run_dir=runs/net")
    assert ended.returncode == 1
    assert "belongs to fold 1 of run" in " ".join(ended.stderr.split())
