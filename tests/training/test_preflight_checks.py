"""The checks before a long training: each passes where it should, and fails on what it is for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from plugin_network import write_network
from sklearn.metrics import roc_auc_score

from pipeline.arrays import Ints
from pipeline.commands.door import load_config
from pipeline.images.packed import PackedImages
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
from pipeline.splits import Fold, Part
from pipeline.training import batch_sheet
from pipeline.training import chance as chance_module
from pipeline.training.batch_sheet import draw_batch_sheet, views
from pipeline.training.border import border_features, check_border
from pipeline.training.chance import LabelsByPatient, auroc_of, chance
from pipeline.training.job import FoldJob
from pipeline.training.planning import make_plan
from pipeline.training.sanity import (
    HANDFUL,
    MOST,
    check_overfit,
    check_start,
    handful,
    num_chunks,
    smallest_loss,
)
from pipeline.training.shuffled import check_shuffled, with_shuffled_labels
from pipeline.training.trial import begin_trial

pytestmark = pytest.mark.slow

Cohort = Callable[..., Any]
SIDE = 24
LABELS = {"healthy": 40, "lesion": 20}


@pytest.fixture
def job_of(
    tmp_path: Path, make_cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., FoldJob]:
    """Fold 0 of 60 patients, 2 images each: the centre is brighter in those with a lesion."""
    monkeypatch.chdir(tmp_path)
    names = [label for label, number in LABELS.items() for _ in range(number)]
    patients = {f"P{i:02d}": [label, label] for i, label in enumerate(names)}
    config = make_cohort(patients, size=SIDE)

    def job(*overrides: str, plant: Callable[[Any, str], None] | None = None) -> FoldJob:
        settings = load_config(
            [
                f"manifest.path={config.path}",
                *("split.num_folds=3", "images.transforms=[]", "engine.device=cpu"),
                *("images.num_processes=1", "training.batch_size=16", *overrides),
            ]
        )
        manifest = read_manifest(settings.manifest)
        if plant is not None:
            for file, label in zip(manifest.image_files, manifest.table["label"], strict=True):
                pixels = np.array(Image.open(file))
                plant(pixels, label)
                Image.fromarray(pixels).save(file)
        images = pack_images(manifest, settings.images, lambda _done, _total: None)
        planned = make_plan(settings, manifest)
        fold = planned.plan.folds[0]
        return FoldJob(settings, planned.manifest, fold, images, tmp_path / "fold_00", "key")

    return job


# --- what chance gives


def test_shuffled_labels_stay_together_and_nobody_is_lost() -> None:
    patients = np.array(list("aabbbcd"), dtype=object)
    labels = np.array([0, 0, 1, 1, 1, 2, 3])
    dealer, generator = LabelsByPatient(labels, patients), np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        dealt = dealer.shuffled(generator)
        of_patient = {p: set(dealt[patients == p].tolist()) for p in "abcd"}
        assert all(len(found) == 1 for found in of_patient.values())
        assert set().union(*of_patient.values()) == {0, 1, 2, 3}
        seen.add(tuple(dealt.tolist()))
    assert len(seen) == 24, "every order of four patients"


def test_a_patient_of_two_labels_gives_both_to_one_who_has_room() -> None:
    patients, labels = np.array(list("abb"), dtype=object), np.array([0, 1, 2])
    dealer, generator = LabelsByPatient(labels, patients), np.random.default_rng(0)
    found = {tuple(dealer.shuffled(generator).tolist()) for _ in range(50)}
    assert found == {(0, 1, 2), (1, 0, 0)}


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_auroc_of_chance_is_that_of_scikit_learn(num_classes: int) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, num_classes, 60)
    scores = generator.dirichlet(np.ones(num_classes), 60).round(1)  # with ties
    ours = auroc_of(scores)(labels)
    if num_classes == 2:
        assert ours == pytest.approx(roc_auc_score(labels, scores[:, 1]))
    else:
        each = [roc_auc_score(labels == c, scores[:, c]) for c in range(3)]
        assert ours == pytest.approx(np.mean(each))


def test_chance_is_wider_where_images_belong_to_few_patients() -> None:
    labels = np.repeat(np.arange(12) % 2, 20)
    scores = np.repeat(np.random.default_rng(0).random(12), 20)
    auroc = auroc_of(np.stack([1 - scores, scores], axis=1))
    by_patient = chance(labels, np.repeat(np.arange(12), 20).astype(object), auroc, 0)
    by_image = chance(labels, np.arange(240).astype(object), auroc, 0)
    assert by_patient[1] - by_patient[0] > 3 * (by_image[1] - by_image[0])
    assert by_image[0] < 0.5 < by_image[1]


# --- the fresh network


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_fresh_network_begins_at_ln_c(job_of: Callable[..., FoldJob], num_classes: int) -> None:
    job = job_of("sampler=none")
    if num_classes == 3:
        table = job.manifest.table.copy()
        table.loc[table.index % 6 < 2, "label"] = "other"
        manifest = replace(job.manifest, table=table, classes=("healthy", "lesion", "other"))
        job = replace(job, manifest=manifest)
    check = check_start(job)
    assert check.passed, check.found
    assert check.values["expected"] == pytest.approx(np.log(num_classes), abs=1e-6)
    assert f"ln {num_classes} = {np.log(num_classes):.3f}" in check.found


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["loss=focal"], np.log(2) / 4),
        (["loss=binary_cross_entropy"], 2 * np.log(2)),
        (["loss=cosine"], 1 - 1 / np.sqrt(2)),
    ],
)
def test_other_losses_begin_where_outputs_that_say_nothing_do(
    job_of: Callable[..., FoldJob], overrides: list[str], expected: float
) -> None:
    check = check_start(job_of(*overrides))
    assert check.passed, check.found
    assert check.values["expected"] == pytest.approx(expected, abs=1e-5)


def test_the_expected_loss_is_weighted_where_the_training_is(
    job_of: Callable[..., FoldJob],
) -> None:
    weights = "loss.class_weights={healthy: 1, lesion: 5}"
    job = job_of("sampler=none", weights)
    check = check_start(job)
    assert check.passed, check.found
    of_train = job.emphasis.weights[job.rows("train")]
    assert np.ptp(of_train) > 0
    # all 80 training images are asked about, so that their mean weight is 1
    assert check.values["expected"] == pytest.approx(np.log(2), abs=1e-5)


def test_a_network_whose_first_weights_are_too_large_fails_in_plain_words(
    job_of: Callable[..., FoldJob],
) -> None:
    check = check_start(job_of(*write_network("return 20 * self.head(images.flatten(1))")))
    assert check.passed is False
    assert check.values["loss"] > 1.05 * np.log(2)
    assert "the first weights are too large" in check.meaning
    assert "init=" in check.meaning


def test_a_network_that_knows_the_labels_before_it_learns_fails(
    job_of: Callable[..., FoldJob],
) -> None:
    body = (
        "x = images[:, 0, 9:15, 9:15].mean((1, 2))\n"
        "        return 0.01 * torch.stack([-x, x], 1) + 0 * self.head(images.flatten(1))"
    )
    check = check_start(job_of(*write_network(body)))
    assert check.passed is False
    assert check.values["accuracy"] > check.values["high"]
    assert check.values["loss"] == pytest.approx(np.log(2), rel=0.05)
    assert check.meaning.startswith("usually the classes differ in something as plain as overall")


def test_a_network_that_gives_nan_fails(job_of: Callable[..., FoldJob]) -> None:
    job = job_of(*write_network("return self.head(images.flatten(1)) * float('nan')"))
    assert check_start(job).passed is False


def test_weights_of_a_file_are_not_fresh(job_of: Callable[..., FoldJob]) -> None:
    check = check_start(job_of("init.weights=any.pt"))
    assert (check.passed, check.found) == (None, "the network is not fresh: init.weights")


# --- a handful by heart


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["model=lenet5", "optimizer.lr=3e-3"],
        ["model=mlp", "loss=label_smoothing"],
        ["model=mlp", "loss=focal", "training.batch_size=5", "augment=light"],
        ["model=mlp", "loss=logit_adjusted", "sampler=none"],
        ["model=mlp", "loss=binary_cross_entropy", "training.clip_norm=1"],
    ],
)
def test_a_handful_is_learnt_by_heart(job_of: Callable[..., FoldJob], overrides: list[str]) -> None:
    check = check_overfit(job_of(*overrides))
    assert check.passed, check.found
    assert check.values["loss"] < 0.01
    assert check.values["accuracy"] == 1
    assert ("above the smallest possible" in check.found) == ("loss=label_smoothing" in overrides)


@pytest.mark.parametrize(
    ("number", "size", "chunks"), [(15, 2, 7), (16, 2, 8), (3, 1, 3), (1, 2, 1)]
)
def test_no_batch_is_of_one_image_unless_all_are(
    job_of: Callable[..., FoldJob], number: int, size: int, chunks: int
) -> None:
    assert num_chunks(number, job_of(f"training.batch_size={size}")) == chunks


def test_what_training_puts_in_the_way_is_left_out(job_of: Callable[..., FoldJob]) -> None:
    body = "return self.head(nn.functional.relu(self.drop(images.flatten(1))))"
    plugin = write_network(body)
    text = Path("my_lab.py").read_text()
    dropped = "nn.Linear(576, 2)\n        self.drop = nn.Dropout(0.99)"
    Path("my_lab.py").write_text(text.replace("nn.Linear(576, 2)", dropped))
    check = check_overfit(job_of(*plugin, "optimizer.weight_decay=100", "optimizer.lr=1e-2"))
    assert check.passed, check.found


def test_a_network_that_does_not_move_fails_in_plain_words(
    job_of: Callable[..., FoldJob],
) -> None:
    check = check_overfit(job_of("model=linear", "optimizer.lr=0"))
    assert check.passed is False
    assert "patientfold lr-find" in check.meaning
    assert "training.freeze" in check.meaning
    assert "in 400 steps" in check.found


def test_a_network_whose_trunk_loses_everything_fails_when_only_its_head_learns(
    job_of: Callable[..., FoldJob],
) -> None:
    plugin = write_network("return self.head(self.trunk(images.flatten(1)))")
    text = Path("my_lab.py").read_text()
    trunk = "nn.Linear(2, 2)\n        self.trunk = nn.Linear(576, 2)"
    trunk += "\n        nn.init.zeros_(self.trunk.weight)"
    Path("my_lab.py").write_text(text.replace("nn.Linear(576, 2)", trunk))
    assert check_overfit(job_of(*plugin, "training.freeze=[trunk]")).passed is False
    assert check_overfit(job_of(*plugin)).passed is True


@pytest.mark.slow
@pytest.mark.parametrize("num_classes", [2, 3, 7, 16, 30])
def test_a_handful_holds_every_class_as_far_as_it_goes(
    job_of: Callable[..., FoldJob], num_classes: int
) -> None:
    job = job_of()
    classes = tuple(f"c{i:02d}" for i in range(num_classes))
    rows = job.rows("train")
    labels = np.array(["c00"] * len(job.manifest), dtype=object)
    labels[rows] = [classes[i % num_classes] for i in range(len(rows))]
    manifest = replace(job.manifest, classes=classes, table=job.manifest.table.assign(label=labels))
    job = replace(job, manifest=manifest, config=replace(job.config, sampler=_none(job)))
    found = handful(job)
    assert set(found) <= set(rows)
    assert len(np.unique(found)) == len(found)
    assert len(found) == min(MOST, max(2, HANDFUL // num_classes) * num_classes)
    if num_classes <= 16:
        assert len(np.unique(manifest.labels[found])) == num_classes


def _none(job: FoldJob) -> Any:
    return replace(job.config.sampler, balance="none")


def test_a_handful_is_of_many_patients(job_of: Callable[..., FoldJob]) -> None:
    job = job_of()
    found = job.manifest.table["patient_id"].iloc[handful(job)]
    assert found.nunique() >= HANDFUL - 2  # of the rarer class there may be fewer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "least"),
    [
        ("cross_entropy", 0.0),
        ("label_smoothing", None),
        ("poisson", None),
        ("focal", 0.0),
    ],
)
def test_the_smallest_loss_is_found(
    job_of: Callable[..., FoldJob], loss: str, least: float | None
) -> None:
    job = job_of(f"loss={loss}", "sampler=none")
    learner, part = begin_trial(job)
    labels, weights = part.labels[:12], torch.ones(12)
    if least is None:
        # a finer look along the one direction that can help
        certain = torch.nn.functional.one_hot(labels, 2).float()
        least = min(
            float(learner.loss(height * certain, labels, weights))
            for height in np.linspace(0, 30, 3001)
        )
    assert smallest_loss(learner, labels, weights, job) == pytest.approx(least, abs=1e-4)


# --- shuffled labels


def test_shuffled_labels_stay_at_chance(job_of: Callable[..., FoldJob]) -> None:
    check = check_shuffled(job_of("optimizer.lr=3e-3"))
    assert check.passed, check.found
    assert check.values["low"] < 0.5 < check.values["high"]


def test_validation_images_that_are_trained_on_show(
    job_of: Callable[..., FoldJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leak is built in: the network also trains on the validation part."""
    job = job_of("model=mlp", "augment=none", "optimizer.lr=3e-3", "sampler=none")
    rows = FoldJob.rows

    def leaky(self: FoldJob, part: Part) -> Ints:
        both = [rows(self, "train"), rows(self, "val")]
        return np.sort(np.concatenate(both)) if part == "train" else rows(self, part)

    dealt = with_shuffled_labels(job)
    assert dealt is not None
    monkeypatch.setattr(FoldJob, "rows", leaky)
    monkeypatch.setattr("pipeline.training.shuffled.with_shuffled_labels", lambda _: dealt)
    check = check_shuffled(job)
    assert check.passed is False, check.found
    assert check.values["auroc"] > check.values["high"]
    assert "images of a validation patient are in the train part too" in check.meaning


def test_only_train_and_validation_labels_are_shuffled_each_in_its_part(
    job_of: Callable[..., FoldJob],
) -> None:
    job = job_of()
    dealt = with_shuffled_labels(job)
    assert dealt is not None
    before, after = job.manifest.labels, dealt.manifest.labels
    test = job.rows("test")
    assert np.array_equal(before[test], after[test])
    patients = dealt.manifest.table.groupby("patient_id")["label"]
    assert (patients.nunique() == 1).all()
    for rows in (job.rows("train"), job.rows("val")):
        assert not np.array_equal(before[rows], after[rows])
        assert np.bincount(before[rows]).tolist() == np.bincount(after[rows]).tolist()
    again = with_shuffled_labels(job)
    assert again is not None
    assert np.array_equal(again.manifest.labels, after)


def test_labels_of_one_class_cannot_be_shuffled(job_of: Callable[..., FoldJob]) -> None:
    job = job_of()
    labels = job.manifest.table["label"].to_numpy().copy()
    labels[job.rows("val")] = "healthy"
    manifest = replace(job.manifest, table=job.manifest.table.assign(label=labels))
    check = check_shuffled(replace(job, manifest=manifest))
    assert (check.passed, check.found) == (None, "a part has one class only")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["majority", "knn", "logistic"])
def test_baselines_see_chance_too(job_of: Callable[..., FoldJob], model: str) -> None:
    check = check_shuffled(job_of(f"model={model}"))
    assert check.passed, check.found


# --- borders


def _marker(pixels: NDArray[np.uint8], label: str) -> None:
    if label == "lesion":
        pixels[1:3, 1:3] = 255


def _frame(pixels: NDArray[np.uint8], label: str) -> None:
    if label == "healthy":
        pixels[:, :1] = 0


def test_a_label_in_the_centre_is_not_in_the_border(job_of: Callable[..., FoldJob]) -> None:
    check = check_border(job_of())
    assert check.passed, check.found


@pytest.mark.parametrize("plant", [_marker, _frame])
def test_a_label_in_the_border_is_found_and_told(
    job_of: Callable[..., FoldJob], plant: Callable[[Any, str], None]
) -> None:
    check = check_border(job_of(plant=plant))
    assert check.passed is False
    assert check.values["low"] > 0.9
    assert check.meaning.startswith("usually the label is in the border: a marker, text, a frame")


def test_a_marker_in_other_patients_than_these_says_nothing(
    job_of: Callable[..., FoldJob],
) -> None:
    """It is in the test part only, which is not looked at."""
    job = job_of()
    pixels = np.array(job.images.array)
    lesions = job.manifest.labels == 1
    rows = job.rows("test")
    pixels[rows[lesions[rows]], :, 1:3, 1:3] = 255
    folder = job.fold_dir.parent / "marked"
    folder.mkdir()
    np.save(folder / "images.npy", pixels)
    marked = replace(job, images=PackedImages(folder, "key"))
    assert check_border(marked) == check_border(job)


def test_what_is_not_border_is_masked() -> None:
    images = np.zeros((6, 1, 16, 16, 16), np.float32)
    generator = np.random.default_rng(0)
    images[:, :, 2:14, 2:14, 2:14] = generator.random((6, 1, 12, 12, 12))
    limits = np.zeros(1), np.ones(1)
    assert border_features(images, np.arange(6), limits).shape == (6, 0), "nothing differs"
    images[3, 0, 0, 8, 15] = 1
    assert border_features(images, np.arange(6), limits).shape[1] > 0


def test_too_few_patients_are_no_measure(job_of: Callable[..., FoldJob]) -> None:
    job = job_of()
    assert isinstance(job.fold, Fold)
    few = frozenset(sorted(job.fold.train)[:5])
    check = check_border(replace(job, fold=replace(job.fold, train=few)))
    assert check.passed is None
    assert "fewer than two classes have 10 patients" in check.found


def test_equal_borders_say_nothing(job_of: Callable[..., FoldJob]) -> None:
    def blank(pixels: NDArray[np.uint8], _: str) -> None:
        pixels[:3] = pixels[-3:] = 7
        pixels[:, :3] = pixels[:, -3:] = 7

    check = check_border(job_of(plant=blank))
    assert check.passed
    assert check.values["auroc"] == 0.5


# --- the sheet


@pytest.mark.slow
def test_the_sheet_shows_training_patients_of_each_class(
    job_of: Callable[..., FoldJob], tmp_path: Path
) -> None:
    job = job_of("images.preview=3")
    patients = draw_batch_sheet(job, tmp_path / "batch.png")
    assert set(patients) <= job.fold.train
    labels = job.manifest.table.set_index("patient_id")["label"]
    assert {labels.loc[[patient]].iloc[0] for patient in patients} == {"healthy", "lesion"}
    with Image.open(tmp_path / "batch.png") as sheet:
        assert sheet.width > 800
        shades = np.asarray(sheet.convert("L"))
    assert len(np.unique(shades)) > 50


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [["model=knn"], ["augment=none"], ["augment=monai"]])
def test_the_sheet_of_other_ways_to_see(
    job_of: Callable[..., FoldJob], tmp_path: Path, overrides: list[str]
) -> None:
    job = job_of(*overrides, "engine.loader_workers=0")
    assert draw_batch_sheet(job, tmp_path / "batch.png")
    assert (tmp_path / "batch.png").stat().st_size > 5000


def test_volumes_are_shown_by_their_middle_slices() -> None:
    volume = np.arange(4 * 6 * 8, dtype=np.float32).reshape(1, 4, 6, 8)
    shown = views(volume)
    expected = [volume[0, 2], volume[0, :, 3], volume[0, :, :, 4]]
    assert len(shown) == 3
    assert all(np.array_equal(a, b) for a, b in zip(shown, expected, strict=True))


def test_colour_is_one_picture_and_other_channels_are_shown_apart() -> None:
    assert [view.shape for view in views(np.zeros((3, 5, 4), np.float32))] == [(5, 4, 3)]
    assert [view.shape for view in views(np.zeros((2, 5, 4), np.float32))] == [(5, 4)] * 2
    assert len(views(np.zeros((2, 5, 4, 3), np.float32))) == 6


def test_a_class_that_an_epoch_does_not_draw_is_on_the_sheet(
    job_of: Callable[..., FoldJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of("images.preview=2")
    lesions = np.flatnonzero(job.manifest.labels[job.rows("train")] == 1)
    monkeypatch.setattr("pipeline.training.batch_sheet.draw_epoch", lambda *_: lesions)
    patients = draw_batch_sheet(job, tmp_path / "batch.png")
    labels = job.manifest.table.drop_duplicates("patient_id").set_index("patient_id")["label"]
    assert sorted(labels[patients]) == ["healthy", "healthy", "lesion", "lesion"]


@pytest.mark.parametrize(
    ("label", "patient", "name"),
    [
        ("lesion", "P01", "lesion: P01"),
        ("adenocarcinoma of the lower lobe", "P01", "adenocarcinoma of th...: P01"),
        ("adenocarcinoma", "TCGA-A1-A0SB-01Z-00-DX1", "adenocarc...: TCGA-A1-A0S..."),
        ("lesion", "TCGA-A1-A0SB-01Z-00-DX1", "lesion: TCGA-A1-A0SB-01Z-..."),
    ],
)
def test_a_tile_names_label_and_patient(label: str, patient: str, name: str) -> None:
    assert batch_sheet._name(label, patient) == name


def test_three_images_of_a_sample_are_no_colour() -> None:
    """Each is shown by itself: t1, t2 and flair are not red, green and blue."""
    samples = np.arange(3 * 20, dtype=np.float32).reshape(3, 5, 4)
    assert all(map(np.array_equal, views(samples, num_images=3), samples))
    stains = [view.shape for view in views(np.zeros((6, 5, 4), np.float32), num_images=2)]
    assert stains == [(5, 4, 3)] * 2


def test_few_shuffles_would_not_reach_so_far_out() -> None:
    assert chance_module.NUM_SHUFFLES * (1 - chance_module.COVERAGE) >= 2
