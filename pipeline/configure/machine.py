"""What this machine has to train with."""

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.processes import num_cores

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Of this moment: memory that others use is not free."""

    num_cores: int
    free_ram: int
    """Bytes."""
    gpus: tuple[str, ...] = ()
    """Their names."""
    free_gpu: int = 0
    """Bytes of the GPU that has the fewest free."""

    @property
    def free_per_fold(self) -> int:
        """Bytes for each fold: one trains on each GPU, or on each core."""
        return self.free_gpu if self.gpus else self.free_ram // self.num_cores

    def describe(self) -> str:
        """In words."""
        cores = f"{self.num_cores} CPU cores, {self.free_ram / GIB:.1f} GiB of memory free"
        if not self.gpus:
            return f"{cores}, no GPU"
        return f"{cores}, {', '.join(self.gpus)} with {self.free_gpu / GIB:.1f} GiB free"


def machine(gpus: tuple[tuple[str, int], ...]) -> Machine:
    """This machine with these GPUs, as `gpus_here` gives them."""
    return Machine(
        num_cores=num_cores(),
        free_ram=free_ram(),
        gpus=tuple(name for name, _ in gpus),
        free_gpu=min((free for _, free in gpus), default=0),
    )


def gpus_here() -> tuple[tuple[str, int], ...]:
    """Name and free bytes of each GPU; to be called in a process of its own, for it imports torch
    and touches the GPUs.
    """
    import torch

    names = range(torch.cuda.device_count())
    return tuple((torch.cuda.get_device_name(i), torch.cuda.mem_get_info(i)[0]) for i in names)


def free_ram(meminfo: Path = Path("/proc/meminfo"), limits: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that a new process may take: what the system has, or what a container allows."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024
    try:
        limit = (limits / "memory.max").read_text().strip()
        used = int((limits / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return free if limit == "max" else min(free, max(0, int(limit) - used))
