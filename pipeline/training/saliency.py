"""Grad-CAM (Selvaraju et al. 2017), and whether it shows what the network has learned.

A map that stays the same when all weights are drawn anew shows edges of the image, not what
training has found (Adebayo et al. 2018, Sanity checks for saliency maps).
"""

from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from monai.visualize.class_activation_maps import GradCAM
from torch import Tensor, nn

from pipeline.arrays import Floats32
from pipeline.config import UserError
from pipeline.training.torch_file import first_line

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LEAST_SIDE = 4
"""Places along each axis that a map should have; the last convolution may have fewer."""
NUM_RANDOM = 3
"""Networks with other weights that a map is compared with."""
NO_LAYER = (
    "Grad-CAM needs a convolution whose output still has places, and this network has none (a "
    "linear model, an MLP or a vision transformer, which cuts the image into patches)"
)


def target_layer(network: nn.Module, image: Tensor) -> str:
    """The name of the layer whose map is shown, found by sending an image (1, C, ...) through.

    It is the last convolution with LEAST_SIDE places along each axis (if there is none, with more
    than one), or what follows it with as many places and channels: its activation, its block.

    Raises:
        UserError: there is none.
    """
    shapes = _shapes(network, image)
    modules = dict(network.named_modules())
    places = [
        (at, min(shape[2:]))
        for at, (name, shape) in enumerate(shapes)
        if isinstance(modules[name], CONVOLUTIONS) and not _cuts_patches(modules[name])
    ]
    found = [at for at, side in places if side >= LEAST_SIDE] or [a for a, s in places if s > 1]
    if not found:
        raise UserError(NO_LAYER)
    at = found[-1]
    alike = [name for name, shape in shapes[at:] if shape == shapes[at][1]]
    return alike[-1]


def check_layer(network: nn.Module, image: Tensor, layer: str) -> None:
    """UserError unless the network has a layer of this name that gives a map."""
    shapes = dict(_shapes(network, image))
    if layer not in shapes:
        known = ", ".join(shapes)
        raise UserError(f"layer={layer}: the network has no layer of this name with a map: {known}")


def _shapes(network: nn.Module, image: Tensor) -> list[tuple[str, tuple[int, ...]]]:
    """The layers that give a map of several places, as they end, and its shape (1, K, ...)."""
    found: list[tuple[str, tuple[int, ...]]] = []
    hooks = []
    for name, module in network.named_modules():
        if name:

            def note(_: nn.Module, __: object, made: object, name: str = name) -> None:
                if isinstance(made, Tensor) and made.ndim == image.ndim and max(made.shape[2:]) > 1:
                    found.append((name, tuple(made.shape)))

            hooks.append(module.register_forward_hook(note))
    with torch.inference_mode():
        network.eval()(image)
    for hook in hooks:
        hook.remove()
    return found


def _cuts_patches(module: nn.Module) -> bool:
    """A step as long as the kernel: each place sees its own patch only."""
    assert isinstance(module, CONVOLUTIONS)
    return module.kernel_size == module.stride and max(module.stride) > 1


class Maps:
    """The Grad-CAM of one network at one layer."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        network = deepcopy(network).cpu().float().eval()
        for module in network.modules():
            if getattr(module, "inplace", False):
                module.inplace = False  # type: ignore[assignment]
        network.requires_grad_(True)  # frozen layers have maps, too
        self._layer = layer
        self._cam = GradCAM(network, layer, postprocessing=lambda found: found)

    def of(self, image: Tensor, code: int) -> Floats32:
        """(1, C, ...) and a class -> (...) what speaks for it, from 0; all 0 where nothing does.

        Raises:
            UserError: the layer cannot be used.
        """
        try:
            found = self._cam(image, class_idx=code)
        except (RuntimeError, IndexError, KeyError) as error:
            raise UserError(
                f"layer={self._layer}: no map can be made of it ({first_line(error)}); name another"
            ) from None
        values: Floats32 = found.detach().numpy()[0, 0].astype(np.float32)
        return values


def randomised(network: nn.Module, seed: int) -> nn.Module:
    """A copy with all weights drawn anew, as if it had never been trained."""
    copy = deepcopy(network)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for module in copy.modules():
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
            else:
                for parameter in module.parameters(recurse=False):
                    parameter.normal_(std=0.02)
    return copy


def alikeness(trained: Floats32, others: Sequence[Floats32]) -> float | None:
    """Mean rank correlation (Spearman) of a map with others; None where no pair of them varies."""
    from scipy.stats import spearmanr

    varying = [other for other in others if np.ptp(other) > 0]
    if np.ptp(trained) == 0 or not varying:
        return None
    found = [spearmanr(trained.ravel(), other.ravel()).statistic for other in varying]
    return float(np.mean(found))
