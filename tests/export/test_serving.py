"""What a served model answers, asked as MLflow asks it."""

import base64
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from dicom_files import write_dicom
from run_with_networks import SHAPE, bundle_of, noise, run_with_networks, write_png

from pipeline.config import UserError
from pipeline.export import load_bundle
from pipeline.export.bundle import Bundle
from pipeline.export.serving import Answering, decoded


@pytest.fixture(scope="session")
def answering(bundle: Path) -> Answering:
    return Answering(load_bundle(bundle))


def sent(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def png(folder: Path, seed: int) -> str:
    return sent(write_png(folder / f"{seed}.png", noise(SHAPE[1:], seed)))


def asked(answering: Answering, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    answers = answering.predict(pd.DataFrame(list(rows)))
    return json.loads(json.dumps(answers, allow_nan=False))  # type: ignore[no-any-return]


def test_a_png_and_a_dicom_file_get_the_bundles_probabilities(
    answering: Answering, tmp_path: Path
) -> None:
    dicom = write_dicom(tmp_path / "a.dcm", noise(SHAPE[1:], 1).astype(np.uint16))
    both = asked(answering, {"image": png(tmp_path, 1)}, {"image": sent(dicom)})
    bundle = answering.bundle
    members = bundle.member_probabilities([noise(SHAPE, 1)] * 2)[:, 0, 1]
    for said in both:
        assert said["error"] is None
        assert said["prob_lesion"] == pytest.approx(members.mean())
        assert said["lowest_lesion"] == pytest.approx(members.min())
        assert said["highest_lesion"] == pytest.approx(members.max())
        assert said["sd_lesion"] == pytest.approx(members.std(ddof=1))
        limit = bundle.contents.thresholds["image"]["lesion"]
        assert said["predicted"] == ("lesion" if members.mean() >= limit else "healthy")
        assert said["patient_id"] is None
        assert said["patient_predicted"] is None


def test_images_of_a_named_patient_are_put_together(answering: Answering, tmp_path: Path) -> None:
    files = [png(tmp_path, seed) for seed in range(3)]
    said = asked(
        answering,
        {"image": files[0], "patient_id": "A"},
        {"image": files[1], "patient_id": "B"},
        {"image": files[2], "patient_id": "A"},
    )
    assert [row["patient_id"] for row in said] == ["A", "B", "A"]
    mean = (said[0]["prob_lesion"] + said[2]["prob_lesion"]) / 2
    assert said[0]["patient_prob_lesion"] == pytest.approx(mean)
    assert said[2]["patient_prob_lesion"] == said[0]["patient_prob_lesion"]
    assert said[1]["patient_prob_lesion"] == pytest.approx(said[1]["prob_lesion"])
    limit = answering.bundle.contents.thresholds["patient"]["lesion"]
    assert said[0]["patient_predicted"] == ("lesion" if mean >= limit else "healthy")


def test_what_is_wrong_with_one_image_is_said_and_costs_the_others_nothing(
    answering: Answering, tmp_path: Path
) -> None:
    good, small = png(tmp_path, 0), sent(write_png(tmp_path / "s.png", noise((9, 9))))
    rows: list[dict[str, Any]] = [
        {"image": good, "patient_id": "A"},
        {"image": base64.b64encode(b"hello").decode(), "patient_id": "A"},
        {"image": small},
        {"image": "no base64!"},
        {"image": ""},
        {"image": None},
        {"image": good, "patient_id": "B"},
    ]
    said = asked(answering, *rows)
    assert said[0]["error"] is None
    assert said[0]["prob_lesion"] == pytest.approx(said[6]["prob_lesion"])
    assert said[0]["patient_predicted"] is None, "an image of the patient is missing"
    assert said[6]["patient_predicted"] is not None
    for row, words in {
        1: "in no known format",
        2: "has shape (1, 9, 9) after the transforms",
        3: "image: not base64",
        4: "image: expected a file in base64, got nothing",
        5: "image: expected a file in base64",
    }.items():
        assert words in said[row]["error"]
        assert said[row]["prob_lesion"] is None
        assert said[row]["predicted"] is None
        assert "patientfold-" not in said[row]["error"], "a temporary folder is nobody's business"


def test_an_image_that_would_lose_its_contrast_has_no_number(
    answering: Answering, tmp_path: Path
) -> None:
    """The training kept whole numbers, this file has 0 to 1."""
    assert answering.bundle.contents.input.dtype == "uint8"
    np.save(tmp_path / "a.npy", noise(SHAPE[1:]).astype(np.float32) / 255)
    said = asked(answering, {"image": sent(tmp_path / "a.npy")}, {"image": png(tmp_path, 0)})
    assert "would lose its contrast in images.dtype=uint8" in said[0]["error"]
    assert said[0]["prob_lesion"] is None
    assert said[1]["prob_lesion"] is not None


def test_an_output_that_is_not_finite_costs_the_others_nothing(
    answering: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [png(tmp_path, seed) for seed in range(3)]
    alone = asked(answering, {"image": files[1], "patient_id": "B"})[0]
    raw = Bundle.raw_probabilities

    def overflowing(bundle: Bundle, images: Any) -> Any:
        found = raw(bundle, images)
        found[0, 0] = np.nan
        return found

    monkeypatch.setattr(Bundle, "raw_probabilities", overflowing)
    rows = [{"image": of, "patient_id": who} for of, who in zip(files, "ABA", strict=True)]
    said = asked(answering, *rows)
    assert "is nan or infinite for this image" in said[0]["error"]
    assert said[0]["prob_lesion"] is None
    assert said[1]["predicted"] == alone["predicted"]
    assert said[1]["patient_prob_lesion"] == pytest.approx(alone["patient_prob_lesion"], rel=1e-6)
    assert said[2]["prob_lesion"] is not None
    assert said[2]["patient_prob_lesion"] is None, "an image of the patient has no answer"


def test_nothing_is_left_on_the_disk(
    answering: Answering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    asked(answering, {"image": png(tmp_path, 0)}, {"image": "AAAA"})
    assert not [*(tmp_path / "temporary").iterdir()]


def test_a_header_that_names_another_file_reads_none(answering: Answering) -> None:
    header = "ObjectType = Image\nNDims = 2\nDimSize = 24 24\nElementType = MET_UCHAR\n"
    header += "ElementDataFile = /etc/hostname\n"
    (said,) = asked(answering, {"image": base64.b64encode(header.encode()).decode()})
    assert said["error"] is not None
    assert said["prob_lesion"] is None


def test_base64_as_the_command_line_and_browsers_write_it() -> None:
    content = bytes(range(200))
    plain = base64.b64encode(content).decode()
    wrapped = base64.encodebytes(content).decode()
    for text in (plain, wrapped, f"data:image/png;base64,{plain}"):
        assert decoded(text, "image") == content
    with pytest.raises(UserError, match="image: not base64"):
        decoded("data:image/png," + plain, "image")


@pytest.mark.slow
def test_volumes_come_as_nifti(tmp_path: Path) -> None:
    overrides = ("images.spatial_dims=3", "model=resnet10", "augment.flip_axes=[]")
    run = run_with_networks(tmp_path / "run", *overrides, shape=(1, 8, 9, 10))
    found = Answering(Bundle.read(bundle_of(run, "folder", tmp_path / "bundle")))
    volume = noise((8, 9, 10))
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    (said,) = asked(found, {"image": sent(tmp_path / "a.nii.gz")})
    assert said["error"] is None
    members = found.bundle.member_probabilities([volume[None]])
    assert said["prob_lesion"] == pytest.approx(members[:, 0, 1].mean())


@pytest.mark.slow
def test_several_files_of_an_image_have_a_column_each(tmp_path: Path) -> None:
    run = run_with_networks(
        tmp_path / "run", "manifest.columns.image=[t1,t2]", shape=(2, *SHAPE[1:])
    )
    found = Answering(Bundle.read(bundle_of(run, "folder", tmp_path / "bundle")))
    assert found.columns == ("image_1", "image_2")
    files = {f"image_{i}": png(tmp_path, i) for i in (1, 2)}
    (said,) = asked(found, files)
    assert said["error"] is None
    stacked = np.concatenate([noise(SHAPE, 1), noise(SHAPE, 2)])
    members = found.bundle.member_probabilities([stacked])
    assert said["prob_lesion"] == pytest.approx(members[:, 0, 1].mean())
    (said,) = asked(found, {"image_1": files["image_1"]})
    assert "image_2: expected a file in base64, got nothing" in said["error"]
