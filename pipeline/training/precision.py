"""In which numbers a network computes."""

import torch


def precision_on(device: torch.device, asked: str) -> torch.dtype:
    """What training.precision stands for on a device."""
    if asked != "auto":
        found: torch.dtype = getattr(torch, asked)
        return found
    if device.type != "cuda":
        return torch.float32
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float16


def precision_of_kept(device: torch.device, asked: str) -> torch.dtype:
    """What a network predicts in once it is trained: of float16, which needs a GPU, a CPU makes
    float32.
    """
    needs_gpu = asked == "float16" and device.type == "cpu"
    return torch.float32 if needs_gpu else precision_on(device, asked)
