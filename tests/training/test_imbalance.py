"""Class weights, and the prior that sampler and weights make together."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.commands.door import load_config
from pipeline.config import Config, ConfigError
from pipeline.manifest import Manifest
from pipeline.splits import Fold
from pipeline.training.imbalance import check_imbalance, class_weights, effective_prior

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


def config_of(balance: str, weights: str, allow: bool = False) -> Config:
    return load_config(
        [
            "manifest=demo",
            f"sampler.balance={balance}",
            f"loss.class_weights={weights}",
            f"sampler.allow_double_correction={str(allow).lower()}",
        ]
    )


def prior_of(balance: str, weights: str, allow: bool = False) -> list[float]:
    prior = check_imbalance(config_of(balance, weights, allow), *manifest_and_fold())
    assert prior.sum() == pytest.approx(1)
    return [float(share) for share in prior]


def test_the_cohort_has_a_prevalence_of_five_percent() -> None:
    manifest, fold = manifest_and_fold()
    assert manifest.num_per_class(manifest.of(fold.train)).tolist() == [NUM_HEALTHY, NUM_SICK]
    assert prior_of("none", "none") == pytest.approx([0.95, 0.05])
    assert prior_of("patient", "none") == pytest.approx([0.95, 0.05])


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
    assert prior_of(balance, weights) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("balance", ["class", "class_patient"])
def test_both_corrections_turn_the_prior_round_and_are_refused(balance: str) -> None:
    with pytest.raises(ConfigError) as caught:
        prior_of(balance, "inverse")
    (problem,) = caught.value.problems
    assert problem == (
        f"sampler.balance={balance} and loss.class_weights=inverse correct the imbalance twice: "
        "the effective prior is healthy 0.050 (really 0.950), sick 0.950 (really 0.050). "
        "Use one of them, or set sampler.allow_double_correction=true"
    )
    assert prior_of(balance, "inverse", allow=True)[1] == pytest.approx(0.949, abs=0.005)


def test_effective_number_with_a_balanced_sampler_is_refused_as_well() -> None:
    with pytest.raises(ConfigError, match="correct the imbalance twice"):
        prior_of("class", "effective_number")


def test_balanced_classes_may_have_weights_and_a_sampler() -> None:
    """Nothing is corrected twice where nothing is to be corrected."""
    manifest, _ = manifest_and_fold()
    even = Fold(0, frozenset({"P000", "P010"}), frozenset({"V1"}), frozenset({"T1"}))
    prior = check_imbalance(config_of("class", "inverse"), manifest, even)
    assert prior.tolist() == pytest.approx([0.5, 0.5])


# --- the weights


def counts(*numbers: int) -> Any:
    return np.array(numbers, dtype=np.int64)


def test_no_weights_are_ones() -> None:
    assert class_weights("none", counts(5, 90), counts(1, 9)).tolist() == [1.0, 1.0]


def test_inverse_weights_follow_images_not_patients() -> None:
    weights = class_weights("inverse", counts(900, 100), counts(3, 40))
    assert weights[1] / weights[0] == pytest.approx(9)
    assert weights.mean() == pytest.approx(1)
    assert class_weights("inverse", counts(900, 100), counts(40, 3)).tolist() == weights.tolist()


@pytest.mark.parametrize("num_patients", [(95, 5), (10, 30, 60), (1, 1)])
def test_effective_number_follows_the_formula_with_patients(num_patients: tuple[int, ...]) -> None:
    """Cui et al. 2019: (1 - b) / (1 - b^n), b = 1 - 1 / all patients; images do not matter."""
    all_patients = sum(num_patients)
    beta = (all_patients - 1) / all_patients
    raw = [(1 - beta) / (1 - beta**n) for n in num_patients]
    expected = [weight * len(raw) / sum(raw) for weight in raw]
    for num_images in (num_patients, tuple(7 * n + i for i, n in enumerate(num_patients))):
        weights = class_weights("effective_number", counts(*num_images), counts(*num_patients))
        assert weights.tolist() == pytest.approx(expected)


def test_effective_number_is_milder_than_inverse_frequency() -> None:
    effective = class_weights("effective_number", counts(95, 5), counts(95, 5))
    inverse = class_weights("inverse", counts(95, 5), counts(95, 5))
    assert 1 < effective[1] / effective[0] < inverse[1] / inverse[0]


def test_the_prior_is_share_times_weight() -> None:
    prior = effective_prior(np.array([0.5, 0.3, 0.2]), np.array([1.0, 2.0, 4.0]))
    assert prior.tolist() == pytest.approx([5 / 19, 6 / 19, 8 / 19])
