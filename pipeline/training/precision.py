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
