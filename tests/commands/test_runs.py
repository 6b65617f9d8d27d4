"""`patientfold runs`: what it shows in 80 columns, and that it removes only what was agreed to."""

import builtins
import json
import sys
from pathlib import Path

import pytest
from command_line import called
from run_copies import as_of_sweep, checkpoints, copy_of

from pipeline.commands.arguments import nested
from pipeline.commands.runs import in_bytes, in_short
from pipeline.config import UserError

WORDS = ("diff", "prune")
NARROW = {"COLUMNS": "80"}


@pytest.fixture
def study(one_run: Path, tmp_path: Path) -> Path:
    """A study folder with two runs of a sweep, a run of its own, and one that is damaged."""
    (tmp_path / "runs" / "a-rather-long-name-of-an-experiment").mkdir(parents=True)
    folder = tmp_path / "runs" / "a-rather-long-name-of-an-experiment"
    for seed, (name, value) in enumerate({"0123456789ab": 0.7, "ba9876543210": 0.8}.items()):
        as_of_sweep(copy_of(one_run, folder / name, {"training.seed": seed}), value)
    (tmp_path / "runs" / "demo").mkdir()
    copy_of(one_run, tmp_path / "runs" / "demo" / "abc")
    damaged = copy_of(one_run, tmp_path / "runs" / "demo" / "bad")
    (damaged / "plan.json").write_text("{")
    for run_dir in folder.iterdir():
        record = json.loads((run_dir / "tracking.json").read_text())
        record["uri"] = f"sqlite:///{tmp_path}/mlflow.db"
        (run_dir / "tracking.json").write_text(json.dumps(record))
    return tmp_path


# --- the grammar


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ([], {}),
        (["diff", "a", "b"], {"diff": ["a", "b"]}),
        (["diff", "a,b", "c d"], {"diff": ["a,b", "c d"]}),
        (["diff", "a", "b", "json=true"], {"diff": ["a", "b"], "json": "true"}),
        (["diff=[a,b]"], {"diff": "[a,b]"}),
        (["prune", "days=3"], {"prune": "true", "days": "3"}),
    ],
)
def test_words_are_settings(arguments: list[str], values: dict[str, object]) -> None:
    assert nested(arguments, WORDS) == values


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show"], "show: unknown; write diff ... or prune ..."),
        (["prune", "days=3", "diff"], "diff: settings are written name=value"),
        (["--json"], "--json: settings have no dashes"),
    ],
)
def test_other_words_are_one_message(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        nested(arguments, WORDS)


def test_other_commands_have_no_words() -> None:
    with pytest.raises(UserError, match="settings are written name=value"):
        nested(["diff", "a", "b"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diff", "runs/demo/abc"], "name two run folders"),
        (["diff"], "name two run folders"),
        (["diff", "a", "b", "prune=true"], "diff and prune are two commands"),
        (["folder=nowhere"], "folder nowhere: no such folder"),
        (["days=0"], "days: input should be greater than or equal to 1"),
    ],
)
def test_what_is_wrong_is_one_message(tmp_path: Path, words: list[str], message: str) -> None:
    done = called(tmp_path, "runs", *words)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


# --- the list


def test_the_list_fits_80_columns_and_names_every_run(study: Path) -> None:
    done = called(study, "runs", **NARROW)
    assert done.returncode == 0, done.stderr
    table, _, notes = done.stdout.partition("\n\n")
    lines = table.splitlines()
    assert max(map(len, lines)) <= 80
    text = "".join(line[:35].split("  ")[0].strip() for line in lines)
    for name in ("a-rather-long-name-of-an-experiment/0123456789ab", "demo/abc", "demo/bad"):
        assert name in text
    assert lines[0].split() == ["run", "folder", "plan", "folds", "auroc", "size", "age"]
    assert "damaged" in table
    assert "0.7" in table or "0.8" in table or "0.9" in table
    assert "4 runs" in notes
    assert f"{Path('runs/demo/bad')}: {Path('runs/demo/bad/plan.json')}" in notes
    assert "compare and select say, and not this list" in notes


def test_json_has_everything_and_the_order_is_asked_for(study: Path) -> None:
    runs = json.loads(called(study, "runs", "json=true").stdout)
    assert sorted(run["state"] for run in runs) == ["damaged", "done", "done", "done"]
    assert {run["experiment"] for run in runs if run["state"] == "done"} == {"cohort"}
    for key, name in {"size": "bytes", "touched": "touched"}.items():
        ordered = json.loads(called(study, "runs", "json=true", f"sort={key}").stdout)
        values = [run[name] for run in ordered]
        assert values == sorted(values, reverse=True)


def test_runs_are_never_sorted_by_their_test_result(study: Path) -> None:
    done = called(study, "runs", "sort=auroc")
    assert done.returncode == 1
    assert "'name', 'touched' or 'size'" in done.stderr


def test_a_folder_without_runs(tmp_path: Path) -> None:
    done = called(tmp_path, "runs", "folder=.")
    assert (done.returncode, done.stdout) == (0, "no run folder lies in .\n")


# --- two runs


def test_two_runs_side_by_side(study: Path) -> None:
    folder = "runs/a-rather-long-name-of-an-experiment"
    words = "diff", f"{folder}/0123456789ab", f"{folder}/ba9876543210"
    done = called(study, "runs", *words, **NARROW)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines()[2:])) <= 80
    assert ["training.seed", "0", "1"] in [line.split() for line in done.stdout.splitlines()]
    found = json.loads(called(study, "runs", *words, "json=true").stdout)
    assert found["numbers"] == [{"name": "training.seed", "first": "0", "second": "1"}]
    same = called(study, "runs", "diff", words[1], words[1])
    assert "the same cross-validation" in same.stdout


# --- making room


def test_nothing_is_removed_unless_somebody_agrees(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = study / "runs" / "a-rather-long-name-of-an-experiment" / "0123456789ab"
    before = checkpoints(run_dir)
    assert before
    listed = called(study, "runs", "prune")
    assert listed.returncode == 0, listed.stderr
    assert (
        "0123456789ab: val/patient/auroc 0.7000, the best of its sweep has 0.8000" in listed.stdout
    )
    assert "nothing was removed; the same command with yes=true removes" in listed.stdout
    assert checkpoints(run_dir) == before

    asked: list[str] = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    def no(question: str) -> str:
        asked.append(question)
        return "n"

    monkeypatch.setattr(builtins, "input", no)
    assert "nothing was removed" in called(study, "runs", "prune").stdout
    assert checkpoints(run_dir) == before
    assert asked[0].startswith("remove ")
    assert asked[0].endswith("? [y/N] ")
    monkeypatch.setattr(builtins, "input", lambda _question: "y")
    assert "removed: " in called(study, "runs", "prune").stdout
    assert checkpoints(run_dir) == []
    assert checkpoints(run_dir.with_name("ba9876543210"))
    assert "nothing to remove" in called(study, "runs", "prune", "yes=true").stdout


def test_json_lists_and_yes_removes(study: Path) -> None:
    found = json.loads(called(study, "runs", "prune", "json=true").stdout)
    (run,) = found["runs"]
    assert run["run_dir"].endswith("0123456789ab")
    assert checkpoints(study / run["run_dir"])
    assert called(study, "runs", "prune", "yes=true").returncode == 0
    assert checkpoints(study / run["run_dir"]) == []


def test_a_server_that_the_settings_do_not_name_is_not_asked(study: Path) -> None:
    record = (
        study / "runs" / "a-rather-long-name-of-an-experiment" / "0123456789ab" / "tracking.json"
    )
    content = json.loads(record.read_text())
    record.write_text(json.dumps(content | {"uri": "http://of-somebody.example:5000"}))
    done = called(study, "runs", "prune", "yes=true")
    assert "tracking.uri=http://of-somebody.example:5000" in done.stdout
    assert "nothing to remove" in done.stdout
    assert checkpoints(record.parent)


def test_a_folder_that_cannot_be_read_is_named(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_run_folder(folder: Path) -> bool:
        if folder.name == "demo":
            raise PermissionError(13, "Permission denied", str(folder))
        return (folder / "environment.json").exists()

    monkeypatch.setattr("pipeline.engine.overview.is_run_folder", is_run_folder)
    done = called(study, "runs")
    assert done.stderr == f"{Path('runs/demo')} cannot be read: no run in it is listed\n"
    assert "2 runs" in done.stdout
    assert len(json.loads(called(study, "runs", "json=true").stdout)) == 2
    listed = called(study, "runs", "prune")
    assert "runs/demo: cannot be read: no run in it was looked at" in listed.stdout


# --- words for sizes and ages


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1200, "1.2 kB"),
        (9960, "10 kB"),
        (34e9, "34 GB"),
        (5e15, "5000 TB"),
    ],
)
def test_sizes(size: float, text: str) -> None:
    assert in_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "now"), (600, "10 min"), (7200, "2 h"), (3 * 86400, "3 d"), (-3, "now")],
)
def test_ages(seconds: float, text: str) -> None:
    assert in_short(seconds) == text
