"""The folds in which shortcuts are measured are scikit-learn's, to the bit."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.audit.stratified import stratified_folds


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_dealt_as_by_scikit_learn(seed: int) -> None:
    """Classes of any number and rarity, groups of one and of many samples, close calls."""
    rng = np.random.default_rng(seed)
    num_classes, num_groups = int(rng.integers(2, 10)), int(rng.integers(60, 200))
    groups = np.concatenate([np.arange(num_groups), rng.integers(0, num_groups, 20 * (seed % 3))])
    labels = rng.choice(num_classes, len(groups), p=rng.dirichlet(np.ones(num_classes)))
    labels[: 5 * num_classes] = np.repeat(np.arange(num_classes), 5)
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    expected = np.full(len(labels), -1)
    with warnings.catch_warnings(action="ignore"):
        for fold, (_, test) in enumerate(splitter.split(labels, labels, groups)):
            expected[test] = fold
    assert stratified_folds(labels, groups, 5, seed).tolist() == expected.tolist()
