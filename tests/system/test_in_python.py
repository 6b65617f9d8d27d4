"""cross_validate in a process of one's own, in a script, and in a notebook: the command's run."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from system_runs import NUM_FOLDS, Cohort, make_cohort, mlflow_client, mlflow_runs, run_cv

from pipeline import cross_validate, load_run, predict
from pipeline.config import UserError
from pipeline.tracking.journal import Started, read_journal

EPOCHS = 2
WORKERS_S = 120.0


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return make_cohort(tmp_path_factory.mktemp("cohort") / "images")


def settings_of(cohort: Cohort, **training: object) -> dict[str, Any]:
    """As `cohort.overrides`, as Python has them."""
    return {
        "manifest": {"path": cohort.folder / "manifest.csv", "columns": {"site": None}},
        "images": {"transforms": []},
        "model": "lenet5",
        "split": {"num_folds": NUM_FOLDS},
        "training": {"batch_size": 8, "epochs": EPOCHS, **training},
        "engine.device": "cpu",
    }


def test_it_is_the_run_of_the_command_and_goes_on_where_that_stopped(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_cv(tmp_path, *cohort.overrides, f"training.epochs={EPOCHS}", "folds=[0]")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs" / "manifest").iterdir()
    before = (folder / "fold_00" / "result.json").read_bytes()
    monkeypatch.chdir(tmp_path)

    run = cross_validate(**settings_of(cohort))

    assert run.dir.resolve() == folder
    assert (folder / "fold_00" / "result.json").read_bytes() == before
    assert run.metrics.loc[("patient", "auroc"), "value"] is not None
    (parent,), folds = mlflow_runs(mlflow_client(tmp_path), "manifest")
    assert (parent.info.status, len(folds)) == ("FINISHED", NUM_FOLDS)

    again = run_cv(tmp_path, *cohort.overrides, f"training.epochs={EPOCHS}")
    assert "all folds are done already" in again.stdout
    second = cross_validate(**settings_of(cohort), folds=[1])
    assert second.dir == run.dir
    other = cross_validate(**settings_of(cohort, seed=1), folds=[0])
    assert other.dir != run.dir
    assert other.folds_to_come == [1, 2]
    with pytest.raises(UserError, match="not all of its folds are done"):
        _ = other.metrics

    alone = tmp_path / "alone"
    alone.mkdir()
    monkeypatch.chdir(alone)
    same = cross_validate(**settings_of(cohort), folds=[0])
    for name in ("predictions_val.csv", "predictions_test.csv"):
        paths = [of / "fold_00" / name for of in (same.dir, folder)]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    monkeypatch.chdir(tmp_path)

    table = predict(run, cohort.folder / "manifest.csv", use_labels=False)
    assert len(table) == len(cohort.rows())
    assert predict(load_run(run.dir), images=f"{cohort.folder}/*.png").shape[0] == len(table)
    with pytest.raises(UserError, match="level=study: take"):
        predict(run, images=f"{cohort.folder}/*.png", level="study")


def test_a_fold_that_fails_is_an_exception_and_the_others_are_kept(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="3 folds failed"):
        cross_validate("optimizer.lr=1e30", **settings_of(cohort))


def test_an_interrupt_leaves_a_run_that_the_same_call_continues(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stopped = threading.Event()

    def interrupt() -> None:
        deadline = time.monotonic() + WORKERS_S
        while time.monotonic() < deadline and not stopped.is_set():
            journals = tmp_path.glob("runs/manifest/*/fold_*/journal.jsonl")
            if any(isinstance(event, Started) for path in journals for event in read_journal(path)):
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=interrupt)
    thread.start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            cross_validate(**settings_of(cohort, epochs=100))
    finally:
        stopped.set()
        thread.join()
        signal.signal(signal.SIGINT, before)
    (folder,) = (tmp_path / "runs" / "manifest").iterdir()
    assert not list(folder.glob("fold_*/result.json"))
    (parent,), _ = mlflow_runs(mlflow_client(tmp_path), "manifest")
    assert parent.info.status == "KILLED"
    run = cross_validate(**settings_of(cohort, epochs=100), folds=[0])
    assert run.dir.resolve() == folder


SCRIPT = """\
from pipeline import cross_validate
from pipeline.config import UserError

def main():
    try:
        run = cross_validate({arguments})
        print("done", run.dir)
    except UserError as error:
        print("refused", error)

{call}
"""


@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_script_works_below_its_guard_and_is_told_so_without(
    cohort: Cohort, tmp_path: Path, is_guarded: bool
) -> None:
    call = 'if __name__ == "__main__":\n    main()' if is_guarded else "main()"
    overrides = [*cohort.overrides, "training.epochs=1", "folds=[0]"]
    arguments = ", ".join(map(repr, overrides))
    (tmp_path / "study.py").write_text(SCRIPT.format(arguments=arguments, call=call))
    done = subprocess.run(
        [sys.executable, "study.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith(("done", "refused"))]
    assert len(lines) == 1
    if is_guarded:
        assert lines[0].startswith("done runs/manifest/")
    else:
        assert "each of which imports study.py" in lines[0]
        assert "error:" not in lines[0]


CELLS = """\
from pipeline import cross_validate, load_run
run = cross_validate(*{overrides!r}, training={{"epochs": 2}})
run
---
load_run(run.dir).metrics.loc["patient"]
---
cross_validate(experiment="nothing")
---
again = cross_validate(*{overrides!r}, training={{"epochs": 2}})
again.dir == run.dir
"""


def test_a_notebook_shows_progress_the_run_and_one_message(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, folder in {"JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}.items():
        monkeypatch.setenv(name, str(tmp_path / folder))
    made: Any = nbformat.v4
    notebook = made.new_notebook()
    cells = CELLS.format(overrides=cohort.overrides).split("---\n")
    notebook.cells = [made.new_code_cell(cell) for cell in cells]
    client = NotebookClient(
        notebook,
        timeout=300,
        allow_errors=True,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.create_kernel_manager()
    kernel: Any = client.km
    kernel.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    client.execute()
    first, metrics, refused, again = [cell.outputs for cell in notebook.cells]
    assert not any(out.output_type == "error" for out in [*first, *metrics, *again])

    texts = [out["data"].get("text/plain", "") for out in first if "data" in out]
    (table,) = [text for text in texts if f"{NUM_FOLDS} of {NUM_FOLDS} folds done" in text]
    assert "val/image/auroc" in table or "val/patient/auroc" in table
    plain = "".join(out["text"] for out in first if out.output_type == "stream")
    assert "run folder runs/manifest/" in plain
    assert "\x1b" not in plain + table
    shown = [out["data"]["text/html"] for out in first if "text/html" in out.get("data", {})]
    assert len(shown) == 1
    assert "auroc" in shown[0]
    assert "auroc" in json.dumps(metrics)

    (error,) = [out for out in refused if out.output_type == "error"]
    assert error["ename"] == "UserError"
    assert "experiment=nothing: no such file" in error["traceback"][0]
    assert not any("Traceback" in line or "pipeline/" in line for line in error["traceback"])
    assert [out["data"]["text/plain"] for out in again if "data" in out][-1] == "True"
