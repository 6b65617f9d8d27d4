"""What decoded pixels say: copies under two patients join their groups; unusual formats are
reported.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass

from pipeline.audit.copies import (
    LEAST_CORRELATION,
    SEARCH_VERSION,
    Copies,
    Copy,
    exact_copies,
    find_copies,
)
from pipeline.audit.copy_findings import contradictions, copy_findings
from pipeline.audit.formats import format_findings
from pipeline.config import fingerprint
from pipeline.errors import UserError
from pipeline.files import write_whole
from pipeline.images.packed import PackedImages
from pipeline.manifest import Finding, Manifest, ManifestError, join_groups


class AuditError(UserError):
    """What was found in the images forbids a cross-validation."""


@dataclass(frozen=True)
class Content:
    """What was found in the pixels."""

    manifest: Manifest
    """With the groups of copies joined."""
    copies: Copies
    findings: tuple[Finding, ...]

    def stop_at_errors(self) -> None:
        """Raise AuditError with every finding that is an error."""
        errors = [f"  {finding}" for finding in self.findings if finding.severity == "error"]
        if errors:
            raise AuditError("\n".join([f"the images of {self.manifest.path}:", *errors]))


def audit_content(
    manifest: Manifest, images: PackedImages, near: str, accept: Collection[str] = ()
) -> Content:
    """Find copies and unusual formats; join groups over exact copies, over near ones if asked.

    `images` are those of `manifest`; `near` is `audit.near`, `accept` is `manifest.accept`.
    """
    copies = known_copies(manifest, images)
    digests = [fact["pixel_digest"] for fact in images.facts]
    findings = [
        *copy_findings(manifest, copies, near),
        *contradictions(manifest, digests, copies.flat, accept),
        *format_findings(manifest, images.facts),
    ]
    links = [(p.one, p.other) for p in copies.pairs if p.exact or near == "merge"]
    try:
        manifest = join_groups(manifest, links, "copied images")
    except ManifestError as error:  # a group became too large
        findings += error.findings
    return Content(manifest, copies, tuple(findings))


def audit_files(manifest: Manifest, accept: Collection[str] = ()) -> Content:
    """Byte-identical files of two patients or labels: what is known without decoding an image.

    Their groups were joined when the manifest was read.
    """
    digests = [digest or f"only row {row}" for row, digest in enumerate(manifest.twin_digests)]
    copies = exact_copies(digests, manifest.table["patient_id"].tolist())
    findings = [
        *copy_findings(manifest, copies, "report"),
        *contradictions(manifest, digests, (), accept),
    ]
    return Content(manifest, copies, tuple(findings))


def known_copies(manifest: Manifest, images: PackedImages) -> Copies:
    """The copies among these images; kept in the cache folder, for the next command."""
    patients = manifest.table["patient_id"].tolist()
    key = fingerprint([SEARCH_VERSION, LEAST_CORRELATION, patients])
    path = images.path / f"copies-{key[:32]}.json"
    try:
        saved = json.loads(path.read_text())
        return Copies(tuple(Copy(**pair) for pair in saved["pairs"]), tuple(saved["flat"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none yet, or damaged
        digests = [fact["pixel_digest"] for fact in images.facts]
        copies = find_copies(digests, images.thumbnails, patients)
        write_whole(path, json.dumps(asdict(copies)))
        return copies
