"""The report of a check: everything that was found, as check.json and check.html."""

import base64
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from jinja2 import Environment, StrictUndefined
from PIL import Image

from pipeline.audit.content import Content
from pipeline.audit.copies import Copies, Copy
from pipeline.audit.image_findings import by_patients
from pipeline.audit.shortcuts import ALARM, Shortcut, shortcut_findings
from pipeline.config import SplitConfig, UserError
from pipeline.files import make_private, write_whole
from pipeline.images.packed import PackedImages
from pipeline.manifest import Finding, Manifest, ManifestError, by_cause
from pipeline.manifest.reading import UNREADABLE
from pipeline.splits import Plan
from pipeline.splits.describe import describe_plan, promise
from pipeline.splits.folds import PARTS
from pipeline.splits.quality import Split, count_parts
from pipeline.words import counted, visible

SCHEMA = 2
MOST_PATIENT_PAIRS, MOST_PAIRS = 1000, 20
"""Pairs of patients that check.json lists, and pairs of images of each."""
SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Report:
    """What a check found; what it did not come to is None."""

    path: str
    """Of the manifest."""
    findings: tuple[Finding, ...] = ()
    manifest: Manifest | None = None
    copies: Copies | None = None
    images: PackedImages | None = None
    """Among which they were found."""
    shortcuts: tuple[Shortcut, ...] = ()
    split: Split | None = None

    def read(self, manifest: Manifest) -> Self:
        """The report once the manifest was read."""
        return replace(self, manifest=manifest, findings=manifest.findings)

    def of_names(self) -> Self:
        """The report of who is in which part: for that, images need not be there."""
        findings = [
            replace(finding, severity="warning")
            if finding.rule in UNREADABLE and finding.severity == "error"
            else finding
            for finding in self.findings
        ]
        return replace(self, findings=tuple(findings))

    def noticed(self, findings: Iterable[Finding]) -> Self:
        """The report with what else was seen."""
        return replace(self, findings=(*self.findings, *findings))

    def compared(self, content: Content) -> Self:
        """The report once the images were compared."""
        copies = None if content.images is None else content.copies
        return replace(
            self,
            manifest=content.manifest,
            copies=copies,
            images=content.images,
            findings=(*self.findings, *content.findings),
        )

    def measured(self, shortcuts: Sequence[Shortcut]) -> Self:
        """The report once shortcuts were measured."""
        findings = (*self.findings, *shortcut_findings(shortcuts))
        return replace(self, shortcuts=tuple(shortcuts), findings=findings)

    def divided(self, manifest: Manifest, split: Split, findings: Sequence[Finding]) -> Self:
        """The report once there is a plan, or a given split was audited."""
        return replace(self, manifest=manifest, split=split, findings=(*self.findings, *findings))

    def stopped(self, error: UserError, private: bool = False) -> Self:
        """The report once this error ended a step; a manifest's error lists its findings.

        What ended it is `private` when it may name patients, though files must not.
        """
        listed = error.findings if isinstance(error, ManifestError) else ()
        findings = listed or (Finding("stopped", "error", str(error), private=private),)
        return replace(self, findings=(*self.findings, *findings))

    def has_error(self, rule: str) -> bool:
        """Was an error of this rule found?"""
        return any(f.rule == rule and f.severity == "error" for f in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """What check.json holds."""
        return {
            "schema": SCHEMA,
            "fit": all(finding.severity != "error" for finding in self.findings),
            "path": self.path,
            "findings": [finding.for_files() for finding in sorted_findings(self.findings)],
            "manifest": None if self.manifest is None else _manifest(self.manifest),
            "copies": _copies(self.copies, self.manifest, self.split),
            "shortcuts": [asdict(s) | {"flagged": s.flagged} for s in self.shortcuts],
            "split": None if self.split is None else _split(self.split),
        }


def split_of(
    plan: Plan,
    manifest: Manifest,
    split: SplitConfig,
    doubts: Sequence[str] = (),
    pairs: Iterable[Copy] = (),
) -> Split:
    """A proved plan, for the report; `doubts` are what no proof covers.

    It knows the place of each image in `pairs`, which name rows.
    """
    lines = [line.strip() for line in describe_plan(plan, manifest, split)]
    lines.append(f"no patient is in two parts; {promise(plan)}")
    lines += [f"but: {doubt}" for doubt in doubts]
    counts = tuple(count_parts(plan, manifest))
    return Split(f"plan {plan.hash[:12]}", tuple(lines), counts, _places(plan, manifest, pairs))


def _places(plan: Plan, manifest: Manifest, pairs: Iterable[Copy]) -> dict[int, str]:
    """`Split.places`: of several folds the one that tests the patient."""
    copied = {row for pair in pairs for row in (pair.one, pair.other)} - manifest.purged
    of = dict.fromkeys(plan.locked, "locked")
    for fold in plan.folds:
        suffix = f" of fold {fold.index}" if plan.num_folds > 1 else ""
        for part in PARTS if plan.num_folds == 1 else ("test",):
            of |= dict.fromkeys(fold.of(part), part + suffix)
    table = manifest.table.iloc[sorted(copied)]
    rows = zip(table["line"].tolist(), table["patient_id"], strict=True)
    return {line: of.get(patient, "train") for line, patient in rows}


def sorted_findings(findings: Sequence[Finding]) -> list[Finding]:
    """One for each cause: errors first, then by line."""
    return sorted(by_cause(findings), key=lambda f: (SEVERITIES.index(f.severity), f.line))


def write_report(report: Report, out_dir: Path, sheet: Image.Image | None = None) -> Path:
    """Write check.json, check.html (it needs no network) and copies.png; the page's path."""
    found, picture = report.as_dict(), io.BytesIO()
    make_private(out_dir)
    (out_dir / "copies.png").unlink(missing_ok=True)  # of an older check
    if sheet is not None:
        sheet.save(picture, "PNG")
        write_whole(out_dir / "copies.png", picture.getvalue())
    write_whole(out_dir / "check.json", json.dumps(found, indent=1) + "\n")
    template = files("pipeline.audit").joinpath("check.html.j2").read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(template).render(
        found,
        alarm=ALARM,
        counted=counted,
        counts={
            s: sum(f["count"] * (f["severity"] == s) for f in found["findings"]) for s in SEVERITIES
        },
        unreadable=any(
            f["rule"] in UNREADABLE for f in found["findings"] if f["severity"] != "note"
        ),
        sheet=base64.b64encode(picture.getvalue()).decode(),
    )
    write_whole(out_dir / "check.html", visible(page))
    return out_dir / "check.html"


def _manifest(manifest: Manifest) -> dict[str, Any]:
    everybody = manifest.of(manifest.patients)
    images = manifest.num_per_class(everybody).tolist()
    patients = manifest.num_patients_per_class(everybody).tolist()
    return {
        "hash": manifest.hash,
        "num_images": len(manifest),
        "num_patients": len(manifest.patients),
        "num_left_out": manifest.num_left_out,
        "classes": [
            {"name": name, "num_images": n, "num_patients": p}
            for name, n, p in zip(manifest.classes, images, patients, strict=True)
        ],
        "groups": asdict(manifest.grouping),
        "grouping": manifest.grouping.describe(),
    }


def _split(split: Split) -> dict[str, Any]:
    """Without the place of every row, which the copies name of theirs."""
    found = asdict(replace(split, places={}))  # a copy of a million would take seconds
    return {name: value for name, value in found.items() if name != "places"}


def _copies(
    copies: Copies | None, manifest: Manifest | None, split: Split | None
) -> dict[str, Any] | None:
    """By pair of patients, as the findings list them; all are counted, the first are listed."""
    if copies is None or manifest is None:
        return None
    places = {} if split is None else split.places
    columns = manifest.table[["line", "patient_id", "image_path", "label"]].to_dict("list")
    columns["part"] = [places.get(line) for line in columns["line"]]
    num_exact = sum(pair.exact for pair in copies.pairs)
    theirs = by_patients(manifest, copies.pairs)

    def both(name: str, pair: Copy) -> list[Any]:
        return [columns[name][row] for row in (pair.one, pair.other)]

    return {
        "num_exact": num_exact,
        "num_near": len(copies.pairs) - num_exact,
        "num_flat": len(copies.flat),
        "num_patient_pairs": len(theirs),
        "patient_pairs": [
            {
                "patient_ids": sorted(both("patient_id", same[0])),
                "num_pairs": len(same),
                "pairs": [
                    asdict(pair) | {f"{name}s": both(str(name), pair) for name in columns}
                    for pair in same[:MOST_PAIRS]
                ],
            }
            for same in theirs[:MOST_PATIENT_PAIRS]
        ],
    }
