"""What is handed over, whatever its format: weights, how images are prepared, the card."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from pipeline.arrays import AnyFloats
from pipeline.config import UserError, plugin_facts
from pipeline.ensemble import Ensemble, Member
from pipeline.export.contents import Contents
from pipeline.export.graph import EnsembleGraph, Part
from pipeline.files import write_whole

TOLERANCE = 1e-4
"""Of a probability: what a graph may differ by from the networks themselves."""
PROBED = 3
CODE = "code"
"""The folder of the user's own packages."""


@dataclass(frozen=True)
class Handover:
    """A model that is to be written in some format."""

    ensemble: Ensemble
    contents: Contents
    card: str

    def lay(self, folder: Path) -> None:
        """Write what every bundle has; its sums come last, when the format has added its own."""
        for member, of in zip(self.ensemble.members, self.contents.members, strict=True):
            path = folder / of.weights
            path.parent.mkdir(exist_ok=True)
            state = member.network.state_dict()
            tensors = {name: value.clone().contiguous() for name, value in state.items()}
            save_file(tensors, path, {"format": "pt"})
        for name in self.contents.plugins:
            copy_code(name, folder / CODE)
        write_whole(folder / "card.md", self.card)
        self.contents.save(folder)

    @property
    def graph(self) -> EnsembleGraph:
        """All members as one network, which learns nothing any more."""
        contents = self.contents
        parts = [_part(member) for member in self.ensemble.members]
        graph = EnsembleGraph(parts, contents.output, contents.input.shape, contents.crop)
        return graph.requires_grad_(False).eval()

    def probe(self, number: int = PROBED) -> NDArray[Any]:
        """(number, C, ...) made-up images in the range of real ones: nothing of a patient."""
        shape, dtype = self.contents.input.shape, self.contents.input.dtype
        generator, member = np.random.default_rng(0), self.contents.members[0]
        axes = (-1, *[1] * (len(shape) - 1))
        mean, std = (np.array(values).reshape(axes) for values in (member.mean, member.std))
        drawn = mean + std * generator.normal(size=(number, *shape))
        return drawn.round().clip(0, 255).astype(dtype) if dtype == "uint8" else drawn.astype(dtype)

    def check_same(self, images: NDArray[Any], found: AnyFloats, kind: str) -> None:
        """UserError unless a graph gives for these images what the networks give, (M, B, K)."""
        wanted = self.ensemble.member_probabilities(torch.from_numpy(images))
        gap = float(np.abs(wanted - found).max())
        if not gap <= TOLERANCE:
            precision = self.contents.precision
            why = "" if precision == "float32" else f" (training.precision={precision})"
            raise UserError(
                f"{self.model}: as {kind} it gives probabilities that differ by up to {gap:.2g} "
                f"from its own{why}; more than {TOLERANCE:g} is not handed over. to=folder and "
                "to=mlflow keep the network itself"
            )

    @property
    def model(self) -> str:
        """What messages call it."""
        return f"model {self.contents.model['_target_']}"


def copy_code(name: str, folder: Path) -> Path:
    """Copy the Python files of an installed package or module, and nothing else of it."""
    first = Path(plugin_facts(name)["file"])
    folder.mkdir(exist_ok=True)
    if first.name != "__init__.py":
        return Path(shutil.copyfile(first, folder / first.name))
    for path in sorted(first.parent.rglob("*.py")):
        target = folder / name / path.relative_to(first.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return folder / name


def _part(member: Member) -> Part:
    kept = member.kept
    return Part(
        kept.network, member.mean, member.std, kept.logit_shift.tolist(), member.recalibration
    )
