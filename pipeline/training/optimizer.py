"""The optimizer: fused where torch has it, so that one call moves all weights."""

import inspect
from collections.abc import Sequence
from importlib import import_module

from torch import Tensor

from pipeline.config import Target

DEVICES = ("cpu", "cuda")
"""On which torch's optimizers are fused."""
WAYS = ("fused", "foreach", "capturable", "differentiable")
"""Arguments by which a config chooses for itself how a step is computed."""


def fused(leaf: Target, parameters: Sequence[Tensor]) -> Target:
    """The leaf of torch's own optimizer with `fused: true`, unless it says how it computes.

    Left as it is where the optimizer has no such form, or its weights could not take it.
    """
    module, _, name = leaf["_target_"].rpartition(".")
    if not f"{module}.".startswith("torch.optim.") or any(way in leaf for way in WAYS):
        return leaf
    found = getattr(import_module(module), name, None)
    if not inspect.isclass(found) or "fused" not in inspect.signature(found).parameters:
        return leaf
    is_possible = all(p.is_floating_point() and p.device.type in DEVICES for p in parameters)
    return {**leaf, "fused": True} if is_possible else leaf
