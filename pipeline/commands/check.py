"""`python -m pipeline check manifest=x`: is this manifest fit for a cross-validation, and its plan?

With `audit.content=false` no image is decoded and neither torch nor monai is imported: the answer
comes within seconds.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.table import Table

from pipeline.audit.foreign import audit_parts
from pipeline.audit.foreign_counts import Split
from pipeline.audit.report import Report, sorted_findings, split_of, write_report
from pipeline.audit.sheet import copy_sheet
from pipeline.audit.shortcuts import find_shortcuts, patient_table, shortcut_findings
from pipeline.commands.door import run_command
from pipeline.config import Config, UserError, to_config
from pipeline.manifest import Finding, ManifestError, read_manifest
from pipeline.manifest.files import file_size
from pipeline.prepared import (
    content_of,
    decoded,
    describe_manifest,
    plan_and_check,
    plan_early,
    refuse_leaking,
    say,
)
from pipeline.processes import start_forkserver

MOST_CLASSES = 5
"""Columns of the printed table; a terminal has about 80 characters."""
COLOURS = {"error": "red", "warning": "yellow", "note": "default"}


class UnfitError(UserError):
    """What the check found forbids a cross-validation."""


def check(cfg: DictConfig) -> None:
    """The command: look at everything, print it, write the report.

    Raises:
        UserError: with all errors, after the report was written.
    """
    config, console = to_config(cfg), Console()
    refuse_leaking(config.split, "a plan that is looked at")
    report, stopped = examine(config, console)
    if stopped is not None and not Path(config.manifest.path).is_file():
        raise stopped  # a slip of the pen needs no report
    print_report(report, console)
    out_dir = Path(config.audit.out_dir or Path("runs") / "check" / config.manifest.name)
    page = write_report(report, out_dir, _sheet(report, config))
    say([f"report: {page}"], console)
    told = stopped.findings if isinstance(stopped, ManifestError) else ()
    if stopped is not None and report.num_errors <= max(1, _num_errors(told)):
        raise stopped  # there is nothing but what it says
    if errors := [f"  {f}" for f in report.findings if f.severity == "error"]:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise UnfitError("\n".join([f"manifest {report.path}: {count}", *errors]))


def _num_errors(findings: Sequence[Finding]) -> int:
    return sum(finding.severity == "error" for finding in findings)


def examine(config: Config, console: Console) -> tuple[Report, UserError | None]:
    """Lint, compare the images, measure shortcuts, plan or audit given folds.

    Returns what was found, and the error that ended it early, if one did.
    """
    report = Report(config.manifest.path)
    try:
        for step in (_read, _rehearse, _compare, _measure, _divide):
            report = step(report, config, console)
    except UserError as error:
        told = error.findings if isinstance(error, ManifestError) else ()
        findings = told or (Finding("stopped", "error", str(error)),)
        return replace(report, findings=(*report.findings, *findings)), error
    return report, None


def _read(report: Report, config: Config, _: Console) -> Report:
    manifest = read_manifest(config.manifest)
    return replace(report, manifest=manifest, findings=manifest.findings)


def _rehearse(report: Report, config: Config, console: Console) -> Report:
    """What makes a plan or a given split impossible is told before images are decoded."""
    assert report.manifest is not None
    if config.audit.part_column or config.audit.part_file:
        _divide(report, config, console)
    elif config.audit.content:
        plan_early(config, report.manifest)
    return report


def _compare(report: Report, config: Config, console: Console) -> Report:
    """Decode the images, or take them from the cache, and look for copies."""
    assert report.manifest is not None
    if not config.audit.content:
        files = content_of(config, report.manifest, None)
        return replace(report, findings=(*report.findings, *files.findings))
    start_forkserver()
    images = decoded(config, report.manifest, console)
    content = content_of(config, report.manifest, images)
    return replace(
        report,
        manifest=content.manifest,
        images=images,
        copies=content.copies,
        findings=(*report.findings, *content.findings),
    )


def _measure(report: Report, config: Config, _: Console) -> Report:
    """Shortcuts: what site, file metadata and image counts say of the label."""
    assert report.manifest is not None
    if not config.audit.shortcuts:
        return report
    files = pd.DataFrame({"file_size": [file_size(path) for path in report.manifest.image_files]})
    if report.images is not None:
        facts = pd.DataFrame(report.images.facts)
        files = files.assign(shape=facts["original_shape"], bit_depth=facts["bit_depth"])
    found = find_shortcuts(patient_table(report.manifest, files), config.split.seed)
    findings = (*report.findings, *shortcut_findings(found))
    return replace(report, shortcuts=tuple(found), findings=findings)


def _divide(report: Report, config: Config, _: Console) -> Report:
    """Our plan; or, when there is one to audit, the split that was made elsewhere."""
    assert report.manifest is not None
    if config.audit.part_column or config.audit.part_file:
        pairs = report.copies.pairs if report.copies else ()
        sure = [(p.one, p.other) for p in pairs if p.exact or config.audit.near != "report"]
        near = sorted({(p.one, p.other) for p in pairs} - set(sure))
        findings, split = audit_parts(report.manifest, config.audit, sure, near)
        return replace(report, split=split, findings=(*report.findings, *findings))
    manifest, plan, warnings = plan_and_check(config, report.manifest)
    findings = [Finding("plan", "warning", warning) for warning in warnings]
    split = split_of(plan, manifest, config.split)
    return replace(report, manifest=manifest, split=split, findings=(*report.findings, *findings))


def print_report(report: Report, console: Console) -> None:
    """Everything but the errors, which end the command as one message."""
    if report.manifest is not None:
        say(describe_manifest(report.manifest), console)
    for finding in sorted_findings(report.findings):
        unmeasured = finding.rule == "shortcut" and finding.severity == "note"  # told below
        if finding.severity != "error" and not unmeasured:
            style = COLOURS[finding.severity]
            text = f"{finding.severity}: {finding}"
            console.print(text, style=style, highlight=False, soft_wrap=True, markup=False)
    if report.shortcuts:
        say(["the label without a look at the image (out of fold, patient level):"], console)
        say([f"  {shortcut}" for shortcut in report.shortcuts], console)
    if report.split is not None and report.manifest is not None:
        say(report.split.lines, console)
        console.print(_parts_table(report.split, report.manifest.classes))


def _parts_table(split: Split, classes: tuple[str, ...]) -> Table:
    """Patients and images of each class in every part of every fold; of many, of the rarest."""
    shown = list(range(len(classes)))
    title = "patients / images"
    if len(shown) > MOST_CLASSES:
        images = np.array([part.images_per_class for part in split.parts]).sum(axis=0)
        shown = sorted(np.argsort(images, kind="stable")[:MOST_CLASSES].tolist())
        title += f" of the {MOST_CLASSES} rarest of {len(classes)} classes; all are in the report"
    table = Table(title=title)
    table.add_column("fold", justify="right")
    table.add_column("part", no_wrap=True)
    for name in ("all", *(classes[c] for c in shown)):
        table.add_column(name, justify="right")
    for fold, parts in groupby(split.parts, key=lambda part: part.fold):
        rows = list(parts)
        for row in rows:
            per_class = [f"{row.patients_per_class[c]} / {row.images_per_class[c]}" for c in shown]
            table.add_row(
                fold if row is rows[0] else "",
                row.part,
                f"{row.num_patients} / {row.num_images}",
                *per_class,
                end_section=row is rows[-1],
            )
    return table


def _sheet(report: Report, config: Config) -> Image.Image | None:
    """A picture of the copies that were found."""
    if report.manifest is None or report.copies is None or not report.copies.pairs:
        return None
    images = config.images
    pairs = report.copies.pairs
    return copy_sheet(report.manifest, pairs, images.spatial_dims, images.num_channels)


def run() -> None:
    run_command(check)
