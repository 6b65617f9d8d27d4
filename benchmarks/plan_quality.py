"""How even are our blocks beside StratifiedGroupKFold's? `python benchmarks/plan_quality.py`

Prints the imbalance J (pipeline/splits/dealing/balance.py) of both on seven kinds of synthetic
cohorts, how often the exact optimum is found where every dealing can be tried, J of grown plans,
and seconds at size. J counts patients and images; single parts of it can be worse than
scikit-learn's, which looks at images only. "floor" is the best J that is possible with whole
patients, or below it: near it no dealing is better.
"""

import argparse
import itertools
import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from least_objective import least_objective

from pipeline.arrays import Floats, Ints
from pipeline.config import SplitConfig
from pipeline.manifest import Manifest
from pipeline.splits import plan_folds
from pipeline.splits.dealing.balance import Measure, Quantities, balance, objective
from pipeline.splits.dealing.deal import deal, scikit_learn_blocks

NUM_BLOCKS = 5


def one_class_each(
    draw: int, num_patients: int, prevalence: tuple[float, ...], tail: float, typical: float = 10
) -> Quantities:
    """Every patient has one class; images are log-normal: median `typical`, log SD `tail`."""
    generator = np.random.default_rng(draw)
    num_per_class = np.floor(np.multiply(prevalence, num_patients)).astype(int)
    num_per_class[0] += num_patients - num_per_class.sum()
    classes = generator.permutation(np.repeat(np.arange(len(prevalence)), num_per_class))
    num_images = np.ceil(typical * np.exp(tail * generator.standard_normal(num_patients)))
    images = np.zeros((num_patients, len(prevalence)))
    images[np.arange(num_patients), classes] = num_images
    return _of_patients(images)


def mixed_classes(draw: int, num_patients: int) -> Quantities:
    """Three classes in uneven shares within each patient, log-normal image counts."""
    generator = np.random.default_rng(draw)
    num_images = np.ceil(10 * np.exp(generator.standard_normal(num_patients))).astype(int)
    shares = generator.dirichlet([0.4, 0.3, 0.2], size=num_patients)
    return _of_patients(generator.multinomial(num_images, shares).astype(float))


def like_ham(draw: int, num_patients: int = 1500) -> Quantities:
    """HAM10000's seven classes in the shares of its 7,470 lesions, one to six images each."""
    generator = np.random.default_rng(draw)
    lesions = np.array([5403, 727, 614, 327, 228, 98, 73])  # nv bkl mel bcc akiec vasc df
    shares = lesions / lesions.sum()
    images = np.zeros((num_patients, 7))
    classes = generator.choice(7, num_patients, p=shares)
    counts = generator.choice(
        np.arange(1, 7), num_patients, p=[0.72, 0.2, 0.05, 0.015, 0.01, 0.005]
    )
    images[np.arange(num_patients), classes] = counts
    return _of_patients(images[:, images.any(axis=0)])


def like_camelyon17(draw: int) -> Quantities:
    """100 patients of five centres, five slides each of four classes; centre is a column."""
    generator = np.random.default_rng(draw)
    burden = generator.dirichlet([1.6, 0.2, 0.35, 0.45], size=100)
    images = generator.multinomial(5, burden).astype(float)
    centres = np.eye(5)[np.repeat(np.arange(5), 20)]
    return _of_patients(images, centres)


def large(num_patients: int, images_each: int, draw: int = 0) -> Quantities:
    """Four classes mixed within patients and six sites; about `images_each` images a patient."""
    generator = np.random.default_rng(draw)
    tail = np.exp(0.8 * generator.standard_normal(num_patients) - 0.32)
    shares = generator.dirichlet([0.6, 0.3, 0.2, 0.1], size=num_patients)
    num_images = np.maximum(1, images_each * tail).astype(int)
    sites = np.eye(6)[generator.choice(6, num_patients)]
    return _of_patients(generator.multinomial(num_images, shares).astype(float), sites)


SCENARIOS: dict[str, Callable[[int], Quantities]] = {
    "30 patients, 30 % positive, heavy tail": lambda d: one_class_each(d, 30, (0.7, 0.3), 1.2),
    "100 patients, 30 % positive": lambda d: one_class_each(d, 100, (0.7, 0.3), 1.3),
    "100 patients, 10 % positive": lambda d: one_class_each(d, 100, (0.9, 0.1), 1.5),
    "500 patients, 10 %, very heavy tail": lambda d: one_class_each(d, 500, (0.9, 0.1), 1.5),
    "60 patients, 3 classes mixed": lambda d: mixed_classes(d, 60),
    "HAM-like, 1,500 patients, 7 classes": like_ham,
    "CAMELYON17-like, with centres": like_camelyon17,
}


def _of_patients(images: Floats, properties: Floats | None = None) -> Quantities:
    """One patient a group: the columns are the classes a patient has, and its properties."""
    images = images.astype(float)
    has = (images > 0).astype(float)
    columns = has if properties is None else np.column_stack([has, properties])
    return Quantities(images, columns, np.ones(len(images)))


@dataclass(frozen=True)
class Comparison:
    """(D,) J over the draws of a scenario, and the mean seconds of one dealing of ours."""

    theirs: Floats
    ours: Floats
    floor: Floats
    patients: tuple[float, float]
    seconds: float

    @property
    def ratios(self) -> Floats:
        ratios: Floats = self.ours / self.theirs
        return ratios


def compare(make: Callable[[int], Quantities], num_draws: int) -> Comparison:
    """Deal `num_draws` cohorts by StratifiedGroupKFold and by ours."""
    shares = np.full(NUM_BLOCKS, 1 / NUM_BLOCKS)
    theirs, ours, seconds = [], [], 0.0
    for draw in range(num_draws):
        quantities = make(draw)
        theirs.append(balance(quantities, scikit_learn_blocks(quantities, NUM_BLOCKS), shares))
        began = time.perf_counter()
        blocks = deal(quantities, shares, seed=0)
        seconds += time.perf_counter() - began
        ours.append(balance(quantities, blocks, shares))
    return Comparison(
        theirs=np.array([b.objective for b in theirs]),
        ours=np.array([b.objective for b in ours]),
        floor=np.array([b.floor for b in ours]),
        patients=(
            float(np.mean([b.patient_prevalence for b in theirs])),
            float(np.mean([b.patient_prevalence for b in ours])),
        ),
        seconds=seconds / num_draws,
    )


def every_dealing(num_groups: int, num_blocks: int) -> Ints:
    """(D, G) all dealings without an empty block, up to the names of the blocks."""
    rest = np.array(list(itertools.product(range(num_blocks), repeat=num_groups - 1)))
    dealings = np.column_stack([np.zeros(len(rest), np.int64), rest])
    full = np.logical_and.reduce([(dealings == b).any(axis=1) for b in range(num_blocks)])
    chosen: Ints = dealings[full]
    return chosen


def gap_to_optimum(quantities: Quantities, dealings: Ints, num_blocks: int) -> float:
    """J of ours less the smallest J of all `dealings` (D, G)."""
    shares = np.full(num_blocks, 1 / num_blocks)
    measure = Measure(quantities, shares)
    loads = np.stack([(dealings == b) @ measure.columns for b in range(num_blocks)], axis=1)
    best = objective(measure.deviations(loads, measure.fair).max(axis=1)).min()
    ours = balance(quantities, deal(quantities, shares, seed=0), shares).objective
    return float(ours - best)


def _print_bound(num_draws: int) -> None:
    """Is a ratio near 1 the search's fault or the data's?"""
    theirs, ours, least = [], [], []
    shares = np.full(NUM_BLOCKS, 1 / NUM_BLOCKS)
    for draw in range(num_draws):
        quantities = like_ham(draw)
        dealings = scikit_learn_blocks(quantities, NUM_BLOCKS), deal(quantities, shares, seed=0)
        their, our = (balance(quantities, blocks, shares).objective for blocks in dealings)
        theirs.append(their)
        ours.append(our)
        least.append(least_objective(quantities, NUM_BLOCKS))
        assert least[-1] <= our + 1e-9, "no dealing can beat a bound"
    ratios, bounds = (np.divide(j, theirs) for j in (ours, least))
    print(
        f"\nHAM-like, ratio of each draw: ours {' '.join(f'{r:.2f}' for r in ratios)}, "
        f"median {np.median(ratios):.3f}"
        f"\n   proved to be out of reach below {' '.join(f'{r:.2f}' for r in bounds)}, "
        f"median {np.median(bounds):.3f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--exhaustive", type=int, default=50, help="small cohorts tried in full")
    parser.add_argument("--no-speed", action="store_true", help="leave out the large cohorts")
    options = parser.parse_args()
    _print_quality(options.draws)
    _print_bound(options.draws)
    _print_optima(options.exhaustive)
    _print_growth(2 * options.draws)
    if not options.no_speed:
        _print_speed()


def _print_quality(num_draws: int) -> None:
    print(f"J, {NUM_BLOCKS} folds, mean of {num_draws} draws; ratio = ours / StratifiedGroupKFold")
    print(
        f"{'cohort':39}{'SGKF':>8}{'ours':>8}{'floor':>8}{'median':>8}{'worst':>7}"
        f"{'at floor':>9}{'never worse':>13}{'patient prevalence off by':>27}{'s':>6}"
    )
    for name, make in SCENARIOS.items():
        found = compare(make, num_draws)
        wins = int((found.ours <= found.theirs + 1e-12).sum())
        print(
            f"{name:39}{found.theirs.mean():8.4f}{found.ours.mean():8.4f}{found.floor.mean():8.4f}"
            f"{np.median(found.ratios):8.2f}{found.ratios.max():7.2f}"
            f"{np.median(found.floor / found.theirs):9.2f}{wins:>9}/{num_draws}"
            f"{found.patients[0]:>16.3f} -> {found.patients[1]:.3f}{found.seconds:8.1f}",
            flush=True,
        )


def _print_optima(num_cohorts: int) -> None:
    dealings = every_dealing(11, 3)
    gaps = [
        gap_to_optimum(one_class_each(draw, 11, (0.6, 0.4), 0.8), dealings, 3)
        for draw in range(num_cohorts)
    ]
    exact = sum(gap <= 1e-9 for gap in gaps)
    print(
        f"\n11 groups, 3 folds, all {len(dealings)} dealings tried: exact optimum in "
        f"{exact}/{num_cohorts}, mean gap {np.mean(gaps):.4f}",
        flush=True,
    )


def _print_growth(num_draws: int) -> None:
    """100 patients are dealt and frozen, 30 come, nobody moves; and J of dealing all anew."""
    shares = np.full(NUM_BLOCKS, 1 / NUM_BLOCKS)
    print(f"\n100 patients grow to 130, {num_draws} draws: J ours frozen, ours anew, SGKF anew")
    for prevalence, tail in ((0.3, 1.0), (0.3, 1.3), (0.1, 1.5)):
        found = []
        for draw in range(num_draws):
            grown = one_class_each(1000 + draw, 130, (1 - prevalence, prevalence), tail)
            first = Quantities(grown.images[:100], grown.patients[:100], grown.num_patients[:100])
            frozen = deal(first, shares, seed=0)
            blocks = deal(grown, shares, 0, np.append(frozen, np.full(30, -1)))
            assert (blocks[:100] == frozen).all()
            dealings = blocks, deal(grown, shares, 0), scikit_learn_blocks(grown, NUM_BLOCKS)
            found.append([balance(grown, b, shares).objective for b in dealings])
        ours, anew, theirs = np.transpose(found)
        print(
            f"{prevalence:.0%} positive, log SD {tail}: {ours.mean():.3f} {anew.mean():.3f} "
            f"{theirs.mean():.3f}; frozen is no worse than SGKF anew in "
            f"{(ours <= theirs).sum()}/{num_draws}",
            flush=True,
        )


def _print_speed() -> None:
    shares = np.full(NUM_BLOCKS, 1 / NUM_BLOCKS)
    print("\nseconds of one dealing (4 classes, 6 sites, 5 folds)")
    for num_patients in (5_000, 20_000, 100_000):
        quantities = large(num_patients, 10)
        began = time.perf_counter()
        blocks = deal(quantities, shares, seed=0)
        ours = time.perf_counter() - began
        num_images = int(quantities.images.sum())
        line = f"{num_patients:8,} patients, {num_images:9,} images: ours {ours:.2f} s"
        line += f", J {balance(quantities, blocks, shares).objective:.5f}"
        if num_patients == 20_000:
            began = time.perf_counter()
            theirs = scikit_learn_blocks(quantities, NUM_BLOCKS)
            seconds = time.perf_counter() - began
            objective = balance(quantities, theirs, shares).objective
            line += f"; StratifiedGroupKFold {seconds:.1f} s, J {objective:.5f}"
            line += f" ({seconds / ours:.1f} times as long)"
        print(line, flush=True)
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # a peak of its own
        print(pool.apply(whole_plan, (100_000, 10)))


def whole_plan(num_patients: int, images_each: int) -> str:
    """Seconds and memory of `plan_folds`, with every proof, from a manifest that is read."""
    generator = np.random.default_rng(0)
    number = np.repeat(np.arange(num_patients), images_each)
    patients = np.char.mod("P%06d", np.arange(num_patients)).astype(object)[number]
    sites = np.array([f"site {i}" for i in range(6)], dtype=object)
    table = pd.DataFrame(
        {
            "patient_id": patients,
            "image_path": np.char.mod("%07d.png", np.arange(len(number))).astype(object),
            "label": np.array(["a", "b", "c", "d"], dtype=object)[
                generator.choice(4, len(number), p=[0.5, 0.25, 0.15, 0.1])
            ],
            "group": patients,
            "line": np.arange(2, len(number) + 2),
            "site": sites[generator.integers(0, 6, num_patients)][number],
        }
    )
    manifest = Manifest(Path("m.csv"), Path(), ("a", "b", "c", "d"), table)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    began = time.perf_counter()
    plan = plan_folds(manifest, SplitConfig(stratify=("site",)))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    return (
        f"the whole plan of {num_patients:,} patients, {len(number):,} images: {seconds:.1f} s, "
        f"peak {peak:.2f} GiB (the manifest alone {before:.2f}), hash {plan.hash[:12]}"
    )


if __name__ == "__main__":
    main()
