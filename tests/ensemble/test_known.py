"""Patients of the plan are known again: by id, by key, by pixels; and are not evaluated."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from finished_run import cohort
from pictured_run import Pixels, drawn, looks, planned_run

from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.engine.training_images import FILE_NAME
from pipeline.ensemble.flags import Flagger, with_flags
from pipeline.ensemble.known import (
    LOCKED,
    LOCKED_SPELLED,
    PATIENT,
    PICTURE,
    PIXELS,
    SPELLED,
    PlanImages,
    PlanPatients,
    open_key,
    refuse,
    warning,
)
from pipeline.manifest import Pseudonyms

NO_KEY = Path("no.key")


def patients_of(run: Finished, key_file: Path, ids: Sequence[str] = ()) -> PlanPatients:
    return PlanPatients.of(run, open_key(key_file), key_file, ids)


def flagger_of(run: Finished, key_file: Path, ids: Sequence[str]) -> Flagger:
    return Flagger.of(run, open_key(key_file), key_file, ids)


@pytest.fixture(scope="module")
def run(made_once: Callable[..., Path]) -> Finished:
    """With locked patients."""
    make = lambda folder: planned_run(folder, "split.locked_fraction=0.3")  # noqa: E731
    return Finished(made_once("planned_locked", make) / "run")


@pytest.fixture(scope="module")
def coded(made_once: Callable[..., Path]) -> Path:
    """A run with pseudonyms, run/, and its key."""

    def make(folder: Path) -> None:
        key_file = folder / "patientfold.key"
        manifest = Pseudonyms.open(key_file).applied(cohort(), ["group"])
        settings = ["privacy.pseudonyms=true", f"privacy.key_file={key_file}"]
        planned_run(folder, *settings, manifest=manifest)

    return made_once("planned_coded", make)


# --- by id


def test_ids_of_the_plan_are_known_however_they_are_spelled(run: Finished) -> None:
    trained = min(set(run.folds.groups) - run.folds.locked)
    locked = min(run.folds.locked)
    ids = [trained, locked, trained.upper(), f"{trained} ", locked.upper(), "Patient-999", "x"]
    found = patients_of(run, NO_KEY).reasons(ids)
    assert found == [PATIENT, LOCKED, SPELLED, SPELLED, LOCKED_SPELLED, "", ""]


def test_pseudonyms_are_compared_through_the_key(coded: Path) -> None:
    run, key_file = Finished(coded / "run"), coded / "patientfold.key"
    pseudonym = Pseudonyms.open(key_file).of("patient_id", "Patient-000")
    patients = patients_of(run, key_file)
    assert patients.problem == ""
    assert patients.reasons(["Patient-000", pseudonym, "Patient-999"]) == [PATIENT, PATIENT, ""]


def test_without_the_key_nothing_is_evaluated_and_another_key_is_no_key(
    coded: Path, tmp_path: Path
) -> None:
    run = Finished(coded / "run")
    flagger = flagger_of(run, tmp_path / "no.key", ["Patient-000"])
    assert not (tmp_path / "no.key").exists()  # none is made: it could not be the run's
    with pytest.raises(UserError, match=r"the run has pseudonyms.*through their key: .*no\.key"):
        refuse(run, [], [], [], flagger.problems)
    Pseudonyms.open(tmp_path / "other.key")
    flagger = flagger_of(run, tmp_path / "other.key", ["Patient-000"])
    with pytest.raises(UserError, match="not the key of the run's pseudonyms"):
        refuse(run, [], [], [], flagger.problems)


def test_pseudonyms_among_new_ids_need_the_key_too(run: Finished, tmp_path: Path) -> None:
    pseudonyms = Pseudonyms.open(tmp_path / "patientfold.key")
    trained = min(set(run.folds.groups) - run.folds.locked)
    ids = [pseudonyms.of("patient_id", trained), pseudonyms.of("patient_id", "Patient-999")]
    assert "the new patients have pseudonyms" in patients_of(run, NO_KEY, ids).problem
    patients = patients_of(run, tmp_path / "patientfold.key", ids)
    assert patients.problem == ""
    assert patients.reasons(ids) == [PATIENT, ""]


# --- by pixels


def changed(pixels: Pixels, way: str) -> Pixels:
    noise = np.random.default_rng(0).normal(size=pixels.shape)
    found = {
        "saved with loss": pixels + 2 * noise,
        "brighter": 0.8 * pixels + 30,
        "flipped": pixels[:, ::-1],
        "turned": np.rot90(pixels),
        "larger": np.kron(pixels, np.ones((2, 2))),
    }[way]
    return np.asarray(found).round().clip(0, 255).astype(np.uint8)


WAYS = ("saved with loss", "brighter", "flipped", "turned", "larger")


def test_the_same_pixels_are_known_under_any_name(run: Finished, tmp_path: Path) -> None:
    flat = np.full((48, 48), 7, np.uint8)
    seen = looks([drawn(3), drawn(9_999), flat], tmp_path)
    assert PlanImages.of(run, None).reasons(seen) == [PIXELS, "", ""]


@pytest.mark.parametrize("way", WAYS)
def test_so_is_nearly_the_same_picture(run: Finished, tmp_path: Path, way: str) -> None:
    seen = looks([changed(drawn(number), way) for number in range(4, 8)], tmp_path)
    assert PlanImages.of(run, None).reasons(seen) == [PICTURE] * 4


def test_with_pseudonyms_pixels_are_compared_through_the_key(coded: Path, tmp_path: Path) -> None:
    run, seen = Finished(coded / "run"), looks([drawn(3), drawn(9_999)], tmp_path)
    pseudonyms = Pseudonyms.open(coded / "patientfold.key")
    assert PlanImages.of(run, pseudonyms).reasons(seen) == [PIXELS, ""]
    assert PlanImages.of(run, None).reasons(seen) == [PICTURE, ""]


def test_a_run_of_an_earlier_version_is_not_evaluated(run: Finished, tmp_path: Path) -> None:
    shutil.copytree(run.dir, tmp_path / "old")
    (tmp_path / "old" / FILE_NAME).unlink()
    old = Finished(tmp_path / "old")
    flagger = flagger_of(old, NO_KEY, ["x"])
    assert not flagger.is_compared
    seen = looks([drawn(3)], tmp_path / "new")
    flags = flagger.watch(seen.pictures, seen.facts)
    assert flags == {"known": [""], "unlike": [""]}
    with pytest.raises(UserError, match=r"cv command.*adds training_images\.json"):
        refuse(old, ["x"], ["x.png"], flags["known"], flagger.problems)


# --- refused


def test_who_is_known_is_refused_and_pointed_to_the_predictions_out_of_fold(run: Finished) -> None:
    reasons = [PATIENT, PATIENT, "", PIXELS, LOCKED]
    with pytest.raises(UserError) as refused:
        refuse(
            run, ["a", "a", "b", "c", "d"], ["1.png", "2.png", "3.png", "4.png", "5.png"], reasons
        )
    text = str(refused.value)
    assert f"{PATIENT} (1 patient): 'a'" in text
    assert f"{PIXELS} (1 image): '4.png' of 'c'" in text
    assert f"{LOCKED} (1 patient): 'd'" in text
    assert "Out-of-fold predictions, each by a network that had not seen" in text
    assert str(run.dir / "predictions.csv") in text
    assert "patientfold unlock" in text
    assert "give them ids of their own" in text


def test_new_patients_are_not_refused_and_need_no_warning(run: Finished) -> None:
    refuse(run, ["a", "b"], ["1.png", "2.png"], ["", ""])
    assert warning(["", ""]) == ""
    text = warning([PATIENT, "", PIXELS])
    assert text.startswith("2 of 3 images may have trained these networks")


def test_a_flag_says_the_id_first_and_the_picture_else(run: Finished, tmp_path: Path) -> None:
    trained = min(set(run.folds.groups) - run.folds.locked)
    flagger = flagger_of(run, NO_KEY, [trained, "new", "other"])
    noise = np.random.default_rng(0).integers(0, 256, (48, 48)).astype(np.uint8)
    seen = looks([drawn(3), drawn(4), drawn(9_999), noise], tmp_path)
    notes = flagger.watch(seen.pictures, seen.facts)
    images = pd.DataFrame({"patient_id": [trained, "new", "new", "other"], "image_path": [*"abcd"]})
    patients = pd.DataFrame({"patient_id": [trained, "new", "other"], "num_images": [1, 2, 1]})
    tables = with_flags({"image": images, "patient": patients}, notes, flagger.of_patients)
    assert tables["image"]["known"].tolist() == [PATIENT, PIXELS, "", ""]
    assert tables["patient"]["known"].tolist() == [PATIENT, PIXELS, ""]
    assert tables["patient"]["unlike"].iloc[0] == ""
    assert tables["patient"]["unlike"].iloc[2] == "1 of 1 images"
    assert "picture" in tables["image"]["unlike"].iloc[3]


def test_what_flags_depend_on_has_a_name(run: Finished, tmp_path: Path) -> None:
    """By which predictions that were begun with other flags are begun anew."""
    shutil.copytree(run.dir, tmp_path / "run")
    before = flagger_of(Finished(tmp_path / "run"), NO_KEY, []).name
    assert before == flagger_of(run, NO_KEY, []).name
    (tmp_path / "run" / FILE_NAME).unlink()
    assert flagger_of(Finished(tmp_path / "run"), NO_KEY, []).name != before
