"""Which files name a patient, and which only look as if they did."""

from pathlib import Path

import pytest
from finished_run import finished_run

from pipeline.engine.traces import Traces, _is, find_traces, forget
from pipeline.errors import UserError
from pipeline.files import lock


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / ".cache"


@pytest.mark.parametrize(
    ("patient", "name", "text", "found"),
    [
        ("12", "mine.csv", "patient_id;label\n12;a\n", True),
        ("12", "MINE.CSV", "patient_id;label\n12;a\n", True),
        ("12", "mine.csv", "patient_id,label\n112,a\n13,12 a\n", False),
        ("12", "cost.csv", "patient_id\nUNSAFE|12|a.png\n", True),
        ("12", "notes.json", '{"lines": 12, "patients": ["12"]}', True),
        ("12", "notes.json", '{"lines": 12, "patients": ["112"]}', False),
        ("12", "page.html", "patient &#39;12&#39;", True),
        ("Anna-1", "notes.txt", "Anna-1 was seen twice", True),
        ("Anna-1", "notes.txt", "Anna-11 and Johanna-1 were", False),
        ("Anna-1", "picture.png", "Anna-1", False),
        ("Doe, Jane", "mine.csv", 'patient_id,label\n"Doe, Jane",a\n', True),
        ("Doe, Jane", "mine.csv", "patient_id;label\nDoe, Jane;a\n", True),
        ("Doe, Jane", "mine.csv", 'patient_id,label\n"Doe, Janet",a\n', False),
        ("Doe, Jane", "mine.csv", "patient_id,name\nDoe, Jane\n", True),
        ("1,5", "mine.csv", 'patient_id,label\n"1,5",a\n', True),
        ("a|b;c", "mine.csv", "patient_id,label\na|b;c,x\n", True),
        ("a|b;c", "cost.csv", "patient_id\nUNSAFE|a|b;c|a.png\n", True),
        ('Jo "Joe" Doe', "mine.csv", 'patient_id,label\n"Jo ""Joe"" Doe",a\n', True),
        ('"Joe"', "mine.csv", 'patient_id,label\n"""Joe""",a\n', True),
        ('Jo "Joe" Doe', "notes.json", '{"patients": ["Jo \\"Joe\\" Doe"]}', True),
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


def test_what_links_lead_to_and_what_others_keep_is_not_looked_into(
    tmp_path: Path, cache_dir: Path
) -> None:
    study, elsewhere = tmp_path / "study", tmp_path / "elsewhere"
    for folder in (elsewhere, study / ".git", study / ".venv", study / "notes", cache_dir):
        folder.mkdir(parents=True)
        (folder / "notes.txt").write_text("Anna-1")
    (study / "link").symlink_to(elsewhere)
    (study / "loop").symlink_to(study)
    (study / "link.txt").symlink_to(elsewhere / "notes.txt")
    found = find_traces(study, ["Anna-1"], cache_dir)
    assert found.others == (study / "notes" / "notes.txt",)
    inside = find_traces(tmp_path, ["Anna-1"], cache_dir)
    assert cache_dir / "notes.txt" not in inside.others


@pytest.mark.parametrize(
    ("report", "pictures"),
    [("check.json", ["check.html", "copies.png"]), ("preflight.json", ["batch.png"])],
)
def test_a_report_that_names_a_patient_goes_with_its_pictures(
    tmp_path: Path, cache_dir: Path, report: str, pictures: list[str]
) -> None:
    named, other = tmp_path / "runs" / "x" / "mine", tmp_path / "runs" / "x" / "other"
    for folder, patient in ((named, "7"), (other, "8")):
        folder.mkdir(parents=True)
        (folder / report).write_text(f'{{"patients": ["{patient}"]}}')
        for picture in (*pictures, "own.png"):
            (folder / picture).write_bytes(b"")
    traces = find_traces(tmp_path, ["7"], cache_dir)
    assert set(traces.pages) == {named / name for name in (report, *pictures)}
    forget(traces)
    assert [path.name for path in named.iterdir()] == ["own.png"]
    assert len(list(other.iterdir())) == len(pictures) + 2


def run_and_cache(folder: Path, cache_dir: Path) -> Traces:
    run_dir = folder / "runs" / "a"
    run_dir.mkdir(parents=True)
    (run_dir / "environment.json").write_text("{}")
    (run_dir / "predictions.csv").write_text("fold,patient_id\n0,7\n")
    for name in ("abc", "def.partial"):
        (cache_dir / name).mkdir(parents=True)
    for name in ("abc/cache.json", "digests.json", "mine.txt"):
        (cache_dir / name).write_text("{}")
    return find_traces(folder, ["7"], cache_dir)


def test_caches_go_and_a_run_folder_remembers_each_time(tmp_path: Path, cache_dir: Path) -> None:
    traces = run_and_cache(tmp_path, cache_dir)
    forget(traces)
    assert [path.name for path in cache_dir.iterdir()] == ["mine.txt"]
    run_dir = tmp_path / "runs" / "a"
    assert {path.name for path in run_dir.iterdir()} == {"VOID.txt", "environment.json", ".lock"}
    (run_dir / "predictions.csv").write_text("fold,patient_id\n0,8\n")
    forget(find_traces(tmp_path, ["8"], cache_dir))
    assert (run_dir / "VOID.txt").read_text().count("This run folder is void") == 2


def test_what_an_interrupted_removal_left_of_a_cache_goes(tmp_path: Path, cache_dir: Path) -> None:
    left = [cache_dir / name for name in ("0" * 32, f"{'1' * 32}.{'2' * 32}.features")]
    own = cache_dir / "patient-7"
    for folder in (*left, own):
        folder.mkdir(parents=True)
        (folder / "images.npy").write_bytes(b"decoded")
    traces = find_traces(tmp_path, ["7"], cache_dir)
    assert traces.caches == tuple(left)
    forget(traces)
    assert [*cache_dir.iterdir()] == [own]


def test_a_plan_by_image_names_its_patient_whatever_the_id_holds() -> None:
    assert _is("UNSAFE|a|b;c|a.png", ["a|b;c"])
    assert _is("UNSAFE|12|a.png", ["12"])
    assert not _is("UNSAFE|112|a.png", ["12"])


def test_a_run_folder_in_use_loses_nothing(tmp_path: Path, cache_dir: Path) -> None:
    traces = run_and_cache(tmp_path, cache_dir)
    run_dir = tmp_path / "runs" / "a"
    with (
        lock(run_dir / ".lock", "not free"),
        pytest.raises(UserError, match="is in use by another process"),
    ):
        forget(traces)
    assert (run_dir / "predictions.csv").exists()
    assert (cache_dir / "abc").exists()


def test_the_network_that_was_trained_on_everybody_is_named(
    tmp_path: Path, cache_dir: Path
) -> None:
    run = finished_run(tmp_path / "runs" / "a", "split.locked_fraction=0.2")
    locked, seen = sorted(run.folds.locked)[0], sorted(run.folds.folds[0].train)[0]
    final = run.dir / "final"
    final.mkdir()
    (final / "best.pt").write_bytes(b"weights")
    (final / "final.json").write_text('{"trained_on": {"patients": "7"}}')
    (final / "journal.jsonl").write_text(f'{{"error": "{seen} has a dark image"}}\n')
    for patient, is_named in ((seen, True), (locked, False)):
        (traces,) = find_traces(tmp_path, [patient], cache_dir).runs
        named = [line for line in traces.models if line.startswith("final: best.pt")]
        assert len(named) == is_named
        assert (final / "journal.jsonl" in traces.files) is is_named
    assert not find_traces(tmp_path, ["7"], cache_dir).is_named


def test_bundles_of_models_that_saw_the_patient_are_listed(tmp_path: Path, cache_dir: Path) -> None:
    run_dir, other = tmp_path / "runs" / "a", tmp_path / "runs" / "b"
    for folder, key, patient in ((run_dir, "aaa", "7"), (other, "bbb", "8")):
        folder.mkdir(parents=True)
        (folder / "environment.json").write_text(f'{{"key": "{key}"}}')
        (folder / "predictions.csv").write_text(f"fold,patient_id\n0,{patient}\n")
        bundle = tmp_path / "exports" / folder.name
        bundle.mkdir(parents=True)
        (bundle / "bundle.json").write_text(f'{{"key": "{key}"}}')
    traces = find_traces(tmp_path, ["7"], cache_dir)
    assert traces.bundles == (tmp_path / "exports" / "a",)
    assert not find_traces(tmp_path, ["9"], cache_dir).bundles
    forget(traces)
    assert (tmp_path / "exports" / "a" / "bundle.json").exists()
