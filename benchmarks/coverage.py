"""How often 95 % intervals hold the truth, and tests tell equals apart, where the truth is known.

    python benchmarks/coverage.py [--draws 2000] [--only kappa brier null optimism spread]

Scores are normal with equal variances; each fold has an offset of its own, as each fold's network
has. Images of a patient share half of their variance (intraclass correlation 0.5).
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from pipeline.engine.selecting import nested
from pipeline.evaluation import comparison
from pipeline.evaluation.cases import Cases
from pipeline.evaluation.comparison import Pair, difference
from pipeline.evaluation.intervals import Interval
from pipeline.evaluation.metrics import METRICS
from pipeline.evaluation.scores import weighted_kappa

Ints = NDArray[np.int64]
TRUTHS = (0.6, 0.8, 0.9, 0.97)


@dataclass(frozen=True)
class Cohort:
    """How many patients there are, and how they are tested."""

    positives: int
    negatives: int
    num_folds: int = 1
    images: int = 1

    def __str__(self) -> str:
        images = f", {self.images} images each" if self.images > 1 else ""
        folds = f"{self.num_folds} folds" if self.num_folds > 1 else "1 fold"
        return f"{self.positives} + {self.negatives}, {folds}{images}"

    def drawn(self, auroc: float, generator: np.random.Generator) -> tuple[Cases, Ints, Ints]:
        """Cases, folds and units."""
        sides = self.positives, self.negatives
        labels = np.repeat([1, 0], sides).repeat(self.images)
        folds = np.concatenate([np.arange(n) % self.num_folds for n in sides]).repeat(self.images)
        units = np.arange(sum(sides)).repeat(self.images)
        shared, own = generator.normal(size=sum(sides))[units], generator.normal(size=len(units))
        scores = shared if self.images == 1 else np.sqrt(0.5) * (shared + own)
        scores = scores + np.sqrt(2) * norm.ppf(auroc) * labels
        decided = 1 * (scores > norm.ppf(auroc) / np.sqrt(2))  # both classes are told alike
        probabilities = np.column_stack([-scores - 5 * folds, scores + 5 * folds])
        return Cases(labels, decided, probabilities), folds, units

    def told(self, auroc: float, generator: np.random.Generator) -> tuple[Cases, Ints, Ints]:
        """The same with probabilities, which are somewhat too sure; no fold has an offset."""
        cases, folds, units = self.drawn(auroc, generator)
        scores = cases.probabilities[:, 1] - 5 * folds - norm.ppf(auroc) / np.sqrt(2)
        told = 1 / (1 + np.exp(-2 * scores))
        probabilities = np.column_stack([1 - told, told])
        return Cases(cases.labels, cases.predicted, probabilities), folds, units

    @property
    def sides(self) -> tuple[int, int, int]:
        """Patients of three grades."""
        return self.negatives, self.positives, self.positives

    def graded(self, auroc: float, generator: np.random.Generator) -> tuple[Cases, Ints, Ints]:
        """Three grades; the AUROC is that of each against its neighbour."""
        num, step = sum(self.sides), np.sqrt(2) * norm.ppf(auroc)
        labels = np.repeat([0, 1, 2], self.sides).repeat(self.images)
        folds = np.concatenate([np.arange(n) % self.num_folds for n in self.sides])
        units = np.arange(num).repeat(self.images)
        shared, own = generator.normal(size=num)[units], generator.normal(size=len(units))
        scores = shared if self.images == 1 else np.sqrt(0.5) * (shared + own)
        decided = np.digitize(scores + step * labels, [step / 2, 1.5 * step])
        cases = Cases(labels, decided, np.full((len(labels), 3), 1 / 3))
        return cases, folds.repeat(self.images), units

    def kappa(self, auroc: float) -> float:
        """Of the population that `graded` draws from."""
        step = np.sqrt(2) * norm.ppf(auroc)
        below = norm.cdf(step * (np.array([0.5, 1.5]) - np.arange(3)[:, None]))
        shares = np.diff(below, axis=1, prepend=0, append=1)
        counts = np.array(self.sides)[:, None] * shares
        return float(weighted_kappa.of_matrices(counts[None])[0])


DRAWS = {"kappa": Cohort.graded, "brier": Cohort.told, "log_loss": Cohort.told}
"""What the metric is of, where not of `Cohort.drawn`."""


def truth_of(metric: str, cohort: Cohort, auroc: float, found: Sequence[Interval]) -> float:
    """What the interval should hold.

    An average precision of few patients is too high by itself: its truth is the mean of all draws.
    """
    if metric == "auroc":
        return auroc
    if metric == "kappa":
        return cohort.kappa(auroc)
    if metric in ("average_precision", "brier", "log_loss"):
        return float(np.mean([of.value for of in found]))
    return float(norm.cdf(norm.ppf(auroc) / np.sqrt(2)))


def one(seed: int, cohort: Cohort, auroc: float, metric: str, as_patients: bool) -> Interval:
    """The interval of one draw; None counts as one that holds nothing."""
    (found,) = (of for of in METRICS if of.name == metric)
    draw = DRAWS.get(metric, Cohort.drawn)
    cases, folds, units = draw(cohort, auroc, np.random.default_rng(seed))
    units = np.arange(len(units)) if as_patients else units
    return found.interval_of(cases, None, folds, units) or Interval(np.nan, np.nan, np.nan)


def null(seed: int, cohort: Cohort) -> tuple[float, ...]:
    """The p values of two runs that are equally good and agree in part."""
    generator = np.random.default_rng(seed)
    first, folds, units = cohort.drawn(0.8, generator)
    second, _, _ = cohort.drawn(0.8, generator)
    shared = generator.normal(size=units.max() + 1)[units]
    runs = []
    for of in (first, second):
        score = of.probabilities[:, 1] - 5 * folds + shared
        told = norm.cdf((score - np.median(score)) / 2)
        runs.append(Cases(of.labels, 1 * (told > 0.5), np.column_stack([1 - told, told])))
    rotates = 1 / (cohort.num_folds - 2) if cohort.num_folds > 2 else None
    (auroc,) = (of for of in METRICS if of.name == "auroc")
    comparison.NUM_DRAWS = 300  # a standard error needs no more
    found = difference(Pair(runs[0], runs[1], folds, units), auroc, None, rotates)
    assert found is not None
    p_values = found.p, found.p_delong, found.p_mcnemar, found.p_folds
    return tuple(np.nan if p is None else p for p in p_values)


def optimism(seed: int, num_patients: int, num_runs: int) -> tuple[float, float]:
    """By how much the best mean and nested selection report too much, of equal settings.

    Every setting is right for 75 % of the patients. Two networks of a setting agree about a patient
    with a correlation of 0.7 (one validates on it, the other is tested on it), those of two
    settings with 0.4.
    """
    generator, num_folds = np.random.default_rng(seed), 5
    own = generator.normal(size=(num_runs, num_patients))
    noise = generator.normal(size=(2, num_runs, num_patients))
    # 0.7 and 0.4 between what is right takes about 0.89 and 0.60 between what it is cut from
    shared = np.sqrt(0.6) * generator.normal(size=num_patients)
    right = shared + np.sqrt(0.29) * own + np.sqrt(0.11) * noise < norm.ppf(0.75)
    tested = np.arange(num_patients) % num_folds
    val, test = (
        np.array([of[:, fold == k].mean(axis=1) for k in range(num_folds)]).T
        for of, fold in zip(right, ((tested - 1) % num_folds, tested), strict=True)
    )
    honest = test[nested(val), np.arange(num_folds)].mean()
    return float(test[val.mean(axis=1).argmax()].mean() - 0.75), float(honest - 0.75)


def spread(seed: int, cohort: Cohort) -> tuple[float, ...]:
    """Do three ranges about an AUROC of 0.8 hold it, and how wide are they?

    Mean +- SD over folds; mean +- 1.96 SD / sqrt(k), as if folds were independent; our interval.
    """
    cases, folds, _ = cohort.drawn(0.8, np.random.default_rng(seed))
    scores = cases.probabilities[:, 1]
    values = []
    for fold in range(cohort.num_folds):
        with_it, without = (scores[(folds == fold) & (cases.labels == label)] for label in (1, 0))
        values.append((with_it[:, None] > without).mean())
    mean, sd = np.mean(values), np.std(values, ddof=1)
    ours = one(seed, cohort, 0.8, "auroc", as_patients=False)
    halves = sd, 1.96 * sd / np.sqrt(cohort.num_folds)
    ranges = [*((mean - half, mean + half) for half in halves), (ours.low, ours.high)]
    return tuple(value for low, high in ranges for value in (low <= 0.8 <= high, high - low))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000, help="of each cohort")
    parser.add_argument(
        "--only", nargs="+", help="metrics, null, optimism and spread; default: all"
    )
    asked = parser.parse_args()
    num_draws = asked.draws

    def wanted(name: str) -> bool:
        return asked.only is None or name in asked.only

    few = [Cohort(5, 20, k) for k in (1, 5)] + [Cohort(5, 95, 1), Cohort(10, 90, 5)]
    more = [Cohort(n, r * n, k) for n in (20, 50, 100, 200) for r in (1, 4) for k in (1, 5)]
    clustered = [Cohort(5, 20, 1, 20), Cohort(10, 40, 5, 20), Cohort(30, 30, 5, 20)]
    clustered.append(Cohort(100, 100, 5, 5))
    plans = [
        ("auroc", [*few, *more, *clustered], False),
        ("auroc", [Cohort(30, 30, 1, 20)], True),
        ("balanced_accuracy", [*few, Cohort(50, 50), *clustered[:3]], False),
        ("sensitivity", [*few, Cohort(50, 50), *clustered[:3]], False),
        (
            "average_precision",
            [*few, Cohort(50, 50), Cohort(50, 200, 5), Cohort(100, 400, 5), *clustered],
            False,
        ),
        ("kappa", [*few, Cohort(20, 20), Cohort(50, 50), Cohort(100, 400), *clustered], False),
        ("brier", [*few, Cohort(20, 20), Cohort(50, 50), Cohort(100, 400), *clustered], False),
        ("log_loss", [*few, Cohort(50, 50), Cohort(100, 400), *clustered[:3]], False),
    ]
    with ProcessPoolExecutor() as pool:
        for metric, cohorts, as_patients in plans:
            if not wanted(metric):
                continue
            wrong = ", images taken for patients (what others do)" if as_patients else ""
            print(f"\n{metric}{wrong}: share of intervals that hold the truth (mean width)\n")
            print("| patients with + without | " + " | ".join(f"AUROC {a}" for a in TRUTHS) + " |")
            print("|---|" + "---|" * len(TRUTHS))
            for cohort in cohorts:
                cells = []
                for auroc in TRUTHS:
                    draw = partial(one, cohort=cohort, auroc=auroc, metric=metric)
                    draw = partial(draw, as_patients=as_patients)
                    found = list(pool.map(draw, range(num_draws), chunksize=50))
                    truth = truth_of(metric, cohort, auroc, found)
                    held = np.mean([of.low - 1e-9 <= truth <= of.high + 1e-9 for of in found])
                    width = np.nanmean([of.high - of.low for of in found])
                    cells.append(f"{held:.3f} ({width:.2f})")
                print(f"| {cohort} | " + " | ".join(cells) + " |", flush=True)
        if wanted("optimism"):
            print("\nEqual settings, right for 75 %: by how much the reported value is too high\n")
            print("| patients, settings | best mean of validation | nested selection |")
            print("|---|---|---|")
            for size in ((100, 20), (300, 20), (100, 5), (100, 100)):
                of_size = partial(optimism, num_patients=size[0], num_runs=size[1])
                means = np.mean(list(pool.map(of_size, range(num_draws), chunksize=50)), axis=0)
                print(f"| {size[0]}, {size[1]} | {means[0]:+.4f} | {means[1]:+.4f} |", flush=True)
        if wanted("spread"):
            print("\nFolds' mean and SD: share that holds an AUROC of 0.8 (mean width)\n")
            print("| patients | folds | mean +- SD | mean +- 1.96 SD / sqrt(k) | our interval |")
            print("|---|---|---|---|---|")
            for num, k in ((60, 3), (60, 5), (60, 10), (240, 3), (240, 5), (240, 10)):
                of_cohort = partial(spread, cohort=Cohort(num // 2, num // 2, k))
                found_of = np.mean(
                    list(pool.map(of_cohort, range(num_draws), chunksize=50)), axis=0
                )
                ranges = [f"{found_of[i]:.3f} ({found_of[i + 1]:.2f})" for i in (0, 2, 4)]
                print(f"| {num} | {k} | " + " | ".join(ranges) + " |", flush=True)
        if not wanted("null"):
            return
        print("\nTwo runs that are equally good: share of p values below 0.05, of the AUROC\n")
        print("| patients with + without | bootstrap | DeLong | McNemar | corrected t |")
        print("|---|---|---|---|---|")
        for cohort in [Cohort(10, 90), Cohort(10, 40, 5), *more[:6:2], *clustered[1:3]]:
            values = np.array(list(pool.map(partial(null, cohort=cohort), range(num_draws))))
            rates = ["-" if np.isnan(of).all() else f"{np.mean(of < 0.05):.3f}" for of in values.T]
            print(f"| {cohort} | " + " | ".join(rates) + " |", flush=True)


if __name__ == "__main__":
    main()
