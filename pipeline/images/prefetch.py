"""Batches made by a thread while the network works on those before."""

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

AHEAD = 2
"""Batches that are ready at most, beside the one that is worked on."""
LOOK_S = 0.1

T = TypeVar("T")
Ready = tuple[Any, Any, BaseException | None]  # batch, when the GPU has it, or what went wrong


def prefetched(batches: Iterable[T], device: torch.device) -> Iterator[T]:
    """The same batches in the same order, made ahead; tuples of tensors and of such tuples.

    What goes wrong in the thread is raised here. The thread ends with this iterator: close it
    where the loop may end early.
    """
    ready: queue.Queue[Ready] = queue.Queue(AHEAD)
    ended = threading.Event()
    thread = threading.Thread(target=_fill, args=(batches, device, ready, ended), daemon=True)
    thread.start()
    try:
        while True:
            batch, when, error = ready.get()
            if error is not None:
                if isinstance(error, StopIteration):
                    return
                raise error
            if when is not None:
                _hand_over(batch, when)
            yield batch
    finally:
        ended.set()
        thread.join()


def _fill(
    batches: Iterable[T], device: torch.device, ready: queue.Queue[Ready], ended: threading.Event
) -> None:
    """On a GPU in a stream of its own, beside that of the network."""
    on_gpu = device.type == "cuda"
    stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
    try:
        with torch.cuda.stream(stream) if on_gpu else nullcontext():
            for batch in batches:
                when = stream.record_event() if stream else None
                if not _put(ready, (batch, when, None), ended):
                    return
        _put(ready, (None, None, StopIteration()), ended)
    except BaseException as error:  # noqa: BLE001  (it is raised where batches are taken)
        _put(ready, (None, None, error), ended)


def _put(ready: queue.Queue[Ready], item: Ready, ended: threading.Event) -> bool:
    """Whether anybody still takes it."""
    while not ended.is_set():
        try:
            ready.put(item, timeout=LOOK_S)
        except queue.Full:
            continue
        return True
    return False


def _hand_over(batch: Any, when: Any) -> None:
    """The caller's stream waits for the batch, whose memory is not given away before it is used."""
    stream = torch.cuda.current_stream()
    stream.wait_event(when)
    for tensor in _tensors(batch):
        if tensor.is_cuda:
            tensor.record_stream(stream)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for inner in value:
            yield from _tensors(inner)
