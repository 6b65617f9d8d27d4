"""`python -m pipeline.check manifest=x`: is this manifest fit for a cross-validation, and its plan?

Imports neither torch nor monai: the answer comes within seconds.
"""

from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from pipeline.command import run_command
from pipeline.config import Config, SplitConfig, to_config
from pipeline.evaluation import per_patient
from pipeline.manifest import Manifest, read_manifest
from pipeline.splits import Part, Plan, check_classes, load_plan, plan_folds
from pipeline.splits.describe import describe_plan, promise
from pipeline.splits.quality import count_parts, worst_deviation
from pipeline.training.imbalance import check_imbalance


def check(cfg: DictConfig) -> None:
    """The command: read, plan, prove, and show what every part holds."""
    config = to_config(cfg)
    console = Console()
    manifest, plan = manifest_and_plan(config, console)
    console.print(_parts_table(plan, manifest))
    off = worst_deviation(plan, manifest)
    console.print(
        f"class shares of a block differ from the whole set's by at most {off['image_share']:.3f} "
        f"(images) and {off['patient_share']:.3f} (patients)",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"no patient is in two parts; {promise(plan)}", style="green")


def manifest_and_plan(config: Config, console: Console) -> tuple[Manifest, Plan]:
    """Read and check everything that can be known before a pixel is decoded, and say it.

    Raises:
        UserError: with all that is wrong.
    """
    manifest = read_manifest(config.manifest)
    plan = _plan(config.split, manifest)
    manifest = without_purged(manifest, plan)
    warnings = [*_ignored_settings(config.split, plan), *check_plan(config, manifest, plan)]
    console.print(_describe(manifest, plan), highlight=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)
    return manifest, plan


def check_plan(config: Config, manifest: Manifest, plan: Plan) -> list[str]:
    """What a metric will be missing for; an error where no training could make sense.

    Raises:
        UserError: when a train part misses a class, or a validation part one that
            `training.select_by` needs, or labels contradict each other.
    """
    _check_patient_labels(config, manifest)
    needed: tuple[Part, ...] = ("train", "val")
    if config.training.select_by == "val/loss":  # the only one that needs no class in val
        needed = ("train",)
    warnings = check_classes(plan, manifest, needed)
    check_imbalance(config, manifest, plan.folds[0])
    return warnings


def _plan(config: SplitConfig, manifest: Manifest) -> Plan:
    if config.file:
        return load_plan(Path(config.file), manifest)
    return plan_folds(manifest, config)


def without_purged(manifest: Manifest, plan: Plan) -> Manifest:
    """The manifest whose parts leave out what the plan purged."""
    rows = manifest.table["image_path"].isin(plan.purged_images)
    return replace(manifest, purged=frozenset(rows.index[rows].tolist()))


def _ignored_settings(config: SplitConfig, plan: Plan) -> list[str]:
    """What a frozen plan overrides."""
    pairs: list[tuple[str, object, object]] = [("seed", config.seed, plan.seed)]
    if plan.scheme == "kfold":
        pairs.append(("num_folds", config.num_folds, plan.num_folds // plan.repeats))
    return [
        f"split.{name}={asked} is ignored: split.file {config.file} has {found}"
        for name, asked, found in pairs
        if asked != found
    ]


def _check_patient_labels(config: Config, manifest: Manifest) -> None:
    """Contradictory labels of a patient are told before training, not at its end."""
    table = manifest.table[["patient_id", "image_path", "label"]].assign(
        fold=0, **{f"prob_{name}": 0.0 for name in manifest.classes}
    )
    evaluation = config.evaluation
    per_patient(table, manifest.classes, evaluation.aggregate, evaluation.patient_label)


def _describe(manifest: Manifest, plan: Plan) -> str:
    table = manifest.table
    num_groups = table["group"].nunique()
    joined = table.groupby("group")["patient_id"].nunique()
    per_class = ", ".join(
        f"{name} {images} images of {patients} patients"
        for name, images, patients in zip(
            manifest.classes,
            manifest.num_per_class(manifest.of(manifest.patients)),
            manifest.num_patients_per_class(manifest.of(manifest.patients)),
            strict=True,
        )
    )
    lines = [
        f"manifest {manifest.path}: {len(manifest)} images of {len(manifest.patients)} patients",
        f"  {per_class}",
    ]
    if manifest.num_left_out:
        lines.append(f"  {manifest.num_left_out} row(s) without a label were left out")
    if num_groups < len(manifest.patients):
        examples = ", ".join(
            " = ".join(sorted(table.loc[table["group"] == group, "patient_id"].unique()))
            for group in joined.index[joined > 1][:3]
        )
        lines.append(
            f"  {int((joined > 1).sum())} group(s) of patients share a study or an identical image "
            f"file and stay together: {examples}"
        )
    lines += describe_plan(plan, manifest)
    return "\n".join(lines)


def _parts_table(plan: Plan, manifest: Manifest) -> Table:
    """Patients and images of each class in every part of every fold."""
    table = Table(title="patients / images")
    table.add_column("fold", justify="right")
    table.add_column("part")
    table.add_column("all", justify="right")
    for name in manifest.classes:
        table.add_column(name, justify="right")
    for counts in count_parts(plan, manifest):
        table.add_row(
            str(counts.fold) if counts.part == "train" else "",
            counts.part,
            f"{counts.num_patients} / {counts.num_images}",
            *(
                f"{patients} / {images}"
                for patients, images in zip(
                    counts.patients_per_class, counts.images_per_class, strict=True
                )
            ),
            end_section=counts.part == "test",
        )
    return table


if __name__ == "__main__":
    run_command(check)
