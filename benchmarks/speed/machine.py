"""The machine that was measured on, in words. Imports no torch."""

import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path


def machine(num_cores: int, device: str) -> dict[str, str]:
    """What a reader needs to place the figures."""
    names = ("torch", "monai", "mlflow", "numpy")
    return {
        "date": date.today().isoformat(),
        "processor": f"{_processor()}, {num_cores} cores",
        "device": _gpu() if device == "cuda" else "CPU",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "packages": ", ".join(f"{name} {version(name)}" for name in names),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu() -> str:
    import torch

    return str(torch.cuda.get_device_name(0))
