"""The graph that is handed over gives what the folds' networks give."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.evaluation.recalibration import Calibration
from pipeline.export.graph import EnsembleGraph, Part
from pipeline.images.packed import Normalisation
from pipeline.label_names import LabelNames
from pipeline.training.job import Output
from pipeline.training.kept_network import KeptNetwork


def calibration(fold: int, classes: Sequence[str], method: str = "temperature_bias") -> Calibration:
    several = isinstance(classes, LabelNames)
    return Calibration(
        fold,
        method,  # type: ignore[arg-type]
        classes,
        tuple(0.4 + i for i in range(len(classes))) if several else (0.7,),
        tuple(0.3 * i for i in range(len(classes))),
        tuple(0.1 * i - 0.2 for i in range(len(classes))),
        20,
        {},
    )


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
@pytest.mark.parametrize("crop", [None, (4, 5)])
@pytest.mark.parametrize("is_calibrated", [True, False])
@pytest.mark.parametrize(
    ("output", "classes"),
    [
        ("softmax", ("a", "b", "c")),
        ("sigmoid", ("a", "b")),
        ("labels", LabelNames(("x", "y", "z"))),
    ],
)
def test_normalisation_output_shift_and_calibration_are_those_of_the_folds(
    output: Output,
    classes: Sequence[str],
    is_calibrated: bool,
    crop: tuple[int, ...] | None,
    dtype: str,
) -> None:
    torch.manual_seed(0)
    parts, told = [], []
    values = 255 * torch.rand(6, 2, 7, 8)
    values[0] = 0  # logits far from 0, of which probabilities are nearly 0 and 1
    images = values.to(getattr(torch, dtype))
    sides = crop or (7, 8)
    shift = np.linspace(-1, 1, len(classes))
    for fold in range(3):
        linear = nn.Linear(2 * sides[0] * sides[1], len(classes))
        network = nn.Sequential(nn.Flatten(), linear).eval()
        with torch.no_grad():
            linear.weight *= 5
        mean, std = (100.0 + fold, 90.0), (30.0, 40.0 + fold)
        fit = calibration(fold, classes) if is_calibrated else None
        parts.append(Part(network, mean, std, shift.tolist(), fit))
        kept = KeptNetwork(
            network,
            Normalisation(mean, std),
            output,
            shift,
            crop,
            torch.contiguous_format,
            torch.float32,
            torch.device("cpu"),
        )
        found = kept.probabilities(images)
        told.append(found if fit is None else fit.apply(found))
    graph = EnsembleGraph(parts, output, (2, 7, 8), crop).eval()
    with torch.no_grad():
        members, mean_of_all = graph(images)
    assert members.shape == (3, 6, len(classes))
    np.testing.assert_allclose(members.numpy(), np.stack(told), atol=1e-6)
    np.testing.assert_allclose(mean_of_all.numpy(), np.mean(told, axis=0), atol=1e-6)
    assert np.ptp(members.numpy(), axis=0).max() > 0.1  # the members differ
