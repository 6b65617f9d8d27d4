"""What `configure` may have seen of a set, without its files."""

from dataclasses import fields, replace
from typing import Any

from pipeline.configure.cohort import Cohort
from pipeline.configure.fingerprint import Fingerprint
from pipeline.configure.machine import GIB, Machine
from pipeline.configure.pixels import Pixels
from pipeline.configure.thumbnails import Likeness

COHORT = Cohort(
    classes=("healthy", "lesion"),
    is_multilabel=False,
    num_images=400,
    num_patients=100,
    num_independent=100,
    images_per_class=(200, 200),
    independent_per_class=(50, 50),
    median_images=4.0,
    num_effective=90.0,
    num_mixed=0,
    positive_share=1.0,
    count_auroc=0.5,
)
PIXELS = Pixels(
    num_read=200,
    num_files=400,
    formats=("PNG",),
    modality="",
    spatial_dims=2,
    num_channels=1,
    has_unlike_files=False,
    has_colour_model=True,
    is_colour=False,
    bit_depth=8,
    median_shape=(64, 64),
    num_shapes=1,
    spacing=None,
    spacing_varies=False,
    extent=(64.0, 64.0),
    lowest=0.0,
    highest=255.0,
    likeness=Likeness(shared=0.6, mirrored=(0.2, 0.3)),
)
MACHINE = Machine(num_cores=2, free_ram=16 * GIB)
VOLUMES: dict[str, Any] = {
    "formats": ("NIfTI",),
    "spatial_dims": 3,
    "bit_depth": 16,
    "median_shape": (40, 56, 44),
    "spacing": (1.0, 1.0, 1.0),
    "extent": (41.0, 58.0, 45.0),
    "highest": 900.0,
    "likeness": Likeness(shared=0.6, mirrored=(0.2, 0.3, 0.1)),
}
"""Small ones that lie alike."""


def fingerprint(**changes: Any) -> Fingerprint:
    """100 patients with four grey pictures each, of two even classes, on two cores; but `changes`,
    by the names of the fields.
    """
    parts = []
    for part in (COHORT, PIXELS, MACHINE):
        names = {field.name for field in fields(part)}
        parts.append(replace(part, **{k: v for k, v in changes.items() if k in names}))
        changes = {k: v for k, v in changes.items() if k not in names}
    assert not changes
    cohort, pixels, here = parts
    return Fingerprint(cohort=cohort, pixels=pixels, machine=here)  # type: ignore[arg-type]
