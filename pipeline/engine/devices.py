"""Which devices there are, and how many folds they take at once."""

from pipeline.config import EngineConfig, UserError
from pipeline.processes import num_cores
from pipeline.words import counted


def device_slots(config: EngineConfig, precision: str) -> list[str]:
    """One entry for each fold that can train at the same time, e.g. ["cuda:0", "cuda:1"].

    With engine.devices_per_fold=2, each names two: ["cuda:0,cuda:1", "cuda:2,cuda:3"].

    UserError when a GPU, or a precision that needs one, is asked for where there is none, or more
    GPUs for a fold than there are.
    """
    import torch

    num_gpus = torch.cuda.device_count() if config.device != "cpu" else 0
    if config.device == "cuda" and num_gpus == 0:
        build = f"PyTorch {torch.__version__}"
        reason = f"{build} is a CPU build" if torch.version.cuda is None else f"{build} sees no GPU"
        raise UserError(
            f"engine.device=cuda: {reason} here; use engine.device=cpu (or auto), or install a "
            "CUDA build of PyTorch as the README says."
        )
    if num_gpus:
        return gpu_slots(num_gpus, config.devices_per_fold, config.folds_at_once)
    if precision == "float16":
        raise UserError("training.precision=float16 needs a GPU; use auto, float32 or bfloat16.")
    num_slots = max(1, num_cores() // config.devices_per_fold)
    return [",".join(["cpu"] * config.devices_per_fold)] * (config.folds_at_once or num_slots)


def gpu_slots(num_gpus: int, per_fold: int, at_once: int) -> list[str]:
    """The slots of so many folds at once, or of as many as have GPUs of their own (0).

    UserError when there are fewer GPUs than one fold is to have.
    """
    if per_fold > num_gpus:
        found = f"{counted(num_gpus, 'GPU')} {'is' if num_gpus == 1 else 'are'}"
        raise UserError(
            f"engine.devices_per_fold={per_fold}: {found} visible here; set {num_gpus} or less."
        )
    firsts = range(0, num_gpus - per_fold + 1, per_fold)
    groups = [",".join(f"cuda:{first + i}" for i in range(per_fold)) for first in firsts]
    return [groups[i % len(groups)] for i in range(at_once or len(groups))]


def one_device(slot: str) -> str:
    """The first device of a slot, for what has no use for several."""
    return slot.partition(",")[0]
