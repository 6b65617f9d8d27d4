import numpy as np
import pytest
import torch
from torch import nn

from pipeline.config import LossConfig
from pipeline.training.imbalance import class_weights
from pipeline.training.loss import build_loss

NUM_IMAGES = np.array([48, 12, 4])
LABELS = torch.repeat_interleave(torch.arange(3), torch.from_numpy(NUM_IMAGES))
CROSS_ENTROPY = {"_target_": "torch.nn.CrossEntropyLoss"}


def loss_of(weights, function=CROSS_ENTROPY):
    """The loss in which an image counts as its class does, against the train part's mean."""
    mean = np.average(weights, weights=NUM_IMAGES)
    relative = torch.from_numpy(np.asarray(weights, float) / mean).float()
    loss = build_loss(LossConfig(function=function), np.zeros(3))
    return lambda logits, labels: loss(logits, labels, relative[labels])


def inverse():
    return class_weights("inverse", NUM_IMAGES)


def class_gradients(function, batch_size):
    """(C,) size of the gradient that each class gives in an epoch of batches of `batch_size`."""
    order = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(0))
    logits = torch.zeros(len(LABELS), 3, dtype=torch.float64, requires_grad=True)
    for batch in order.split(batch_size):
        share = len(batch) / len(LABELS)
        (share * function(logits[batch], LABELS[batch])).backward()
    assert logits.grad is not None
    size = logits.grad.abs().sum(dim=1)
    return torch.stack([size[label == LABELS].sum() for label in range(3)])


@pytest.mark.parametrize("weights", [inverse(), np.array([1.0, 5.0, 0.2]), np.ones(3)])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_the_classes_pull_by_their_weights_at_every_batch_size(weights, batch_size):
    found = class_gradients(loss_of(weights), batch_size)
    expected = torch.from_numpy(weights * NUM_IMAGES)
    torch.testing.assert_close(found / found.sum(), expected / expected.sum(), rtol=1e-6, atol=0)
    torch.testing.assert_close(found, class_gradients(loss_of(weights), 16), rtol=1e-6, atol=0)


def test_the_usual_reduction_does_not_keep_this_promise():
    usual = nn.CrossEntropyLoss(weight=torch.from_numpy(inverse()))
    ratios = []
    for batch_size in (1, 64):
        found = class_gradients(usual, batch_size)
        ratios.append(float(found[2] / found[0]))
    assert ratios == pytest.approx([4 / 48, 1.0], rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_the_loss_is_the_weighted_sum_over_batch_size_and_mean_weight(batch_size):
    generator = torch.Generator().manual_seed(batch_size)
    logits = torch.randn(batch_size, 3, generator=generator)
    labels = torch.randint(3, (batch_size,), generator=generator)
    weights = np.array([0.3, 1.0, 4.0])
    losses = -logits.double().log_softmax(dim=1)[torch.arange(batch_size), labels]
    mean_weight = (weights * NUM_IMAGES).sum() / NUM_IMAGES.sum()
    expected = (torch.from_numpy(weights)[labels] * losses).sum() / (batch_size * mean_weight)
    assert float(loss_of(weights)(logits, labels)) == pytest.approx(float(expected), rel=1e-6)


def test_scaling_all_weights_changes_nothing():
    logits = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    once, scaled = loss_of(inverse())(logits, LABELS), loss_of(1000 * inverse())(logits, LABELS)
    torch.testing.assert_close(once, scaled)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_weights_it_is_plain_cross_entropy(batch_size, smoothing):
    logits = torch.randn(batch_size, 3, generator=torch.Generator().manual_seed(0))
    labels = LABELS[:batch_size]
    weights = class_weights("none", NUM_IMAGES)
    found = loss_of(weights, {**CROSS_ENTROPY, "label_smoothing": smoothing})(logits, labels)
    expected = nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, labels)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
