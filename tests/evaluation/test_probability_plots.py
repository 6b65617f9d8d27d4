"""Reliability diagrams and decision curves are drawn for every task."""

import numpy as np
import pytest
from PIL import Image

from pipeline.evaluation.cases import Cases, LabelCases
from pipeline.evaluation.probability_plots import plot_decision_curve, plot_reliability
from pipeline.label_names import LabelNames

PLOTS = (plot_reliability, plot_decision_curve)


def drawn(num_classes, several=False, num=80):
    generator = np.random.default_rng(0)
    if several:
        told = generator.random((num, num_classes))
        return LabelCases(generator.random(told.shape) < told, told > 0.5, told)
    told = generator.dirichlet(np.ones(num_classes), num)
    labels = (told.cumsum(axis=1) < generator.random((num, 1))).sum(axis=1)
    return Cases(labels, told.argmax(axis=1), told)


@pytest.mark.parametrize("plot", PLOTS)
def test_of_two_classes_the_positive_one_is_drawn_with_an_interval(tmp_path, figures, plot):
    path = tmp_path / "plots" / "x.png"
    plot(drawn(2), np.arange(80), ["no", "$yes$"], "Title", path, "UNSAFE")
    with Image.open(path) as image:
        assert min(image.size) > 400
    axes = figures[0].axes[0]
    assert len(axes.collections) == 1  # bars, or a band
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(said) == (2 if plot is plot_reliability else 3)
    assert "over patients" in figures[0].get_suptitle()


@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize(
    ("classes", "num_named"),
    [
        (["a", "b", "c"], 3),
        pytest.param(LabelNames(["a"]), 1, marks=pytest.mark.slow),
        pytest.param(LabelNames(["a", "b"]), 2, marks=pytest.mark.slow),
    ],
)
def test_of_more_classes_and_of_labels_each_has_a_line(tmp_path, figures, plot, classes, num_named):
    cases = drawn(len(classes), several=isinstance(classes, LabelNames))
    plot(cases, np.arange(80), classes, "Title", tmp_path / "x.png")
    shown = [line.get_label() for line in figures[0].axes[0].lines]
    named = {*classes, "decide by the model"} & set(shown)
    assert len(named) == num_named


@pytest.mark.slow
@pytest.mark.parametrize("plot", PLOTS)
@pytest.mark.parametrize("num", [1, 3])
def test_many_classes_and_hardly_any_case_are_drawn_too(tmp_path, figures, plot, num):
    names = [f"class {code}" for code in range(20)]
    plot(drawn(20, num=num), np.arange(num), names, "Title", tmp_path / "x.png")
    axes = figures[0].axes[0]
    assert set(names) <= {line.get_label() for line in axes.lines}
    assert axes.get_legend() is None, "20 names would hide the lines"
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
