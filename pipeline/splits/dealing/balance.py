"""How evenly groups are dealt to blocks: one number for the search, and the parts it is made of."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.arrays import Floats, Ints

SIZE_WEIGHT = 0.25
"""Weight of the sizes beside the prevalences in the objective."""


@dataclass(frozen=True)
class Quantities:
    """What each of G leakage groups brings into its block.

    `images` (G, C): images of each class. `patients` (G, P): patients that have each property (a
    class, a site, an age bin). `num_patients` (G,). `num_images` (G,): where an image may have
    several classes or none; else the sum over the classes.
    """

    images: Floats
    patients: Floats
    num_patients: Floats
    num_images: Floats | None = None

    def __len__(self) -> int:
        return len(self.num_patients)

    def of(self, groups: Ints) -> "Quantities":
        """Of some groups, in this order."""
        num_images = None if self.num_images is None else self.num_images[groups]
        return Quantities(
            self.images[groups], self.patients[groups], self.num_patients[groups], num_images
        )

    def columns(self) -> Floats:
        """(G, 2 + C + P) images, patients, then images and patients of each kind."""
        num_images = self.images.sum(axis=1) if self.num_images is None else self.num_images
        totals = np.column_stack([num_images, self.num_patients])
        return np.column_stack([totals, self.images, self.patients])


@dataclass(frozen=True)
class Balance:
    """The largest deviations of any block from the whole set.

    `image_prevalence` and `patient_prevalence` are differences of shares, `image_size` and
    `patient_size` relative to the block's fair size. `floor` is a bound that no dealing can beat.
    """

    objective: float
    floor: float
    image_prevalence: float
    patient_prevalence: float
    image_size: float
    patient_size: float


class Measure:
    """The deviations of blocks from the set, for many candidate loads at once."""

    def __init__(self, quantities: Quantities, shares: Floats) -> None:
        self.columns = quantities.columns()
        self.num_classes = quantities.images.shape[1]
        self.fair = self.columns.sum(axis=0) * shares[:, None]  # (B, K)
        whole = self.columns.sum(axis=0)
        self.image_share = whole[2 : 2 + self.num_classes] / max(whole[0], 1)
        self.patient_share = whole[2 + self.num_classes :] / max(whole[1], 1)

    @cached_property
    def kinds(self) -> Ints:
        """(G,) equal numbers for groups that bring the same: they can stand in for each other."""
        return np.unique(self.columns, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)

    def loads(self, blocks: Ints) -> Floats:
        """(B, K) what each block holds."""
        loads: Floats = np.zeros_like(self.fair)
        np.add.at(loads, blocks, self.columns)
        return loads

    def parts(self, loads: Floats, fair: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Signed deviations of loads (..., K): (..., C) image and (..., P) patient prevalences,
        then (..., 1) both sizes.
        """
        sizes = np.maximum(loads[..., :2], 1e-9)
        middle = 2 + self.num_classes
        relative = loads[..., :2] / fair[..., :2] - 1
        return (
            loads[..., 2:middle] / sizes[..., :1] - self.image_share,
            loads[..., middle:] / sizes[..., 1:] - self.patient_share,
            relative[..., :1],
            relative[..., 1:],
        )

    def deviations(self, loads: Floats, fair: Floats) -> Floats:
        """(..., 4) largest deviation of loads (..., K) in each of the `parts`."""
        parts = self.parts(loads, fair)
        return np.stack([np.abs(part).max(axis=-1, initial=0.0) for part in parts], axis=-1)

    def spread(self, loads: Floats) -> float:
        """Sum of squares of the blocks' relative deviations in every column; breaks ties of J."""
        used = self.fair > 0
        return float((((loads - self.fair)[used] / self.fair[used]) ** 2).sum())


def objective(worst: Floats) -> Floats:
    """(...) J of deviations (..., 4), in the order of `Measure.parts`."""
    total: Floats = worst[..., 0] + worst[..., 1] + SIZE_WEIGHT * (worst[..., 2] + worst[..., 3])
    return total


def balance(quantities: Quantities, blocks: Ints, shares: Floats) -> Balance:
    """Measure a dealing: `blocks` (G,) with values 0 to B-1, `shares` (B,) what each should hold.

    The objective is J = image_prevalence + patient_prevalence + 0.25 (image_size + patient_size).
    """
    measure = Measure(quantities, shares)
    loads = measure.loads(blocks)
    worst = measure.deviations(loads, measure.fair).max(axis=0)
    return Balance(float(objective(worst)), floor(quantities, shares), *worst.tolist())


def floor(quantities: Quantities, shares: Floats) -> float:
    """A J that no dealing can beat, because patients are whole and groups are never cut.

    A block of n patients has a whole number of each kind, so that its prevalence and its size
    cannot both be exact. The block that gets a group with x images of a class has at least those,
    and either too large a share of them or too many images.
    """
    columns, fractions = quantities.columns(), np.unique(shares)
    whole = columns.sum(axis=0)
    middle = 2 + quantities.images.shape[1]
    n = np.arange(1, int(whole[1]) + 1)[:, None]  # patients of a block
    share = whole[middle:] / whole[1]
    unequal = np.abs(np.round(share * n) / n - share) if share.size else np.zeros((len(n), 1))
    patients = max(
        float((unequal + SIZE_WEIGHT * np.abs(n / (part * whole[1]) - 1)).min(axis=0).max())
        for part in fractions
    )
    images = 0.0
    for column in range(2, middle):
        x = float(columns[:, column].max())
        p = whole[column] / whole[0]
        if x > 0:
            images = max(images, min(_forced(x, p, part * whole[0]) for part in fractions))
    if len(fractions) == 1:
        num = len(shares)
        patients = max(patients, *(_indivisible(t, whole[1], num) for t in whole[middle:]), 0.0)
        images = max(images, *(_indivisible(t, whole[0], num) for t in whole[2:middle]), 0.0)
    return images + patients


def _indivisible(total: float, whole: float, num_blocks: int) -> float:
    """What `total` of a kind forces, among `whole`, where it cannot be divided by `num_blocks`.

    Some block is off its fair number by the larger part of the remainder; a block of another size
    makes up for some of that and pays for its size.
    """
    remainder = total % num_blocks
    off = max(remainder, num_blocks - remainder) / num_blocks if remainder else 0.0
    fair = whole / num_blocks
    sizes = np.arange(max(1, int(fair / 2)), int(fair * 2) + 2)
    left = np.maximum(0.0, off - total / whole * np.abs(sizes - fair)) / sizes
    return float((left + SIZE_WEIGHT * np.abs(sizes / fair - 1)).min())


def _forced(x: float, p: float, fair: float) -> float:
    """Smallest max(0, x / n - p) + 0.25 |n / fair - 1| over block sizes n >= x."""
    sizes = np.array([x, x / p, fair, np.sqrt(x * fair / SIZE_WEIGHT)])
    sizes = np.maximum(sizes, x)  # convex between these, so that one of them is the smallest
    return float((np.maximum(0.0, x / sizes - p) + SIZE_WEIGHT * np.abs(sizes / fair - 1)).min())
