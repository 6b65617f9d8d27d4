"""Weights of a file to begin with, never of a run that has seen a patient of the test part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import Tensor, nn

from pipeline.config import UserError, recorded_today
from pipeline.files import read_json, sha256
from pipeline.models.transfer import take_over
from pipeline.splits import NO_FOLD, Everybody, load_plan
from pipeline.training.job import FoldJob
from pipeline.training.planning import check_weights_file
from pipeline.training.torch_file import TorchFileError, first_line, read_torch_file
from pipeline.words import counted

WITHIN = ("network", "state_dict", "model_state_dict", "model")
"""Where files keep the weights, if not at the top; the first is ours."""
UNKNOWN = "so that nobody can tell which patients it has seen"


def begin(network: nn.Module, job: FoldJob) -> list[str]:
    """Put the weights of `init.weights` into the network; what matched, in lines.

    Raises:
        UserError: for a file that cannot be read safely, that does not match the network, or whose
            run has trained on or chosen its epoch by a patient of the fold's test part.
    """
    if job.config.init.weights is None:
        return []
    path = Path(job.config.init.weights)
    state = _read(path)
    _check_unseen(_seen(path, state, job), job)
    try:
        return [f"init.weights={path}: {line}" for line in take_over(network, _weights(state))]
    except UserError as error:
        raise UserError(f"init.weights={path}: {error}") from None


def check_start(job: FoldJob) -> None:
    """UserError when `init.weights` has seen a patient of the fold's test part."""
    if job.config.init.weights is not None:
        path = Path(job.config.init.weights)
        _check_unseen(_seen(path, _read(path), job), job)


def _check_unseen(seen: frozenset[str], job: FoldJob) -> None:
    table = job.manifest.table
    groups = set(table["group"][table["patient_id"].isin(seen)])
    tested = table["patient_id"].isin(job.fold.test) & table["group"].isin(groups)
    if leaked := sorted(set(table["patient_id"][tested])):
        raise UserError(
            f"init.weights={job.config.init.weights}: its run has trained on or chosen its epoch "
            f"by {counted(len(leaked), 'patient')} of the test part of fold {job.fold.index}, e.g. "
            f"{leaked[0]!r}; begin with the same fold of a run with the same plan, or with weights "
            "of other patients"
        )


def _seen(path: Path, state: Mapping[str, Any], job: FoldJob) -> frozenset[str]:
    """The patients whom the run of a checkpoint has seen, and the one it began with, and so on.

    Nobody for a file that is no checkpoint of ours. UserError when that cannot be told.
    """
    if "key" not in state or "fold" not in state:
        return frozenset()
    run_dir = path.absolute().parent.parent
    try:
        environment = read_json(run_dir / "environment.json")
        found: Any = OmegaConf.to_container(OmegaConf.load(run_dir / "config.yaml"))
        config = OmegaConf.create(recorded_today(found))
        plan = load_plan(run_dir / "plan.csv")
        is_final = state["fold"] == NO_FOLD  # it has trained on all folds' patients
        fold = Everybody(plan.folds) if is_final else plan.folds[state["fold"]]
        began_with = OmegaConf.select(config, "init.weights")
        has_pseudonyms = bool(OmegaConf.select(config, "privacy.pseudonyms"))
    except Exception as error:  # noqa: BLE001  (anything may be in that folder)
        raise UserError(
            f"init.weights={path}: its run folder is not around it, {UNKNOWN} "
            f"({first_line(error)}); name "
            "best.pt where its run has left it"
        ) from None
    if environment.get("key") != state["key"]:
        raise UserError(f"init.weights={path}: it belongs to another run than {run_dir}, {UNKNOWN}")
    if plan.unsafe:
        raise UserError(f"init.weights={path}: its plan deals images, not patients, {UNKNOWN}")
    ours = set(job.manifest.table["patient_id"])
    if (has_pseudonyms or job.config.privacy.pseudonyms) and not ours & plan.groups.keys():
        raise UserError(f"init.weights={path}: its patients have other pseudonyms, {UNKNOWN}")
    seen: frozenset[str] = fold.train | fold.val
    if began_with is None:
        return seen
    earlier = Path(began_with)
    before = _read(earlier)
    if environment["identity"].get("weights hash") != sha256(earlier)[:12]:
        raise UserError(f"init.weights={path}: {earlier}, its own start, has changed, {UNKNOWN}")
    return seen | _seen(earlier, before, job)


def _read(path: Path) -> dict[str, Any]:
    """What a file of torch holds, as far as that is numbers and text; no code in it is run."""
    check_weights_file(path)
    try:
        return read_torch_file(path, "cpu", former=True)
    except TorchFileError as error:
        raise UserError(f"init.weights: {path} cannot be used ({error})") from None


def _weights(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors by their names, without the prefix of a network that was trained in parallel."""
    within = (state[key] for key in WITHIN if isinstance(state.get(key), Mapping))
    values = next(within, state)
    found = {n.removeprefix("module."): v for n, v in values.items() if isinstance(v, Tensor)}
    if not found:
        raise UserError("it holds no weights")
    return found
