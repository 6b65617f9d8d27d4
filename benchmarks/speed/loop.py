"""A plain PyTorch loop over the folds of a task, in as many processes as there are cores."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from multiprocessing import get_context
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from speed.task import FoldRows, Task


class Parts(Protocol):
    """The images of a fold, normalised, on the device."""

    def train(self) -> Iterable[tuple[Tensor, Tensor]]:
        """The batches of an epoch with their labels; drawn with replacement, classes alike."""

    def val(self) -> Iterable[Tensor]: ...

    def test(self) -> Iterable[Tensor]: ...


@dataclass(frozen=True)
class FoldTimes:
    """What one fold came to; times are Unix seconds."""

    started: float
    """Before its first training step."""
    ended: float
    """After its last test prediction."""
    train_images: int
    val_images: int
    test_images: int
    steps: int
    auroc: float
    """Of the last epoch, on the validation part."""


MakeParts = Callable[[Task, FoldRows], Parts]


def run_folds(task: Task, make: MakeParts) -> None:
    """Train all folds and print what they came to, a JSON list, as the last line."""
    torch.set_num_threads(1 if task.device == "cpu" else torch.get_num_threads())
    torch.optim.SGD([torch.zeros(1)])  # the first optimizer imports what all of them need
    if task.num_processes == 1:
        found = [run_fold(task, number, make) for number in range(len(task.folds))]
    else:  # forked: torch is imported once
        with ProcessPoolExecutor(task.num_processes, get_context("fork")) as pool:
            jobs = [pool.submit(run_fold, task, i, make) for i in range(len(task.folds))]
            found = [job.result() for job in jobs]
    print(json.dumps([asdict(times) for times in found]))


def run_fold(task: Task, number: int, make: MakeParts) -> FoldTimes:
    """Train each epoch, predict val after it, predict test at the end."""
    torch.manual_seed(number)
    fold, device = task.folds[number], torch.device(task.device)
    parts = make(task, fold)
    network = _network(task).to(device)
    if task.channels_last:
        last = torch.channels_last if len(fold_shape(task)) == 2 else torch.channels_last_3d
        network.to(memory_format=last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=task.lr, weight_decay=1e-2, fused=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, task.epochs)
    counts = {"train": 0, "val": 0, "steps": 0}
    val = test = torch.empty(0)
    started = time.time()
    for _ in range(task.epochs):
        network.train()
        for images, labels in parts.train():
            with _autocast(task):
                loss = cross_entropy(network(images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            counts["train"] += len(images)
            counts["steps"] += 1
        scheduler.step()
        val = _predicted(task, network, parts.val())
        counts["val"] += len(val)
    test = _predicted(task, network, parts.test())
    ended = time.time()
    auroc = mean_auroc(val.numpy(), np.array(task.labels)[fold.val])
    return FoldTimes(
        started, ended, counts["train"], counts["val"], len(test), counts["steps"], auroc
    )


def fold_shape(task: Task) -> tuple[int, ...]:
    """The sides of an image."""
    shape: tuple[int, ...] = np.load(task.pixels, mmap_mode="r").shape[2:]
    return shape


def class_weights(task: Task, rows: list[int]) -> Tensor:
    """(N,) of the rows, so that classes are drawn equally often."""
    labels = torch.tensor(task.labels)[rows]
    return 1.0 / torch.bincount(labels)[labels].double()


def split(order: Tensor, size: int) -> Iterator[Tensor]:
    """`order` in batches; a last batch of one joins its neighbour, as in ours."""
    batches = list(torch.split(order, size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return iter(batches)


def mean_auroc(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """The area under the ROC curve of each class against the rest, their mean; ties count half."""
    found = []
    for number in range(probabilities.shape[1]):
        positive = labels == number
        num_positive, num_negative = int(positive.sum()), int((~positive).sum())
        if not num_positive or not num_negative:
            continue
        _, place, counts = np.unique(
            probabilities[:, number], return_inverse=True, return_counts=True
        )
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
        above = ranks[positive].sum() - num_positive * (num_positive + 1) / 2
        found.append(above / (num_positive * num_negative))
    return float(np.mean(found))


def _network(task: Task) -> nn.Module:
    arguments = dict(task.network)
    module, _, name = str(arguments.pop("_target_")).rpartition(".")
    made: nn.Module = getattr(import_module(module), name)(**arguments)
    return made


def _autocast(task: Task) -> torch.autocast:
    precision = getattr(torch, task.precision)
    return torch.autocast(task.device, precision, enabled=precision != torch.float32)


@torch.inference_mode()
def _predicted(task: Task, network: nn.Module, batches: Iterable[Tensor]) -> Tensor:
    """(N, C) probabilities, on the CPU."""
    network.eval()
    logits = []
    for images in batches:
        with _autocast(task):
            logits.append(network(images).float())
    return torch.cat(logits).softmax(dim=1).cpu()
