"""Weights of another network: taken over where name and shape agree, but for the head."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from pipeline.config import UserError
from pipeline.words import counted

MOST_LISTED = 5
COUNTER = "num_batches_tracked"
"""Of a batch norm; older files have none."""


def take_over(network: nn.Module, given: Mapping[str, Tensor]) -> list[str]:
    """Put `given` weights into the network; what matched and what did not, in lines.

    Only the head, the last module with parameters, may be missing or of another shape; it keeps
    its own weights. The file may hold one module more: its own head.

    Raises:
        UserError: when more than the head does not match, or nothing does; it lists that.
    """
    own = network.state_dict()
    matched = {n: given[n] for n in own if n in given and given[n].shape == own[n].shape}
    fresh = [name for name in own if name not in matched and not name.endswith(COUNTER)]
    spare = [name for name in given if name not in own]
    head = next(reversed([n for n, m in network.named_modules() if list(m.parameters(False))]), "")
    lines = [f"{len(matched)} of {counted(len(own), 'tensor')} taken over"]
    if differ := [f"{n} {_shape(own[n])}, there {_shape(given[n])}" for n in fresh if n in given]:
        lines.append(f"of another shape there, not taken over: {_listed(differ)}")
    if missing := [name for name in fresh if name not in given]:
        lines.append(f"not in the file: {_listed(missing)}")
    if spare:
        lines.append(f"in the file only: {_listed(spare)}")
    beyond_head = [name for name in fresh if _module(name) != head]
    if not matched or beyond_head or len({_module(name) for name in spare}) > 1:
        raise UserError(f"more than the head ({head}) does not match: {'; '.join(lines)}")
    network.load_state_dict({**own, **matched})
    return lines


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_LISTED
    return ", ".join(names[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
