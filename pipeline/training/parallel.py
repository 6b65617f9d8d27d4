"""Several workers train one fold: the only module that knows ranks and torch.distributed.

Each worker has the whole network and takes its shard of every batch. Before a step the gradients
are summed over the workers, so that all of them make the same step, that of the whole batch.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PATIENCE = timedelta(hours=2)
"""Between two meetings of the workers: the last resort. One that ends is noticed at once."""
STATISTICS = ("running_mean", "running_var")
LONG = timedelta(days=365)

T = TypeVar("T")


class WorkerGoneError(RuntimeError):
    """The other workers of the fold cannot be reached: one has ended, and says why itself."""


@dataclass(frozen=True)
class Worker:
    """One process and its device, of those that train a fold together.

    What has to be done by all of them does nothing where there is one.
    """

    device: str = "cpu"
    rank: int = 0
    num_workers: int = 1
    meeting: int = -1
    """File descriptor, inherited by all, of the memory in which they find each other."""

    def __str__(self) -> str:
        return f"worker {self.rank + 1} of {self.num_workers} ({self.device})"

    @property
    def is_main(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        return self.num_workers == 1

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Meet the other workers, which do so too, for what is done in the block.

        All are on one machine, and listen on its loopback only, unless the environment says else.
        """
        if self.is_alone:
            yield
            return
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, "lo")
        backend = "gloo" if self.device == "cpu" else "cpu:gloo,cuda:nccl"
        with _meeting():
            dist.init_process_group(
                backend,
                store=self._store(),
                rank=self.rank,
                world_size=self.num_workers,
                timeout=PATIENCE,
            )
        yield
        dist.destroy_process_group()  # never after an error: it could wait for the others

    def own_seed(self, seed: int) -> int:
        """Of draws that are not made per image (dropout): another one for each worker."""
        return seed + self.rank

    def shard(self, batch: Tensor, least: int) -> Tensor:
        """Its own of the places (B,) of a batch, every n-th; no worker gets fewer than `least`, but
        none.

        With fewer rows than `least` for each, fewer workers share them: batch norm needs two.
        """
        num_sharing = max(1, min(self.num_workers, len(batch) // least))
        return batch[self.rank :: num_sharing] if self.rank < num_sharing else batch[:0]

    def own(self, batches: Sequence[T]) -> Sequence[T]:
        """Its own of batches that are not shared: every n-th."""
        return batches[self.rank :: self.num_workers]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients over all workers; one that has none, for want of images, adds 0.

        All of them at once, after the backward pass: one message of known size, whatever ran or
        did not run on a worker. Hooks that send layer by layer meanwhile would wait for ever for
        a worker without images.
        """
        if self.is_alone:
            return
        trained = [p for p in parameters if p.requires_grad]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self._at_once([p.grad for p in trained if p.grad is not None], dist.all_reduce)

    def total(self, *values: Tensor) -> list[Tensor]:
        """The sum over the workers of each number."""
        if self.is_alone:
            return list(values)
        numbers = torch.stack([value.detach().to(torch.float64) for value in values])
        with _meeting():
            dist.all_reduce(numbers)
        return list(numbers)

    def gathered(self, found: Sequence[Tensor], batches: Sequence[Tensor]) -> Tensor:
        """(N, C) what was found for all rows, in their order; from several workers on the CPU.

        `found` are those of its own of the `batches`, whose lengths add up to N.

        Raises:
            RuntimeError: unless each row was predicted exactly once.
        """
        if self.is_alone:
            return torch.cat(list(found))
        num_rows = sum(map(len, batches))
        places = torch.split(torch.arange(num_rows), [len(batch) for batch in batches])
        own = [
            (place[: len(values)].numpy(), values.cpu().numpy())
            for place, values in zip(self.own(places), found, strict=False)
        ]
        parts = [own] * self.num_workers
        with _meeting():
            dist.all_gather_object(parts, own)
        nowhere = np.empty(0, np.int64)
        everywhere = np.concatenate([nowhere, *(place for part in parts for place, _ in part)])
        times = np.bincount(everywhere, minlength=num_rows)
        if len(wrong := np.flatnonzero(times != 1)):
            raise RuntimeError(
                f"{len(wrong)} of {num_rows} samples were not predicted exactly once by the "
                f"{self.num_workers} workers, e.g. number {wrong[0]}."
            )
        values = np.concatenate([values for part in parts for _, values in part])
        return torch.from_numpy(values[np.argsort(everywhere)])

    def agreed(self, value: T) -> T:
        """What the main worker has: whatever decides must be the same for all."""
        if self.is_alone:
            return value
        objects = [value]
        with _meeting():
            dist.broadcast_object_list(objects, src=0, device=torch.device("cpu"))
        return objects[0]

    def share_weights(self, *networks: nn.Module) -> None:
        """Give all workers the main worker's weights and buffers."""
        tensors = [values for network in networks for values in network.state_dict().values()]
        self._at_once(tensors, lambda flat: dist.broadcast(flat, src=0))

    def share_buffers(self, network: nn.Module, *copies: nn.Module) -> None:
        """Give all workers the same buffers, which have followed each worker's own images.

        Running means and variances of batch norms that train become their mean over the workers;
        all others are those of the main worker. `copies` of the network get the same.
        """
        if self.is_alone:
            return
        means = [
            getattr(module, name)
            for module in network.modules()
            if isinstance(module, _BatchNorm) and module.training
            for name in STATISTICS
            if getattr(module, name) is not None
        ]
        others = [b for b in network.buffers() if not any(b is mean for mean in means)]
        self._at_once(means, self._mean)
        self._at_once(others, lambda flat: dist.broadcast(flat, src=0))
        for copy in copies:
            for buffer, shared in zip(copy.buffers(), network.buffers(), strict=True):
                buffer.copy_(shared)

    @contextmanager
    def main_first(self, name: str) -> Iterator[None]:
        """The main worker first, however long it takes; the others find what it has made."""
        if not self.is_main:
            self._store().wait([name], LONG)
        yield
        if self.is_main and not self.is_alone:
            self._store().set(name, "made")

    def _store(self) -> "dist.Store":  # type: ignore[name-defined]
        return dist.FileStore(f"/proc/self/fd/{self.meeting}")  # type: ignore[attr-defined]

    def _mean(self, flat: Tensor) -> None:
        dist.all_reduce(flat)
        flat.div_(self.num_workers)

    @torch.no_grad()
    def _at_once(self, tensors: Sequence[Tensor], collective: Callable[[Tensor], object]) -> None:
        """Change tensors in place by a collective, those of one type in a single message."""
        if self.is_alone:
            return
        for dtype in dict.fromkeys(values.dtype for values in tensors):
            alike = [values for values in tensors if values.dtype == dtype]
            flat = torch.cat([values.reshape(-1) for values in alike])
            with _meeting():
                collective(flat)
            parts = torch.split(flat, [values.numel() for values in alike])
            for values, part in zip(alike, parts, strict=True):
                values.copy_(part.view_as(values))


ALONE = Worker()


def workers_of(slot: str) -> list[Worker]:
    """The workers of a fold, one for each device of its slot, "cuda:0,cuda:1"; the main one first.

    The processes that they run in must be forked from the one that calls this.
    """
    devices = slot.split(",")
    if len(devices) == 1:
        return [Worker(slot)]
    meeting = os.memfd_create("patientfold-workers")
    return [Worker(device, i, len(devices), meeting) for i, device in enumerate(devices)]


@contextmanager
def _meeting() -> Iterator[None]:
    """What fails in the block fails because another worker has ended."""
    try:
        yield
    except RuntimeError as error:
        line = str(error).partition("\n")[0]
        raise WorkerGoneError(f"another worker of the fold cannot be reached: {line}") from error
