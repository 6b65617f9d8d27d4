"""The door of the engine room: where folds run is chosen here, and no other room knows.

Each engine is a module with three functions; a new one is its file, and one line in ENGINES.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Protocol

from pipeline.config import Config
from pipeline.engine import local, ray_cluster
from pipeline.engine.devices import device_slots
from pipeline.engine.local import Poll
from pipeline.engine.run_folder import Run
from pipeline.processes import call_in_child
from pipeline.training.job import FoldJob


class Engine(Protocol):
    """Machines that train folds."""

    def slots(self, config: Config, /) -> list[str]:
        """One entry for each fold that can train at the same time: its devices, as `FoldJob` has
        them. Asked before an image is decoded.

        Raises:
            UserError: there are no such machines or devices.
        """

    def check(self, run: Run, /) -> None:
        """Asked when the run folder is there, before the first fold.

        Raises:
            UserError: a machine does not see the run folder or the cache; it names both.
        """

    def run_folds(
        self, jobs: Sequence[FoldJob], slots: Sequence[str], poll: Poll, /
    ) -> dict[int, str]:
        """Train all jobs; `poll` is called several times a second with the folds that run.

        Returns why in one line for each fold that failed, which leaves the others alone. On any
        exception, Ctrl-C too, nothing of them runs any more when it goes on.
        """


ENGINES: Mapping[str, Engine] = {"local": local, "ray": ray_cluster}


def engine_of(config: Config) -> Engine:
    return ENGINES[config.engine.kind]


def training_slots(config: Config) -> list[str]:
    """Those of its engine, one for each fold that can train at the same time."""
    return engine_of(config).slots(config)


def predicting_slots(config: Config) -> list[str]:
    """Of this machine, as it is, one for each network that can predict at the same time.

    Where several devices trained a fold, one predicts, in float32 where float16 needs a GPU.
    """
    device: Literal["auto", "cpu"] = "cpu" if config.engine.device == "cpu" else "auto"
    engine = replace(config.engine, device=device, devices_per_fold=1)
    return call_in_child(device_slots, engine, "auto")


def here(config: Config) -> Config:
    """The same on this machine: what a command does itself, beside the folds' training.

    A machine from which a cluster is used may have no GPU.
    """
    if config.engine.kind == "local":
        return config
    engine = replace(config.engine, kind="local")
    return replace(
        config, engine=engine if engine.device == "cpu" else replace(engine, device="auto")
    )


def slots_here(config: Config, slots: Sequence[str]) -> Sequence[str]:
    """Slots for what the command does itself; `slots` are those of its engine."""
    return slots if config.engine.kind == "local" else local.slots(here(config))
