"""Is this manifest fit for a cross-validation, and its plan? patientfold check manifest=mine

With audit.content=false no image is decoded: the answer comes within seconds.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.table import Table

from pipeline.audit.content import Content, look_at_images
from pipeline.audit.copies import SAME_PICTURE
from pipeline.audit.foreign import audit_parts
from pipeline.audit.report import Report, sorted_findings, split_of, write_report
from pipeline.audit.sheet import copy_sheet
from pipeline.audit.shortcuts import Shortcut, find_shortcuts, patient_table
from pipeline.config import Config, UserError, to_config
from pipeline.console import say
from pipeline.formats.files import file_size
from pipeline.manifest import Finding, Manifest, ManifestError, read_manifest
from pipeline.processes import call_in_child
from pipeline.splits.quality import Split
from pipeline.targets import check_leaves
from pipeline.training.planning import make_plan, rehearse
from pipeline.words import counted

MOST_CLASSES = 5
"""Columns of the printed table; a terminal has about 80 characters."""
COLOURS = {"error": "red", "warning": "yellow", "note": "default"}


class UnfitError(UserError):
    """What the check found forbids a cross-validation."""


def main(cfg: DictConfig) -> None:
    """Look at everything, print it, write the report."""
    config, console = to_config(cfg), Console()
    report, stopped = examine(config, console)
    if stopped is not None and not Path(config.manifest.path).is_file():
        raise stopped  # a mistyped path needs no report
    print_report(report, console)
    out_dir = Path(config.audit.out_dir or Path("runs") / "check" / config.manifest.name)
    page = write_report(report, out_dir, _sheet(report, config))
    say([f"report: {page}"], console)
    errors = [f"  {finding}" for finding in report.findings if finding.severity == "error"]
    listed = stopped.findings if isinstance(stopped, ManifestError) else ()
    if stopped is not None and len(errors) <= max(1, sum(f.severity == "error" for f in listed)):
        raise stopped  # there is nothing but what it says
    if errors:
        count = counted(len(errors), "error")
        raise UnfitError("\n".join([f"manifest {report.path}: {count}", *errors]))


def examine(config: Config, console: Console) -> tuple[Report, UserError | None]:
    """Lint, compare the images, measure shortcuts, plan or audit given folds.

    Returns what was found, and the error that ended it early, if one did.
    """
    report = Report(config.manifest.path)
    try:
        manifest = read_manifest(config.manifest)
        report = report.read(manifest)
        _rehearse(config, manifest)
        content = look_at_images(config, manifest, console)
        report = report.compared(content)
        report = report.measured(_shortcuts(config, content))
        report = report.divided(*_divide(config, content))
    except UserError as error:
        return report.stopped(error), error
    return report, None


def _rehearse(config: Config, manifest: Manifest) -> None:
    """What makes a plan or a given split impossible, or no leaf, is found before decoding."""
    if config.audit.content:
        call_in_child(check_leaves, config)
    if config.audit.part_column or config.audit.part_file:
        audit_parts(manifest, config.audit)
    elif config.audit.content:
        rehearse(config, manifest)


def _shortcuts(config: Config, content: Content) -> list[Shortcut]:
    """What site, file metadata and image counts say about the label."""
    if not config.audit.shortcuts:
        return []
    paths = content.manifest.image_files
    files = pd.DataFrame({"file_size": [file_size(path) for path in paths]})
    if content.images is not None:
        facts = pd.DataFrame(content.images.facts)
        files = files.assign(shape=facts["original_shape"], bit_depth=facts["bit_depth"])
    return find_shortcuts(patient_table(content.manifest, files), config.split.seed)


def _divide(config: Config, content: Content) -> tuple[Manifest, Split, Sequence[Finding]]:
    """Our plan; or, where there is one to audit, the split that was made elsewhere."""
    if config.audit.part_column or config.audit.part_file:
        pairs = content.copies.pairs if content.images is not None else ()
        least = SAME_PICTURE if config.audit.near == "report" else 0
        sure = [(p.one, p.other) for p in pairs if p.exact or p.correlation >= least]
        near = sorted({(p.one, p.other) for p in pairs} - set(sure))
        findings, split = audit_parts(content.manifest, config.audit, sure, near)
        return content.manifest, split, findings
    planned = make_plan(config, content.manifest)
    warnings = [Finding("plan", "warning", warning) for warning in planned.warnings]
    return planned.manifest, split_of(planned.plan, planned.manifest, config.split), warnings


def print_report(report: Report, console: Console) -> None:
    """Everything but the errors, which end the command as one message."""
    if report.manifest is not None:
        say(report.manifest.describe(), console)
    for finding in sorted_findings(report.findings):
        unmeasured = finding.rule == "shortcut" and finding.severity == "note"  # printed below
        if finding.severity != "error" and not unmeasured:
            say([f"{finding.severity}: {finding}"], console, COLOURS[finding.severity])
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
        for part in parts:
            cells = [f"{part.patients_per_class[c]} / {part.images_per_class[c]}" for c in shown]
            table.add_row(fold, part.part, f"{part.num_patients} / {part.num_images}", *cells)
            fold = ""  # once is enough
        table.add_section()
    return table


def _sheet(report: Report, config: Config) -> Image.Image | None:
    """A picture of the copies that were found."""
    if report.manifest is None or report.copies is None or not report.copies.pairs:
        return None
    images, pairs = config.images, report.copies.pairs
    return copy_sheet(report.manifest, pairs, images.spatial_dims, images.num_channels)
