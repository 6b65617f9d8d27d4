"""Each loss against its formula, and what all have in common."""

import inspect

import numpy as np
import pytest
import torch

from pipeline import losses
from pipeline.losses import BinaryCrossEntropy, Cosine, Focal, KullbackLeibler, Poisson

LOSSES = [getattr(losses, name) for name in losses.__all__]
LOGITS = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 0])
P = LOGITS.softmax(dim=1).numpy()
SURE = np.eye(3)[LABELS.numpy()]
SOFT = 0.9 * SURE + 0.1 / 3


def assert_gives(loss, expected):
    np.testing.assert_allclose(loss(LOGITS, LABELS).numpy(), expected, rtol=1e-6)


def test_binary_cross_entropy():
    sigmoid = 1 / (1 + np.exp(-LOGITS.numpy()))
    for smoothing, target in ((0.0, SURE), (0.1, SOFT)):
        entropy = -(target * np.log(sigmoid) + (1 - target) * np.log(1 - sigmoid))
        assert_gives(BinaryCrossEntropy(smoothing), entropy.sum(axis=1))


def test_kullback_leibler():
    assert_gives(KullbackLeibler(0.1), (SOFT * (np.log(SOFT) - np.log(P))).sum(axis=1))
    assert_gives(KullbackLeibler(), -np.log(P[range(7), LABELS]))
    perfect = torch.from_numpy(np.log(SOFT))
    torch.testing.assert_close(KullbackLeibler(0.1)(perfect, LABELS), torch.zeros(7).double())


def test_focal():
    own = P[range(7), LABELS]
    assert_gives(Focal(2.0), -((1 - own) ** 2) * np.log(own))
    assert_gives(Focal(0.0), -np.log(own))
    assert_gives(Focal(1.0, smoothing=0.1), -(SOFT * (1 - P) * np.log(P)).sum(axis=1))


def test_poisson():
    assert_gives(Poisson(), (P - SURE * np.log(P + 1e-8)).mean(axis=1))


def test_cosine():
    assert_gives(Cosine(), 1 - P[range(7), LABELS] / np.linalg.norm(P, axis=1))


@pytest.mark.parametrize("kind", LOSSES)
def test_it_falls_to_the_right_labels_and_stays_finite_when_sure(kind):
    logits = torch.zeros(7, 3, requires_grad=True)
    before = kind()(logits, LABELS)
    assert before.shape == (7,)
    for _ in range(200):
        (slope,) = torch.autograd.grad(kind()(logits, LABELS).sum(), logits)
        logits = (logits - slope).detach().requires_grad_()
    assert (kind()(logits, LABELS) < before).all()
    assert logits.argmax(dim=1).tolist() == LABELS.tolist()
    sure = torch.full((7, 3), -200.0, requires_grad=True)
    loss = kind()(sure + 400 * torch.from_numpy(SURE).float(), LABELS)
    (slope,) = torch.autograd.grad(loss.sum(), sure)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_a_sure_image_gives_the_focal_loss_no_infinite_slope(gamma):
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    Focal(gamma)(logits, torch.tensor([0])).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("kind", LOSSES)
def test_it_takes_no_other_reduction(kind):
    with pytest.raises(ValueError, match="reduction"):
        kind(reduction="mean")
    if "smoothing" in inspect.signature(kind).parameters:
        with pytest.raises(ValueError, match="smoothing"):
            kind(smoothing=1.0)
