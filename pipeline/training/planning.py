"""From settings to a plan that can be trained on."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config, SplitConfig, UserError
from pipeline.manifest import (
    Manifest,
    ManifestError,
    contradictory_labels,
    join_groups,
    middle_findings,
)
from pipeline.splits import Part, Plan, check_classes, load_plan, plan_folds
from pipeline.tracking.removed import gone, is_removed
from pipeline.training.imbalance import check_imbalance


@dataclass(frozen=True)
class Planned:
    """A proved plan, and the manifest without the images that it purged."""

    manifest: Manifest
    plan: Plan
    warnings: tuple[str, ...]
    """Settings that a frozen plan overrides, and metrics that some part cannot have."""
    imbalance: tuple[str, ...] = ()
    """How much the images and classes of a train part count, in words."""


def rehearse(config: Config, manifest: Manifest) -> None:
    """Could any plan work? Asked before images are decoded; what it plans is not kept.

    Links that only a frozen plan knows of are taken for granted here: they may come from pixels.
    """
    if config.init.weights is not None:
        check_weights_file(Path(config.init.weights))
    if config.split.file and config.audit.content:
        manifest = with_links_of(load_plan(Path(config.split.file)), manifest)
    make_plan(config, manifest)


def check_weights_file(path: Path) -> None:
    """UserError when `init.weights` names no file that can be opened; what it holds is open."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise UserError(f"init.weights: {path} is not a file")
        path.open("rb").close()
    except OSError as error:
        why = gone(path) if is_removed(path) else f"{path} cannot be read: {error.strerror}"
        raise UserError(f"init.weights: {why}") from None


def make_plan(config: Config, manifest: Manifest) -> Planned:
    """Deal the patients anew, or load the frozen plan in `split.file`, if that is trainable."""
    return trainable(config, manifest, deal(config, manifest))


def deal(config: Config, manifest: Manifest) -> Plan:
    """A proved plan of these patients; nothing is said yet of what can be trained on it."""
    manifest = manifest.with_purged([])
    if config.split.file:
        return load_plan(Path(config.split.file), manifest)
    return plan_folds(manifest, config.split, config.audit.words or {})


def trainable(config: Config, manifest: Manifest, plan: Plan) -> Planned:
    """The plan with what is to be said about it.

    UserError when a train part misses a class, or a validation part one that `select_by` needs,
    when labels contradict each other, when a study or slide of `evaluation.middle` is blank or of
    two patients, or when the classes are balanced twice.
    """
    planned, problems = judge(config, manifest, plan)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise UserError("\n".join(map(str, problems)))
    return planned


def judge(config: Config, manifest: Manifest, plan: Plan) -> tuple[Planned, list[UserError]]:
    """The plan with what is to be said about it, and everything that forbids to train on it."""
    rows = manifest.table["image_path"].isin(plan.purged_images)
    manifest = manifest.with_purged(rows.index[rows].tolist())
    problems: list[UserError] = []
    missing: list[str] = []
    told: list[str] = []
    evaluation = config.evaluation
    findings = contradictory_labels(manifest) if evaluation.patient_label == "same" else []
    if evaluation.middle is not None:
        findings += middle_findings(manifest, evaluation.middle)
    if errors := [finding for finding in findings if finding.severity == "error"]:
        problems.append(ManifestError(manifest.path, errors))
    doubts = [str(finding) for finding in findings if finding.severity == "warning"]
    # The loss is the only selection that needs no class in the validation part.
    by_loss = config.training.select_by == "val/loss"
    needed: tuple[Part, ...] = ("train",) if by_loss else ("train", "val")
    try:
        missing = check_classes(plan, manifest, needed)
        found = check_imbalance(config, manifest, manifest.of(plan.folds[0].train))
        told = found.describe(config, manifest.classes)
    except UserError as error:
        problems.append(error)
    warnings = (*_ignored(config.split, plan), *missing, *doubts)
    return Planned(manifest, plan, warnings, tuple(told)), problems


def with_links_of(plan: Plan, manifest: Manifest) -> Manifest:
    """The manifest with its groups joined where `plan` knows of a link."""
    ids = manifest.table["patient_id"]
    planned = ids.map(lambda patient: plan.groups.get(patient, patient))
    first = planned.map({group: row for row, group in reversed(list(planned.items()))})
    links = list(zip(first.tolist(), range(len(first)), strict=True))
    return join_groups(manifest, links, "the plan")


def _ignored(split: SplitConfig, plan: Plan) -> list[str]:
    """The settings that the frozen plan in `split.file` overrides, in words."""
    if not split.file:
        return []
    locks = split.locked_fraction > 0 and not plan.locked
    asked: list[tuple[bool, str, object, object]] = [
        (True, "seed", split.seed, plan.seed),
        (plan.scheme == "kfold", "num_folds", split.num_folds, plan.num_folds // plan.repeats),
        (split.scheme != "kfold", "scheme", split.scheme, plan.scheme),
        (split.repeats > 1, "repeats", split.repeats, plan.repeats),
        (locks, "locked_fraction", split.locked_fraction, "nobody locked"),
    ]
    return [
        f"split.{name}={value} is ignored: split.file {split.file} has {found}"
        for is_asked, name, value, found in asked
        if is_asked and value != found
    ]
