"""A trunk that is frozen as a whole runs once per image; only the head trains, on what it gave."""

import hashlib
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.config import AugmentConfig, fingerprint
from pipeline.config.plugins import plugin_hashes
from pipeline.images.batches import BatchSource
from pipeline.images.features import keep_features
from pipeline.images.packed import Normalisation
from pipeline.models import head_of
from pipeline.training.evaluated import EVAL_BATCH
from pipeline.training.job import FoldJob
from pipeline.training.layout import in_layout
from pipeline.training.learner import Learner, build_learner

VERSION = 1
"""Of what is kept; counted up when it is computed otherwise."""
NEARLY = 1e-2
"""Of the largest value; what draws at random or looks at its batch differs by more."""
ELSEWHERE = ("cache_dir", "most_voxels", "num_processes")
"""Settings of images that change no pixel."""


def with_head(
    learner: Learner, job: FoldJob, source: BatchSource, normalisation: Normalisation
) -> tuple[Learner, BatchSource]:
    """What trains on what: the head on kept features, or the network on the images.

    Features are those of train and val. The test part is seen by the whole network, in the end.
    """
    name, _ = _split(learner, job)
    if not name:
        return learner, source
    network = learner.network.eval()  # or what normalises would follow the images
    with learner.autocast():
        tried = _features(network, name, _noise(learner, job))
    assert tried is not None, "the head was tried out"
    rows = np.sort(np.concatenate([job.rows("train"), job.rows("val")]))

    def fill(array: NDArray[np.float32]) -> None:
        array[:] = np.nan  # of the test part: nobody could use them unnoticed
        for batch in torch.split(torch.from_numpy(rows), EVAL_BATCH[source.device.type]):
            with learner.autocast():
                found = _features(network, name, in_layout(source.gather(batch), learner.layout))
            assert found is not None, "the head was tried out"
            array[batch.numpy()] = found.cpu().numpy()

    key = _key(learner, job, name, normalisation, rows.tolist())
    array = keep_features(job.images, key, (len(job.manifest), *tried.shape[1:]), fill)
    headed = replace(learner, head=name, layout=torch.contiguous_format)
    return headed, BatchSource.of(array, learner.device)


def told(job: FoldJob) -> tuple[str, ...]:
    """In a line, whether a frozen trunk runs once per image; nothing where none is frozen."""
    if not job.config.training.freeze:
        return ()
    _, line = _split(build_learner(job), job)
    return (line,) if line else ()


def _split(learner: Learner, job: FoldJob) -> tuple[str, str]:
    """The head that may train alone, else "", and what there is to say."""
    name = head_of(learner.network) if job.config.training.freeze else ""
    if not name:
        return "", ""
    begin = f"training.freeze leaves only {name} to train"
    if job.config.augment != AugmentConfig():
        return "", (
            f"{begin}, but augment changes images at random, so that the whole network runs in "
            "every epoch; with augment=none the rest runs once per image"
        )
    if problem := _problem(learner, name, _noise(learner, job)):
        return "", f"{begin}, but {problem}: the whole network runs in every epoch"
    return name, f"{begin}: the rest runs once per image and fold"


def _problem(learner: Learner, name: str, images: Tensor) -> str:
    """Why the head cannot train alone, or ""; it is tried out on a copy of the network."""
    network = deepcopy(learner.network)
    trial = replace(learner, network=network, frozen=_same(learner, network))
    with learner.autocast():
        network.eval()
        features = _features(network, name, images)
        if features is None:
            return "its output is not that of the network"
        halves = [_features(network, name, half) for half in torch.split(images, 2)]
        trial.train()
        again = [_features(network, name, images) for _ in range(2)]
    if not all(map(_agree, torch.split(features, 2), halves)):
        return "what the rest makes of an image depends on the others of its batch"
    if not all(_agree(features, other) for other in again):
        return "the rest is another in training than in evaluation (dropout?)"
    return ""


def _same(learner: Learner, copy: nn.Module) -> tuple[nn.Module, ...]:
    """The frozen parts, in a copy of the network."""
    names = [name for name, module in learner.network.named_modules() if module in learner.frozen]
    return tuple(copy.get_submodule(name) for name in names)


@torch.inference_mode()
def _features(network: nn.Module, name: str, images: Tensor) -> Tensor | None:
    """(B, ...) what goes into the head; None unless it comes once, and its output goes out."""
    given: list[tuple[object, ...]] = []
    made: list[object] = []
    head = network.get_submodule(name)
    hooks = [
        head.register_forward_pre_hook(
            lambda _, args: given.append(
                tuple(a.float().clone() if isinstance(a, Tensor) else a for a in args)
            )
        ),
        head.register_forward_hook(lambda _, _args, output: made.append(output)),
    ]
    try:
        output = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if len(given) != 1 or len(given[0]) != 1 or made[0] is not output:
        return None
    (features,) = given[0]
    return features if isinstance(features, Tensor) and len(features) == len(images) else None


def _agree(one: Tensor, other: Tensor | None) -> bool:
    return other is not None and bool((one - other).abs().max() <= NEARLY * one.abs().max())


def _noise(learner: Learner, job: FoldJob) -> Tensor:
    """Four images to try out with, the same each time."""
    shape = (4, job.images.num_channels, *job.seen_shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(learner.device)


def _key(
    learner: Learner, job: FoldJob, name: str, normalisation: Normalisation, rows: list[int]
) -> str:
    """What features depend on: pixels, normalisation, the trunk and how it computes."""
    config = job.config
    images = {k: v for k, v in asdict(config.images).items() if k not in ELSEWHERE}
    facts = [job.images.key, images, asdict(normalisation), rows]
    how = [torch.__version__, learner.device.type, str(learner.precision)]
    code = [config.model, plugin_hashes([config.model]), name]
    return fingerprint([VERSION, *facts, *how, *code, list(_hashes(learner.network, name))])


def _hashes(network: nn.Module, head: str) -> Iterator[tuple[str, str]]:
    """Of each weight and buffer of the trunk."""
    for name, values in network.state_dict().items():
        if not name.startswith(f"{head}."):
            data = values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
            yield name, hashlib.sha256(data.tobytes()).hexdigest()
