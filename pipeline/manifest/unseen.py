"""New images for the networks of a finished run: a CSV with labels or without, or files alone."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from glob import glob
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config import ManifestConfig, PrivacyConfig
from pipeline.errors import UserError
from pipeline.formats.files import series_files, series_parts
from pipeline.formats.looks import Looks
from pipeline.levels import MIDDLES, Middle
from pipeline.manifest import ids, paths, rules
from pipeline.manifest.csv_file import header_of, label_columns, read_table
from pipeline.manifest.findings import Finding, ManifestError
from pipeline.manifest.label_sets import read_label_sets
from pipeline.manifest.manifest import Manifest
from pipeline.manifest.pseudonyms import Pseudonyms
from pipeline.manifest.reading import stop_at_errors, with_groups
from pipeline.manifest.second_part import apply_pattern

MAY_BE_MISSING = ("site", "study", "slide", "date", "fold", "weight", "part")
"""Columns that a run's settings may name, and new images need not have."""
OF_TRAINING = {"date": None, "fold": None, "weight": None, "part": None}
"""What new images have no use for."""


def read_unseen(
    config: ManifestConfig,
    classes: Sequence[str],
    middle: Middle | None,
    privacy: PrivacyConfig,
    use_labels: bool = True,
) -> Manifest:
    """A CSV of new images, checked as far as a prediction needs it.

    The settings are those of the run: of their columns a new CSV needs the patient, the images and
    that of `middle`. All of its rows have a label, or none has; `has_labels` tells which.

    Raises:
        ManifestError: with every error, its line number and what is allowed.
    """
    header = header_of(config)
    label = config.columns.label
    wanted = (label,) if isinstance(label, str) else label
    is_there = use_labels and bool(set(wanted) & set(header))
    config = _as_it_is(config, header, middle, classes)
    manifest, findings = _read(config, classes, middle, is_there)
    if privacy.pseudonyms:
        findings = [replace(finding, private=True) for finding in findings]
    manifest = replace(manifest, findings=tuple(sorted(findings, key=lambda of: of.line)))
    stop_at_errors(manifest.path, manifest.findings, config)
    return with_groups(manifest, config, privacy)


def has_labels(manifest: Manifest) -> bool:
    """Whether the label of each new image is known."""
    return bool((manifest.table["label"] != "").all())


def _as_it_is(
    config: ManifestConfig, header: Sequence[str], middle: Middle | None, classes: Sequence[str]
) -> ManifestConfig:
    """The settings without columns that are not there, or of which nothing is made."""
    columns = config.columns
    lacking: dict[str, Any] = {
        name: None
        for name in MAY_BE_MISSING
        if name != middle and getattr(columns, name) not in header
    }
    return replace(
        config,
        columns=replace(columns, **{**lacking, **OF_TRAINING}),
        group_columns=tuple(name for name in config.group_columns if name in header),
        classes=tuple(classes),
        blank_label="error",
    )


def _read(
    config: ManifestConfig, classes: Sequence[str], middle: Middle | None, is_labelled: bool
) -> tuple[Manifest, list[Finding]]:
    """The rows as they stand, and what is to be said of them."""
    path = Path(config.path)
    table, names, findings = read_table(config, needs_label=is_labelled)
    if config.patient_pattern is not None:
        table["patient_id"], notes = apply_pattern(config.patient_pattern, table["patient_id"])
        findings += notes
    columns = [names.get(name, name) for name in label_columns(config)] or ["label"]
    is_blank = [table[name].str.strip().eq("").all() for name in columns if name in table]
    if not is_labelled or all(is_blank):
        table = table.drop(columns=[name for name in columns if name in table]).assign(label="")
    elif config.task == "multilabel":
        table, _, found = read_label_sets(table, names, config)
        findings += found
    else:
        findings += _label_findings(table, classes)
    root = Path(config.image_root) if config.image_root else path.parent
    manifest = Manifest(
        *(path, root, _as_tuple(classes), table),
        left_out=table.iloc[:0],
        names=names,
        image_columns=config.columns.images,
    )
    with paths.first_looks(manifest.images, root) as looks:
        for finding in _findings(manifest, looks, middle):
            is_accepted = finding.rule in config.accept
            findings.append(replace(finding, severity="note") if is_accepted else finding)
        if len(config.columns.images) == 1:
            manifest = replace(manifest, looks=looks().by_line(table["line"].to_numpy()))
    return manifest, findings


def _label_findings(table: pd.DataFrame, classes: Sequence[str]) -> Iterator[Finding]:
    """Every row has a label that is a class of the run."""
    blank = table["label"].str.strip().eq("")
    if blank.any():
        text = (
            f"{blank.sum():,} of {len(table):,} rows have no label: give all of them one, or none; "
            "use_labels=false predicts without labels"
        )
        yield Finding("blank", "error", text)
    yield from rules.label_findings(table[~blank], classes)


def _findings(
    manifest: Manifest, looks: Callable[[], Looks], middle: Middle | None
) -> Iterator[Finding]:
    table = manifest.table
    keys = [name for name in MIDDLES if name in table]
    yield from rules.cell_findings(table, manifest.image_columns)
    yield from rules.letter_findings(
        table, ["patient_id", "image_path", "label", *keys], manifest.name_of
    )
    yield from ids.spelling_findings(table)
    yield from ids.placeholder_findings(table)
    yield from paths.duplicate_findings(manifest.images)
    yield from paths.outside_findings(manifest.images, manifest.image_root)
    yield from paths.file_findings(manifest.images, manifest.image_root, looks())
    if middle is not None:
        errors = [of for of in rules.middle_findings(manifest, middle) if of.severity == "error"]
        yield from errors


def unseen_files(
    pattern: str, classes: Sequence[str], privacy: PrivacyConfig, accept: Collection[str] = ()
) -> Manifest:
    """The images that a pattern names, or one file, or a folder that holds a DICOM series.

    Nobody knows whose they are: each counts as a patient of its own, and has no label. `accept`
    are rules of the check that the run's settings accept.

    Raises:
        UserError: there is none.
        ManifestError: with every file that is no image.
    """
    found = _named(pattern)
    table = pd.DataFrame({"patient_id": found, "image_path": found, "label": "", "line": 0})
    root = Path()
    with paths.first_looks(table, root) as looks:
        found_wrong = paths.file_findings(table, root, looks())
        findings = tuple(finding for finding in found_wrong if finding.rule not in accept)
    if any(finding.severity == "error" for finding in findings):
        raise ManifestError(pattern, findings)
    manifest = Manifest(Path(pattern), root, _as_tuple(classes), table, findings=findings)
    if privacy.pseudonyms:
        manifest = Pseudonyms.open(Path(privacy.key_file)).applied(manifest, [])
    ordered = manifest.table.sort_values("image_path", ignore_index=True)
    return replace(manifest, table=ordered.assign(group=ordered["patient_id"]))


def _as_tuple(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of labels, and grades, are one already, and know what they are."""
    return classes if isinstance(classes, tuple) else tuple(classes)


def _named(pattern: str) -> list[str]:
    """The paths, sorted."""
    if Path(pattern).is_dir() and not series_files(Path(pattern)):
        raise UserError(
            f"images={pattern}: the folder holds no DICOM series; name its images by a pattern, "
            f"e.g. images='{pattern.rstrip('/')}/*.png'"
        )
    is_one = Path(pattern).exists() or series_parts(Path(pattern)) is not None
    found = [pattern] if is_one else sorted(glob(pattern, recursive=True))  # noqa: PTH207 (an absolute pattern is one, too)
    if not found:
        raise UserError(f"images={pattern}: there is no such file (searched from {Path.cwd()})")
    return found
