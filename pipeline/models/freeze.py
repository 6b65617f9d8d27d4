"""Parts of a network that are not trained."""

from collections.abc import Sequence
from itertools import takewhile

from torch import nn

from pipeline.config import ConfigError
from pipeline.regex import compiled, for_each


def freeze(network: nn.Module, patterns: Sequence[str]) -> tuple[nn.Module, ...]:
    """Switch off the gradient of parameters whose names begin with a match of a pattern.

    Returns the modules that are frozen as a whole; they are to stay in evaluation mode, so that
    neither the statistics of their normalisations move nor their dropout draws.

    Raises:
        ConfigError: for a pattern that matches nothing, or when nothing is left to train.
    """
    names = [name for name, _ in network.named_parameters()]
    frozen: set[str] = set()
    problems = []
    for text in patterns:
        what = f"training.freeze: {text!r}"
        begins = for_each(compiled(text, what).match, names, what)
        matched = {name for name, found in zip(names, begins, strict=True) if found}
        if not matched:
            parts = ", ".join(name for name, _ in network.named_children())
            problems.append(f"{what} matches no parameter; the parts of the network are {parts}")
        frozen |= matched
    if patterns and len(frozen) == len(names):
        problems.append(f"training.freeze={list(patterns)} leaves no parameter to train")
    if problems:
        raise ConfigError(problems)
    for name in frozen:
        network.get_parameter(name).requires_grad_(False)
    return tuple(
        module
        for prefix, module in network.named_modules()
        if (inner := {f"{prefix}.{name}" for name, _ in module.named_parameters()})
        and inner <= frozen
    )


def head_of(network: nn.Module) -> str:
    """The name of the smallest module that holds all parameters that are trained; "" for all."""
    trained = [name.split(".")[:-1] for name, p in network.named_parameters() if p.requires_grad]
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*trained, strict=False))
    return ".".join(level[0] for level in shared)
