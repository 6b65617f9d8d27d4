"""Deal leakage groups to the blocks of a rotating k-fold, evenly in images and in patients."""

import numpy as np
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.manifest import Manifest
from pipeline.splits.folds import Plan


def plan_folds(manifest: Manifest, num_folds: int, seed: int) -> Plan:
    """Deal the manifest's leakage groups to `num_folds` blocks.

    The same samples give the same plan, in whatever order the rows came and on any machine.

    Raises:
        UserError: when there are fewer groups than folds.
    """
    patients = manifest.table.drop_duplicates("patient_id").set_index("patient_id")["group"]
    groups = sorted(patients.unique())
    if len(groups) < num_folds:
        enough = len(groups) >= 3
        raise UserError(
            f"split.num_folds is {num_folds}, but {manifest.path} has only {len(groups)} "
            f"independent patient(s); "
            + (f"use 3 to {len(groups)} folds." if enough else "at least 3 are needed.")
        )
    block_of = dict(
        zip(groups, _deal(_group_columns(manifest, groups), num_folds, seed), strict=True)
    )
    return Plan(
        num_folds=num_folds,
        seed=seed,
        blocks={str(patient): int(block_of[group]) for patient, group in patients.items()},
        groups={str(patient): str(group) for patient, group in patients.items()},
        manifest_hash=manifest.hash,
    )


def _group_columns(manifest: Manifest, groups: list[str]) -> NDArray[np.float64]:
    """(G, 2C + 1) what is to be even: images per class, patients that have the class, patients."""
    row = {group: i for i, group in enumerate(groups)}
    group_of_sample = manifest.table["group"].map(row).to_numpy()
    num_classes = len(manifest.classes)
    images = np.zeros((len(groups), num_classes))
    np.add.at(images, (group_of_sample, manifest.labels), 1)
    per_class = manifest.table.assign(class_index=manifest.labels).drop_duplicates(
        ["patient_id", "class_index"]
    )
    patients = np.zeros((len(groups), num_classes + 1))
    np.add.at(patients, (per_class["group"].map(row), per_class["class_index"]), 1)
    everyone = manifest.table.drop_duplicates("patient_id")
    np.add.at(patients[:, -1], everyone["group"].map(row), 1)
    return np.concatenate([images, patients], axis=1)


def _deal(columns: NDArray[np.float64], num_folds: int, seed: int) -> NDArray[np.int64]:
    """(G,) the block of each group: largest groups first, each to where it evens out most.

    Minimises the sum of squares of the blocks' shares of every column; putting group x into a
    block with load l adds 2 l.x + x.x, so that the best block is the one with the smallest l.x.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    shares = columns / columns.sum(axis=0)  # a rare class weighs as much as a frequent one
    order = generator.permutation(len(shares))
    order = order[np.argsort(-np.linalg.norm(shares[order], axis=1).round(12), kind="stable")]
    load = np.zeros((num_folds, shares.shape[1]))
    blocks = np.empty(len(shares), dtype=np.int64)
    for group in order:  # an empty block has the smallest l.x, so that none stays empty
        blocks[group] = np.argmin((load @ shares[group]).round(12))
        load[blocks[group]] += shares[group]
    return blocks
