"""The notebooks of examples/ run from top to bottom in an empty folder, and hold nothing else."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def executed(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The notebook as it is when every cell was run, by this Python, in `folder`."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for name, value in {
        "PATH": programs,
        "COLUMNS": "120",
        "NO_COLOR": "1",
        "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTER_DATA_DIR": str(folder / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(folder / "jupyter" / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
    }.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources=where)
    return client.execute()


def outputs_of(notebook: Any, word: str) -> str:
    """All text that the cells with `word` in their source gave."""
    texts = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and word in cell.source:
            for output in cell.outputs:
                data = output.get("data", {})
                texts += [
                    output.get("text", ""),
                    data.get("text/html", ""),
                    data.get("text/plain", ""),
                ]
    return "\n".join(texts)


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["radiographs", "volumes"]


@each_notebook
def test_it_is_valid_and_committed_without_outputs(path: Path) -> None:
    """An output of a study may name patients; those of examples/ set the habit."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 5
    assert all(cell.execution_count is None and cell.outputs == [] for cell in code)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")


@pytest.mark.slow
def test_a_radiograph_study_from_folder_to_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = executed(EXAMPLES / "radiographs.ipynb", tmp_path, monkeypatch)
    study = tmp_path / "radiographs_study"
    (run,) = (study / "runs" / "radiographs").iterdir()
    for name in ("report.html", "report.md", "metrics.json", "predictions.csv"):
        assert (run / name).stat().st_size > 0
    checks = outputs_of(notebook, "patientfold check")
    assert "040" in checks
    assert "error" in checks
    assert "auroc" in outputs_of(notebook, "run = cross_validate(")
    assert "prob_effusion" in outputs_of(notebook, "predict(run, {")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith("study")) == [
        "radiographs_study"
    ]


@pytest.mark.slow
def test_a_3d_study_with_a_network_and_a_metric_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = executed(EXAMPLES / "volumes.ipynb", tmp_path, monkeypatch)
    runs = tmp_path / "volumes_study" / "runs"
    for name in ("two_scales", "plain"):
        (run,) = (runs / name).iterdir()
        assert (run / "report.html").exists()
        assert '"sensitivity_at_90"' in (run / "metrics.json").read_text()
        settings = (run / "config.yaml").read_text()
        assert ("my_lab.TwoScales" in settings) == (name == "two_scales")
    assert "sensitivity_at_90" in outputs_of(notebook, "ours = cross_validate(")
    assert "sensitivity_at_90" in outputs_of(notebook, "!patientfold compare")
    assert "my_lab" in outputs_of(notebook, 'environment.json")')
