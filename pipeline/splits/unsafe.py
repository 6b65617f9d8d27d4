"""A split by image, which leaks: only to show what the leak costs."""

from dataclasses import replace

from pipeline.manifest import Manifest


def image_level(manifest: Manifest) -> Manifest:
    """The same rows in the same order, every image a patient and group of its own.

    Patient ids become "UNSAFE|<patient>|<image_path>", so that each row of each file is marked.
    Plans of it have `Plan.unsafe`, and such runs are marked everywhere.
    """
    ids = "UNSAFE|" + manifest.table["patient_id"] + "|" + manifest.table["image_path"]
    return replace(manifest, table=manifest.table.assign(patient_id=ids, group=ids))
