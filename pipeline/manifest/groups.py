"""Leakage groups: the rows that must stay on one side of every split."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.arrays import Ints
from pipeline.files import content_digest
from pipeline.formats.files import file_digest, file_size
from pipeline.formats.table import ImageError
from pipeline.levels import MIDDLES
from pipeline.manifest.findings import Finding, ManifestError
from pipeline.manifest.manifest import Grouping, Manifest

NUM_SAMPLE = 5


def leakage_groups(
    manifest: Manifest, group_columns: Sequence[str], largest_share: float
) -> Manifest:
    """The manifest with the group of each row, named by its smallest patient id, and its twins.

    Rows are joined that share a patient, a study, a slide (`manifest.columns`), a value of a group
    column or a byte-identical image file. A group is a connected component of these links. Rows
    that are left out have no group, but link patients: one who is known by an unlabelled image is
    known. `manifest` is in canonical order; two spellings of one patient id were refused before.
    """
    left_out = manifest.left_out[manifest.left_out["patient_id"].str.strip() != ""]
    rows = pd.concat([manifest.table, left_out], ignore_index=True)
    keys = [*(name for name in MIDDLES if name in rows), *group_columns]
    codes = {key: _codes(rows[key].str.strip()) for key in keys}
    paths = rows["image_path"]
    digests = _digests(manifest, rows)
    codes["identical files"] = pd.factorize(digests)[0].astype(np.int64)
    groups, grouping = _grouped(rows["patient_id"], len(manifest), {}, codes, largest_share)
    shown = paths.groupby(digests, sort=False).agg(["size", "first"])
    if len(shown):
        number, first = shown.iloc[int(shown["size"].argmax())]
        file = f"{number} rows show the same file, e.g. {first!r}"
        grouping = replace(grouping, commonest_file=file)
    manifest = replace(manifest, twin_digests=tuple(digests[: len(manifest)].tolist()))
    return _with_groups(manifest, groups, grouping)


def join_groups(
    manifest: Manifest, links: Sequence[tuple[int, int]], why: str = "identical images"
) -> Manifest:
    """The manifest with the groups of each pair of rows in `links` merged.

    Raises:
        ManifestError: when a group becomes too large by them (`manifest.largest_group`).
    """
    if not len(links):
        return manifest
    table, old = manifest.table, manifest.grouping
    group = _codes(table["group"])
    num_groups = int(group.max()) + 1
    one, other = group[np.asarray(links, dtype=np.int64).reshape(-1, 2)].T
    linked = {why: components(one, other, num_groups)[group]}
    labels, grouping = _grouped(
        table["patient_id"], len(table), {"group": group}, linked, old.largest_share
    )
    # Joins are counted in groups, of which the manifest may have fewer than patients already.
    before = {key: num for key, num in old.joins.items() if num}
    gained = num_groups - grouping.num_groups
    grouping = replace(
        grouping,
        joins=before | {why: before.get(why, 0) + gained},
        commonest_file=old.commonest_file,
    )
    joined = _with_groups(manifest, labels, grouping)
    problems = group_findings(joined)
    if problems and not old.problem():  # else it has been reported
        raise ManifestError(manifest.path, problems)
    return joined


def group_findings(manifest: Manifest) -> list[Finding]:
    """An error if one group is too large (`manifest.largest_group`)."""
    problem = manifest.grouping.problem()
    return [Finding("largest_group", "error", problem)] if problem else []


def _with_groups(manifest: Manifest, groups: NDArray[np.str_], grouping: Grouping) -> Manifest:
    return replace(manifest, table=manifest.table.assign(group=groups), grouping=grouping)


def identical_files(paths: Sequence[Path | None]) -> NDArray[np.object_]:
    """(N,) a digest for files that may have a byte-identical twin, else None; reads equal sizes
    only.

    Files without a byte are no twins, they show nothing; nor are paths that cannot be read.
    """
    by_size: dict[int, list[tuple[int, Path]]] = defaultdict(list)
    for row, path in enumerate(paths):
        if path is not None:
            with suppress(OSError, ImageError):
                by_size[file_size(path)].append((row, path))
    digests = np.full(len(paths), None, dtype=object)
    for size, twins in by_size.items():
        if size and len(twins) > 1:
            for row, path in twins:
                with suppress(OSError, ImageError):
                    digests[row] = file_digest(path, content_digest)
    return digests


def _digests(manifest: Manifest, rows: pd.DataFrame) -> NDArray[np.object_]:
    """(N,) one and the same for rows that share a file; None where nobody else has it."""
    looks, paths = manifest.looks.at(rows["line"].to_numpy()), rows["image_path"]
    alone = looks.size >= 0
    unknown = [_files(manifest, path) for path in paths[~alone].tolist()]
    seen = pd.DataFrame({"size": looks.size, "start": looks.start})
    alone &= ~seen.duplicated(keep=False) & ~seen["size"].isin(_sizes(unknown))
    sets = [_files(manifest, path) for path in paths[~alone].tolist()]
    twins = iter(identical_files([file for files in sets for file in files]).tolist())
    found = np.full(len(rows), None, dtype=object)
    found[~alone] = one_per_row([[next(twins) for _ in files] for files in sets])
    return found


def _files(manifest: Manifest, image_path: str) -> list[Path | None]:
    """Of a row; None for a blank cell, which is no folder of a series."""
    files = manifest.files_of(image_path) if image_path.strip() else ()
    return [None if file == manifest.image_root else file for file in files] or [None]


def _sizes(sets: Sequence[Sequence[Path | None]]) -> list[int]:
    """Of those that can be read."""
    sizes = []
    for path in (path for files in sets for path in files if path is not None):
        with suppress(OSError, ImageError):
            sizes.append(file_size(path))
    return sizes


def one_per_row(digests: Sequence[Sequence[str | None]]) -> NDArray[np.object_]:
    """(N,) a digest of each row's images: one and the same for rows that share any of them."""
    found = np.full(len(digests), None, dtype=object)
    pairs = [(row, name) for row, names in enumerate(digests) for name in names if name]
    if not pairs:
        return found
    rows = np.array([row for row, _ in pairs])
    names = np.array([name for _, name in pairs], dtype=object)
    codes = pd.factorize(names)[0]
    first = pd.Series(rows).groupby(codes).transform("first").to_numpy()
    joined = components(rows, first, len(digests))
    named = pd.Series(names).groupby(joined[rows]).min()
    found[rows] = named[joined[rows]].to_numpy(object)
    return found


def _grouped(
    patients: "pd.Series[str]",
    num_rows: int,
    known: dict[str, Ints],
    keys: dict[str, Ints],
    largest_share: float,
) -> tuple[NDArray[np.str_], Grouping]:
    """Join patients over each key: codes (N,), -1 where the cell is blank.

    Patients of the first `num_rows` rows are in use; the others only join them. `known` joins too,
    but is not counted.
    """
    patient, names = _codes(patients), patients.unique()
    num, num_used = len(names), int(patient[:num_rows].max()) + 1
    edges = {key: _edges(patient, codes) for key, codes in (known | keys).items()}
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
    return np.asarray(names[first[component]], dtype=str)[patient[:num_rows]], grouping


def _codes(cells: "pd.Series[str]") -> Ints:
    """(N,) number of each value, -1 where blank."""
    return pd.factorize(cells.where(cells != "", None))[0].astype(np.int64)


def _edges(patient: Ints, codes: Ints) -> tuple[Ints, Ints]:
    """Link each row's patient with the first patient that has the same value."""
    one = pd.Series(patient)[codes >= 0]
    return one.to_numpy(), one.groupby(codes[codes >= 0]).transform("first").to_numpy()


def components(one: Ints, other: Ints, num: int) -> Ints:
    """(num,) component of each node, where node one[i] is linked with other[i]."""
    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(num, num))
    return connected_components(graph, directed=False)[1].astype(np.int64)  # type: ignore[no-any-return]
