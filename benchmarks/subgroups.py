"""How often a subgroup is flagged, where it is known who fares worse.

    python benchmarks/subgroups.py [--draws 1000]

Four groups of as many positive as negative patients, five folds whose scores have scales of their
own, a specificity of 0.9. And two sites with 20 % and 80 % of positives, 1,000 patients in all.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pandas as pd

from pipeline.evaluation.grouping import Grouping
from pipeline.evaluation.subgroups import Subgroups, flagged, subgroups

CLASSES = ["healthy", "sick"]
USUAL = 0.9
"""Sensitivity of the other groups."""


def cohort(seed: int, failing: float, positives: int) -> tuple[pd.DataFrame, pd.Series]:
    """A table of decided patients, and the group of each; the first has another sensitivity."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(["failing", "b", "c", "d"], 2 * positives)
    labels = np.tile(np.repeat([1, 0], positives), 4)
    sensitivity = np.where(groups == "failing", failing, USUAL)
    called = generator.random(len(groups)) < np.where(labels == 1, sensitivity, 0.1)
    folds = np.arange(len(groups)) % 5
    scores = (called + generator.random(len(groups))) / 2 / (1 + folds)
    return _table(labels, folds, scores, called), pd.Series(groups)


def sites(seed: int, by_site: float, by_disease: float) -> tuple[pd.DataFrame, pd.Series]:
    """Scores that know the site, the disease, or both."""
    generator = np.random.default_rng(seed)
    site = np.arange(1000) % 2
    labels = 1 * (generator.random(1000) < np.where(site == 1, 0.8, 0.2))
    logits = by_site * site + by_disease * labels + generator.normal(size=1000)
    scores = 1 / (1 + np.exp(-logits))
    table = _table(labels, np.arange(1000) // 2 % 5, scores, scores > np.median(scores))
    return table, pd.Series(np.array(["north", "south"])[site])


def _table(
    labels: np.ndarray, folds: np.ndarray, scores: np.ndarray, called: np.ndarray
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "fold": folds,
            "patient_id": [f"P{i:05d}" for i in range(len(labels))],
            "label": np.array(CLASSES)[labels],
            "prob_healthy": 1 - scores,
            "prob_sick": scores,
            "predicted": np.array(CLASSES)[1 * called],
        }
    )


def found_in(table: pd.DataFrame, column: pd.Series, site: str | None = None) -> Subgroups:
    sites_of_rows = None if site is None else column.rename(site)
    return subgroups(table, CLASSES, Grouping({"group": column}, sites_of_rows), "patient")


def flags(seed: int, failing: float, positives: int) -> tuple[bool, bool]:
    """Is the failing group flagged by its sensitivity, and is anything else?"""
    found = [
        (o["group"], o["metric"]) for o in flagged(found_in(*cohort(seed, failing, positives)))
    ]
    return ("failing", "sensitivity") in found, any(group != "failing" for group, _ in found)


def within(seed: int, by_site: float, by_disease: float) -> tuple[float, float, bool]:
    found = found_in(*sites(seed, by_site, by_disease), site="group")["within_site"]
    return found["over_all"], found["within"], bool(found["note"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000, help="of each cohort")
    draws = range(parser.parse_args().draws)
    with ProcessPoolExecutor() as pool:
        print("| positives in each group | sensitivity of one group | it is flagged | another is |")
        print("|---|---|---|---|")
        for positives, failing in ((40, 0.5), (40, 0.7), (20, 0.5), (40, USUAL)):
            draw = partial(flags, failing=failing, positives=positives)
            rates = np.mean(list(pool.map(draw, draws, chunksize=10)), axis=0)
            print(f"| {positives} | {failing} | {rates[0]:.3f} | {rates[1]:.3f} |", flush=True)
        print("\n| the scores know | AUROC over all | within a site | the site is named |")
        print("|---|---|---|---|")
        for name, *knows in (
            ("site", 4.0, 0.0),
            ("site and disease", 2.0, 1.5),
            ("disease", 0, 1.5),
        ):
            told = partial(within, by_site=knows[0], by_disease=knows[1])
            found = np.array(list(pool.map(told, draws, chunksize=10)))
            low, high = (
                found[:, 1].mean() - found[:, 1].std(),
                found[:, 1].mean() + found[:, 1].std(),
            )
            print(
                f"| {name} | {found[:, 0].mean():.3f} | {found[:, 1].mean():.3f} (68 % of cohorts "
                f"{low:.3f} to {high:.3f}) | {found[:, 2].mean():.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
