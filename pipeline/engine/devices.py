"""Which devices there are, and how many folds they take at once."""

import os

from pipeline.config import EngineConfig, UserError


def device_slots(config: EngineConfig, precision: str) -> list[str]:
    """One entry for each fold that can train at the same time, e.g. ["cuda:0", "cuda:1"].

    UserError when a GPU, or a precision that needs one, is asked for where there is none.
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
        return [f"cuda:{i % num_gpus}" for i in range(config.folds_at_once or num_gpus)]
    if precision == "float16":
        raise UserError("training.precision=float16 needs a GPU; use auto, float32 or bfloat16.")
    return ["cpu"] * (config.folds_at_once or len(os.sched_getaffinity(0)))
