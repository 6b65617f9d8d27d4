"""Read and check a manifest: all findings at once, each with its line."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from pipeline.config import ManifestConfig
from pipeline.manifest import ids, paths, rules
from pipeline.manifest.csv_file import read_table
from pipeline.manifest.findings import Finding, ManifestError
from pipeline.manifest.groups import leakage_groups
from pipeline.manifest.manifest import Manifest
from pipeline.manifest.second_part import apply_pattern


def read_manifest(config: ManifestConfig) -> Manifest:
    """Read the CSV, check every row and every image file, and form the leakage groups.

    Raises:
        ManifestError: with every error, its line number and what is allowed.
    """
    path = Path(config.path)
    image_root = Path(config.image_root) if config.image_root else path.parent
    table, names = read_table(config)
    notes: list[Finding] = []
    if config.patient_pattern is not None:
        table["patient_id"], notes = apply_pattern(config.patient_pattern, table["patient_id"])
    left = table["label"].str.strip().eq("") & (config.blank_label == "leave_out")
    table, left_out = (table[rows].reset_index(drop=True) for rows in (~left, left))
    if "date" in table:
        table["date"] = table["date"].str.strip().str.replace(r"[T ].*$", "", regex=True)
    classes = config.classes or tuple(sorted({s for s in table["label"] if s.strip()}))
    manifest = Manifest(path, image_root, classes, table, left_out, names)
    findings = [*notes, *_findings(manifest, config)]
    if any(finding.severity == "error" for finding in findings):
        missing = any(finding.message.endswith("no such file") for finding in findings)
        raise ManifestError(path, findings, config.hint if missing else "")
    ordered = table.sort_values(["patient_id", "image_path"], ignore_index=True)
    manifest = replace(manifest, table=ordered, findings=tuple(findings))
    group_columns = [names.get(name, name) for name in config.group_columns]
    return leakage_groups(manifest, group_columns, config.largest_group)


def _findings(manifest: Manifest, config: ManifestConfig) -> list[Finding]:
    table, name_of = manifest.table, manifest.name_of
    grouped = [manifest.names.get(name, name) for name in config.group_columns]
    keys = [*(["study"] if "study" in table else []), *grouped]
    # Who is left out links too.
    linking = pd.concat([table, manifest.left_out]).sort_values("line", ignore_index=True)
    findings = [
        *rules.class_findings(manifest.classes, set(table["label"]), config.task),
        *rules.cell_findings(table, manifest.classes),
        *rules.letter_findings(
            linking,
            ["patient_id", "image_path", "label", *(k for k in keys if k != "patient_id")],
            name_of,
        ),
        *rules.date_findings(table, config),
        *ids.spelling_findings(linking),
        *ids.placeholder_findings(linking),
        *ids.key_findings(linking, [key for key in keys if key != "patient_id"], name_of),
        *ids.image_ids_findings(table),
        *ids.coarser_ids_findings(table, {"line", *grouped}, name_of),
        *rules.site_findings(table),
        *rules.label_column_findings(table, name_of),
        *rules.label_path_findings(table),
        *paths.duplicate_findings(table),
        *paths.outside_findings(table, manifest.image_root),
        *paths.file_findings(table, manifest.image_root),
    ]
    accepted = [
        replace(finding, severity="note", message=f"accepted: {finding.message}")
        if finding.rule in config.accept
        else finding
        for finding in findings
    ]
    return sorted(accepted, key=lambda finding: finding.line)
