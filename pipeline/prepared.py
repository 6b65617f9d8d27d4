"""What the commands do first: read the manifest, look at the images, plan, and prove the plan."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from pipeline.audit.content import Content, audit_content, audit_files
from pipeline.config import Config, SplitConfig, UserError
from pipeline.engine.progress import decoding_progress
from pipeline.images.packed import PackedImages
from pipeline.images.packing import pack_images
from pipeline.manifest import (
    Finding,
    Manifest,
    ManifestError,
    contradictory_labels,
    join_groups,
    read_manifest,
)
from pipeline.processes import start_forkserver
from pipeline.splits import Part, Plan, check_classes, load_plan, plan_folds
from pipeline.splits.describe import describe_plan
from pipeline.training.imbalance import check_imbalance


def manifest_and_plan(config: Config, console: Console) -> tuple[Manifest, Plan]:
    """Read and check everything that can be known before a pixel is decoded, and say it.

    Raises:
        UserError: with all that is wrong.
    """
    manifest, plan, warnings = plan_early(config, read_manifest(config.manifest))
    say([*describe_manifest(manifest), *describe_plan(plan, manifest, config.split)], console)
    warn([*_warnings(manifest.findings), *warnings], console)
    return manifest, plan


def decoded(config: Config, manifest: Manifest, console: Console) -> PackedImages:
    """The packed cache of the manifest's images, with a bar while it is built."""
    with decoding_progress(console) as progress:
        return pack_images(manifest, config.images, progress)


def with_content(
    config: Config, manifest: Manifest, plan: Plan, images: PackedImages, console: Console
) -> tuple[Manifest, Plan]:
    """Manifest and plan that know of copied images; the same ones with `audit.content=false`.

    Raises:
        UserError: for what must not be trained on, or a frozen plan that parts two copies.
    """
    content = content_of(config, manifest, images if config.audit.content else None)
    warn(_warnings(content.findings), console)
    content.stop_at_errors()
    if not config.audit.content:
        return manifest, plan
    joined = content.manifest.grouping.num_groups < manifest.grouping.num_groups
    if not joined and not config.split.file:
        return manifest, plan
    manifest, plan, warnings = plan_and_check(config, content.manifest)
    if joined:
        made = "" if config.split.file else ", so that the plan is made anew"
        say([f"copied images join groups{made}:", *describe_groups(manifest)], console)
        say(describe_plan(plan, manifest, config.split), console)
        warn(warnings, console)
    return manifest, plan


def content_of(config: Config, manifest: Manifest, images: PackedImages | None) -> Content:
    """The content audit under the config's policy; without images, that of the files' bytes."""
    if images is None:
        return audit_files(manifest, config.manifest.accept)
    return audit_content(manifest, images, config.audit.near, config.manifest.accept)


def audited_manifest(config: Config, console: Console) -> Manifest:
    """The manifest whose groups know of copied images, for a plan that is made to stay.

    Raises:
        UserError: with all that is wrong.
    """
    manifest = read_manifest(config.manifest)
    warn(_warnings(manifest.findings), console)
    images = None
    if config.audit.content:
        start_forkserver()
        images = decoded(config, manifest, console)
    content = content_of(config, manifest, images)
    warn(_warnings(content.findings), console)
    content.stop_at_errors()
    return content.manifest


def plan_early(config: Config, manifest: Manifest) -> tuple[Manifest, Plan, list[str]]:
    """`plan_and_check` before copied images are known; a frozen plan may know of them already.

    Its own links are taken for granted here, and proved by `plan_and_check` afterwards.

    Raises:
        UserError: see `check_plan`.
    """
    if not (config.split.file and config.audit.content):
        return plan_and_check(config, manifest)
    linked = with_links_of(load_plan(Path(config.split.file)), manifest)
    _, plan, warnings = plan_and_check(config, linked)
    return without_purged(manifest, plan), plan, warnings


def with_links_of(plan: Plan, manifest: Manifest) -> Manifest:
    """The manifest with its groups joined where `plan` knows of a link."""
    ids = manifest.table["patient_id"]
    planned = ids.map(lambda patient: plan.groups.get(patient, patient))
    first = planned.map({group: row for row, group in reversed(list(planned.items()))})
    links = list(zip(first.tolist(), range(len(first)), strict=True))
    return join_groups(manifest, links, "the plan")


def refuse_leaking(split: SplitConfig, what: str) -> None:
    """Raise UserError for a unit that leaks, which only a cross-validation may show."""
    if split.unit != "patient":
        raise UserError(
            f"split.unit={split.unit} works with pipeline.cv only, to show what a leak costs; "
            f"{what} deals patients"
        )


def plan_and_check(config: Config, manifest: Manifest) -> tuple[Manifest, Plan, list[str]]:
    """The plan, the manifest without what it purged, and warnings.

    Raises:
        UserError: see `check_plan`.
    """
    plan = _plan(config.split, replace(manifest, purged=frozenset()))
    manifest = without_purged(manifest, plan)
    return manifest, plan, [*ignored(config.split, plan), *check_plan(config, manifest, plan)]


def check_plan(config: Config, manifest: Manifest, plan: Plan) -> list[str]:
    """What a metric will be missing for; an error where no training could make sense.

    Raises:
        UserError: when a train part misses a class, or a validation part one that
            `training.select_by` needs, or labels contradict each other.
    """
    if config.evaluation.patient_label == "same" and (odd := contradictory_labels(manifest)):
        raise ManifestError.of(manifest.path, odd)
    needed: tuple[Part, ...] = ("train", "val")
    if config.training.select_by == "val/loss":  # the only one that needs no class in val
        needed = ("train",)
    warnings = check_classes(plan, manifest, needed)
    check_imbalance(config, manifest, plan.folds[0])
    return warnings


def without_purged(manifest: Manifest, plan: Plan) -> Manifest:
    """The manifest whose parts leave out what the plan purged."""
    rows = manifest.table["image_path"].isin(plan.purged_images)
    return replace(manifest, purged=frozenset(rows.index[rows].tolist()))


def describe_manifest(manifest: Manifest) -> list[str]:
    """Lines: how many images and patients of which class, and how they are grouped."""
    everybody = manifest.of(manifest.patients)
    per_class = ", ".join(
        f"{name} {images} images of {patients} patients"
        for name, images, patients in zip(
            manifest.classes,
            manifest.num_per_class(everybody),
            manifest.num_patients_per_class(everybody),
            strict=True,
        )
    )
    lines = [
        f"manifest {manifest.path}: {len(everybody):,} images of {len(manifest.patients):,} "
        "patients",
        f"  {per_class}",
    ]
    if len(manifest.classes) == 2:
        lines.append(f"  positive class: {manifest.classes[1]!r} (manifest.classes)")
    if manifest.purged:
        lines.append(f"  {len(manifest.purged)} more image(s) are purged")
    if manifest.num_left_out:
        lines.append(f"  {manifest.num_left_out} row(s) without a label were left out")
    return [*lines, *describe_groups(manifest)]


def describe_groups(manifest: Manifest) -> list[str]:
    """Lines: how many leakage groups there are, what made them, and the largest."""
    return [f"  {line}" for line in manifest.grouping.describe()]


def say(lines: Iterable[str], console: Console) -> None:
    """Print whole lines as they are."""
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def warn(lines: Iterable[str], console: Console) -> None:
    """Print warnings in yellow."""
    for line in lines:
        text = f"warning: {line}"
        console.print(text, style="yellow", highlight=False, soft_wrap=True, markup=False)


def _warnings(findings: Iterable[Finding]) -> list[str]:
    return [str(finding) for finding in findings if finding.severity == "warning"]


def _plan(config: SplitConfig, manifest: Manifest) -> Plan:
    if config.file:
        return load_plan(Path(config.file), manifest)
    return plan_folds(manifest, replace(config, unit="patient", allow_leakage=False))


def ignored(config: SplitConfig, plan: Plan) -> list[str]:
    """The settings that the frozen plan in `split.file` overrides, in words."""
    if not config.file:
        return []
    pairs: list[tuple[str, object, object]] = [("seed", config.seed, plan.seed)]
    if plan.scheme == "kfold":
        pairs.append(("num_folds", config.num_folds, plan.num_folds // plan.repeats))
    if config.scheme != "kfold":  # the default asks for nothing
        pairs.append(("scheme", config.scheme, plan.scheme))
    if config.repeats > 1:
        pairs.append(("repeats", config.repeats, plan.repeats))
    if config.locked_fraction and not plan.locked:
        pairs.append(("locked_fraction", config.locked_fraction, "nobody locked"))
    return [
        f"split.{name}={asked} is ignored: split.file {config.file} has {found}"
        for name, asked, found in pairs
        if asked != found
    ]
