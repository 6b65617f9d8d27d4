"""The processes that decode: one that dies costs the image it was at, and no other."""

import os
from collections.abc import Callable
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pipeline.config import ImagesConfig
from pipeline.images.decoded_log import Chunk, DecodedLog
from pipeline.images.decoding import Decoded, Facts, decode_chunk, first_shape
from pipeline.processes import call_in_child, process_pool

CHUNK = 32
DIED = (
    "kills the process that decodes it (often for want of memory: smaller images.most_voxels or "
    "images.num_processes)"
)
Progress = Callable[[int, int], None]
"""Called with the number of images that are done, and of all."""
Rows = list[Facts | str]
"""What was noted of each image, or its fault."""


def decode_all(
    files: list[tuple[Path, ...]],
    packed_dir: Path,
    config: ImagesConfig,
    progress: Progress,
    log: DecodedLog,
    check: Callable[[Rows], None] | None = None,
) -> Rows:
    """Decode every file into its row of the folder's arrays; the facts of each, or its fault.

    What the `log` says is decoded is taken as it is; chunks without a fault are added to it. What
    `check` raises when it sees the first rows ends it early.
    """
    chunks = {start: files[start : start + CHUNK] for start in range(0, len(files), CHUNK)}
    num_processes = min(config.num_processes or os.cpu_count() or 1, len(chunks))
    done: dict[int, Rows] = {}
    num_done = 0

    def note(start: int, rows: Rows) -> None:
        nonlocal num_done
        done[start] = rows
        num_done += len(rows)
        if check is not None:
            check(rows)
        progress(num_done, len(files))

    def keep(start: int, decoded: Decoded) -> None:
        facts = [row for row in decoded.rows if not isinstance(row, str)]
        if len(facts) == len(decoded.rows):
            log.add(Chunk(start, facts, decoded.checksum))
        note(start, decoded.rows)

    for chunk in log.chunks:
        note(chunk.start, list(chunk.rows))
    while waiting := {start: chunk for start, chunk in chunks.items() if start not in done}:
        if not _decode(waiting, num_processes, packed_dir, config, keep):
            # Chunks begin in order: those that ran when a process died are the first ones left.
            for start in [start for start in chunks if start not in done][:num_processes]:
                note(start, one_by_one(start, chunks[start], packed_dir, config))
    return [row for start in chunks for row in done[start]]


def _decode(
    chunks: dict[int, list[tuple[Path, ...]]],
    num_processes: int,
    packed_dir: Path,
    config: ImagesConfig,
    note: Callable[[int, Decoded], None],
) -> bool:
    """Decode the chunks side by side, by their first row; False when a process died meanwhile."""
    running: dict[Future[Decoded], int] = {}
    try:
        with process_pool(num_processes) as pool:
            for start, chunk in chunks.items():
                running[pool.submit(decode_chunk, packed_dir, config, start, chunk)] = start
            for future in as_completed(running):
                note(running[future], future.result())
                del running[future]
    except BrokenProcessPool:
        for future, start in running.items():
            if future.done() and future.exception() is None:
                note(start, future.result())
        return False
    return True


def one_by_one(
    start: int, files: list[tuple[Path, ...]], packed_dir: Path, config: ImagesConfig
) -> Rows:
    """The same in one process, which is begun anew after an image that kills it."""
    rows: Rows = []

    def note(_: int, decoded: Decoded) -> None:  # one process: in their order
        rows.extend(decoded.rows)

    while len(rows) < len(files):
        rest = {start + i: [files[i]] for i in range(len(rows), len(files))}
        if not _decode(rest, 1, packed_dir, config, note):
            rows.append(DIED)
    return rows


def first_usable_shape(
    files: list[tuple[Path, ...]], config: ImagesConfig
) -> tuple[int, ...] | list[str]:
    """`first_shape` in a process of its own, which an image may kill."""
    try:
        return call_in_child(first_shape, files, config)
    except BrokenProcessPool:
        pass
    problems: list[str] = []
    for file in files:
        try:
            found = call_in_child(first_shape, [file], config)
        except BrokenProcessPool:
            found = [DIED]
        if isinstance(found, tuple):
            return found
        problems += found
    return problems
