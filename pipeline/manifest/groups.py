"""Leakage groups: the rows that must stay on one side of every split."""

import os
from collections import defaultdict
from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.manifest.files import file_digest
from pipeline.manifest.manifest import Manifest


def leakage_groups(manifest: Manifest) -> NDArray[np.str_]:
    """(N,) name of each row's group: its smallest patient id.

    Rows are joined that share a patient, a study (`manifest.columns.study`) or a byte-identical
    image file. A group is a connected component of these links.
    """
    patients = manifest.table["patient_id"].tolist()
    keys: list[Iterable[Hashable | None]] = [patients, _identical_files(manifest)]
    if "study" in manifest.table:
        keys.append([study.strip() or None for study in manifest.table["study"]])
    component = _components(len(manifest), keys)
    names: dict[int, str] = {}
    for number, patient in zip(component, patients, strict=True):
        names[number] = min(names.get(number, patient), patient)
    return np.array([names[number] for number in component])


def _components(num_rows: int, keys: list[Iterable[Hashable | None]]) -> list[int]:
    """Number the connected components of rows, where rows with an equal key are linked."""
    ends: list[tuple[int, int]] = []
    for values in keys:
        first: dict[Hashable, int] = {}
        ends += [
            (row, first.setdefault(value, row))
            for row, value in enumerate(values)
            if value is not None
        ]
    rows, columns = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(num_rows, num_rows))
    component: list[int] = connected_components(graph, directed=False)[1].tolist()
    return component


def _identical_files(manifest: Manifest) -> list[str | None]:
    """A digest for files that have a byte-identical twin; only files of equal size are read."""
    by_size: dict[int, list[int]] = defaultdict(list)
    for row, path in enumerate(manifest.image_files):
        by_size[os.stat(path).st_size].append(row)  # noqa: PTH116 (see files.file_stamp)
    digests: list[str | None] = [None] * len(manifest)
    for twins in by_size.values():
        if len(twins) > 1:
            for row in twins:
                digests[row] = file_digest(manifest.image_files[row])
    return digests
