"""The checks before a long training, where an image may have several labels: each label counts."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from label_sets import LABELS, PLACES, job_of, with_labels
from matplotlib.axes import Axes
from plugin_network import write_network

from pipeline.arrays import Ints
from pipeline.label_names import LabelNames
from pipeline.splits import Part
from pipeline.training.batch_sheet import draw_batch_sheet
from pipeline.training.border import check_border
from pipeline.training.chance import LabelsByPatient, auroc_of
from pipeline.training.job import FoldJob
from pipeline.training.sanity import HANDFUL, MOST, check_overfit, check_start, handful
from pipeline.training.shuffled import check_shuffled, with_shuffled_labels

pytestmark = pytest.mark.slow

FAST = ("model=lenet5", "optimizer.lr=3e-3", "augment=none")


def write_plugin(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(folder)
    return write_network(body, num_outputs=3)


# --- the fresh network


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], np.log(2)),
        (["loss=focal", "loss.output=sigmoid"], np.log(2) / 4),
    ],
)
def test_a_fresh_network_begins_at_ln_2_of_each_label(
    tmp_path: Path, overrides: list[str], expected: float
) -> None:
    check = check_start(job_of(tmp_path, *FAST, *overrides))
    assert check.passed, check.found
    assert check.values["expected"] == pytest.approx(expected, abs=1e-6)
    assert ("ln 2 = 0.693" in check.found) == (expected == np.log(2))
    assert check.values["low"] <= 0.5 <= check.values["high"]


def test_first_weights_that_are_too_large_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = write_plugin(tmp_path, "return 20 * self.head(images.flatten(1))", monkeypatch)
    check = check_start(job_of(tmp_path, *plugin))
    assert check.passed is False
    assert "the first weights are too large" in check.meaning


def test_a_network_that_knows_the_labels_before_it_learns_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corners = ", ".join(
        f"images[:, 0, {y + 1}:{y + 5}, {x + 1}:{x + 5}].mean((1, 2))" for y, x in PLACES.values()
    )
    body = f"return 0.01 * torch.stack([{corners}], 1) - 0.008 + 0 * self.head(images.flatten(1))"
    check = check_start(job_of(tmp_path, *write_plugin(tmp_path, body, monkeypatch)))
    assert check.passed is False
    assert check.values["accuracy"] > check.values["high"]
    assert check.values["loss"] == pytest.approx(np.log(2), rel=0.05)
    assert check.meaning.startswith("usually the classes differ in something as plain as overall")


# --- a handful by heart


@pytest.mark.parametrize(
    "overrides",
    [
        [*FAST],
        ["model=mlp", "loss=focal", "loss.output=sigmoid", "training.batch_size=5"],
        ["model=mlp", "loss.function.smoothing=0.1"],
        ["model=mlp", "loss.logit_adjustment=1", "sampler=none"],
    ],
)
def test_a_handful_is_learnt_by_heart(tmp_path: Path, overrides: list[str]) -> None:
    check = check_overfit(job_of(tmp_path, *overrides))
    assert check.passed, check.found
    assert check.values["loss"] < 0.01
    assert check.values["accuracy"] == 1, "share of right labels"


def test_a_network_that_does_not_move_fails(tmp_path: Path) -> None:
    check = check_overfit(job_of(tmp_path, "model=linear", "optimizer.lr=0"))
    assert check.passed is False
    assert 0 < check.values["accuracy"] < 1


def test_one_label_that_cannot_be_learnt_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are right, so that two labels of three are."""
    body = "return self.head(images.flatten(1)) * torch.tensor([1.0, 1.0, 0.0])"
    check = check_overfit(job_of(tmp_path, *write_plugin(tmp_path, body, monkeypatch)))
    assert check.passed is False
    assert 2 / 3 <= check.values["accuracy"] < 1


@pytest.mark.parametrize("num_labels", [2, 3, 7, 14, 30])
def test_a_handful_has_images_with_and_without_each_label(tmp_path: Path, num_labels: int) -> None:
    job = job_of(tmp_path, "sampler=none")
    names = LabelNames(f"l{i:02d}" for i in range(num_labels))
    texts = np.array(["none"] * len(job.manifest), dtype=object)
    for number, row in enumerate(job.rows("train")):
        texts[row] = "|".join(sorted({names[number % num_labels], names[number**2 % num_labels]}))
    job = with_labels(job, names, texts)
    found = handful(job)
    assert set(found) <= set(job.rows("train"))
    assert len(np.unique(found)) == len(found)
    assert HANDFUL <= len(found) <= MOST
    has = job.manifest.has_class[found]
    assert has.any(axis=0).all()
    assert not has.all(axis=0).any()


def test_a_rare_label_is_in_the_handful_twice(tmp_path: Path) -> None:
    job = job_of(tmp_path, "sampler=none")
    texts = np.array(["edema"] * len(job.manifest), dtype=object)
    train = job.rows("train")
    texts[train[:3]], texts[train[10]] = "edema|nodule", "none"
    job = with_labels(job, LABELS, texts)
    has = job.manifest.has_class[handful(job)]
    assert has[:, 2].sum() >= 2
    assert (~has[:, 0]).sum() == 1, "the one image without"
    assert not has[:, 1].any(), "nobody has it"


# --- shuffled labels


def test_whole_sets_are_dealt_to_other_patients() -> None:
    patients = np.array(list("aabbc"), dtype=object)
    labels = np.array([[1, 1], [1, 1], [0, 1], [0, 0], [1, 0]])
    dealer, generator = LabelsByPatient(labels, patients), np.random.default_rng(0)
    sets = {tuple(row) for row in labels.tolist()}
    dealt = {tuple(map(tuple, dealer.shuffled(generator).tolist())) for _ in range(200)}
    assert len(dealt) == 6, "every order of three patients"
    assert all(set(found) <= sets for found in dealt)


def test_the_auroc_of_several_labels_is_their_mean() -> None:
    generator = np.random.default_rng(0)
    labels, scores = generator.integers(0, 2, (50, 2)), generator.random((50, 2))
    both = auroc_of(scores)(labels)
    each = [
        auroc_of(np.stack([1 - score, score], axis=1))(label)
        for label, score in zip(labels.T, scores.T, strict=True)
    ]
    assert both == pytest.approx(np.mean(each))
    labels[:, 0] = 1  # nothing to tell apart
    assert auroc_of(scores)(labels) == pytest.approx(each[1])


@pytest.mark.parametrize("model", [FAST, ("model=logistic",), ("model=majority",)])
def test_shuffled_labels_stay_at_chance(tmp_path: Path, model: tuple[str, ...]) -> None:
    check = check_shuffled(job_of(tmp_path, *model))
    assert check.passed, check.found
    assert check.values["low"] <= 0.5 <= check.values["high"]


def test_only_train_and_validation_sets_are_shuffled(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    dealt = with_shuffled_labels(job)
    assert dealt is not None
    before, after = job.manifest.labels, dealt.manifest.labels
    assert np.array_equal(before[job.rows("test")], after[job.rows("test")])
    assert (dealt.manifest.table.groupby("patient_id")["label"].nunique() == 1).all()
    for rows in (job.rows("train"), job.rows("val")):
        assert not np.array_equal(before[rows], after[rows])
        sets = [sorted(map(tuple, labels[rows].tolist())) for labels in (before, after)]
        assert sets[0] == sets[1], "an image's labels stay together"


def test_validation_images_that_are_trained_on_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(tmp_path, "model=mlp", "augment=none", "optimizer.lr=3e-3", "sampler=none")
    rows, dealt = FoldJob.rows, with_shuffled_labels(job)

    def leaky(self: FoldJob, part: Part) -> Ints:
        both = [rows(self, "train"), rows(self, "val")]
        return np.sort(np.concatenate(both)) if part == "train" else rows(self, part)

    assert dealt is not None
    monkeypatch.setattr(FoldJob, "rows", leaky)
    monkeypatch.setattr("pipeline.training.shuffled.with_shuffled_labels", lambda _: dealt)
    check = check_shuffled(job)
    assert check.passed is False, check.found
    assert check.values["auroc"] > check.values["high"]


def test_where_no_label_differs_nothing_is_shuffled(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    texts = job.manifest.table["label"].to_numpy().copy()
    texts[job.rows("val")] = "edema"
    check = check_shuffled(with_labels(job, LABELS, texts))
    assert check.passed is None
    assert check.found == "a part has no label that only some of its images have"


# --- borders


def _marker(image: Any, found: Collection[str]) -> None:
    """Of one label only."""
    if "nodule" in found:
        image[1:3, 1:3] = 255


def test_labels_in_the_centre_are_not_in_the_border(tmp_path: Path) -> None:
    check = check_border(job_of(tmp_path))
    assert check.passed, check.found
    assert {f"auroc_{name}" for name in LABELS} <= check.values.keys()


def test_a_marker_of_one_label_is_found_and_the_label_named(tmp_path: Path) -> None:
    check = check_border(job_of(tmp_path, plant=_marker))
    assert check.passed is False
    assert "of 'nodule', the highest of 3 labels" in check.found
    assert check.values["low"] > 0.9
    assert check.values["auroc_edema"] < 0.75, "a mean over labels would hide it"


def test_a_rare_label_is_not_asked_and_said_so(tmp_path: Path) -> None:
    job = job_of(tmp_path)
    few = np.where(job.manifest.has_class[:, 1], "effusion", "none").astype(object)
    few[job.rows("train")[:6]] = "edema"
    check = check_border(with_labels(job, LABELS, few))
    assert "'effusion'" in check.found
    assert "2 too rare to ask" in check.found
    check = check_border(with_labels(job, LABELS, ["edema"] * len(few)))
    assert check.passed is None
    assert check.found == "no label has 10 patients with it and as many without"


# --- the sheet


@pytest.mark.parametrize("model", [FAST, ("model=knn",)])
def test_the_sheet_shows_each_label_and_images_without(
    tmp_path: Path, model: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    titles: list[str] = []
    set_title = Axes.set_title

    def spy(self: Axes, label: str, *rest: Any, **named: Any) -> Any:
        titles.append(label)
        return set_title(self, label, *rest, **named)

    monkeypatch.setattr(Axes, "set_title", spy)
    job = job_of(tmp_path, "images.preview=2", *model)
    patients = draw_batch_sheet(job, tmp_path / "batch.png")
    assert set(patients) <= job.fold.train
    texts = job.manifest.table.drop_duplicates("patient_id").set_index("patient_id")["label"]
    has = LABELS.matrix(texts[patients])
    assert (has.sum(axis=0) >= 2).all()
    assert (~has.any(axis=1)).sum() == 2
    for patient in patients:
        expected = f"{texts[patient].replace('|', ' | ')}: {patient}"
        assert sum(expected in title.replace("\n", " ") for title in titles) == 1
    assert (tmp_path / "batch.png").stat().st_size > 5000


@pytest.mark.slow
def test_the_checks_leave_the_test_part_alone(tmp_path: Path) -> None:
    job = job_of(tmp_path, *FAST)
    texts = job.manifest.table["label"].to_numpy().copy()
    texts[job.rows("test")] = "edema|nodule"
    other = with_labels(job, LABELS, texts)
    torch.set_num_threads(1)
    for check in (check_start, check_overfit, check_shuffled, check_border):
        assert check(job) == check(other)
