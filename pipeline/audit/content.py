"""What decoded pixels say: copies under two patients join their groups."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

from rich.console import Console

from pipeline.audit.copies import (
    LEAST_CORRELATION,
    SEARCH_VERSION,
    Copies,
    Copy,
    exact_copies,
    find_copies,
)
from pipeline.audit.image_findings import contradictions, copy_findings, format_findings
from pipeline.config import AuditConfig, Config, ImagesConfig, UserError, fingerprint
from pipeline.console import progress_bar
from pipeline.files import write_json
from pipeline.images.decoders import Progress
from pipeline.images.faults import UnusableImagesError
from pipeline.images.packed import PackedImages
from pipeline.images.packing import pack_images
from pipeline.manifest import Finding, Manifest, ManifestError, by_cause, join_groups
from pipeline.manifest.findings import PROBLEMS_SHOWN
from pipeline.manifest.groups import one_per_row
from pipeline.manifest.reading import set_aside, with_readable_images
from pipeline.processes import start_forkserver
from pipeline.words import lines_and_more


class AuditError(UserError):
    """What was found in the images forbids a cross-validation."""


@dataclass(frozen=True)
class Content:
    """What the images' contents say of a manifest."""

    manifest: Manifest
    """With the groups of copies joined."""
    copies: Copies
    findings: tuple[Finding, ...]
    images: PackedImages | None = None
    """Where they were compared by their pixels."""

    @property
    def warnings(self) -> list[str]:
        return [str(f) for f in by_cause(self.findings) if f.severity == "warning"]

    def sound_manifest(self) -> Manifest:
        """The manifest; AuditError, with every finding that is an error, if there is one."""
        errors = [str(f) for f in by_cause(self.findings) if f.severity == "error"]
        if errors:
            lines = lines_and_more(errors, PROBLEMS_SHOWN)
            raise AuditError("\n".join([f"the images of {self.manifest.path}:", *lines]))
        return self.manifest


def look_at_images(config: Config, manifest: Manifest, console: Console) -> Content:
    """Decode the images, unless `audit.content=false`, and link the copies among them.

    Images that cannot be used are errors among the findings; the others are compared.
    """
    usable, images = with_readable_images(manifest) if config.audit.content else manifest, None
    faults: tuple[Finding, ...] = ()
    if config.audit.content and len(usable):
        start_forkserver()
        with progress_bar("decoding images", console) as progress:
            usable, images, faults = pack_usable(usable, config.images, progress)
    if not len(usable):
        return Content(manifest, Copies(), faults)
    content = link_copies(usable, images, config.audit, config.manifest.accept)
    apart = set_aside(len(manifest) - len(usable), len(manifest), "image")
    return replace(content, findings=(*faults, *apart, *content.findings))


def pack_usable(
    manifest: Manifest, config: ImagesConfig, progress: Progress
) -> tuple[Manifest, PackedImages | None, tuple[Finding, ...]]:
    """The rows whose images can be used, these images, and an error for each of the others."""
    findings: tuple[Finding, ...] = ()
    while len(manifest):  # what is wrong with the rest shows once the others are set aside
        try:
            return manifest, pack_images(manifest, config, progress, keep_rest=True), findings
        except UnusableImagesError as error:
            manifest, findings = manifest.without(error.rows), (*findings, *error.findings)
    return manifest, None, findings


def link_copies(
    manifest: Manifest, images: PackedImages | None, audit: AuditConfig, accept: Collection[str]
) -> Content:
    """Find copies, and join the groups of patients that share one; report mixed image formats.

    With `audit.content=false` only byte-identical files are compared, whose groups were joined
    when the manifest was read. Near copies follow `audit.near`; `accept` is `manifest.accept`.
    """
    images = images if audit.content else None
    if images is None:
        digests = [digest or f"only row {row}" for row, digest in enumerate(manifest.twin_digests)]
        copies = exact_copies(digests, manifest.table["patient_id"].tolist())
    else:
        digests = _digests(images)
        copies = known_copies(manifest, images)
    findings = [
        *copy_findings(manifest, copies, audit.near),
        *contradictions(manifest, digests, copies.flat, accept),
    ]
    if images is not None:
        findings += format_findings(manifest, images.facts)
        links = [(p.one, p.other) for p in copies.pairs if p.exact or audit.near == "merge"]
        try:
            manifest = join_groups(manifest, links, "copied images")
        except ManifestError as error:  # a group became too large
            findings += error.findings
    return Content(manifest, copies, tuple(findings), images)


def _digests(images: PackedImages) -> list[str]:
    """(N,) of decoded pixels, the same for samples that share one of several images."""
    digests = [fact["pixel_digest"].split(" ") for fact in images.facts]
    shared = one_per_row([[d for d in several if d != "-"] for several in digests])
    return [digest or f"only row {row}" for row, digest in enumerate(shared)]


def known_copies(manifest: Manifest, images: PackedImages) -> Copies:
    """The copies among these images; kept in the cache folder, for the next command."""
    patients = manifest.table["patient_id"].tolist()
    key = fingerprint([SEARCH_VERSION, LEAST_CORRELATION, patients])
    path = images.path / f"copies-{key[:32]}.json"
    try:
        saved = json.loads(path.read_text())
        return Copies(tuple(Copy(**pair) for pair in saved["pairs"]), tuple(saved["flat"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # none yet, or damaged
        copies = find_copies(_digests(images), images.thumbnails, patients)
        write_json(path, asdict(copies))
        return copies
