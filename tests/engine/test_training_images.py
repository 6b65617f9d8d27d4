"""training_images.json: written with the run, names nobody, is sealed, and goes when one goes."""

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from finished_run import cohort
from pictured_run import drawn, looks, pictured_run, planned_run

from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.engine.traces import find_traces, forget
from pipeline.engine.training_images import (
    FILE_NAME,
    TrainingImages,
    kept_digest,
    write_training_images,
)
from pipeline.manifest import Pseudonyms
from pipeline.tracking.mirror import REPORTS, RUN_FILES
from pipeline.tracking.upload import allowed


@pytest.fixture(scope="module")
def made(made_once: Callable[..., Path]) -> Path:
    return made_once("pictured", pictured_run)


@pytest.fixture
def run_dir(made: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    shutil.copytree(made / "run", tmp_path / "runs" / "run")
    return tmp_path / "runs" / "run"


def read(run_dir: Path) -> TrainingImages:
    found = TrainingImages.read(run_dir)
    assert found is not None
    return found


def test_it_is_whole_without_the_cache_and_knows_every_image(run_dir: Path, tmp_path: Path) -> None:
    kept, num = read(run_dir), len(cohort())
    assert len(kept.digests) == len(kept.marks) == len(kept.reach.references) == num
    seen = looks([drawn(0), drawn(10_000)], tmp_path / "new")
    of_new = [kept_digest(fact["pixel_digest"], None) in kept.digests for fact in seen.facts]
    assert of_new == [True, False]
    assert kept.reach.bounds["sides"] == [(48, 48), (48, 48)]
    assert kept.reach.bounds["spacing"] == []


def test_it_names_nobody_and_its_order_says_nothing(run_dir: Path) -> None:
    text = (run_dir / FILE_NAME).read_text()
    assert "Patient" not in text
    assert "secret" not in text
    kept = read(run_dir)
    digests = np.frombuffer(base64.b64decode(json.loads(text)["digests"]), "<u8")
    for rows in (kept.marks, np.round(127 * kept.reach.references), digests[:, None]):
        in_file = [tuple(row) for row in rows.tolist()]
        assert len(in_file) == len(cohort())
        assert in_file == sorted(in_file)


def test_locked_patients_are_known_and_are_no_reference(tmp_path: Path) -> None:
    run = planned_run(tmp_path, "split.locked_fraction=0.3")
    kept, plan = read(run.dir), run.plan
    assert plan.locked
    num_locked = len(run.manifest.of(plan.locked))
    assert len(kept.digests) == len(cohort())
    assert len(kept.reach.references) == len(cohort()) - num_locked


def test_with_pseudonyms_nobody_without_the_key_can_look_for_an_image(tmp_path: Path) -> None:
    key_file = tmp_path / "patientfold.key"
    pseudonyms = Pseudonyms.open(key_file)
    manifest = pseudonyms.applied(cohort(), ["group"])
    settings = ["privacy.pseudonyms=true", f"privacy.key_file={key_file}"]
    kept = read(planned_run(tmp_path, *settings, manifest=manifest).dir)
    (fact,) = looks([drawn(0)], tmp_path / "new").facts
    assert kept_digest(fact["pixel_digest"], None) not in kept.digests
    assert kept_digest(fact["pixel_digest"], pseudonyms) in kept.digests
    assert kept.key_check


def test_it_is_made_again_for_another_plan_or_when_damaged_and_else_left_alone(
    tmp_path: Path,
) -> None:
    run = planned_run(tmp_path)
    path = run.dir / FILE_NAME
    before, stamp = path.read_text(), path.stat().st_mtime_ns
    write_training_images(run)
    assert path.stat().st_mtime_ns == stamp
    path.write_text(before.replace('"limit"', '"Limit"'))
    write_training_images(run)
    assert path.read_text() == before
    path.write_text("{}")
    write_training_images(run)
    assert path.read_text() == before
    path.unlink()
    shutil.rmtree(run.images.path)
    write_training_images(run)  # the cache was deleted
    assert not path.exists()


def test_a_changed_file_is_refused_and_none_is_right(run_dir: Path) -> None:
    path = run_dir / FILE_NAME
    path.write_text(path.read_text().replace('"limit": ', '"limit": 1'))
    with pytest.raises(UserError, match="was changed"):
        TrainingImages.read(run_dir)
    with pytest.raises(UserError, match=r"training_images\.json was changed.*writes it again"):
        Finished.read(run_dir)
    path.unlink()
    assert TrainingImages.read(run_dir) is None
    Finished.read(run_dir)  # as of an earlier version


def test_it_goes_with_a_patient_who_is_forgotten(run_dir: Path, tmp_path: Path) -> None:
    traces = find_traces(tmp_path, ["Patient-003"], tmp_path / ".cache")
    assert run_dir / FILE_NAME in traces.runs[0].files
    forget(traces)
    assert not (run_dir / FILE_NAME).exists()


def test_it_stays_here() -> None:
    assert FILE_NAME not in {*allowed([*RUN_FILES, *REPORTS], "all")}


def test_of_many_images_some_of_every_patient_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.audit.reach.MOST_REFERENCES", 30)
    kept = read(planned_run(tmp_path).dir)
    assert len(kept.reach.references) == cohort().table["patient_id"].nunique() == 30
    assert np.isfinite(kept.reach.limit)
    assert len(kept.marks) == len(cohort())
