"""A patient-keyed CSV becomes a `Manifest`: every row checked, patients grouped."""

from pipeline.manifest.findings import Finding, ManifestError, Severity
from pipeline.manifest.grouping import Grouping
from pipeline.manifest.groups import join_groups, leakage_groups
from pipeline.manifest.ids import canonical_id
from pipeline.manifest.manifest import Manifest
from pipeline.manifest.reading import lint, read_manifest
from pipeline.manifest.rules import contradictory_labels

__all__ = [
    "Finding",
    "Grouping",
    "Manifest",
    "ManifestError",
    "Severity",
    "canonical_id",
    "contradictory_labels",
    "join_groups",
    "leakage_groups",
    "lint",
    "read_manifest",
]
