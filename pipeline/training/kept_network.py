"""The network of a done fold, from its checkpoint alone: no manifest and no cache is needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.arrays import Floats, Floats32
from pipeline.config import Config, UserError
from pipeline.images.batches import middle
from pipeline.images.crop import crop_of
from pipeline.images.packed import Normalisation
from pipeline.targets import build
from pipeline.training.job import Output
from pipeline.training.layout import Layout, in_layout, layout_of
from pipeline.training.learner import facts_of_network
from pipeline.training.loss import probabilities
from pipeline.training.precision import precision_of_kept
from pipeline.training.torch_file import first_line


@dataclass(frozen=True)
class KeptNetwork:
    """What a fold's network makes of images, as it did when the fold was judged."""

    network: nn.Module
    """In evaluation mode: images (B, C, ...) as `seen` gives them -> logits (B, K)."""
    normalisation: Normalisation
    """Fitted on its train part; mean 0 and SD 1 where `images.normalise` is not of the fold."""
    output: Output
    logit_shift: Floats
    """(K,) added to the logits for the probabilities that are reported."""
    crop: tuple[int, ...] | None
    """Sides of the central part that it sees, as `augment.crop`."""
    layout: Layout
    precision: torch.dtype
    device: torch.device

    @classmethod
    def of(
        cls,
        state: Mapping[str, Any],
        config: Config,
        num_classes: int,
        shape: Sequence[int],
        device: str,
    ) -> "KeptNetwork":
        """Of a checkpoint; `shape` (C, ...) is that of the images in the cache.

        Raises:
            UserError: the model of the settings cannot be made, or has other weights.
        """
        seen = (shape[0], *crop_of(config.augment.crop, tuple(shape[1:])))
        network = rebuilt(state, config, num_classes, seen).to(device)
        layout = layout_of(network, seen, device, config.training.channels_last)
        place = torch.device(device)
        is_multilabel = config.manifest.task == "multilabel"
        return cls(
            network.eval(),
            Normalisation(tuple(state["mean"]), tuple(state["std"])),
            # earlier versions wrote neither of these two, and shifted nothing
            state.get("output", "labels" if is_multilabel else config.loss.output),
            np.array(state.get("logit_shift", [0.0] * num_classes), dtype=np.float64),
            config.augment.crop,
            layout,
            precision_of_kept(place, config.training.precision),
            place,
        )

    def seen(self, images: Tensor) -> Tensor:
        """(B, C, ...) as they are in the cache -> its central part, float32, mean 0 and SD 1."""
        shape = (1, -1, *[1] * (images.ndim - 2))
        ends = (self.normalisation.mean, self.normalisation.std)
        mean, std = (torch.tensor(values, device=self.device).view(shape) for values in ends)
        part = middle(images, self.crop).to(self.device, torch.float32, copy=True)
        return part.sub_(mean).div_(std)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """(B, C, ...) as they are in the cache -> (B, K) float32, on the device."""
        mixed = self.precision != torch.float32
        with torch.autocast(self.device.type, dtype=self.precision, enabled=mixed):
            found: Tensor = self.network(in_layout(self.seen(images), self.layout))
        return found.float()

    @torch.inference_mode()
    def probabilities(self, images: Tensor) -> Floats32:
        """(B, K), not calibrated; nan where the network's output is not finite."""
        found = probabilities(self.logits(images), self.output, self.logit_shift)
        return found.cpu().numpy()


def rebuilt(
    state: Mapping[str, Any], config: Config, num_classes: int, seen: Sequence[int]
) -> nn.Module:
    """The network of a checkpoint, which sees images (C, ...) of this shape.

    Raises:
        UserError: the model of the settings cannot be made, or has other weights.
    """
    network: nn.Module = build("model", config.model, facts_of_network(seen, num_classes))
    try:
        network.load_state_dict(state["network"])
    except (RuntimeError, KeyError) as error:
        raise UserError(
            f"model: {config.model['_target_']} does not take the weights of fold "
            f"{state.get('fold')} ({first_line(error)}): its code, or a library's, has changed"
        ) from None
    return network
