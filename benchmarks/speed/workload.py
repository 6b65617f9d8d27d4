"""What is trained: images, network, epochs; one entry each. Imports no torch."""

from dataclasses import dataclass, replace
from typing import Any

Transform = tuple[str, dict[str, Any]]
"""A dictionary transform of MONAI, on the key `image`."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    name: str
    folder: str
    """In PATIENTFOLD_DATA; "": images are made."""
    num_images: int
    """About so many, of whole patients."""
    settings: tuple[str, ...]
    """Of our command, beside what all workloads share."""
    transforms: tuple[Transform, ...]
    """The same for MONAI, after reading."""
    model: str = "lenet5"
    size: tuple[int, ...] = (48, 48)
    batch_size: int = 64
    lr: float = 1e-3
    flip_axes: tuple[int, ...] = ()
    rotate_degrees: float = 10.0
    zoom: float = 0.1
    device: str = "cpu"
    precision: str = "float32"
    channels_last: bool = True
    least_auroc: float = 0.6
    """On the validation part, mean over folds, after 12 epochs; less is a broken loop."""

    def overrides(self, epochs: int) -> list[str]:
        """The settings of our command that make it do this work."""
        return [
            *self.settings,
            f"model={self.model}",
            f"images.size={_listed(self.size)}",
            "augment=none",
            f"augment.flip_axes={_listed(self.flip_axes)}",
            f"augment.rotate_degrees={self.rotate_degrees}",
            f"augment.zoom={self.zoom}",
            "sampler=class",
            "optimizer=adamw",
            f"optimizer.lr={self.lr}",
            "scheduler=cosine",
            f"training.epochs={epochs}",
            f"training.batch_size={self.batch_size}",
            f"training.precision={self.precision}",
            f"engine.device={self.device}",
        ]


def _listed(values: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, values))}]"


PICTURES = ("images=grey64", "images.transforms=[]")
COLOUR = (*PICTURES, "images.num_channels=3")

MADE = Workload(
    name="made",
    folder="",
    num_images=240,
    settings=COLOUR,
    transforms=(("Resized", {"spatial_size": (32, 32)}),),
    size=(32, 32),
    batch_size=16,
    flip_axes=(0, 1),
)
"""Made images, for a test of the benchmark itself."""

IDC = Workload(
    name="idc",
    folder="idc_patches",
    num_images=1600,
    settings=("manifest=idc", *COLOUR, "evaluation.patient_label=none"),
    transforms=(("Resized", {"spatial_size": (48, 48)}),),
    flip_axes=(0, 1),
    least_auroc=0.7,
)
KERMANY = Workload(
    name="kermany",
    folder="kermany_cxr224",
    num_images=300,
    settings=("manifest=kermany", *PICTURES, "evaluation.patient_label=majority"),
    transforms=(("Resized", {"spatial_size": (224, 224)}),),
    model="resnet10",
    size=(224, 224),
    batch_size=16,
)
HIPPOCAMPUS = Workload(
    name="hippocampus3d",
    folder="hippocampus3d",
    num_images=300,
    settings=("manifest=hippocampus3d", "images=mri48"),
    transforms=(
        (
            "ScaleIntensityRangePercentilesd",
            {"lower": 1, "upper": 99, "b_min": 0.0, "b_max": 1.0, "clip": True},
        ),
        ("ResizeWithPadOrCropd", {"spatial_size": (48, 64, 48)}),
        ("Resized", {"spatial_size": (24, 32, 24)}),
    ),
    model="cnn_small",
    size=(24, 32, 24),
    batch_size=16,
)
DENSENET = replace(
    MADE,
    name="densenet121",
    num_images=20_000,
    transforms=(("Resized", {"spatial_size": (224, 224)}),),
    model="densenet121",
    size=(224, 224),
    batch_size=128,
    device="cuda",
    precision="bfloat16",
)
RESNET = replace(DENSENET, name="resnet50", model="resnet50")

WORKLOADS = {w.name: w for w in (IDC, KERMANY, HIPPOCAMPUS, DENSENET, RESNET, MADE)}
