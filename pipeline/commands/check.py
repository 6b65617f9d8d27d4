"""Is this manifest fit for a cross-validation, and its plan? patientfold check manifest=mine

With audit.content=false no image is decoded: the answer comes within seconds.
"""

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.table import Table

from pipeline.audit.burned_in import burned_in_findings
from pipeline.audit.content import Content, look_at_images
from pipeline.audit.copies import SAME_PICTURE
from pipeline.audit.crossing import crossing_findings
from pipeline.audit.foreign import audit_parts
from pipeline.audit.report import Report, sorted_findings, split_of, write_report
from pipeline.audit.sheet import copy_sheet
from pipeline.audit.shortcuts import Shortcut, find_shortcuts, patient_table
from pipeline.config import Config, UserError, to_config
from pipeline.console import cell, say
from pipeline.evaluation.own_metrics import try_own_metrics
from pipeline.formats.files import file_size
from pipeline.manifest import Finding, Manifest, read_manifest, read_usable, stop_at_errors
from pipeline.manifest.reading import with_readable_images
from pipeline.processes import call_in_child
from pipeline.splits.quality import Split
from pipeline.targets import check_leaves
from pipeline.training.planning import deal, judge
from pipeline.words import one_line

MOST_CLASSES = 5
"""Columns of the printed table; a terminal has about 80 characters."""
COLOURS = {"error": "red", "warning": "yellow", "note": "default"}


def main(cfg: DictConfig) -> None:
    """Look at everything, print it, write the report; an error ends it with the exit code 1."""
    config, console = to_config(cfg), Console()
    if not Path(config.manifest.path).is_file():
        read_manifest(config.manifest)  # a mistyped path needs no report
    report = examine(config, console)
    print_report(report, console)
    out_dir = Path(config.audit.out_dir or Path("runs") / "check" / config.manifest.name)
    page = write_report(report, out_dir, _sheet(report, config))
    say([f"report: {one_line(str(page))}"], console)
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if len(errors) == 1 and errors[0].rule == "stopped":
        raise UserError(errors[0].message)  # it says where by itself
    stop_at_errors(Path(report.path), errors, config.manifest)


def examine(config: Config, console: Console) -> Report:
    """Lint, compare the images, measure shortcuts, plan or audit given folds.

    What cannot be used is an error among the findings, and each step looks at the rest.
    """
    report = Report(config.manifest.path)
    try:
        manifest = read_usable(config.manifest, config.privacy)
        report = report.read(manifest).noticed(burned_in_findings(manifest))
        if _audits(config) and not config.audit.content:
            report = report.of_names()
        if config.audit.content:  # a class that does not fit is found before decoding
            call_in_child(check_leaves, config)
        if config.evaluation.metrics:
            call_in_child(try_own_metrics, config.evaluation, manifest.classes)
        content = look_at_images(config, manifest, console)
        report = report.compared(content)
        report = report.measured(_shortcuts(config, content))
        return _divided(report, config, manifest, content)
    except UserError as error:
        return report.stopped(error, config.privacy.pseudonyms)


def _audits(config: Config) -> bool:
    """Is there a split to audit that was made elsewhere?"""
    return bool(config.audit.part_column or config.audit.part_file)


def _shortcuts(config: Config, content: Content) -> list[Shortcut]:
    """What site, file metadata and image counts say about the label."""
    if not config.audit.shortcuts:
        return []
    manifest = with_readable_images(content.manifest)
    if not len(manifest):
        return []
    sizes = manifest.looks.at(manifest.table["line"].to_numpy()).size
    unknown = np.flatnonzero(sizes < 0)
    for row, path in zip(unknown, manifest.table["image_path"].iloc[unknown], strict=True):
        sizes[row] = sum(map(file_size, manifest.files_of(path)))
    files = pd.DataFrame({"file_size": sizes})
    if content.images is not None:
        facts = pd.DataFrame(content.images.facts)
        files = files.assign(shape=facts["original_shape"], bit_depth=facts["bit_depth"])
    if manifest.is_multilabel:
        return [
            replace(shortcut, label=name)
            for code, name in enumerate(manifest.classes)
            for shortcut in find_shortcuts(patient_table(manifest, files, code), config.split.seed)
        ]
    return find_shortcuts(patient_table(manifest, files), config.split.seed)


def _divided(report: Report, config: Config, manifest: Manifest, content: Content) -> Report:
    """With our plan; or, where there is one to audit, the split that was made elsewhere.

    That is one of all rows, though the images of some could not be compared.
    """
    if _audits(config):
        pairs = content.copies.pairs if content.images is not None else ()
        lines, compared = (m.table["line"] for m in (manifest, content.manifest))
        rows: list[int] = pd.Index(lines).get_indexer(pd.Index(compared)).tolist()
        least = SAME_PICTURE if config.audit.near == "report" else 0
        surely = {(rows[p.one], rows[p.other]): p.exact or p.correlation >= least for p in pairs}
        sure = [pair for pair in surely if surely[pair]]
        near = sorted(set(surely) - set(sure))
        found, split = audit_parts(manifest, config.audit, sure, near)
        private = config.privacy.pseudonyms  # the file of the split has the names of the CSV
        findings = [replace(finding, private=private) for finding in found]
        return report.divided(content.manifest, split, findings)
    is_temporal = config.split.scheme == "temporal"
    if report.has_error("largest_group") or (is_temporal and report.has_error("date")):
        return report  # the plan's error would be the same once more
    plan = deal(config, content.manifest)
    planned, problems = judge(config, content.manifest, plan)
    warnings = [Finding("plan", "warning", warning) for warning in planned.warnings]
    crossing = list(crossing_findings(plan, content))
    doubts = [finding.message for finding in crossing]
    pairs = content.copies.pairs
    split = split_of(plan, planned.manifest, config.split, doubts, pairs)
    report = report.divided(planned.manifest, split, [*warnings, *crossing])
    for problem in problems:
        report = report.stopped(problem, config.privacy.pseudonyms)
    return report


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
        table.add_column(cell(name), justify="right")
    for fold, parts in groupby(split.parts, key=lambda part: part.fold):
        for part in parts:
            cells = [f"{part.patients_per_class[c]} / {part.images_per_class[c]}" for c in shown]
            table.add_row(
                cell(fold), cell(part.part), f"{part.num_patients} / {part.num_images}", *cells
            )
            fold = ""  # once is enough
        table.add_section()
    return table


def _sheet(report: Report, config: Config) -> Image.Image | None:
    """A picture of the copies that were found."""
    if report.manifest is None or report.copies is None or not report.copies.pairs:
        return None
    images, pairs = config.images, report.copies.pairs
    places = {} if report.split is None else report.split.places
    small = None if report.images is None else report.images.thumbnails
    return copy_sheet(
        report.manifest, pairs, images.spatial_dims, images.num_channels, places, small
    )
