"""How a process computes: its threads, its device and torch's modes, set once, before a fold."""

import ctypes
import os
from contextlib import suppress

import torch

from pipeline.config import EngineConfig, TrainingConfig

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
ALL = 2**31 - 1


def prepare(config: TrainingConfig, device: str, num_threads: int) -> None:
    """Set this process up to train a fold on a device; before anything touches a GPU."""
    torch.set_num_threads(num_threads)
    _keep_memory()
    torch.use_deterministic_algorithms(config.deterministic)
    if config.deterministic:  # a run would fill memory that nobody reads
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = config.cudnn_benchmark and not config.deterministic
        torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = config.tf32


def folds_on_a_gpu(config: EngineConfig) -> int:
    """How many processes share a GPU, and its memory."""
    num_gpus = max(1, torch.cuda.device_count())
    return max(1, -(-config.folds_at_once * config.devices_per_fold // num_gpus))


def _keep_memory() -> None:
    """Let the C library keep what is freed: each step asks for the same again.

    It gives large pieces back at once, and the kernel fills each with zeros when it is lent again.
    """
    with suppress(AttributeError, OSError):  # only glibc has it
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, ALL)
