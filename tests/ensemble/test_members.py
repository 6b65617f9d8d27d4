"""What a member says of its fold's own test part is, bit for bit, what the fold said."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from finished_run import finished_run
from PIL import Image
from plugin_network import write_network
from trained_run import trained_run, write_images, write_rows

from pipeline.arrays import Floats
from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.ensemble import Ensemble
from pipeline.ensemble.kept import Kept
from pipeline.evaluation.predictions import prob_columns, read_predictions
from pipeline.files import read_json, write_json
from pipeline.images.packed import PackedImages
from pipeline.training.evaluated import EVAL_BATCH, bounds
from pipeline.training.kept_network import KeptNetwork

CHOICES = {
    "plain": (),
    "calibrated": ("evaluation.calibration=temperature", "loss.class_weights=inverse"),
    "sampled": ("sampler=class", "evaluation.prior=train", "evaluation.calibration=none"),
    "cropped": ("augment.crop=[20]", "training.average=0.5"),
    "eight_bits": ("images.dtype=auto", "images.normalise=none"),
    "half": ("images.dtype=float16", "images.size=[20]", "images.fit=crop"),
    "z_scores": ("images.normalise=image",),
    "frozen": ("training.freeze=[features]",),
    "monai": (
        "images.transforms=[{_target_:monai.transforms.Rotate90,k:1},"
        "{_target_:monai.transforms.ScaleIntensity}]",
        "training.channels_last=false",
    ),
}


def ends(number: int) -> list[tuple[int, int]]:
    return bounds(number, EVAL_BATCH["cpu"])


def own_test_parts(run: Finished, ensemble: Ensemble) -> list[tuple[Floats, Floats]]:
    """Of each fold: what its table says, and what its member says of the same files."""
    cohort = run.cohort
    assert cohort is not None
    root = Path(run.settings["manifest"]["path"]).parent
    pairs = []
    for fold, member in zip(run.folds.folds, ensemble.members, strict=True):
        path = run.dir / f"fold_{fold.index:02d}" / "predictions_test.csv"
        table = read_predictions(path, run.classes)
        files = [tuple(root / name for name in image.split("|")) for image in table["image_path"]]
        images = torch.from_numpy(np.stack([ensemble.image(of) for of in files]))
        told = [member.probabilities(images[begin:end]) for begin, end in ends(len(images))]
        pairs.append((table[prob_columns(run.classes)].to_numpy(), np.concatenate(told)))
    return pairs


def check_bit_equality(run: Finished, plugins: tuple[str, ...] = ()) -> None:
    ensemble = Ensemble.read(run, plugins=plugins)
    for expected, found in own_test_parts(run, ensemble):
        assert len(expected) > 2
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param(name, marks=[] if name in ("calibrated", "cropped") else pytest.mark.slow)
        for name in CHOICES
    ],
)
def test_a_member_says_of_its_test_part_what_the_fold_said(
    tmp_path: Path, choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVAL_BATCH, "cpu", 3)  # several batches, and a last one that is joined
    write_images(tmp_path / "data", num_patients=18)
    check_bit_equality(trained_run(tmp_path, *CHOICES[choice]))


@pytest.mark.slow
def test_of_volumes_of_several_files(tmp_path: Path) -> None:
    columns = ("t1", "t2")
    write_images(tmp_path / "data", columns=columns, dims=3)
    asked = ("manifest.columns.image=[t1,t2]", "images.spatial_dims=3", "+model.spatial_dims=3")
    size = ("images.spacing=[1.2]", "images.size=[20]", "images.fit=crop")
    check_bit_equality(trained_run(tmp_path, *asked, *size))


@pytest.mark.slow
def test_of_labels_that_do_not_exclude_each_other(tmp_path: Path) -> None:
    rows = write_images(tmp_path / "data", num_patients=24)
    for row in rows:
        row["label"] = ("edema", "edema|nodule", "nodule", "")[int(row["patient_id"][1:]) % 4]
    write_rows(tmp_path / "data" / "manifest.csv", rows)
    task = ("manifest.task=multilabel", "loss=binary_cross_entropy")
    check_bit_equality(trained_run(tmp_path, *task, "evaluation.calibration=temperature_bias"))


@pytest.mark.slow
def test_of_a_plugins_network_and_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = write_images(tmp_path / "data")
    for row in rows:
        path = tmp_path / "data" / row["image_path"]
        pixels = np.asarray(Image.open(path))
        row["image_path"] = path.with_suffix(".pixels").name
        with (tmp_path / "data" / row["image_path"]).open("wb") as file:
            file.write(b"ours")
            np.save(file, pixels)
    write_rows(tmp_path / "data" / "manifest.csv", rows)
    asked = write_network("return self.head(images.flatten(1))")
    code = Path("my_lab.py").read_text()
    reader = (
        "import numpy as np\nclass Read:\n    def __call__(self, path):\n"
        "        with open(path, 'rb') as file:\n            file.read(4)\n"
        "            return np.load(file)[None].astype(np.float32)\n"
    )
    Path("my_lab.py").write_text(code + reader)
    asked += ["+images.reader={_target_:my_lab.Read}", "manifest.accept=[unknown_format]"]
    run = trained_run(tmp_path, *asked)
    with pytest.raises(UserError, match=r"plugins=\[my_lab\]"):
        Kept.of(run)
    check_bit_equality(run, ("my_lab",))
    Path("my_lab.py").write_text(code + reader + "# another version\n")
    with pytest.raises(UserError, match="my_lab is not what it was when the run was made"):
        Kept.of(run, plugins=("my_lab",))


# --- what an ensemble is


@pytest.fixture(scope="module")
def run(made_once: Callable[..., Path]) -> Finished:
    """The run of the next tests, which only read it."""

    def make(folder: Path) -> None:
        write_images(folder / "data", num_patients=18)
        trained_run(folder, "evaluation.calibration=temperature")

    return Finished.read(made_once("ensemble", make) / "run")


def test_an_image_is_decoded_as_the_cache_holds_it(run: Finished) -> None:
    ensemble, cohort = Ensemble.read(run), run.cohort
    assert cohort is not None
    (place,) = (run.dir.parent / "cache").glob("*/cache.json")
    packed = PackedImages(place.parent, "").array
    root = run.dir.parent / "data"
    for row, name in enumerate(cohort["image_path"]):
        image = ensemble.image((root / name,))
        assert image.dtype == packed.dtype
        np.testing.assert_array_equal(image, packed[row])


def test_the_ensemble_is_the_mean_of_members_that_differ(run: Finished) -> None:
    ensemble = Ensemble.read(run)
    images = torch.from_numpy(
        np.random.default_rng(0).normal(100, 30, (5, *ensemble.shape)).astype(np.float32)
    )
    kept = images.clone()
    members = ensemble.member_probabilities(images)
    assert members.shape == (3, 5, 2)
    assert members.dtype == np.float64
    np.testing.assert_array_equal(members, ensemble.member_probabilities(images))
    assert torch.equal(images, kept), "a member must not change what the next one sees"
    assert len({member.tobytes() for member in members}) == 3
    np.testing.assert_allclose(ensemble.probabilities(images), members.mean(axis=0))
    means = {member.mean for member in ensemble.members}
    assert len(means) == 3, "each has the normalisation of its own fold"


def test_a_level_is_decided_at_the_median_of_the_folds_thresholds(run: Finished) -> None:
    ensemble = Ensemble.read(run)
    for level in ("patient", "image"):
        values = [
            read_json(path)["thresholds"][level]
            for path in sorted(run.dir.glob("fold_*/result.json"))
        ]
        assert len(values) == 3
        (threshold,) = ensemble.decision(level).thresholds.values()
        assert threshold.value == np.median(values)


def test_a_decision_is_doubtful_where_the_folds_have_scales_of_their_own(copied: Finished) -> None:
    path = copied.dir / "metrics.json"
    summary = read_json(path)
    cases: list[tuple[float, Literal["none", "temperature"], bool]]
    cases = [(0.93, "none", False), (0.8, "none", True), (0.8, "temperature", False)]
    for pooled, calibration, is_doubtful in cases:
        summary["patient"]["auroc"] |= {"value": 0.94, "pooled": pooled}
        write_json(path, summary)
        kept = Kept.of(Finished(copied.dir))
        evaluation = replace(kept.config.evaluation, calibration=calibration)
        kept = replace(kept, config=replace(kept.config, evaluation=evaluation))
        assert ("auroc of all together 0.800, mean over folds 0.940" in kept.doubt) == is_doubtful
        assert (kept.doubt == "") != is_doubtful


# --- what may not predict


@pytest.fixture
def copied(run: Finished, tmp_path: Path) -> Finished:
    shutil.copytree(run.dir, tmp_path / "run")
    return Finished(tmp_path / "run")


def test_a_network_that_is_gone_is_missed(copied: Finished) -> None:
    (copied.dir / "fold_01" / "best.pt").unlink()
    with pytest.raises(UserError, match=r"fold_01/best\.pt is missing"):
        Kept.of(copied)


def test_the_network_of_another_fold_is_refused(copied: Finished) -> None:
    shutil.copy(copied.dir / "fold_00" / "best.pt", copied.dir / "fold_01" / "best.pt")
    with pytest.raises(UserError, match=r"belongs to fold 0 .* not to fold 1"):
        Ensemble.of(Kept.of(copied))


def test_what_was_split_by_image_predicts_nothing(copied: Finished) -> None:
    unsafe = copied.dir.with_name("run-UNSAFE-image-level")
    copied.dir.rename(unsafe)
    with pytest.raises(UserError, match=r"split by image \(UNSAFE\)"):
        Kept.of(Finished(unsafe))


def test_a_baseline_predicts_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a baseline of scikit-learn, of which a run folder keeps"):
        Kept.of(finished_run(tmp_path / "run"))


def test_weights_that_do_not_fit_the_model_are_refused(copied: Finished) -> None:
    kept = Kept.of(copied)
    state = dict(kept.state(0, "cpu"))
    state["network"] = {name: values[:1] for name, values in state["network"].items()}
    with pytest.raises(UserError, match="does not take the weights of fold 0"):
        KeptNetwork.of(state, kept.config, 2, (1, 24, 24), "cpu")


def test_a_checkpoint_without_a_shape_needs_the_cache(copied: Finished, tmp_path: Path) -> None:
    kept = Kept.of(copied)
    state = {name: value for name, value in kept.state(0, "cpu").items() if name != "shape"}
    assert kept.shape(state) == (1, 24, 24)
    images = replace(kept.config.images, cache_dir=str(tmp_path / "elsewhere"))
    alone = replace(kept, config=replace(kept.config, images=images))
    with pytest.raises(UserError, match="did not write down the size of its images"):
        alone.shape(state)
