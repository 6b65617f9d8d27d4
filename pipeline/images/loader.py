"""A user's own random MONAI transforms: per sample, in loader workers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.arrays import Floats32, Ints
from pipeline.config import AugmentConfig
from pipeline.images.batches import BatchSource
from pipeline.targets import build

if TYPE_CHECKING:
    from monai.transforms import Compose


class _Samples(Dataset[Floats32]):
    """Indexed by (row, seed), so that a sample's draws depend on neither worker nor order."""

    def __init__(self, source: BatchSource, transforms: "Compose") -> None:
        self.source = source
        self.transforms = transforms

    def __getitem__(self, key: tuple[int, int]) -> Floats32:
        row, seed = key
        image = self.source.gather(torch.tensor([row]))[0]
        self.transforms.set_random_state(seed=seed)
        return np.asarray(self.transforms(image), dtype=np.float32)


class RandomTransforms:
    """Batches of normalised, transformed samples; the workers live as long as the fold."""

    def __init__(self, source: BatchSource, config: AugmentConfig, num_workers: int) -> None:
        from monai.transforms import Compose  # seconds, and few folds need it

        steps = [build(f"augment.transforms.{i}", leaf) for i, leaf in enumerate(config.transforms)]
        self.device = source.device
        self.keys: list[list[tuple[int, int]]] = []  # the loader's batches of (row, seed)
        self.loader = DataLoader(
            _Samples(source.on_cpu(), Compose(steps)),
            batch_sampler=self.keys,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            collate_fn=np.stack,  # arrays come through a pipe; tensors would need /dev/shm
            multiprocessing_context="fork" if num_workers else None,
        )

    def batches(self, rows: Ints, places: list[Tensor], seed: int) -> Iterator[Tensor]:
        """(B, C, ...) for each (B,) of `places` in `rows`, the epoch's order; on the device.

        Of a batch without images, (0,).
        """
        seeds = np.random.SeedSequence(seed).generate_state(len(rows))
        self.keys[:] = [
            list(zip(rows[at].tolist(), seeds[at].tolist(), strict=True))
            for at in (batch.numpy() for batch in places)
            if len(at)
        ]
        made = iter(self.loader)
        for batch in places:
            images = torch.from_numpy(next(made)) if len(batch) else torch.empty(0)
            yield images.to(self.device)
