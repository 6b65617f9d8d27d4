"""Processes that stand by while folds train, so that what is written in the end begins at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pipeline.processes import PLOTS, call_in_child, process_pool

NUM_PROCESSES = 2


@dataclass(frozen=True)
class Standby:
    pool: ProcessPoolExecutor

    def side_by_side(self, *calls: Callable[[], Any]) -> list[Any]:
        """What each of the calls returns; what one raises is raised here."""
        try:
            return [future.result() for future in [self.pool.submit(call) for call in calls]]
        except BrokenProcessPool:  # one was killed meanwhile, often for want of memory
            return [call_in_child(call) for call in calls]


@contextmanager
def standing_by(*modules: str) -> Iterator[Standby]:
    """Processes that import these modules, and what plots need, while the block begins."""
    with process_pool(NUM_PROCESSES) as pool:
        for _ in range(NUM_PROCESSES):
            pool.submit(_import, (*PLOTS, *modules))
        yield Standby(pool)


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        with suppress(ImportError):  # whoever needs it will say so
            import_module(module)
