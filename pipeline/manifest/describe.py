"""A manifest in a few lines: its images, patients, classes and leakage groups."""

from pipeline.manifest.manifest import Manifest
from pipeline.words import counted


def describe_manifest(manifest: Manifest) -> list[str]:
    """Lines: how many images and patients of which class, and how they are grouped."""
    everybody = manifest.of(manifest.patients)
    per_class = ", ".join(
        f"{name} {counted(images, 'image')} of {counted(patients, 'patient')}"
        for name, images, patients in zip(
            manifest.classes,
            manifest.num_per_class(everybody).tolist(),
            manifest.num_patients_per_class(everybody).tolist(),
            strict=True,
        )
    )
    lines = [
        f"manifest {manifest.path}: {counted(len(everybody), 'image')} of "
        f"{counted(len(manifest.patients), 'patient')}",
        f"  {per_class}",
    ]
    if len(manifest.classes) == 2:
        lines.append(f"  positive class: {manifest.classes[1]!r} (manifest.classes)")
    if manifest.purged:
        lines.append(f"  purged besides: {counted(len(manifest.purged), 'image')}")
    if manifest.num_left_out:
        lines.append(f"  left out: {counted(manifest.num_left_out, 'row')} without a label")
    return [*lines, *describe_groups(manifest)]


def describe_groups(manifest: Manifest) -> list[str]:
    """Lines: how many leakage groups there are, what made them, and the largest."""
    return [f"  {line}" for line in manifest.grouping.describe()]
