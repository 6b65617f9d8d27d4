"""New images, decoded ahead and predicted batch by batch; memory does not grow with their number.

Processes decode a batch into a *slot*, a small cache of one batch, by the very code that fills the
cache of a run. The process of a device predicts what is in the slot, and the slot is free again.
"""

import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Floats
from pipeline.config import ImagesConfig, UserError
from pipeline.ensemble.kept import Kept
from pipeline.files import make_private
from pipeline.images.decoders import one_by_one
from pipeline.images.decoding import ARRAYS, THUMBNAIL_SIZE, Facts, decode_chunk
from pipeline.images.seal import reserve
from pipeline.images.storage import destroyed
from pipeline.processes import process_pool

PIECE = 16
"""Images that one process decodes at a time."""
SLOTS_FOR_EACH = 2
"""Batches for each device: one that is predicted, one that is decoded meanwhile; and one more."""
NOT_FINITE = "the network's output for it is nan or infinite"
KILLED = (
    "a process that predicts was killed, often for want of memory: set processes=1, or device=cpu. "
    "What is predicted is kept; the same command goes on"
)
Files = Sequence[tuple[Path, ...]]
Watch = Callable[[NDArray[np.uint8], Sequence[Facts]], Mapping[str, Sequence[str]]]
"""(B, P, 64, 64) pictures and (B,) facts of decoded images -> columns of (B,) cells about them."""


@dataclass(frozen=True)
class Place:
    """Where batches are decoded and predicted."""

    devices: Sequence[str]
    """Of the processes that predict: cuda:0, or cpu."""
    num_decoders: int
    """Processes that decode."""
    folder: Path
    """For the slots; removed in the end."""


@dataclass(frozen=True)
class Answer:
    """What came of a batch of B images."""

    members: Floats
    """(M, B', K) calibrated probabilities of each fold's network, of those B' without a fault."""
    faults: Sequence[str]
    """(B,) why an image cannot be used; "" where it can."""
    notes: Mapping[str, Sequence[str]]
    """Columns of `Watch`, (B') cells each."""


def answers(
    kept: Kept,
    shape: Sequence[int],
    batches: Sequence[Files],
    place: Place,
    watch: Watch | None = None,
) -> Generator[Answer]:
    """Of each batch, in order.

    Raises:
        UserError: a process that predicts was killed, or a network cannot be opened.
    """
    if not batches:
        return
    num_slots = SLOTS_FOR_EACH * len(place.devices) + 1
    with ExitStack() as stack:
        decoders = Decoders(place.num_decoders, stack)
        pools = [stack.enter_context(process_pool(1)) for _ in place.devices]
        slots = stack.enter_context(_slots(kept, shape, batches, place, num_slots))
        threads = stack.enter_context(ThreadPoolExecutor(num_slots))

        def answer(number: int, files: Files) -> Answer:
            slot = slots.get()
            try:
                on = number % len(pools)
                return _answer(kept, slot, files, decoders, pools[on], place.devices[on], watch)
            finally:
                slots.put(slot)

        running: deque[Future[Answer]] = deque()
        stack.callback(lambda: [future.cancel() for future in running])
        for number, files in enumerate(batches):
            if len(running) == num_slots:
                yield running.popleft().result()
            running.append(threads.submit(answer, number, files))
        while running:
            yield running.popleft().result()


class Decoders:
    """The processes that decode; one that dies costs the image it was at, and no other."""

    def __init__(self, number: int, stack: ExitStack) -> None:
        self.number = number
        self.stack = stack
        self.lock = Lock()
        self.pool: ProcessPoolExecutor = stack.enter_context(process_pool(number))

    def decode(self, slot: Path, files: Files, config: ImagesConfig) -> list[Facts | str]:
        """A batch into its slot; the facts of each image, or its fault."""
        everything, pool = list(files), self.pool
        starts = range(0, len(everything), PIECE)
        try:
            pieces = [
                pool.submit(decode_chunk, slot, config, start, everything[start : start + PIECE])
                for start in starts
            ]
            return [row for piece in pieces for row in piece.result().rows]
        except BrokenProcessPool:
            with self.lock:  # the first of those who notice makes a new one
                if self.pool is pool:
                    self.pool = self.stack.enter_context(process_pool(self.number))
            return one_by_one(0, everything, slot, config)


@contextmanager
def _slots(
    kept: Kept, shape: Sequence[int], batches: Sequence[Files], place: Place, number: int
) -> Iterator["SimpleQueue[Path]"]:
    """Folders that each hold the arrays of the largest batch; they show patients, and go."""
    shutil.rmtree(place.folder, ignore_errors=True)  # of a killed command
    size, files = max(map(len, batches)), len(batches[0][0])
    num_pictures = files * (1 if kept.config.images.spatial_dims == 2 else 3)
    arrays: dict[str, tuple[str, Sequence[int]]] = {
        ARRAYS[0]: (kept.dtype, (size, *shape)),
        ARRAYS[1]: ("uint8", (size, num_pictures, THUMBNAIL_SIZE, THUMBNAIL_SIZE)),
    }
    free: SimpleQueue[Path] = SimpleQueue()
    try:
        for i in range(min(number, len(batches))):
            slot = place.folder / str(i)
            make_private(slot)
            reserve(slot, arrays, setting="out")
            free.put(slot)
        yield free
    finally:
        shutil.rmtree(place.folder, ignore_errors=True)


def _answer(
    kept: Kept,
    slot: Path,
    files: Files,
    decoders: Decoders,
    pool: ProcessPoolExecutor,
    device: str,
    watch: Watch | None,
) -> Answer:
    """One batch, from files to probabilities."""
    config = kept.config.images
    rows = decoders.decode(slot, files, config)
    faults = [_fault(row) if isinstance(row, str) else "" for row in rows]
    facts = [row for row in rows if not isinstance(row, str)]
    good = [row for row, fault in enumerate(faults) if not fault]
    for at in destroyed(facts) if facts else []:
        faults[good[at]] = f"images.dtype={config.dtype} would round away its contrast"
    good = [row for row, fault in enumerate(faults) if not fault]
    members: Floats = np.zeros((len(kept.checkpoints), 0, len(kept.run.classes)))
    if good:
        threads = kept.config.engine.threads_per_fold
        try:
            members = pool.submit(_predicted, kept, device, threads, slot, good).result()
        except BrokenProcessPool:
            raise UserError(KILLED) from None
    is_finite = np.isfinite(members).all(axis=(0, 2))
    for row in np.array(good, dtype=np.int64)[~is_finite].tolist():
        faults[row] = NOT_FINITE
    kept_rows = [row for row in good if not faults[row]]
    notes: Mapping[str, Sequence[str]] = {}
    if watch is not None:
        pictures = np.load(slot / ARRAYS[1], mmap_mode="r")[kept_rows]
        notes = watch(pictures, [of for row in kept_rows if isinstance(of := rows[row], dict)])
    return Answer(members[:, is_finite], faults, notes)


def _fault(text: str) -> str:
    """What is wrong with an image, without advice to change settings: they are those of the run."""
    fact, _, advice = text.partition("; ")
    return f"{fact}, by the settings of the run" if "images." in advice else text


_OPENED: dict[tuple[Path, str, str], Any] = {}
"""In a process that predicts: the ensemble that it has opened."""


def _predicted(kept: Kept, device: str, threads: int, slot: Path, rows: list[int]) -> Floats:
    """(M, B, K) of these rows of a slot; in the process of a device."""
    import torch

    from pipeline.ensemble.ensemble import Ensemble
    from pipeline.training.device import prepare

    key = (kept.run.dir, kept.network, device)
    try:
        if key not in _OPENED:
            prepare(kept.config.training, device, threads)
            _OPENED[key] = Ensemble.of(kept, device)
        images = np.load(slot / ARRAYS[0], mmap_mode="r")[rows]
        found: Floats = _OPENED[key].member_probabilities(torch.from_numpy(images))
    except torch.OutOfMemoryError:
        raise UserError(
            f"{device} has no room for {len(rows)} images and the networks of the folds: use "
            "device=cpu, or a device with more memory"
        ) from None
    return found
