"""Groups of patients against all others, and patients of one site against those of all."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from pipeline.evaluation.auroc import auroc_interval, auroc_within
from pipeline.evaluation.console import _of_subgroups
from pipeline.evaluation.grouping import Grouping, groups_of, in_order
from pipeline.evaluation.subgroups import Subgroup, Subgroups, flagged, subgroups

CLASSES = ["healthy", "sick"]


def cohort(
    seed: int, sensitivities: dict[str, float], num_positive: int = 40, num_folds: int = 5
) -> tuple[pd.DataFrame, pd.Series]:
    """Groups with as many positives as negatives, a specificity of 0.9, scores of every fold's own
    scale; and each patient's group.
    """
    generator = np.random.default_rng(seed)
    names = np.repeat(list(sensitivities), 2 * num_positive)
    labels = np.tile(np.repeat([1, 0], num_positive), len(sensitivities))
    folds = np.arange(len(names)) % num_folds
    share = np.where(labels == 1, [sensitivities[str(name)] for name in names], 0.1)
    called = generator.random(len(names)) < share
    score = (called + generator.random(len(names))) / 2 / (1 + folds)
    table = pd.DataFrame(
        {
            "fold": folds,
            "patient_id": [f"P{i:04d}" for i in range(len(names))],
            "label": np.array(CLASSES)[labels],
            "prob_healthy": 1 - score,
            "prob_sick": score,
            "predicted": np.array(CLASSES)[1 * called],
        }
    )
    return table, pd.Series(names)


def found_in(table: pd.DataFrame, column: pd.Series, site: str | None = None) -> Subgroups:
    sites = None if site is None else column.rename(site)
    return subgroups(table, CLASSES, Grouping({"group": column}, sites), "patient")


def entry(found: Subgroups, group: str, metric: str) -> Subgroup:
    (one,) = (o for o in found["groups"] if (o["group"], o["metric"]) == (group, metric))
    return one


def rates(num: int) -> tuple[float, float, float]:
    """Share of cohorts in which the failing group is flagged, in which another is, and of equal
    groups in which any is.
    """
    planted, others, equal = [], [], []
    for seed in range(num):
        named = {(o["group"], o["metric"]) for o in flagged(found_in(*cohort(seed, PLANTED)))}
        planted.append(("failing", "sensitivity") in named)
        others.append(any(group != "failing" for group, _ in named))
        equal.append(any(flagged(found_in(*cohort(10**6 + seed, dict.fromkeys("abcd", 0.9))))))
    return float(np.mean(planted)), float(np.mean(others)), float(np.mean(equal))


PLANTED = {"failing": 0.5, "b": 0.9, "c": 0.9, "d": 0.9}


def test_a_failing_group_is_flagged_and_the_others_are_not() -> None:
    assert rates(3) == (1, 0, 0)


@pytest.mark.slow
def test_how_often_groups_are_flagged() -> None:
    """Sensitivity 0.5 against 0.9 of 40 positives: in 80 % or more; equal groups: in 5 % or less.

    Of 60 cohorts: two standard errors of 0.05 are 0.056.
    """
    planted, others, equal = rates(60)
    assert planted >= 0.8
    assert others <= 0.106
    assert equal <= 0.106


def test_the_intervals_of_shares_are_those_of_newcombe() -> None:
    table, groups = cohort(3, {"a": 0.7, "b": 0.9, "c": 0.8}, num_positive=25)
    one = entry(found_in(table, groups), "a", "sensitivity")
    sick, inside = table["label"] == "sick", groups == "a"
    hits = table["predicted"] == "sick"
    counts = [(hits & sick & side).sum() for side in (inside, ~inside)]
    low, high = confint_proportions_2indep(
        counts[0], 25, counts[1], 50, method="newcomb", compare="diff"
    )
    assert one["difference"] == pytest.approx(counts[0] / 25 - counts[1] / 50)
    assert (one["difference_low"], one["difference_high"]) == pytest.approx((low, high), abs=1e-9)
    assert (one["num_patients"], one["num_positive"], one["num_negative"]) == (50, 25, 25)


def test_p_is_below_a_level_where_that_interval_excludes_0() -> None:
    """Unadjusted, of one comparison each: two groups mirror each other."""
    for seed in range(12):
        found = found_in(*cohort(seed, {"a": 0.75, "b": 0.9}, num_positive=30))
        assert found["num_comparisons"] == 3
        for metric in ("auroc", "sensitivity", "specificity"):
            one, other = (entry(found, group, metric) for group in "ab")
            assert one["p"] is not None
            assert one["p"] == other["p"]
            assert one["difference"] == pytest.approx(-(other["difference"] or 0))
            assert not (one["flagged"] and other["flagged"])
            assert one["difference_low"] is not None
            assert one["difference_high"] is not None
            excludes = one["difference_low"] > 0 or one["difference_high"] < 0
            assert excludes or one["p"] >= 0.049  # Holm makes p no smaller


def test_p_is_that_of_all_comparisons_together() -> None:
    table, groups = cohort(5, {"a": 0.75, "b": 0.9, "c": 0.85}, num_positive=30)
    other = groups[::-1].reset_index(drop=True)
    alone = found_in(table, groups)
    both = subgroups(table, CLASSES, Grouping({"group": groups, "other": other}), "patient")
    assert (alone["num_comparisons"], both["num_comparisons"]) == (9, 18)
    smallest = min(one["p"] for one in alone["groups"] if one["p"] is not None)
    twice = [one["p"] for one in both["groups"] if one["column"] == "group"]
    assert min(p for p in twice if p is not None) == pytest.approx(2 * smallest)


def test_few_patients_are_shown_and_never_flagged() -> None:
    table, groups = cohort(0, {"a": 0.05, "b": 1.0}, num_positive=50)
    positives = table.index[(groups == "a") & (table["label"] == "sick")]
    for num, is_flagged in ((9, False), (10, True)):
        kept = table.drop(index=positives[num:])
        column = groups[kept.index].reset_index(drop=True)
        one = entry(found_in(kept.reset_index(drop=True), column), "a", "sensitivity")
        assert one["num_positive"] == num
        assert one["flagged"] is is_flagged
        assert (one["p"] is None) is not is_flagged
        assert ("fewer than 10" in one["missing"]) is not is_flagged
        assert one["value"] is not None


def test_what_a_group_lacks_is_said() -> None:
    table, groups = cohort(0, {"a": 0.9, "b": 0.9}, num_positive=10, num_folds=10)
    column = groups.where((table["fold"] < 5) == (table["label"] == "sick"), "b")
    found = found_in(table, column)
    one = entry(found, "a", "auroc")  # in no fold is there one of each class
    assert one["value"] is None
    assert "no fold" in one["missing"]
    healthy = column.where((column != "a") | (table["label"] == "healthy"), "b")
    one = entry(found_in(table, healthy), "a", "sensitivity")
    assert (one["value"], one["p"], one["num_positive"]) == (None, None, 0)
    assert "no patient of a class" in one["missing"]
    assert found_in(table, groups.map(lambda _: "all"))["groups"] == []


def test_images_of_one_patient_in_both_groups_tell_no_difference() -> None:
    """Each patient has the same image in two groups: a patient is no independent copy of itself."""
    table, _ = cohort(1, {"a": 0.7}, num_positive=60)
    twice = pd.concat([table, table], ignore_index=True)
    column = pd.Series(["a", "b"]).repeat(len(table)).reset_index(drop=True)
    one = entry(subgroups(twice, CLASSES, Grouping({"eye": column}), "image"), "a", "sensitivity")
    assert one["difference"] == 0
    assert one["difference_high"] == pytest.approx(0, abs=0.03)
    apart = twice.assign(patient_id=[f"{i}" for i in range(len(twice))])
    other = entry(subgroups(apart, CLASSES, Grouping({"eye": column}), "image"), "a", "sensitivity")
    assert (other["difference_high"] or 0) > 0.1


def test_more_classes_and_labels_have_their_means() -> None:
    generator = np.random.default_rng(0)
    classes = ["a", "b", "c"]
    probabilities = generator.dirichlet(np.ones(3), 120)
    table = pd.DataFrame(probabilities, columns=[f"prob_{c}" for c in classes])
    table["label"] = np.array(classes)[np.arange(120) % 3]
    table["predicted"] = np.array(classes)[probabilities.argmax(axis=1)]
    table["fold"], table["patient_id"] = np.arange(120) // 60, [f"{i}" for i in range(120)]
    column = pd.Series(generator.choice(["x", "y"], 120))
    found = subgroups(table, classes, Grouping({"g": column}), "patient")["groups"]
    assert [one["metric"] for one in found] == ["auroc", "balanced_accuracy"] * 2
    rows = (column == "x").to_numpy()
    hits = table["label"] == table["predicted"]
    recalls = [hits[rows & (table["label"] == name)].mean() for name in classes]
    assert found[1]["value"] == pytest.approx(np.mean(recalls))


# --- pairs within strata


def test_auroc_within_strata_counts_pairs() -> None:
    generator = np.random.default_rng(0)
    positive = generator.random(80) < 0.4
    scores, strata = generator.integers(0, 9, 80) / 8.0, generator.integers(0, 9, 80)
    positive[strata == 4] = True  # a stratum without pairs
    found = auroc_within(positive[:, None], scores[:, None], strata, np.arange(80))
    assert found is not None
    pairs = [
        float(scores[i] > scores[j]) + 0.5 * float(scores[i] == scores[j])
        for i in np.flatnonzero(positive)
        for j in np.flatnonzero(~positive)
        if strata[i] == strata[j]
    ]
    assert found.value == pytest.approx(np.mean(pairs))
    assert found.pulls.shape == (80,)
    assert not found.pulls[strata == 4].any()
    none = auroc_within(positive[:, None], scores[:, None], np.arange(80), np.arange(80))
    assert none is None


def test_folds_of_equal_sizes_give_the_headline_and_its_interval() -> None:
    table, _ = cohort(0, {"a": 0.8}, num_positive=50)
    positive = (table["label"] == "sick").to_numpy()[:, None]
    scores = table[["prob_sick"]].to_numpy()
    given = positive, scores, table["fold"].to_numpy(), np.arange(100)
    headline, within = auroc_interval(*given), auroc_within(*given)
    assert headline is not None
    assert within is not None
    assert (headline.value, headline.low, headline.high) == pytest.approx(
        (within.value, *within.bounds(1.959963984540054))
    )


def shortcut(seed: int, by_site: float) -> tuple[pd.DataFrame, pd.Series]:
    """1,000 patients of two sites, 20 % and 80 % sick; scores know the site, not the disease."""
    generator = np.random.default_rng(seed)
    site = np.arange(1000) % 2
    labels = 1 * (generator.random(1000) < np.where(site == 1, 0.8, 0.2))
    score = 1 / (1 + np.exp(-by_site * site - generator.normal(size=1000)))
    table = pd.DataFrame({"fold": np.arange(1000) // 2 % 5, "prob_sick": score})
    table["patient_id"] = [f"{i}" for i in range(1000)]
    table["prob_healthy"] = 1 - table["prob_sick"]
    table["label"] = np.array(CLASSES)[labels]
    table["predicted"] = np.array(CLASSES)[1 * (score > 0.5)]
    return table, pd.Series(np.array(["north", "south"])[site])


def test_a_network_that_knows_the_site_only_is_found_out() -> None:
    found = found_in(*shortcut(0, 4.0), site="group")["within_site"]
    assert found["over_all"] == pytest.approx(0.80, abs=0.04)
    assert found["within"] == pytest.approx(0.5, abs=0.05)
    assert found["within_low"] < 0.5 < found["within_high"]
    assert found["difference_low"] > 0.2
    assert found["num_sites"] == 2
    assert "group explains part of the result" in found["note"]
    (line, _), (note, style) = list(_of_subgroups(found_in(*shortcut(0, 4.0), site="group")))[-2:]
    assert line.startswith("auroc within a group: 0.")
    assert (note, style) == (found["note"], "bold")


def test_sites_that_explain_nothing_are_not_named() -> None:
    notes = [found_in(*shortcut(seed, 0.0), site="group")["within_site"]["note"] for seed in (1, 2)]
    assert notes == ["", ""]


@pytest.mark.parametrize("names", [[f"{i}" for i in range(30)], [f"clinic {i}" for i in range(30)]])
def test_sites_are_not_put_together_to_compare_patients_within_one(names: list[str]) -> None:
    """The score is the site, whose patients are the sicker the higher its number."""
    generator = np.random.default_rng(0)
    site = np.arange(1500) % 30
    labels = 1 * (generator.random(1500) < 0.1 + 0.8 * site / 29)
    score = (site + generator.random(1500)) / 30
    table = pd.DataFrame({"fold": np.arange(1500) // 30 % 5, "prob_sick": score})
    table["patient_id"] = [f"P{i}" for i in range(1500)]
    table["prob_healthy"] = 1 - table["prob_sick"]
    table["label"] = table["predicted"] = np.array(CLASSES)[labels]
    samples = table[["patient_id"]].assign(site=np.array(names)[site])
    samples.loc[0, "site"] = " "
    samples = pd.concat([samples, samples.iloc[[1]].assign(site=names[7])], ignore_index=True)
    grouping = Grouping.of(samples, {"hospital": "site"}, table, "patient")
    assert grouping.sites is not None
    assert grouping.sites[:3].tolist() == ["", "", names[2]]
    groups = set(grouping.columns["hospital"])
    assert len(groups - {"missing", "several values", "all other values"}) in (10, 11)
    assert not any("under" in group for group in groups)
    found = subgroups(table, CLASSES, grouping, "patient")["within_site"]
    assert (found["column"], found["num_sites"]) == ("hospital", 30)
    assert found["over_all"] > 0.7
    assert found["within"] == pytest.approx(0.5, abs=0.05)
    assert "hospital explains part of the result" in found["note"]


# --- groups


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        (
            "age",
            [*map(str, range(0, 100, 5)), "x", ""],
            ["under 18", "18 to under 40", "40 to under 65", "65 or more", "x", "missing"],
        ),
        ("patient_age", ["017Y", "018Y", "030Y", "065Y", "006M", "099Y", "044Y"], None),
        ("dose", [f"{i / 10}" for i in range(100)], None),
        ("grade", list("1231231231"), ["1", "2", "3"]),
        ("sex", ["F", "M", " M", ""], ["F", "M", "missing"]),
        ("room", [f"{i:02d}x" for i in range(30)], None),
    ],
)
def test_cells_become_groups(name: str, cells: list[str], expected: list[str] | None) -> None:
    keys = pd.Series([f"P{i}" for i in range(len(cells))])
    found = groups_of(pd.Series(cells), keys, keys, name)
    if expected is not None:
        assert in_order(found) == expected
    if name == "patient_age":
        assert found.tolist() == [
            *("under 18", "18 to under 40", "18 to under 40", "65 or more"),
            *("under 18", "65 or more", "40 to under 65"),
        ]
    if name == "dose":
        assert in_order(found) == ["under 2", "2 to under 5", "5 to under 7", "7 or more"]
    if name == "room":
        assert len(set(found)) == 12
        assert in_order(found)[-1] == "all other values"
        assert (found == "all other values").sum() == 19


def test_a_patient_with_several_images() -> None:
    keys = pd.Series(["P1", "P1", "P2", "P2", "P3", "P3"])
    cells = pd.Series(["n", "n", "n", "s", "", "s"])
    found = groups_of(cells, keys, pd.Series(["P2", "P3", "P1", "P9"]), "site")
    assert found.tolist() == ["several values", "s", "n", "missing"]
    ages = groups_of(
        pd.Series(["10", "30", "50", "60", "70", "80"]), keys, pd.Series(["P1", "P3"]), "age"
    )
    assert ages.tolist() == ["18 to under 40", "65 or more"]
