"""to=torch_export: one .pt2 file, which torch alone opens."""

from pathlib import Path

import torch

from pipeline.export.handover import Handover
from pipeline.export.sums import seal
from pipeline.export.tracing import quietly, told, traced

FILE_NAME = "model.pt2"


def write(handover: Handover, folder: Path) -> list[str]:
    """Fill the folder, and try what was written."""
    program = traced(handover)
    handover.lay(folder)
    path, images = folder / FILE_NAME, handover.probe()
    with quietly(), told(handover, "cannot be written as a .pt2 file"), torch.no_grad():
        torch.export.save(program, path)
        members, _ = torch.export.load(path).module()(torch.from_numpy(images))
    handover.check_same(images, members.numpy(), FILE_NAME)
    seal(folder)
    shape = " x ".join(map(str, handover.contents.input.shape))
    return [
        f"with torch alone: members, mean = torch.export.load('{FILE_NAME}').module()(images), "
        f"images of B x {shape}, {handover.contents.input.dtype}"
    ]
