"""Each rule of `configure`: on a set that it is for, it and no other one chooses its setting."""

import math
from pathlib import Path
from typing import Any

import pytest
from fingerprints import VOLUMES, fingerprint

from pipeline.commands.door import load_config
from pipeline.configure.machine import GIB
from pipeline.configure.rules import RULES, decide, table
from pipeline.configure.rules.training import BYTES_PER_PIXEL
from pipeline.configure.thumbnails import Likeness

DOCS = Path(__file__).parents[2] / "docs" / "configure.md"
NO_PLACE = Likeness(shared=0.01, mirrored=(0.0, 0.1))
PATCHES = {"num_channels": 3, "is_colour": True, "likeness": NO_PLACE}
PHOTOGRAPHS = {"num_channels": 3, "is_colour": True}
CT = {**VOLUMES, "lowest": -1024.0, "highest": 2000.0}
CT_SLICES = {"bit_depth": 12, "modality": "CT"}
MANY_VOLUMES = {**VOLUMES, "num_images": 600}
GPU = {"gpus": ("a GPU",), "free_gpu": 40 * GIB}
MULTILABEL = {"is_multilabel": True, "classes": ("a", "b", "c"), "images_per_class": (90, 80, 70)}
MULTILABEL |= {"independent_per_class": (40, 40, 40)}
RARE = {"images_per_class": (390, 10)}
MIXED = {"num_mixed": 20}
LITTLE_MEMORY = {"free_ram": 2**24}

EXAMPLES: dict[str, tuple[dict[str, Any], Any]] = {
    "fewer_folds": ({"independent_per_class": (50, 4)}, 4),
    "five_folds": ({}, 5),
    "several_labels": (MULTILABEL, "binary_cross_entropy"),
    "adjusted": (RARE, "logit_adjusted"),
    "not_twice": (RARE, "none"),
    "by_patient": ({"num_effective": 49.0}, "class_patient"),
    "by_class": ({"images_per_class": (300, 100)}, "class"),
    "as_they_come": ({}, "none"),
    "no_patient_label": ({"num_mixed": 50}, "none"),
    "worst_label": (MIXED, "worst"),
    "commonest_label": ({**MIXED, "classes": ("a", "b", "c")}, "majority"),
    "same_label": ({}, "same"),
    "highest": ({**MIXED, "positive_share": 0.2}, "top3"),
    "mean": ({**MIXED, "positive_share": 0.2, "count_auroc": 0.7}, "mean"),
    "by_loss": ({"independent_per_class": (50, 14)}, "val/loss"),
    "by_patient_auroc": ({"independent_per_class": (100, 100)}, "val/patient/auroc"),
    "by_image_auroc": ({}, "val/image/auroc"),
    "ct": (CT, "ct_soft"),
    "mr": (VOLUMES, "mr"),
    "ultrasound": ({"modality": "US"}, "ultrasound"),
    "radiograph": ({"bit_depth": 16}, "radiograph"),
    "histology": (PATCHES, "histology"),
    "dermoscopy": (PHOTOGRAPHS, "dermoscopy"),
    "grey": ({}, "grey64"),
    "slices": ({"modality": "MR"}, 2),
    "one_channel": ({"num_channels": 3, "has_unlike_files": True}, 1),
    "channels": ({"num_channels": 4}, 4),
    "resampled": (
        {**VOLUMES, "spacing": (1.0, 1.0, 2.0), "spacing_varies": True},
        [1.0, 1.0, 2.0],
    ),
    "as_stored": (VOLUMES, None),
    "one_extent": (
        VOLUMES,
        [{"_target_": "monai.transforms.ResizeWithPadOrCrop", "spatial_size": [48, 64, 48]}],
    ),
    "no_transforms": ({}, []),
    "size_of_few_volumes": (VOLUMES, [12, 16, 12]),
    "size_of_volumes_cpu": (MANY_VOLUMES, [24, 32, 24]),
    "size_of_volumes_gpu": ({**VOLUMES, **GPU}, [44, 60, 48]),
    "size_of_pictures_cpu": ({"median_shape": (224, 224)}, [64, 64]),
    "size_of_pictures_gpu": ({"median_shape": (1024, 1024), **GPU}, [224, 224]),
    "fit": (VOLUMES, "stretch"),
    "half": (VOLUMES, "float16"),
    "as_files": ({}, "auto"),
    "turned_volumes": (VOLUMES, "volume"),
    "turned_patches": (PATCHES, "histology"),
    "turned_pictures": ({}, "light"),
    "flips": ({"likeness": Likeness(shared=0.5, mirrored=(0.995, 0.98))}, [0]),
    "turned_less": (VOLUMES, 5),
    "shifted_less": (VOLUMES, 0.02),
    "features": (PATCHES, "intensity"),
    "small": (VOLUMES, "cnn_small"),
    "larger": ({"num_images": 6000, "median_shape": (224, 224), **GPU}, "resnet18"),
    "usual": ({}, "resnet10"),
    "batch_that_fits": (LITTLE_MEMORY, 1),
    "batch": ({}, 16),
    "accumulated": (LITTLE_MEMORY, 16),
    "epochs_of_few": (VOLUMES, 30),
    "epochs_of_tiny": ({"num_images": 60}, 30),
    "epochs": ({"num_images": 10_000}, 16),
    "rate_of_few": (VOLUMES, 1e-3),
    "rate": ({}, 1.5e-3),
    "weight_decay": ({}, 0.05),
    "schedule": ({}, "one_cycle"),
    "no_average": ({"num_images": 435}, 0),
    "average": ({"num_images": 10_000}, 0.99),
    "decay": ({}, "weights"),
}
"""Rule -> a set that it is for, and what it chooses of it."""
NEIGHBOURS: list[tuple[dict[str, Any], str, Any]] = [
    ({"independent_per_class": (50, 5)}, "split.num_folds", 5),
    ({"images_per_class": (379, 21)}, "sampler", "class"),
    ({"num_effective": 50.0}, "sampler", "none"),
    ({"images_per_class": (240, 160)}, "sampler", "none"),
    ({"num_mixed": 49}, "evaluation.patient_label", "worst"),
    ({**MIXED, "positive_share": 0.34}, "evaluation.aggregate", "mean"),
    ({"independent_per_class": (50, 15)}, "training.select_by", "val/image/auroc"),
    ({"independent_per_class": (99, 99)}, "training.select_by", "val/image/auroc"),
    ({**CT, "lowest": -100.0}, "images", "mr"),
    ({**CT, "bit_depth": 8}, "images", "mr"),
    ({**CT_SLICES, "lowest": -1024.0, "highest": 2000.0}, "images", "ct_soft"),
    ({**CT_SLICES, "lowest": -1.0, "highest": 2000.0}, "images", "ct_soft"),
    ({**CT_SLICES, "lowest": 0.0, "highest": 4095.0}, "images", "radiograph"),  # rescale was lost
    ({**CT_SLICES, "lowest": -1.0, "highest": 1.0}, "images", "radiograph"),  # normalised
    ({**CT_SLICES, "bit_depth": 8, "lowest": -1.0}, "images", "grey64"),  # a secondary capture
    ({**PHOTOGRAPHS, "modality": "CT"}, "images", "dermoscopy"),
    ({**VOLUMES, "modality": "CT"}, "images", "mr"),
    ({"modality": "DX"}, "images", "radiograph"),
    ({"num_channels": 3}, "images", "grey64"),  # grey, stored as colour
    ({**VOLUMES, "num_channels": 3, "has_colour_model": False}, "images.num_channels", 3),
    ({"num_channels": 3, "has_colour_model": False}, "images.num_channels", 3),
    ({"median_shape": (50, 50), **PATCHES}, "images.size", [48, 48]),
    ({"median_shape": (28, 20)}, "images.size", [28, 20]),
    ({"median_shape": (512, 256)}, "images.size", [88, 40]),
    ({**VOLUMES, "likeness": Likeness(shared=0.2, mirrored=(0,) * 3)}, "model", "resnet10"),
    ({**MANY_VOLUMES, **GPU}, "model", "resnet10"),
    ({"num_images": 4999, "median_shape": (224, 224), **GPU}, "model", "resnet10"),
    ({"num_images": 6000, "median_shape": (224, 224)}, "model", "resnet10"),
    ({"num_images": 300_000}, "training.epochs", 5),
    ({"num_images": 30}, "training.epochs", 50),
    ({"likeness": NO_PLACE}, "augment", "histology"),
    ({"images_per_class": (245, 155)}, "sampler", "class"),
    ({**MANY_VOLUMES, "extent": (240.0, 240.0, 240.0)}, "images.size", [24, 24, 24]),
    (CT, "images.fit", "stretch"),
    ({"num_images": 6000, **GPU}, "model", "resnet10"),
    ({"num_images": 1000}, "training.epochs", 20),
    ({"num_images": 650}, "training.average", 0.97),  # 13 steps an epoch, 260 in all
]
"""On the other side of a limit."""


def chosen(**changes: Any) -> dict[str, Any]:
    return {decision.setting: decision.value for decision in decide(fingerprint(**changes))}


@pytest.mark.parametrize(
    "changes",
    [{"num_channels": 3}, {**VOLUMES, "num_channels": 3}, {**PATCHES, "has_colour_model": False}],
)
def test_colour_is_a_matter_of_the_preset(changes: dict[str, Any]) -> None:
    """Three grey channels become one; and the presets for colour take three, whatever a file says
    of them.
    """
    assert "images.num_channels" not in chosen(**changes)


def test_every_rule_has_an_example() -> None:
    assert list(EXAMPLES) == [rule.name for rule in RULES]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_rule_chooses_its_setting(name: str) -> None:
    changes, expected = EXAMPLES[name]
    (decision,) = [d for d in decide(fingerprint(**changes)) if d.rule.name == name]
    assert decision.value == expected
    assert decision.setting == decision.rule.setting
    assert 10 < len(decision.reason) < 100
    assert "\n" not in decision.reason


@pytest.mark.parametrize(("changes", "setting", "expected"), NEIGHBOURS)
def test_the_other_side_of_a_limit(changes: dict[str, Any], setting: str, expected: Any) -> None:
    assert chosen(**changes)[setting] == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_chosen_is_a_valid_experiment(name: str) -> None:
    """All of it together passes the door, whatever the set."""
    config = load_config(["manifest=demo", *_overrides(EXAMPLES[name][0])])
    assert config.training.epochs >= 5


def _overrides(changes: dict[str, Any]) -> list[str]:
    labels = ["manifest.task=multilabel", "manifest.classes=null"] * bool(
        changes.get("is_multilabel")
    )
    values = chosen(**changes).items()
    words = [f"{name}={value}" for name, value in values if "." not in name]
    return [*words, *labels, *(f"{k}={_text(v)}" for k, v in values if "." in k)]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_text, value)) + "]"
    return "null" if value is None else str(value)


def test_the_first_rule_that_says_something_counts() -> None:
    settings = [decision.setting for decision in decide(fingerprint())]
    assert len(settings) == len(set(settings)) > 15


def test_the_table_in_the_docs_is_that_of_the_rules() -> None:
    assert table() in DOCS.read_text(encoding="utf-8")
    assert table().count("\n") == len(RULES) + 1


@pytest.mark.parametrize("gib", [0.05, 0.2, 1.0, 64.0])
@pytest.mark.parametrize("side", [48, 224, 1024])
def test_a_batch_fits_in_the_memory_that_is_free(gib: float, side: int) -> None:
    """On two cores, each fold has half of what is free, and uses half of that."""
    free = int(gib * GIB)
    values = chosen(free_ram=free, median_shape=(side, side), num_images=5000)
    used = values["training.batch_size"] * math.prod(values["images.size"])
    fits = used * BYTES_PER_PIXEL[values["model"]] <= free / 2 / 2
    assert fits or values["training.batch_size"] == 1
    step = values["training.batch_size"] * values.get("training.accumulate", 1)
    assert step == 64


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 5.0), (3.0, 0.7, 0.7)])
@pytest.mark.parametrize("device", [{}, GPU])
def test_cells_of_volumes_are_as_equal_in_mm_as_whole_numbers_allow(
    spacing: tuple[float, ...], device: dict[str, Any]
) -> None:
    changes = {**VOLUMES, **device, "spacing": spacing, "extent": (300.0, 300.0, 150.0)}
    values = chosen(**changes, num_images=5000)
    (leaf,) = values["images.transforms"]
    size, extent = values["images.size"], leaf["spatial_size"]
    factors = [whole / side for whole, side in zip(extent, size, strict=True)]
    assert all(factor == int(factor) for factor in factors)
    for whole, mm, needed in zip(extent, spacing, changes["extent"], strict=True):
        assert whole * mm >= needed
    cells = [factor * mm for factor, mm in zip(factors, spacing, strict=True)]
    fine = [cell for cell, mm in zip(cells, spacing, strict=True) if cell > mm]
    assert max(fine) <= 1.5 * min(fine)
    assert math.prod(size) <= 1.5 * (64**3 if device else 24**3)
