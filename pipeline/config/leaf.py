"""Leaves: parts of a config that name a class (`_target_`) of torch, MONAI or a plugin.

Here is what can be seen without importing torch; `pipeline.targets` looks at the class itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PACKAGES = ("torch", "monai", "sklearn", "pipeline.models", "pipeline.losses", "pipeline.baselines")
RESIZE = "monai.transforms.Resize"
OWN = re.compile(r"_\w+_")
"""Keys that mean something to Hydra: `_target_`, `_partial_`, ..."""


def mappings(value: object, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping within `value` with its key, however deep in lists and mappings."""
    if isinstance(value, Mapping):
        yield key, value
        for name, inner in value.items():
            yield from mappings(inner, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from mappings(inner, f"{key}.{position}")


def is_within(target: str, packages: Sequence[str]) -> bool:
    """Does a dotted name belong to one of the packages?"""
    return target.startswith(tuple(f"{package}." for package in packages))


def is_baseline(leaf: Mapping[str, Any]) -> bool:
    """Is the model a classifier of scikit-learn, which needs neither torch nor monai?"""
    return is_within(str(leaf.get("_target_")), ["pipeline.baselines"])


def only_resizes(leaf: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The size that MONAI's Resize gives, where the leaf is that and leaves all else at its
    default: one call of torch does the same without MONAI, which takes seconds to import.
    """
    if leaf.keys() != {"_target_", "spatial_size"} or leaf["_target_"] != RESIZE:
        return None
    size = leaf["spatial_size"]
    if not isinstance(size, list | tuple):
        return None
    return tuple(size) if all(type(side) is int and side > 0 for side in size) else None


def leaf_problems(leaf: Mapping[str, Any], key: str, plugins: Sequence[str]) -> Iterator[str]:
    """What is wrong with the names in a leaf and in the leaves among its arguments."""
    if "_target_" not in leaf:
        yield f"{key}: `_target_` is missing; it names the class, e.g. torch.optim.AdamW"
    allowed = (*PACKAGES, *plugins)
    for path, mapping in mappings(leaf, key):
        for name in mapping:
            if OWN.fullmatch(str(name)) and name not in ("_target_", "_args_"):
                yield f"{path}.{name}: only _target_ and _args_ are allowed here"
        target = mapping.get("_target_", f"{PACKAGES[0]}.")
        if not isinstance(target, str) or not is_within(target, allowed):
            begins = ", ".join(f"{package}." for package in allowed)
            yield f"{path}._target_: must begin with one of {begins}, got {target!r}"
        elif re.search(r"\._", target) and not is_within(target, plugins):
            yield f"{path}._target_: names with a leading _ are private, got {target!r}"


def metric_problems(
    metrics: Mapping[str, str], lower_is_better: Sequence[str], plugins: Sequence[str]
) -> Iterator[str]:
    """What is wrong with the names of a user's own metrics, and with those of their functions."""
    for name, target in metrics.items():
        if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
            yield f"evaluation.metrics: a name has letters, digits and _ only, got {name!r}"
        if not is_within(target, plugins):
            yield (
                f"evaluation.metrics.{name}: must be a function of a package that plugins names "
                f"({', '.join(plugins) or 'which names none'}): its code runs; got {target!r}"
            )
    for name in lower_is_better:
        if name not in metrics:
            yield (
                f"evaluation.lower_is_better: {name!r} is none of evaluation.metrics "
                f"({', '.join(metrics) or 'which names none'})"
            )
