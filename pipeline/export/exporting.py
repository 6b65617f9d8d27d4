"""A bundle, written from a finished run; whole, or not there. Imports no torch."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import __version__
from pipeline.config import Config, UserError, is_within, mappings, plugin_facts
from pipeline.engine.finished import Finished
from pipeline.ensemble.ensemble import Ensemble, Member
from pipeline.ensemble.kept import Kept
from pipeline.evaluation.decision import Decision
from pipeline.export.card import card
from pipeline.export.contents import FILE_NAME as CONTENTS
from pipeline.export.contents import OF_THIS_MACHINE, VERSION, Contents, Input, MemberContents
from pipeline.export.formats import writer
from pipeline.export.sums import FILE_NAME, INNER, check_sums
from pipeline.files import make_private, sha256
from pipeline.label_names import LabelNames
from pipeline.levels import Level
from pipeline.processes import call_in_child

if TYPE_CHECKING:
    from pipeline.training.kept_network import KeptNetwork

PARTS = ("images", "model", "augment", "loss", "training", "evaluation")
"""Sections of the settings of which a bundle has something."""
MULTICLASS = "The most probable class is called; there is no threshold."


@dataclass(frozen=True)
class Exported:
    """A bundle that was written."""

    folder: Path
    digest: str
    """SHA-256 of its list of sums, which stands for every byte of it."""
    bundle: str
    """The same of what does not depend on the day: within a model of MLflow, of its bundle."""
    card: str
    words: Sequence[str]
    """How it is used, in lines."""
    was_there: bool = False


def export(
    run: Finished,
    to: str,
    network: str,
    out: Path | None,
    plugins: Sequence[str] = (),
    keeps: bool = False,
) -> Exported:
    """Write the bundle into a new folder; `keeps`: take a model of MLflow of the same networks that
    is there, and whole.

    Raises:
        UserError: the run has no networks that may predict, the folder is there, or the network
            cannot be had in this format.
    """
    kept = Kept.of(run, network, plugins)
    _refuse_environment(kept.config, run.dir)
    folder = out or Path("exports") / kept.config.name / f"{run.key[:12]}-{network}-{to}"
    if folder.exists():
        if keeps and to == "mlflow" and _is_model_of(folder, run, network):
            text = (folder / "card.md").read_text(encoding="utf-8")
            return Exported(folder, *_digests(folder), text, (), was_there=True)
        raise UserError(
            f"{folder} is there already, and is not written over: delete it, or name another "
            "folder, out=..."
        )
    with _beside(folder) as made:
        words, text = call_in_child(write_bundle, kept, to, made)
        digests = _digests(made)
    return Exported(folder, *digests, text, words)


def _is_model_of(folder: Path, run: Finished, network: str) -> bool:
    """Whether it is a model of MLflow with these networks of the run.

    Raises:
        UserError: it is one that is not as it was made.
    """
    if not (folder / INNER / CONTENTS).is_file():
        return False
    check_sums(folder)
    check_sums(folder / INNER)
    contents = Contents.load(folder / INNER)
    return (contents.key, contents.network) == (run.key, network)


def _digests(folder: Path) -> tuple[str, str]:
    """Of the whole, and of what does not depend on the day."""
    whole, inner = folder / FILE_NAME, folder / INNER / FILE_NAME
    return sha256(whole), sha256(inner if inner.exists() else whole)


def write_bundle(kept: Kept, to: str, folder: Path) -> tuple[list[str], str]:
    """In a process with torch: how the bundle is used, and its card."""
    from pipeline.export.handover import Handover

    ensemble = Ensemble.of(kept)
    contents = contents_of(ensemble, kept.network)
    text = card(kept.run, contents.plain)
    return writer(to)(Handover(ensemble, contents, text), folder), text


def contents_of(ensemble: Ensemble, network: str) -> Contents:
    """What bundle.json says of it: nothing of a patient, and no path."""
    config, run = ensemble.config, ensemble.run
    kept = ensemble.members[0].kept
    images = {
        name: value for name, value in asdict(config.images).items() if name not in OF_THIS_MACHINE
    }
    thresholds = {level: _limits(ensemble.decision(level)) for level in ensemble.levels}
    return Contents(
        version=VERSION,
        made_by=f"patientfold {__version__}",
        key=run.key,
        plan_hash=str(run.plan[0]["plan_hash"]),
        network="final" if network == "final" else "folds",
        task=config.manifest.task,
        classes=tuple(ensemble.classes),
        images=images | {"dtype": ensemble.dtype},
        images_per_sample=len(config.manifest.columns.images),
        input=Input(shape=tuple(ensemble.shape), dtype=ensemble.dtype),  # type: ignore[arg-type]
        crop=config.augment.crop,
        model=config.model,
        output=kept.output,
        channels_last=config.training.channels_last,
        precision=str(kept.precision).removeprefix("torch."),  # type: ignore[arg-type]
        members=tuple(map(_of_member, ensemble.members)),
        thresholds=thresholds,
        decision=_in_words(thresholds, [of.fold for of in ensemble.members], ensemble.classes),
        rules=asdict(run.rules),
        plugins=_plugins(config),
    )


def _of_member(member: Member) -> MemberContents:
    kept: KeptNetwork = member.kept
    name = "final" if member.fold < 0 else f"fold_{member.fold:02d}"
    calibration = member.recalibration
    return MemberContents(
        fold=member.fold,
        weights=f"weights/{name}.safetensors",
        mean=tuple(member.mean),
        std=tuple(member.std),
        shift=tuple(kept.logit_shift.tolist()),
        calibration=None if calibration is None else calibration.record(),
        thresholds={level: _limits(of) for level, of in member.decisions.items()},
    )


def _limits(decision: Decision) -> dict[str, float]:
    return {name: threshold.value for name, threshold in decision.thresholds.items()}


def _in_words(
    thresholds: Mapping[Level, Mapping[str, float]], folds: Sequence[int], classes: Sequence[str]
) -> str:
    """How the ensemble decides."""
    if not any(thresholds.values()):
        return MULTICLASS
    each = "a label" if isinstance(classes, LabelNames) else str(classes[1])
    source = "the threshold of its fold, chosen on the validation part"
    if len(folds) > 1 or min(folds) < 0:
        source = "the median of the folds' thresholds, each chosen on a validation part"
    values = "; ".join(
        f"{level}s: {', '.join(f'{name} {value:.4g}' for name, value in of.items())}"
        for level, of in thresholds.items()
    ).replace("studys", "studies")
    return f"It calls {each} from a probability on that is {source} ({values})."


def _plugins(config: Config) -> dict[str, str]:
    """The user's own packages that prepare images or are the network."""
    leaves = [config.model, *config.images.transforms]
    leaves += [config.images.reader] if config.images.reader else []
    targets = [str(of.get("_target_")) for leaf in leaves for _, of in mappings(leaf, "")]
    used = [name for name in config.plugins if any(is_within(t, [name]) for t in targets)]
    return {name: plugin_facts(name)["sha256"] for name in used}


def _refuse_environment(config: Config, run_dir: Path) -> None:
    """What came from an environment variable is written down nowhere, and so not handed over."""
    places = [place for place in config.from_environment if place[0] in PARTS]
    found = [
        f"{'.'.join(map(str, place))} ({config.from_environment[place]})"
        for place in places
        if place[1] not in OF_THIS_MACHINE
    ]
    if found:
        raise UserError(
            f"{run_dir}: {', '.join(found)} came from the environment, and a bundle cannot take it "
            "along: train with the value itself in the settings"
        )


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder to write in, which gets its name in the end, when it is whole."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    make_private(partial)
    try:
        yield partial
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
