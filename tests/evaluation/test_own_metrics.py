"""A user's own metrics: found in plugins only, tried before a training, never a fold lost."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.metrics import fbeta_score

from pipeline.commands.door import load_config
from pipeline.config import Config, ConfigError, UserError, identity
from pipeline.evaluation.console import print_summary
from pipeline.evaluation.metrics import metrics
from pipeline.evaluation.own_metrics import made_up, own_metrics, try_own_metrics
from pipeline.evaluation.summary import summarise
from pipeline.label_names import LabelNames

CLASSES = ("healthy", "lesion")
PLUGIN = """
import numpy as np
import subprocess
from sklearn.metrics import fbeta_score

def f2(labels, predicted, probabilities):
    if not labels.any():
        return float("nan")
    return fbeta_score(labels, predicted, beta=2, zero_division=0)

def worst(labels, predicted, probabilities):
    return np.abs(probabilities[:, 1] - labels).max()

def fails(labels, predicted, probabilities):
    return 1 / int(labels.sum())

def raises_late(labels, predicted, probabilities):
    if len(labels) > 12:
        raise ValueError("too many")
    return 0.5

def text(labels, predicted, probabilities):
    return "good"

def array(labels, predicted, probabilities):
    return probabilities

def truth(labels, predicted, probabilities):
    return bool(labels.any())

def spoils(labels, predicted, probabilities):
    probabilities[:] = 0
    return 0.5

def two(labels, predicted):
    return 0.5

class Kind:
    pass

number = 3
"""


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_lab.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_lab", raising=False)


def config_of(*overrides: str) -> Config:
    return load_config(["manifest=demo", "plugins=[own_lab]", *overrides])


def named(function: str) -> Config:
    return config_of(f"evaluation.metrics={{mine: own_lab.{function}}}")


def table_of(seed: int = 0, size: int = 60) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    labels = np.arange(size) % 3 == 0
    told = (generator.random(size) + 0.6 * labels) / 1.6
    names = np.array(CLASSES)
    return pd.DataFrame(
        {
            "fold": np.arange(size) % 4,
            "patient_id": np.arange(size).astype(str),
            "image_path": [f"{row}.png" for row in range(size)],
            "label": names[1 * labels],
            "predicted": names[1 * (told > 0.5)],
            "prob_healthy": 1 - told,
            "prob_lesion": told,
        }
    )


@pytest.mark.slow
def test_it_has_folds_a_mean_an_interval_and_a_place_on_the_console() -> None:
    config = config_of(
        "evaluation.metrics={f2: own_lab.f2, worst: own_lab.worst}",
        "evaluation.lower_is_better=[worst]",
    )
    table = table_of()
    try_own_metrics(config.evaluation, CLASSES)
    summary = summarise({"image": table}, CLASSES, None, own_metrics(config.evaluation))
    entry = summary["image"]["f2"]
    expected = [
        fbeta_score(rows["label"] == "lesion", rows["predicted"] == "lesion", beta=2)
        for _, rows in table.groupby("fold")
    ]
    assert entry["per_fold"] == pytest.approx(expected)
    assert entry["value"] == pytest.approx(np.mean(expected))
    assert entry["ci_low"] is not None
    assert entry["ci_high"] is not None
    assert entry["ci_low"] < np.mean(expected) < entry["ci_high"]
    assert entry["how"] == "mean over folds"
    assert summary["own"] == {
        "f2": {"function": "own_lab.f2", "higher_is_better": True},
        "worst": {"function": "own_lab.worst", "higher_is_better": False},
    }
    console = Console(width=80, record=True)
    print_summary(summary, "image", console)
    assert f"{entry['value']:.3f}" in console.export_text()


@pytest.mark.slow
def test_one_that_never_varies_has_no_interval() -> None:
    table = table_of().assign(predicted=lambda rows: rows["label"])
    own = own_metrics(named("f2").evaluation)
    entry = summarise({"image": table}, CLASSES, None, own)["image"]["mine"]
    assert (entry["value"], entry["ci_low"], entry["ci_high"]) == (1, None, None)


def test_what_is_not_defined_in_a_fold_is_missing_and_counted() -> None:
    table = table_of()
    table.loc[table["fold"] == 2, "label"] = "healthy"
    own = own_metrics(named("f2").evaluation)
    entry = summarise({"image": table}, CLASSES, None, own)["image"]["mine"]
    assert (entry["value"], entry["ci_low"], entry["num_missing"]) == (None, None, 1)
    assert entry["per_fold"][2] is None


def test_labels_that_do_not_exclude_each_other_have_one_each() -> None:
    labels = LabelNames(("a", "b"))
    told = np.random.default_rng(0).random((20, 2))
    texts = labels.texts(told > 0.4)
    table = pd.DataFrame({"label": texts, "predicted": labels.texts(told > 0.6)})
    table[["prob_a", "prob_b"]] = told
    found = metrics(table, labels, "image", own=own_metrics(named("f2").evaluation))
    each = [found["mine_a"], found["mine_b"]]
    assert found["mine"] == pytest.approx(np.mean([of for of in each if of is not None]))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("fails", r"own_lab.fails raised ZeroDivisionError: .* for labels \[0, 0.*; give nan"),
        ("text", "must give one number, or nan or None .*, got str"),
        ("array", r"got ndarray of shape \(12, 2\)"),
        ("truth", "got bool"),
        ("spoils", "raised ValueError: assignment destination is read-only"),
        ("two", "raised TypeError"),
        ("Kind", "own_lab.Kind must be a function, got a class"),
        ("number", "own_lab.number must be a function, got a int"),
        ("missing", "own_lab.missing cannot be imported: AttributeError"),
    ],
)
def test_a_mistake_is_known_before_a_training(function: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        try_own_metrics(named(function).evaluation, CLASSES)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("evaluation.metrics.mine: ")


def test_a_name_of_ours_is_taken() -> None:
    config = config_of("evaluation.metrics={auroc: own_lab.f2}")
    with pytest.raises(ConfigError, match=r"evaluation\.metrics\.auroc: there is such a metric"):
        try_own_metrics(config.evaluation, CLASSES)


def test_one_that_fails_late_says_so_when_the_run_is_summed_up() -> None:
    own = own_metrics(named("raises_late").evaluation)
    try_own_metrics(named("raises_late").evaluation, CLASSES)
    with pytest.raises(UserError, match=r"own_lab\.raises_late raised ValueError: too many"):
        summarise({"image": table_of()}, CLASSES, None, own)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evaluation.metrics={f2: sklearn.metrics.f1_score}"], "a package that plugins names"),
        (["evaluation.metrics={f2: os.system}"], r"\(own_lab\): its code runs; got 'os.system'"),
        (["evaluation.metrics={f2: own_lab}"], "its code runs; got 'own_lab'"),
        (["evaluation.metrics={f2: own_labs.f2}"], "its code runs; got 'own_labs.f2'"),
        (["evaluation.metrics={a-b: own_lab.f2}"], "letters, digits and _ only, got 'a-b'"),
        (["evaluation.lower_is_better=[f2]"], "'f2' is none of evaluation.metrics"),
    ],
)
def test_settings_that_cannot_be(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        config_of(*overrides)
    assert len(caught.value.problems) == 1
    assert "own_lab" not in sys.modules


def test_no_plugin_is_imported_that_is_not_named() -> None:
    with pytest.raises(ConfigError, match="which names none"):
        load_config(["manifest=demo", "evaluation.metrics={f2: own_lab.f2}"])
    assert "own_lab" not in sys.modules


def test_a_metric_makes_no_other_run() -> None:
    assert identity(named("f2")) == identity(config_of())
    assert identity(config_of("evaluation.aggregate=max")) != identity(config_of())


def test_made_up_cases_have_what_real_ones_may_have() -> None:
    for num_classes in (2, 3, 7):
        found: list[Any] = list(made_up(num_classes))
        assert any(len(set(of.labels)) == 1 for of in found)
        assert any(len(of.labels) == 1 for of in found)
        assert set(found[0].labels) == set(range(num_classes))
