"""The demo data: reproducible, of the promised shape, and with a fingerprint of each patient."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.commands import demo
from pipeline.commands.settings import NoSettings
from pipeline.commands.shipped import shipped

PATIENTS = demo.demo_patients()

Indices = NDArray[np.int64]


def files_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    demo.make_images(root)
    return root


def test_the_shipped_manifest_is_what_the_generator_gives() -> None:
    """After a change: `patientfold demo`, and copy demo/manifest.csv to data_manifests/demo.csv."""
    assert (shipped("data_manifests") / "demo.csv").read_bytes() == demo.manifest_text().encode()


def test_the_manifest_lists_exactly_the_images_that_are_made(made: Path) -> None:
    rows = list(csv.DictReader(demo.manifest_text().splitlines()))
    assert tuple(rows[0]) == ("patient_id", "image_path", "label", "site")
    assert sorted(row["image_path"] for row in rows) == sorted(files_of(made))
    labels = {patient.patient_id: (patient.label, patient.site) for patient in PATIENTS}
    assert all(labels[row["patient_id"]] == (row["label"], row["site"]) for row in rows)


def test_counts_are_uneven_as_in_a_hospital() -> None:
    assert 60 <= len(PATIENTS) <= 80
    assert {patient.num_images for patient in PATIENTS} == set(range(1, 10))
    assert len({patient.patient_id for patient in PATIENTS}) == len(PATIENTS)
    assert len({patient.site for patient in PATIENTS}) == 3
    assert {patient.label for patient in PATIENTS} == {"healthy", "lesion"}
    images = Counter[tuple[str, str]]()
    for patient in PATIENTS:
        images[patient.site, patient.label] += patient.num_images
    assert len(set(images.values())) == 6


@pytest.mark.parametrize("site", [*demo.SITES, None])
def test_about_three_in_ten_patients_have_a_lesion(site: str | None) -> None:
    here = [patient for patient in PATIENTS if site in (patient.site, None)]
    assert 0.25 <= np.mean([patient.label == "lesion" for patient in here]) <= 0.35


def test_files_are_small_grey_pngs_with_contrast(made: Path) -> None:
    for path in sorted(made.rglob("*.png")):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (64, 64))
            assert np.asarray(image).std() > 10


def test_every_image_differs(made: Path) -> None:
    assert len(set(files_of(made).values())) == len(files_of(made))


def test_making_them_again_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    num_written = demo.make_images(tmp_path)
    assert num_written == len(files_of(made)) > 0
    assert files_of(tmp_path) == files_of(made)


def test_an_image_needs_no_other_image() -> None:
    alone = demo.draw_image(PATIENTS[-1], 1)
    for patient in PATIENTS[:3]:
        demo.draw_image(patient, 1)
    assert np.array_equal(demo.draw_image(PATIENTS[-1], 1), alone)


def test_a_second_call_writes_nothing(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert demo.make_images(made) == 0
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", ["missing", "cut short", "not a PNG", "other pixels", "16 bits", "bad header"]
)
def test_a_damaged_image_is_made_again(made: Path, damage: str) -> None:
    path = made / PATIENTS[0].image_path(1)
    good = path.read_bytes()
    match damage:
        case "missing":
            path.unlink()
        case "cut short":
            path.write_bytes(good[: len(good) // 2])
        case "bad header":  # in the header, which Pillow reports as a ValueError
            path.write_bytes(good[:11] + b"\0" + good[12:])
        case "not a PNG":
            path.write_text("patient_id,image_path")
        case "other pixels":
            Image.new("L", (64, 64), 100).save(path)
        case "16 bits":
            with Image.open(path) as image:
                Image.fromarray(np.asarray(image).astype(np.uint16)).save(path)
    assert demo.make_images(made) == 1
    assert path.read_bytes() == good


def nearest_neighbour_accuracy(train: Indices, test: Indices, labels: Indices) -> float:
    """Accuracy on the images `test` of the labels of the nearest images in `train` (indices)."""
    squared = (PIXELS**2).sum(axis=1)
    distances = squared[test, None] + squared[None, train] - 2 * PIXELS[test] @ PIXELS[train].T
    return float(np.mean(labels[train[distances.argmin(axis=1)]] == labels[test]))


IMAGES = [(patient, i) for patient in PATIENTS for i in range(1, patient.num_images + 1)]
PIXELS = np.array([demo.draw_image(patient, i).ravel() for patient, i in IMAGES], dtype=float)
NUMBER = np.array([patient.number for patient, _ in IMAGES]) - 1


def test_images_betray_their_patient_only_to_a_split_by_image() -> None:
    """With random labels nothing can be learnt about new patients; a split by image hides that."""
    by_image, by_patient = [], []
    for seed in range(20):
        random = np.random.default_rng(seed)
        labels = random.permutation(np.arange(len(PATIENTS)) % 2)[NUMBER]
        # Patients with one image have nobody to be recognised by.
        several = np.flatnonzero(np.bincount(NUMBER)[NUMBER] > 1)
        first = np.unique(NUMBER[several], return_index=True)[1]
        held_out = several[first]
        rest = np.setdiff1d(np.arange(len(IMAGES)), held_out)
        by_image.append(nearest_neighbour_accuracy(rest, held_out, labels))
        tested = random.permutation(len(PATIENTS))[: len(PATIENTS) // 3]
        test = np.flatnonzero(np.isin(NUMBER, tested))
        train = np.flatnonzero(~np.isin(NUMBER, tested))
        by_patient.append(nearest_neighbour_accuracy(train, test, labels))
    assert np.mean(by_image) > 0.9
    assert 0.4 < np.mean(by_patient) < 0.6


@pytest.mark.slow
def test_the_command_says_how_many_images_it_wrote(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, "demo")
    for missing, told in ((1, "1 image written, 434 were there"), (435, "435 images written\n")):
        for path in sorted(Path("demo").rglob("*.png"))[:missing]:
            path.unlink()
        demo.main(NoSettings())
        assert f"demo/: {told}" in capsys.readouterr().out
