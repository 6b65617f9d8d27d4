"""A patient-keyed CSV becomes a `Manifest`: every row checked, patients grouped."""

from pipeline.manifest.findings import Finding, Severity
from pipeline.manifest.groups import leakage_groups
from pipeline.manifest.manifest import Manifest, ManifestError
from pipeline.manifest.reading import read_manifest

__all__ = ["Finding", "Manifest", "ManifestError", "Severity", "leakage_groups", "read_manifest"]
