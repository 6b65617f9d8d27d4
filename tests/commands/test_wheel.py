"""The wheel holds everything, and works in an empty folder; `.ci/run` also trains with it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
FOLDERS = ("pipeline", "conf", "data_manifests")
SHIPPED = ("*.py", "*.yaml", "*.csv", "*.j2", "py.typed")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel unpacked in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in NEEDED:
        shutil.copy(ROOT / name, source / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = f"from setuptools.build_meta import build_wheel; build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as files:
        files.extractall(folder / "packages")
    return folder / "packages"


def test_it_holds_every_module_config_recipe_and_template(installed: Path) -> None:
    inside = {
        "pipeline": "pipeline",
        "conf": "pipeline/conf",
        "data_manifests": "pipeline/data_manifests",
    }
    wanted = {
        f"{inside[name]}/{path.relative_to(ROOT / name).as_posix()}"
        for name in FOLDERS
        for kind in SHIPPED
        for path in (ROOT / name).rglob(kind)
    }
    assert {
        "pipeline/conf/cv.yaml",
        "pipeline/py.typed",
        "pipeline/audit/check.html.j2",
        "pipeline/data_manifests/recipes/lidc.yaml",
    } <= wanted
    held = {p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()}
    assert {name for name in held if ".dist-info/" not in name} == wanted
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "patientfold = pipeline.__main__:main" in entry.read_text()


@pytest.mark.slow
def test_it_works_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", *words],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(installed)},
        )
        return done.stdout

    where = "from pipeline.commands.shipped import shipped; print(shipped('conf'))"
    assert run("-c", where) == f"{installed}/pipeline/conf\n"
    door = ("-m", "pipeline")
    assert "demo/: 435 images written" in run(*door, "demo")
    quick = ("audit.content=false", "audit.shortcuts=false")
    assert "435 images of 78 patients" in run(*door, "check", "experiment=demo", *quick)
    assert "recipe=breakhis|" in run(*door, "make-manifest", "--help")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo", "runs"]
