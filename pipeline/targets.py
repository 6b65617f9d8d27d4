"""Instantiate the leaves of a config that we do not own (`_target_`), in one place.

A leaf is checked by what it is, a subclass of `nn.Module`, `Optimizer`, ..., before anything of it
is called: a name that begins with `torch.` may run anybody's code. Only what a plugin holds, which
the config names in `plugins`, may be any class or function; what it gives is checked instead.
Importing this module imports neither torch nor monai.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from pipeline.config import PACKAGES, Config, ConfigError, Target, is_within, leaves, mappings
from pipeline.config.leaf import is_baseline, only_resizes
from pipeline.config.plugins import make_importable

NETWORK, TRANSFORM = "torch.nn.Module", "monai.transforms.Transform"
BASELINE, CLASSIFIER = "pipeline.baselines.Baseline", "sklearn.base.ClassifierMixin"
BASES = {
    "model": NETWORK,
    "loss.function": NETWORK,
    "optimizer": "torch.optim.Optimizer",
    "scheduler": "torch.optim.lr_scheduler.LRScheduler",
    "images.reader": TRANSFORM,
    "images.transforms": TRANSFORM,
    "augment.transforms": TRANSFORM,
}
"""What the leaf at a key must be; leaves among its arguments are layers or transforms."""
NOT_ALLOWED = {"LoadImage", "LoadImaged", "SaveImage", "SaveImaged", "PerceptualLoss"}
"""Classes of MONAI that import what a text names, or fetch code."""


def check_leaves(config: Config) -> None:
    """Look at every leaf of a config; imports torch, calls nothing, and imports monai only where
    a leaf names something of it that `only_resizes` does not stand in for.

    Raises:
        ConfigError: with every leaf that is not what its setting needs.
    """
    looked_at = {
        key: leaf
        for key, leaf in leaves(config).items()
        if not (key.startswith("images.transforms.") and only_resizes(leaf))
    }
    problems = [p for key, leaf in looked_at.items() for p in _problems(key, leaf)]
    if problems:
        raise ConfigError(problems)


def build(key: str, leaf: Target, facts: Mapping[str, object] | None = None, **more: object) -> Any:
    """Make the object that the leaf at config `key` describes.

    Text values "@name" are replaced by `facts["name"]`, e.g. "@num_classes": what only the data
    knows. `more` are the arguments that the config cannot hold (a network's parameters).

    Raises:
        ConfigError: for an unknown fact, a class that may not stand there, or arguments that it
            does not take.
    """
    if problems := list(_problems(key, leaf)):
        raise ConfigError(problems)
    made = _made(key, leaf, facts or {}, more)
    base, _ = _bases(key, leaf)
    if callable(made) if base == TRANSFORM else isinstance(made, _found(base)):
        return made
    needed = "something to call" if base == TRANSFORM else f"a {base}"
    got = type(made).__name__
    raise ConfigError([f"{key}: {leaf['_target_']} must give {needed}, got a {got}"])


def named_function(key: str, name: str) -> Callable[..., Any]:
    """The function of a plugin that the setting `key` names; its module is imported.

    Raises:
        ConfigError: there is none, or it is no function.
    """
    try:
        found = _found(name)
    except Exception as error:  # noqa: BLE001  (a plugin's import may fail in any way)
        text = f"{key}: {name} cannot be imported: {type(error).__name__}: {error}"
        raise ConfigError([text]) from None
    if inspect.isclass(found) or not callable(found):
        raise ConfigError([f"{key}: {name} must be a function, got {_article(found)}"])
    function: Callable[..., Any] = found
    return function


def _article(found: object) -> str:
    return "a class" if inspect.isclass(found) else f"a {type(found).__name__}"


def _bases(key: str, leaf: Target) -> tuple[str, list[str]]:
    """What the leaf at a key must be, and what the leaves among its arguments."""
    if key == "model" and is_baseline(leaf):
        return BASELINE, [CLASSIFIER]
    base = next(base for begin, base in BASES.items() if f"{key}.".startswith(f"{begin}."))
    return base, [NETWORK, TRANSFORM]


def _problems(key: str, leaf: Target) -> Iterator[str]:
    """What is wrong with the classes that a leaf and the leaves within it name."""
    for path, mapping in mappings(leaf, key):
        if "_target_" in mapping:
            name = mapping["_target_"]
            own, inner = _bases(key, leaf)
            bases = [own] if path == key else inner
            try:
                problem = _misfit(name, _found(name), bases)
            except Exception as error:  # noqa: BLE001  (a plugin's import may fail in any way)
                problem = f"{name} cannot be imported: {type(error).__name__}: {error}"
            if problem:
                yield f"{path}._target_: {problem}"


def _misfit(name: str, found: object, bases: list[str]) -> str | None:
    """Why the class or function called `name` may not stand there, or None."""
    if not is_within(name, PACKAGES):  # a plugin, or the config's door had not let it pass
        return None if callable(found) else f"{name} is no class or function"
    if inspect.isclass(found):
        if found.__name__ in NOT_ALLOWED:
            return f"{name} is not allowed: it can load code that the config names"
        if any(issubclass(found, _found(base)) for base in bases):  # most fit the first
            return None
    elif NETWORK in bases and _makes_network(found):
        return None
    kind = "class" if inspect.isclass(found) else type(found).__name__
    return f"must be a subclass of {' or '.join(bases)}, got {name}, a {kind}"


def _makes_network(found: object) -> bool:
    """Is it one of MONAI's functions such as resnet18, which give a network?"""
    if not inspect.isfunction(found) or found.__name__.startswith(("get_", "drop_", "_")):
        return False
    if not is_within(found.__module__, ["monai.networks.nets"]):
        return False
    return found in vars(import_module("monai.networks.nets")).values()


def _found(name: str) -> Any:
    """The class or function of a dotted name; imports the module that holds it, calls nothing.

    Raises:
        ImportError, AttributeError: when there is none.
    """
    if name.split(".")[0] in sys.stdlib_module_names:
        raise ImportError("Python's own modules are not allowed")
    make_importable()
    if is_within(name, ["monai"]):
        import_module("pipeline.lean_monai")
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        try:
            found: Any = import_module(module)
        except ModuleNotFoundError as error:
            if length == 1 or not f"{module}.".startswith(f"{error.name}."):
                raise  # the module is there, and lacks one that it imports
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ImportError("a name needs a module and a class")


def _made(key: str, value: Any, facts: Mapping[str, object], more: Mapping[str, object]) -> Any:
    """`value` with the facts in place and every leaf in it made, the innermost first."""
    if isinstance(value, list | tuple):
        return [_made(f"{key}.{i}", inner, facts, {}) for i, inner in enumerate(value)]
    if isinstance(value, str) and value.startswith("@"):
        if value[1:] not in facts:
            known = ", ".join(f"@{name}" for name in facts) or "none here"
            raise ConfigError([f"{key}: unknown fact {value!r}; known are {known}"])
        return facts[value[1:]]
    if not isinstance(value, Mapping):
        return value
    made = {name: _made(f"{key}.{name}", inner, facts, {}) for name, inner in value.items()}
    if "_target_" not in made:
        return made
    name, arguments = made.pop("_target_"), made.pop("_args_", [])
    target = _found(name)
    try:
        return target(*arguments, **{**made, **more})
    except Exception as error:  # noqa: BLE001  (a class may refuse its arguments in any way)
        taken = _taken(target) if isinstance(error, TypeError) else ""
        raise ConfigError([f"{key}: {name}: {' '.join(str(error).split())}{taken}"]) from None


def _taken(target: Any) -> str:
    """The arguments of the class that refused them."""
    try:
        return f"; it takes {', '.join(inspect.signature(target).parameters)}"
    except (ValueError, TypeError):
        return ""  # a built-in class does not say
