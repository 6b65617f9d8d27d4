"""The least that training a fold can cost: a bare PyTorch loop on tensors in memory.

The same network, images, augmentation, sampler, optimizer and number of steps as a fold of
`experiment=idc` without an average of the weights, with a forward pass over val each epoch and
over test at the end; no plan, no checkpoint, no metric, no journal, no tracking.
`loop_overhead.py` runs it as a whole process.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.config import AugmentConfig
from pipeline.images.augment import Augmented
from pipeline.images.batches import BatchSource
from pipeline.models import LeNet5

BATCH_SIZE = 64
HISTOLOGY = AugmentConfig(flip_axes=(0, 1), rotate90=True, contrast=0.1, brightness=0.2)


def main(data_path: Path, num_epochs: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = np.load(data_path)
    train, val, test = (torch.from_numpy(data[part]) for part in ("train", "val", "test"))
    labels = torch.from_numpy(data["labels"])
    weights = 1.0 / torch.bincount(labels)[labels].double()
    mean = train.float().mean((0, 2, 3), keepdim=True)
    std = train.float().std((0, 2, 3), keepdim=True)
    network = LeNet5(3, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loss_function = nn.CrossEntropyLoss()
    generator = torch.Generator().manual_seed(0)
    source = BatchSource(train, mean, std, torch.device("cpu"))
    started = time.perf_counter()
    for epoch in range(num_epochs):
        network.train()
        order = torch.multinomial(weights, len(labels), replacement=True, generator=generator)
        drawn = Augmented(source, HISTOLOGY, order.numpy(), epoch)
        for places in torch.split(torch.arange(len(order)), BATCH_SIZE):
            logits = network(drawn.at(places.numpy()))
            loss = loss_function(logits, labels[order[places]])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        predict(network, val, mean, std)
    predict(network, test, mean, std)
    print(f"{time.perf_counter() - started:.2f}")


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(N, 2) probabilities."""
    network.eval()
    batches = (batch.float().sub_(mean).div_(std) for batch in torch.split(images, BATCH_SIZE))
    return torch.cat([network(batch) for batch in batches]).softmax(dim=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
