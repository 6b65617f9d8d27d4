"""Leakage groups: the rows that must stay on one side of every split."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.arrays import Ints
from pipeline.formats.files import file_digest, file_size
from pipeline.manifest.findings import Finding, ManifestError
from pipeline.manifest.grouping import Grouping
from pipeline.manifest.manifest import Manifest

NUM_SAMPLE = 5


def leakage_groups(
    manifest: Manifest, group_columns: Sequence[str] = (), largest_share: float = 1.0
) -> tuple[NDArray[np.str_], Grouping, tuple[str | None, ...]]:
    """(N,) name of each row's group, its smallest patient id; what made the groups; twin_digests.

    Rows are joined that share a patient, a study (`manifest.columns.study`), a value of a group
    column or a byte-identical image file. A group is a connected component of these links. Rows
    that are left out have no group, but link patients: one who is known by an unlabelled image is
    known. `manifest` is in canonical order; two spellings of one patient id were refused before.
    """
    keys = {"study": "study"} if "study" in manifest.table else {}
    keys |= {name: name for name in group_columns}
    rows = pd.concat([manifest.table, _with_patient(manifest.left_out)], ignore_index=True)
    codes = {key: _codes(rows[name].str.strip()) for key, name in keys.items()}
    files: list[Path | None] = [manifest.image_root / path for path in rows["image_path"]]
    for row in range(len(manifest), len(rows)):  # nobody looked whether these are there
        if not (rows["image_path"][row].strip() and os.path.exists(files[row] or "")):  # noqa: PTH110
            files[row] = None
    digests = identical_files(files)
    twins = pd.factorize(digests)[0]
    codes["identical files"] = twins.astype(np.int64)
    patient, names = pd.factorize(rows["patient_id"].to_numpy(object))
    num_used = int(patient[: len(manifest)].max()) + 1
    groups, grouping = _grouped(
        patient.astype(np.int64), names[:num_used], {}, codes, largest_share
    )
    grouping = replace(grouping, commonest_file=_commonest(twins, rows["image_path"]))
    return groups[: len(manifest)], grouping, tuple(digests[: len(manifest)].tolist())


def _commonest(twins: Ints, paths: "pd.Series[str]") -> str:
    if not (twins >= 0).any():
        return ""
    counts = np.bincount(twins[twins >= 0])
    first = paths.iloc[int(np.flatnonzero(twins == counts.argmax())[0])]
    return f"{counts.max()} rows show the same file, e.g. {first!r}"


def _with_patient(left_out: pd.DataFrame) -> pd.DataFrame:
    return left_out[left_out["patient_id"].str.strip() != ""] if len(left_out) else left_out


def join_groups(
    manifest: Manifest, links: Sequence[tuple[int, int]], why: str = "identical images"
) -> Manifest:
    """The manifest with the groups of each pair of rows in `links` merged.

    Raises:
        ManifestError: when a group becomes too large (`manifest.largest_group`).
    """
    if not len(links):
        return manifest
    table, old = manifest.table, manifest.grouping
    patient, names = pd.factorize(table["patient_id"].to_numpy(object))
    group = pd.factorize(table["group"].to_numpy(object))[0].astype(np.int64)
    ends = np.asarray(links, dtype=np.int64).reshape(-1, 2)
    linked = components(group[ends[:, 0]], group[ends[:, 1]], int(group.max()) + 1)[group]
    # Joins are counted in groups, of which the manifest may have fewer than patients already.
    before = {key: num for key, num in old.joins.items() if num}
    labels, grouping = _grouped(
        patient.astype(np.int64), names, {"group": group}, {why: linked}, old.largest_share
    )
    gained = int(group.max()) + 1 - grouping.num_groups
    grouping = replace(grouping, joins=before | {why: before.get(why, 0) + gained})
    stop_at_giant(manifest, grouping)
    return replace(manifest, table=table.assign(group=labels), grouping=grouping)


def identical_files(paths: Sequence[Path | None]) -> NDArray[np.object_]:
    """(N,) a digest for files with a byte-identical twin, else None; reads equal sizes only.

    Files without a byte are no twins: they show nothing.
    """
    by_size: dict[int, list[tuple[int, Path]]] = defaultdict(list)
    for row, path in enumerate(paths):
        if path is not None:
            by_size[file_size(path)].append((row, path))
    digests = np.full(len(paths), None, dtype=object)
    for size, twins in by_size.items():
        if size and len(twins) > 1:
            for row, path in twins:
                digests[row] = file_digest(path)
    return digests


def stop_at_giant(manifest: Manifest, grouping: Grouping) -> None:
    """Raise ManifestError where one group holds more of the patients than it may."""
    if grouping.too_large:
        raise ManifestError(manifest.path, [Finding("largest_group", "error", grouping.problem())])


def _grouped(
    patient: Ints,
    names: NDArray[np.object_],
    known: Mapping[str, Ints],
    keys: Mapping[str, Ints],
    largest_share: float,
) -> tuple[NDArray[np.str_], Grouping]:
    """Join patients over each key: codes (N,), -1 where the cell is blank.

    `names` are those of the first patients, who are in use; the others only join them. `known`
    joins too, but is not counted.
    """
    num, num_used = int(patient.max()) + 1, len(names)
    edges = {key: _edges(patient, codes) for key, codes in (known | keys).items()}  # type: ignore[operator]
    joins = {
        key: num_used - len(np.unique(components(*edges[key], num)[:num_used])) for key in keys
    }
    one, other = (np.concatenate([pair[side] for pair in edges.values()]) for side in (0, 1))
    everywhere = components(one, other, num)
    _, first, component, sizes = np.unique(
        everywhere[:num_used], return_index=True, return_inverse=True, return_counts=True
    )
    largest = int(sizes.argmax())
    members = np.flatnonzero(component == largest)[:NUM_SAMPLE]
    grouping = Grouping(
        num_groups=len(first),
        num_patients=num_used,
        joins=joins,
        largest_name=str(names[first[largest]]),
        largest_num_patients=int(sizes[largest]),
        largest_sample=tuple(str(names[member]) for member in members),
        largest_share=largest_share,
    )
    group_of = np.append(names[first[component]], "")  # "" of patients who are not in use
    return np.asarray(group_of[np.minimum(patient, num_used)], dtype=str), grouping


def _codes(cells: "pd.Series[str]") -> Ints:
    """(N,) number of each value, -1 where blank."""
    return pd.factorize(cells.where(cells != "", None))[0].astype(np.int64)


def _edges(patient: Ints, codes: Ints) -> tuple[Ints, Ints]:
    """Link each row's patient with the first patient that has the same value."""
    rows = np.flatnonzero(codes >= 0)
    first = np.zeros(int(codes.max(initial=-1)) + 1, dtype=np.int64)
    first[codes[rows][::-1]] = patient[rows][::-1]
    return patient[rows], first[codes[rows]]


def components(one: Ints, other: Ints, num: int) -> Ints:
    """(num,) component of each node, where node one[i] is linked with other[i]."""
    apart = one != other
    one, other = one[apart], other[apart]
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(num, num))
    return connected_components(graph, directed=False)[1].astype(np.int64)  # type: ignore[no-any-return]
