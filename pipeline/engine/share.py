"""What a fold takes of a node of a Ray cluster: processors, and GPUs or a part of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from pipeline.config import EngineConfig
from pipeline.words import counted

Node = Mapping[str, Any]
"""As Ray describes it."""


@dataclass(frozen=True)
class Share:
    """What a fold takes of a node."""

    cpus: float
    gpus: float
    devices: int = 1
    """That train it together, all on one node."""

    @classmethod
    def of(cls, config: EngineConfig, nodes: Sequence[Node]) -> "Share":
        """GPUs if the cluster has any, unless the CPU is asked for; less where folds share them.

        Folds with several GPUs each have them alone: Ray shares single ones only.
        """
        has_gpus = any(resource(node, "GPU") for node in nodes)
        on_gpu = config.device == "cuda" or (config.device == "auto" and has_gpus)
        num = config.devices_per_fold
        whole = cls(num * config.threads_per_fold, num if on_gpu else 0, num)
        room = sum(map(whole.room, nodes))
        at_once = ceil(config.folds_at_once / room) if room else 1
        if at_once <= 1 or (on_gpu and num > 1):
            return whole
        return cls(whole.cpus / at_once, whole.gpus / at_once, num)

    @property
    def device(self) -> str:
        """Of those that Ray gives to a task, which sees no others; several in a row."""
        names = [f"cuda:{i}" if self.gpus else "cpu" for i in range(self.devices)]
        return ",".join(names)

    def room(self, node: Node) -> int:
        """How many folds a node takes."""
        nearly = 1e-6  # three thirds are one
        of = [resource(node, "CPU") / self.cpus]
        of += [resource(node, "GPU") / self.gpus] if self.gpus else []
        return int(min(of) + nearly)

    def __str__(self) -> str:
        gpus = f" and {counted(ceil(self.gpus), 'GPU')}" if self.gpus else ""
        return f"{counted(ceil(self.cpus), 'CPU')}{gpus}"


def resource(node: Node, name: str) -> float:
    """How much of it the node has."""
    return float(node["Resources"].get(name, 0))
