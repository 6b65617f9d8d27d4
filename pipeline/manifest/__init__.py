"""A patient-keyed CSV becomes a `Manifest`: every row checked, patients grouped."""

from pipeline.manifest.findings import Finding, ManifestError, by_cause
from pipeline.manifest.groups import join_groups
from pipeline.manifest.ids import canonical_id
from pipeline.manifest.manifest import Manifest
from pipeline.manifest.pseudonyms import PSEUDONYM, Pseudonyms
from pipeline.manifest.reading import read_manifest, read_usable, stop_at_errors
from pipeline.manifest.rules import contradictory_labels, middle_findings

__all__ = [
    "PSEUDONYM",
    "Finding",
    "Manifest",
    "ManifestError",
    "Pseudonyms",
    "by_cause",
    "canonical_id",
    "contradictory_labels",
    "join_groups",
    "middle_findings",
    "read_manifest",
    "read_usable",
    "stop_at_errors",
]
