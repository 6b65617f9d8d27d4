"""Read and check a manifest: all findings at once, each with its line."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.config import ManifestConfig, PrivacyConfig
from pipeline.formats.looks import Looks
from pipeline.label_names import Grades, LabelNames
from pipeline.levels import MIDDLES
from pipeline.manifest import ids, paths, rules
from pipeline.manifest.csv_file import read_table
from pipeline.manifest.findings import Finding, ManifestError
from pipeline.manifest.groups import group_findings, leakage_groups
from pipeline.manifest.label_sets import read_label_sets
from pipeline.manifest.manifest import Manifest
from pipeline.manifest.pseudonyms import Pseudonyms, key_findings
from pipeline.manifest.second_part import apply_pattern
from pipeline.words import counted

UNUSABLE = ("blank", "unknown_class", "duplicate_image", "control_characters", "weight")
"""Rules whose errors spoil the row in their line, and no other."""
UNREADABLE = ("image_file", "unknown_format", "outside_image_root")
"""The same of the row's image: who and what it is of is known."""


def read_manifest(config: ManifestConfig, privacy: PrivacyConfig | None = None) -> Manifest:
    """Read the CSV, check every row and every image file, and form the leakage groups.

    With `privacy.pseudonyms` the manifest, its order and its groups know pseudonyms only; what is
    wrong with the CSV is told with the names in it, as private findings.

    Raises:
        ManifestError: with every error, its line number and what is allowed.
    """
    manifest = _read(config, privacy)
    stop_at_errors(manifest.path, manifest.findings, config)
    grouped = with_groups(manifest, config, privacy)
    stop_at_errors(manifest.path, grouped.findings, config)
    return grouped


def read_usable(config: ManifestConfig, privacy: PrivacyConfig | None = None) -> Manifest:
    """The rows that can be used, though others cannot: the errors are among its findings.

    Raises:
        ManifestError: when it cannot be read, or no row can be used.
    """
    manifest = _read(config, privacy)
    rows = _with_errors(manifest, UNUSABLE)
    if len(rows) == len(manifest):
        stop_at_errors(manifest.path, manifest.findings, config)
    findings = (*manifest.findings, *set_aside(len(rows), len(manifest), "row"))
    return with_groups(replace(manifest.without(rows), findings=findings), config, privacy)


def with_readable_images(manifest: Manifest) -> Manifest:
    """The rows whose image file was found in order when the manifest was read."""
    return manifest.without(_with_errors(manifest, UNREADABLE))


def _with_errors(manifest: Manifest, rules: Collection[str]) -> set[int]:
    """The rows in whose lines there is an error of one of these rules."""
    errors = [finding for finding in manifest.findings if finding.severity == "error"]
    lines = [finding.line for finding in errors if finding.rule in rules]
    return set(np.flatnonzero(manifest.table["line"].isin(lines)).tolist())


def set_aside(number: int, total: int, noun: str) -> list[Finding]:
    """A note that what follows was not said of some rows or images, which cannot be used."""
    text = f"{number:,} of {counted(total, noun)} cannot be used; what follows is about the others"
    return [Finding("set_aside", "note", text)] * bool(number)


def stop_at_errors(path: Path, findings: Sequence[Finding], config: ManifestConfig) -> None:
    """ManifestError if there is an error among the findings; with the hint if a file is missing."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        missing = any("no such file" in finding.message for finding in errors)
        raise ManifestError(path, findings, config.hint if missing else "")


def _read(config: ManifestConfig, privacy: PrivacyConfig | None) -> Manifest:
    """The rows as they stand, with everything that is to be said of them; not yet grouped."""
    path = Path(config.path)
    image_root = Path(config.image_root) if config.image_root else path.parent
    table, names, problems = read_table(config)
    notes: list[Finding] = []
    ids_in_csv: dict[str, str] = {}
    if config.patient_pattern is not None:
        ids_in_csv = dict(zip(table["image_path"], table["patient_id"], strict=True))
        table["patient_id"], notes = apply_pattern(config.patient_pattern, table["patient_id"])
    several: LabelNames | None = None
    if config.task == "multilabel":
        table, several, found = read_label_sets(table, names, config)
        notes += found
    left = table["label"].str.strip().eq("") & (config.blank_label == "leave_out")
    table, left_out = (table[rows].reset_index(drop=True) for rows in (~left, left))
    if "date" in table:
        table["date"] = table["date"].str.strip().str.replace(r"[T ].*$", "", regex=True)
    seen = sorted({s for s in table["label"].unique() if s.strip()})
    classes: tuple[str, ...] = config.classes or tuple(seen)
    if several is not None:
        classes = several
    elif config.ordered:
        classes = Grades(classes)
    manifest = Manifest(
        path,
        image_root,
        classes,
        table,
        left_out,
        names,
        ids_in_csv=ids_in_csv,
        image_columns=config.columns.images,
    )
    files = manifest.images
    if len(config.columns.images) == 1:
        files = pd.concat([files, left_out], ignore_index=True)
    with paths.first_looks(files, image_root) as looks:
        findings = [*notes, *_findings(manifest, config, looks)]
    if len(config.columns.images) == 1:
        manifest = replace(manifest, looks=looks().by_line(files["line"].to_numpy()))
    if problems:  # what is said of the table as a whole may come from the rows that it lacks
        findings = [*problems, *(finding for finding in findings if finding.line)]
    if privacy is not None and privacy.pseudonyms:
        findings = [replace(finding, private=True) for finding in findings]
    return replace(manifest, findings=tuple(sorted(findings, key=lambda finding: finding.line)))


def with_groups(
    manifest: Manifest, config: ManifestConfig, privacy: PrivacyConfig | None
) -> Manifest:
    """In canonical order, with leakage groups; an error among the findings if one is too large."""
    group_columns = [manifest.names.get(name, name) for name in config.group_columns]
    if privacy is not None and privacy.pseudonyms:
        key_file = Path(privacy.key_file)
        pseudonyms = Pseudonyms.open(key_file)
        manifest = pseudonyms.applied(manifest, [*MIDDLES, *group_columns])
        new = key_findings(pseudonyms, key_file)
        manifest = replace(manifest, findings=(*manifest.findings, *new))
    ordered = manifest.table.sort_values(["patient_id", "image_path"], ignore_index=True)
    manifest = leakage_groups(replace(manifest, table=ordered), group_columns, config.largest_group)
    too_large = group_findings(manifest)
    return replace(manifest, findings=(*manifest.findings, *too_large))


def _findings(
    manifest: Manifest, config: ManifestConfig, looks: Callable[[], Looks]
) -> list[Finding]:
    """`looks` are at its images, and perhaps at others after them."""
    table, name_of = manifest.table, manifest.name_of
    grouped = [manifest.names.get(name, name) for name in config.group_columns]
    keys = [*(name for name in MIDDLES if name in table), *grouped]
    linking = table
    if manifest.num_left_out:  # who link too
        linking = pd.concat([table, manifest.left_out]).sort_values("line", ignore_index=True)
    findings = [
        *rules.class_findings(manifest.classes, table["label"], config.task),
        *rules.cell_findings(table, manifest.image_columns),
        *rules.label_findings(table, manifest.classes),
        *rules.letter_findings(
            linking,
            ["patient_id", "image_path", "label", *(k for k in keys if k != "patient_id")],
            name_of,
        ),
        *rules.date_findings(table, config),
        *rules.weight_findings(table, name_of),
        *ids.spelling_findings(linking),
        *ids.placeholder_findings(linking),
        *ids.key_findings(linking, [key for key in keys if key != "patient_id"], name_of),
        *ids.image_ids_findings(table),
        *ids.coarser_ids_findings(table, {"line", *grouped}, name_of),
        *rules.site_findings(table),
        *rules.label_column_findings(table, name_of),
        *rules.label_path_findings(manifest.images),
        *paths.duplicate_findings(manifest.images),
        *paths.outside_findings(manifest.images, manifest.image_root),
        *paths.file_findings(manifest.images, manifest.image_root, looks()),
    ]
    return [
        replace(finding, severity="note", message=f"accepted: {finding.message}")
        if finding.rule in config.accept
        else finding
        for finding in findings
    ]
