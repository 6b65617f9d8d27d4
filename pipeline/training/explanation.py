"""Grad-CAM of images that a fold has tested, by the network that tested them."""

import torch
from torch import Tensor, nn

from pipeline.config import UserError
from pipeline.images.crop import central, crop_of
from pipeline.tracking.removed import gone
from pipeline.training.fold_images import Explained, FoldImages
from pipeline.training.kept_network import rebuilt
from pipeline.training.saliency import (
    NUM_RANDOM,
    Maps,
    alikeness,
    check_layer,
    randomised,
    target_layer,
)
from pipeline.training.torch_file import TorchFileError, read_torch_file


def explain_fold(asked: FoldImages) -> Explained:
    """Raises UserError where the network has no layer for it, or the checkpoint cannot be used."""
    torch.set_num_threads(asked.config.engine.threads_per_fold)
    state = _state(asked)
    network = _network(asked, state)
    images = [_normalised(asked, row, state) for row in asked.rows]
    if asked.layer is None:
        layer = target_layer(network, images[0])
    else:
        check_layer(network, images[0], layer := asked.layer)
    trained = Maps(network, layer)
    random = [Maps(randomised(network, seed), layer) for seed in range(NUM_RANDOM)]
    pairs = list(zip(images, asked.codes, strict=True))
    maps = tuple(trained.of(*pair) for pair in pairs)
    alike = [
        alikeness(found, [other.of(*pair) for other in random])
        for found, pair in zip(maps, pairs, strict=True)
    ]
    return Explained(layer, maps, tuple(alike))


def _state(asked: FoldImages) -> dict[str, object]:
    """best.pt, which must be that of this run and fold: another has trained on these patients."""
    if not asked.checkpoint.is_file():
        raise UserError(
            f"{gone(asked.checkpoint)}. Until then no image that fold {asked.fold} has tested can "
            "be explained; name images of other folds with images="
        )
    try:
        state = read_torch_file(asked.checkpoint, "cpu")
    except TorchFileError as error:
        raise UserError(f"{asked.checkpoint} is damaged ({error}).") from None
    if (state.get("key"), state.get("fold")) != (asked.key, asked.fold):
        raise UserError(
            f"{asked.checkpoint} belongs to fold {state.get('fold')} of run "
            f"{str(state.get('key'))[:12]}, not to fold {asked.fold} of run {asked.key[:12]}; it "
            "may have seen these patients, and is not used."
        )
    return state


def _network(asked: FoldImages, state: dict[str, object]) -> nn.Module:
    sides = crop_of(asked.config.augment.crop, asked.images.spatial_shape)
    seen = (asked.images.num_channels, *sides)
    return rebuilt(state, asked.config, len(asked.classes), seen).eval()


def _normalised(asked: FoldImages, row: int, state: dict[str, object]) -> Tensor:
    """(1, C, ...) as the fold's network saw it."""
    seen = central(asked.images.array[[row]], asked.config.augment.crop)
    pixels = torch.from_numpy(seen.astype("float32"))
    shape = (1, -1, *[1] * len(asked.images.spatial_shape))
    mean, std = (torch.tensor(state[name]).view(shape) for name in ("mean", "std"))
    return (pixels - mean) / std
