"""Class weights, and the prior that sampler and weights make together."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.commands.door import load_config
from pipeline.config import ConfigError, LossConfig
from pipeline.manifest import Manifest
from pipeline.splits import Fold
from pipeline.training.imbalance import (
    Emphasis,
    check_imbalance,
    class_weights,
    emphasis,
    weights_of_classes,
)
from pipeline.training.job import Output
from pipeline.training.loss import probabilities

NUM_HEALTHY, NUM_SICK = 950, 50  # a prevalence of 5 %


def manifest_and_fold() -> tuple[Manifest, Fold]:
    """1000 images of 100 patients in train, 5 % of them with the disease; val and test besides."""
    labels = {f"P{i:03d}": "sick" if i < 5 else "healthy" for i in range(100)}
    labels |= {"V1": "sick", "T1": "healthy"}
    rows = [(p, f"{p}/{i}.png", label, p) for p, label in labels.items() for i in range(10)]
    table = pd.DataFrame(rows, columns=["patient_id", "image_path", "label", "group"], dtype=str)
    manifest = Manifest(Path("x.csv"), Path(), ("healthy", "sick"), table)
    train = frozenset(labels) - {"V1", "T1"}
    return manifest, Fold(0, train, frozenset({"V1"}), frozenset({"T1"}))


def emphasis_of(*overrides: str, weights: list[str] | None = None) -> Emphasis:
    """Of the cohort's train part; `weights` are a column of the manifest."""
    manifest, fold = manifest_and_fold()
    if weights is not None:
        manifest = replace(manifest, table=manifest.table.assign(weight=weights))
    config = load_config(["manifest=demo", *overrides])
    return check_imbalance(config, manifest, manifest.of(fold.train))


def settings(balance: str, weights: str) -> list[str]:
    return [f"sampler.balance={balance}", f"loss.class_weights={weights}"]


ALLOWED = "sampler.allow_double_correction=true"


def prior_of(*overrides: str) -> list[float]:
    prior = emphasis_of(*overrides).prior
    assert prior.sum() == pytest.approx(1)
    return [float(share) for share in prior]


def test_the_cohort_has_a_prevalence_of_five_percent() -> None:
    manifest, fold = manifest_and_fold()
    assert manifest.num_per_class(manifest.of(fold.train)).tolist() == [NUM_HEALTHY, NUM_SICK]
    assert prior_of(*settings("none", "none")) == pytest.approx([0.95, 0.05])
    assert prior_of(*settings("patient", "none")) == pytest.approx([0.95, 0.05])


@pytest.mark.parametrize(
    ("balance", "weights"),
    [
        ("class", "none"),
        ("class_patient", "none"),
        ("none", "inverse"),
        ("patient", "inverse"),
    ],
)
def test_one_correction_alone_evens_out_the_classes(balance: str, weights: str) -> None:
    assert prior_of(*settings(balance, weights)) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("balance", ["class", "class_patient"])
def test_both_corrections_turn_the_prior_round_and_are_refused(balance: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prior_of(*settings(balance, "inverse"))
    (problem,) = caught.value.problems
    assert problem == (
        f"sampler.balance={balance} and loss.class_weights=inverse correct the imbalance twice: "
        "the effective prior is healthy 0.050 (really 0.950), sick 0.950 (really 0.050). "
        "Use one of them, or set sampler.allow_double_correction=true"
    )
    assert prior_of(*settings(balance, "inverse"), ALLOWED)[1] == pytest.approx(0.949, abs=0.005)


def test_effective_number_with_a_balanced_sampler_is_refused_as_well() -> None:
    with pytest.raises(ConfigError, match="correct the imbalance twice"):
        prior_of(*settings("class", "effective_number"))


def test_balanced_classes_may_have_weights_and_a_sampler() -> None:
    """Nothing is corrected twice where nothing is to be corrected."""
    manifest, _ = manifest_and_fold()
    even = Fold(0, frozenset({"P000", "P010"}), frozenset({"V1"}), frozenset({"T1"}))
    config = load_config(["manifest=demo", *settings("class", "inverse")])
    prior = check_imbalance(config, manifest, manifest.of(even.train)).prior
    assert prior.tolist() == pytest.approx([0.5, 0.5])


# --- the weights


def counts(*numbers: int) -> Any:
    return np.array(numbers, dtype=np.int64)


def test_no_weights_are_ones() -> None:
    assert class_weights("none", counts(5, 90)).tolist() == [1.0, 1.0]


def test_inverse_weights_follow_the_counts() -> None:
    weights = class_weights("inverse", counts(900, 100))
    assert weights[1] / weights[0] == pytest.approx(9)
    assert weights.mean() == pytest.approx(1)


@pytest.mark.parametrize("numbers", [(95, 5), (10, 30, 60), (1, 1)])
def test_effective_number_follows_the_formula(numbers: tuple[int, ...]) -> None:
    """Cui et al. 2019: (1 - b) / (1 - b^n), b = 1 - 1 / (sum of n)."""
    beta = (sum(numbers) - 1) / sum(numbers)
    raw = [(1 - beta) / (1 - beta**n) for n in numbers]
    expected = [weight * len(raw) / sum(raw) for weight in raw]
    assert class_weights("effective_number", counts(*numbers)).tolist() == pytest.approx(expected)


def test_effective_number_is_milder_than_inverse_frequency() -> None:
    effective = class_weights("effective_number", counts(95, 5))
    inverse = class_weights("inverse", counts(95, 5))
    assert 1 < effective[1] / effective[0] < inverse[1] / inverse[0]


def uneven() -> tuple[Manifest, np.ndarray[Any, Any]]:
    """9 images of one healthy patient, 3 images of three sick ones."""
    rows = [("H", f"{i}.png", "healthy", "H") for i in range(9)]
    rows += [(f"S{i}", f"s{i}.png", "sick", f"S{i}") for i in range(3)]
    table = pd.DataFrame(rows, columns=["patient_id", "image_path", "label", "group"], dtype=str)
    return Manifest(Path("x.csv"), Path(), ("healthy", "sick"), table), np.arange(12)


@pytest.mark.parametrize(
    ("scheme", "counted", "ratio"),
    [
        ("inverse", None, 9 / 3),
        ("inverse", "images", 9 / 3),
        ("inverse", "patients", 1 / 3),
        ("effective_number", None, (1 - 0.75) / (1 - 0.75**3)),
        ("effective_number", "images", (1 - (11 / 12) ** 9) / (1 - (11 / 12) ** 3)),
        ({"healthy": 2.0, "sick": 5.0}, None, 2.5),
    ],
)
def test_classes_are_counted_in_images_or_patients(scheme: Any, counted: Any, ratio: float) -> None:
    config = LossConfig(function={}, class_weights=scheme, counted_in=counted)
    weights = weights_of_classes(config, *uneven())
    assert weights[1] / weights[0] == pytest.approx(ratio)


@pytest.mark.parametrize("key", ["loss.class_weights", "evaluation.prior"])
@pytest.mark.parametrize("names", ["{healthy:0.5}", "{healthy:0.5,ill:0.5}"])
def test_numbers_of_classes_must_name_each_class_once(key: str, names: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: must name each class once, healthy, sick; got"):
        emphasis_of("sampler=none", f"{key}={names}")


def test_a_class_may_be_called_by_a_number() -> None:
    config = load_config(["manifest=demo", "loss.class_weights={0:1,1:5}"])
    assert config.loss.class_weights == {"0": 1.0, "1": 5.0}


def test_the_prior_is_share_times_weight() -> None:
    prior = prior_of("sampler=none", "loss.class_weights={healthy:1,sick:4}")
    assert prior == pytest.approx([0.95 / 1.15, 0.2 / 1.15])


# --- weights of images


def image_weights(healthy: str, sick: str) -> list[str]:
    manifest, _ = manifest_and_fold()
    return [sick if label == "sick" else healthy for label in manifest.table["label"]]


def test_image_weights_multiply_class_weights_and_have_mean_1_in_the_train_part() -> None:
    found = emphasis_of(
        "sampler=none", "loss.class_weights={healthy:1,sick:2}", weights=image_weights("2", "3")
    )
    manifest, fold = manifest_and_fold()
    is_sick = manifest.labels == 1
    assert found.weights[is_sick] / found.weights[~is_sick][0] == pytest.approx(6 / 2)
    assert found.weights[manifest.of(fold.train)].mean() == pytest.approx(1)
    assert found.prior.tolist() == pytest.approx([0.95 * 2 / (1.9 + 0.3), 0.05 * 6 / (1.9 + 0.3)])


def test_a_train_part_that_counts_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="every image of a train part has weight 0"):
        emphasis_of("sampler=none", weights=["0"] * 1020)


def test_patients_are_counted_by_what_they_contribute() -> None:
    """Kish 1965: (sum of w)^2 / sum of w^2."""
    manifest, rows = uneven()
    for balance, expected in [("none", 144 / (81 + 3)), ("patient", 4.0), ("class", 4 / (4 / 3))]:
        config = load_config(["manifest=demo", f"sampler={balance}"])
        found = emphasis(config, manifest, rows)
        assert found.num_patients == 4
        assert found.num_effective == pytest.approx(expected)


def test_rare_images_are_drawn_more_often() -> None:
    assert emphasis_of("sampler=none").repeats.tolist() == pytest.approx([1, 1])
    assert emphasis_of("sampler=class").repeats.tolist() == pytest.approx([500 / 950, 500 / 50])


# --- logit adjustment


def test_the_logit_adjustment_is_a_correction_like_the_others() -> None:
    found = emphasis_of("loss=logit_adjusted", "sampler=none")
    assert found.adjustment.tolist() == pytest.approx([np.log(0.95), np.log(0.05)])
    assert found.prior.tolist() == pytest.approx([0.5, 0.5])
    with pytest.raises(ConfigError, match=r"inverse and loss.logit_adjustment=1 correct the imbal"):
        emphasis_of("loss=logit_adjusted", "sampler=none", "loss.class_weights=inverse")
    balanced = emphasis_of("loss=logit_adjusted", "sampler=class")
    assert balanced.adjustment.tolist() == [0, 0]  # nothing is left to adjust


@pytest.mark.parametrize("tau", [1.0, 0.5])
def test_of_a_sigmoid_the_odds_are_adjusted_and_the_correction_undoes_it(tau: float) -> None:
    """At its optimum a network says the log odds less what the loss adds."""
    settings = ["sampler=none", "loss=binary_cross_entropy", f"loss.logit_adjustment={tau}"]
    found = emphasis_of(*settings)
    odds = np.log(0.05 / 0.95)
    assert found.adjustment.tolist() == pytest.approx([-tau * odds, tau * odds])
    shift = found.shift(load_config(["manifest=demo", *settings]), ("healthy", "sick"))
    assert shift.tolist() == pytest.approx(found.adjustment.tolist())


# --- the correction of probabilities


def risks(shift: np.ndarray[Any, Any], odds: bool) -> np.ndarray[Any, Any]:
    """Corrected risks of a population in which half are sick, of a model that knows its sample."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, 20_000), rng.normal(1.4, 1, 20_000)])
    log_ratio = 1.4 * x - 1.4**2 / 2  # log p(x | sick) / p(x | healthy), the optimal logit at 50 %
    logits = np.stack([-log_ratio, log_ratio] if odds else [np.zeros_like(x), log_ratio], axis=1)
    output: Output = "sigmoid" if odds else "softmax"
    found = probabilities(torch.from_numpy(logits), output, shift)[:, 1].numpy()
    drawn = np.concatenate([np.full(20_000, 0.95 / 20_000), np.full(20_000, 0.05 / 20_000)])
    return np.array([np.sum(drawn * found), np.sum(drawn * (1 / (1 + np.exp(-log_ratio))))])


@pytest.mark.parametrize(
    "overrides",
    [
        ["sampler=class"],
        ["sampler=none", "loss.class_weights=inverse"],
        ["sampler=none", "loss=logit_adjusted"],
        ["sampler=class", "loss=binary_cross_entropy"],
        ["sampler=none", "loss=binary_cross_entropy", "loss.logit_adjustment=1"],
    ],
    ids=lambda overrides: " ".join(overrides),
)
def test_probabilities_have_the_prevalence_of_the_train_part(overrides: list[str]) -> None:
    """The example of 5 %: a balanced model claims far more, the corrected one says 0.05."""
    config = load_config(["manifest=demo", *overrides])
    shift = emphasis_of(*overrides).shift(config, ("healthy", "sick"))
    corrected, balanced = risks(shift, config.loss.output == "sigmoid")
    assert corrected == pytest.approx(0.05, abs=0.01)
    assert balanced > 0.2


def test_the_output_of_a_networks_loss_means_nothing_to_a_baseline() -> None:
    shifts = []
    for loss in ("cross_entropy", "binary_cross_entropy"):
        config = load_config(["manifest=demo", "model=logistic", f"loss={loss}"])
        found = emphasis_of("model=logistic", f"loss={loss}")
        shifts.append(found.shift(config, ("healthy", "sick")).tolist())
    assert shifts[0] == shifts[1] == pytest.approx([np.log(0.95 / 0.5), np.log(0.05 / 0.5)])


def test_the_prior_of_where_the_network_will_be_used_may_be_given() -> None:
    config = load_config(["manifest=demo", "evaluation.prior={healthy:0.99,sick:0.01}"])
    found = emphasis_of("sampler=class").shift(config, ("healthy", "sick"))
    assert found.tolist() == pytest.approx([np.log(0.99 / 0.5), np.log(0.01 / 0.5)])
    with pytest.raises(ConfigError, match=r"evaluation.prior: shares must sum to 1, got 1.2"):
        emphasis_of("evaluation.prior={healthy:1,sick:0.2}")


def test_before_a_calibration_probabilities_are_those_of_the_train_part() -> None:
    """The prior of another place is its last step."""
    settings = ["evaluation.calibration=temperature", "evaluation.prior={healthy:0.99,sick:0.01}"]
    found = emphasis_of("sampler=class")
    shift = found.shift(load_config(["manifest=demo", *settings]), ("healthy", "sick"))
    assert shift.tolist() == pytest.approx([np.log(0.95 / 0.5), np.log(0.05 / 0.5)])
    plain = load_config(["manifest=demo", settings[0], "evaluation.prior=none"])
    assert found.shift(plain, ("healthy", "sick")).tolist() == [0, 0]


@pytest.mark.parametrize("overrides", [["evaluation.prior=none"], ["sampler=none"]])
def test_nothing_is_corrected_where_nothing_was_balanced_or_it_is_not_wanted(
    overrides: list[str],
) -> None:
    config = load_config(["manifest=demo", *overrides])
    assert emphasis_of(*overrides).shift(config, ("healthy", "sick")).tolist() == [0, 0]


def test_it_is_told_in_words() -> None:
    config = load_config(["manifest=demo"])
    assert emphasis_of("sampler=class").describe(config, ("healthy", "sick")) == [
        "fold 0: its train part counts as 19.0 of 100 patients (Kish's effective number)",
        "  trained as if the classes were healthy 50.0% (really 95.0%), sick 50.0% (really 5.0%)",
        "  an image of sick is drawn 10.0 times an epoch",
        "  probabilities are corrected to those of its images",
    ]
    plain = load_config(["manifest=demo", "sampler=none"])
    assert emphasis_of("sampler=none").describe(plain, ("healthy", "sick")) == []
