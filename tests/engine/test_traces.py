"""Which files name a patient, and which only look as if they did."""

from pathlib import Path

import pytest

from pipeline.engine.traces import find_traces


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / ".cache"


@pytest.mark.parametrize(
    ("patient", "name", "text", "found"),
    [
        ("12", "mine.csv", "patient_id;label\n12;a\n", True),
        ("12", "mine.csv", "patient_id,label\n112,a\n13,12 a\n", False),
        ("12", "cost.csv", "patient_id\nUNSAFE|12|a.png\n", True),
        ("12", "notes.json", '{"lines": 12, "patients": ["12"]}', True),
        ("12", "notes.json", '{"lines": 12, "patients": ["112"]}', False),
        ("12", "page.html", "patient &#39;12&#39;", True),
        ("Anna-1", "notes.txt", "Anna-1 was seen twice", True),
        ("Anna-1", "notes.txt", "Anna-11 and Johanna-1 were", False),
        ("Anna-1", "picture.png", "Anna-1", False),
    ],
)
def test_a_name_is_found_as_a_cell_or_a_word(
    tmp_path: Path, cache_dir: Path, patient: str, name: str, text: str, found: bool
) -> None:
    (tmp_path / name).write_text(text)
    traces = find_traces(tmp_path, [patient], cache_dir)
    assert traces.others == ((tmp_path / name,) if found else ())
    assert traces.is_named is found


def test_numbers_in_settings_and_results_make_no_run_folder_void(
    tmp_path: Path, cache_dir: Path
) -> None:
    run_dir = tmp_path / "runs" / "a"
    run_dir.mkdir(parents=True)
    for name in ("environment.json", "metrics.json", "tracking.json"):
        (run_dir / name).write_text('{"epochs": "12"}')
    (run_dir / "predictions.csv").write_text("fold,patient_id\n0,7\n")
    assert not find_traces(tmp_path, ["12"], cache_dir).is_named
    (run,) = find_traces(tmp_path, ["7"], cache_dir).runs
    assert run.files == (run_dir / "predictions.csv",)
    assert "any model may have seen the patient" in run.models[0]
