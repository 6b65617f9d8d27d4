"""Which code this is, and that nobody's clone is taken for ours."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import pipeline
from pipeline import release
from pipeline.release import git_commit

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "monai", "mlflow", "pandas", "numpy", "hydra", "pydantic", "omegaconf", "rich"}


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with one commit, taken for that of this code."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    monkeypatch.setattr(release, "CLONE", tmp_path)
    return tmp_path


def test_the_package_and_its_metadata_have_one_version() -> None:
    assert version("patientfold") == pipeline.__version__


def test_in_a_clone_it_names_the_commit(clone: Path) -> None:
    head = git(clone, "rev-parse", "HEAD")
    assert git_commit() == head
    assert release.release() == f"{pipeline.__version__} (commit {head[:12]})"


def test_it_says_when_files_differ_from_the_commit(clone: Path) -> None:
    (clone / "new.csv").write_text("an experiment beside the code changes nothing\n")
    assert release.release().endswith(")")
    assert "changes" not in release.release()
    (clone / "code.py").write_text("2\n")
    assert release.release().endswith(", with changes)")


def test_an_environment_within_the_clone_of_something_else_has_no_commit(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in my_study/.venv/lib/python3.12/site-packages, where my_study is a clone."""
    inside = clone / ".venv" / "site-packages"
    inside.mkdir(parents=True)
    monkeypatch.setattr(release, "CLONE", inside)
    assert git_commit() == ""
    assert release.release() == pipeline.__version__


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_without_a_clone_or_git_it_is_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(release, "CLONE", tmp_path)
    if path:
        monkeypatch.setenv("PATH", path)
    assert release.release() == pipeline.__version__


def test_asking_for_it_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['patientfold', '--version']\n"
        "from pipeline.__main__ import main; main()\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    said, loaded = done.stdout.splitlines()
    assert said.startswith(f"patientfold {pipeline.__version__}")
    assert "pipeline" in loaded.split()
    assert not HEAVY & set(loaded.split())
