import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from pipeline.evaluation.plots import plot_confusion, plot_learning_curves, plot_speed


def history(num_epochs, metrics=("train/loss", "val/loss", "val/image/auroc")):
    return {epoch: dict.fromkeys(metrics, 1 / (epoch + 1)) for epoch in range(1, num_epochs + 1)}


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(("num_folds", "num_epochs"), [(1, 1), (5, 3), (10, 60), (60, 2)])
def test_curves_are_drawn_for_any_number_of_folds_and_epochs(
    tmp_path, figures, num_folds, num_epochs
):
    folds = {fold: history(num_epochs) for fold in range(num_folds)}
    path = tmp_path / "plots" / "curves.png"
    plot_learning_curves(folds, dict.fromkeys(folds, 1), "val/image/auroc", path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 400
    losses, selection = figures[0].axes
    assert len(losses.lines) == 3 * num_folds  # train, val, ring
    assert len(selection.lines) == 2 * num_folds
    assert all(tick == int(tick) for tick in losses.get_xticks())
    if num_folds <= 10:
        assert [f"fold {fold}" for fold in folds] == legend_of(figures[0])[3:]
        assert len({line.get_color() for line in losses.lines}) == num_folds


EVERYTHING = (
    *("train/loss", "val/loss", "train/image/accuracy", "val/image/accuracy"),
    *("val/patient/auroc", "train/lr", "train/grad_norm", "train/images_per_s"),
)


@pytest.mark.slow
@pytest.mark.parametrize("num_epochs", [1, 30])
@pytest.mark.parametrize("num_folds", [1, 5])
def test_everything_of_every_fold_is_on_one_plot(tmp_path, figures, num_folds, num_epochs):
    folds = {fold: history(num_epochs, EVERYTHING) for fold in range(num_folds)}
    chosen = dict.fromkeys(folds, num_epochs)
    plot_learning_curves(folds, chosen, "val/patient/auroc", tmp_path / "curves.png")
    labels = ["loss", "accuracy", "val/patient/auroc", "train/lr", "train/grad_norm"]
    assert [axes.get_ylabel() for axes in figures[0].axes] == labels
    for axes, curves in zip(figures[0].axes, (2, 2, 1, 1, 1), strict=True):
        assert len(axes.lines) == (curves + 1) * num_folds  # and a ring each
        assert all(np.isfinite(line.get_ydata()).all() for line in axes.lines), "empty curves"
        rings = [line for line in axes.lines if line.get_marker() == "o"]
        assert [ring.get_xdata()[0] for ring in rings] == [num_epochs] * num_folds
    plot_speed(folds, tmp_path / "speed.png")
    (speed,) = figures[1].axes
    assert speed.get_ylabel() == "images/s"
    expected = [1 / (epoch + 1) for epoch in range(1, num_epochs + 1)]
    assert [line.get_ydata().tolist() for line in speed.lines] == [expected] * num_folds
    assert legend_of(figures[1]) == [f"fold {fold}" for fold in folds]


def test_the_candidates_of_a_baseline_are_no_epochs_and_have_no_training(tmp_path, figures):
    folds = {
        fold: history(20, ("val/loss", "val/image/accuracy", "val/image/auroc")) for fold in (0, 1)
    }
    folds[1][3]["val/loss"] = 40.0
    path = tmp_path / "curves.png"
    plot_learning_curves(folds, {0: 2, 1: 1}, "val/image/auroc", path, unit="candidate")
    labels = [axes.get_xlabel() for axes in figures[0].axes]
    assert labels == ["candidate (triangles: far above)", "candidate", "candidate"]
    titles = [axes.get_title() for axes in figures[0].axes]
    assert titles == ["validation loss", "validation accuracy", "validation, chooses the candidate"]
    assert figures[0].get_suptitle() == "Candidates"
    assert legend_of(figures[0]) == ["chosen candidate", "fold 0", "fold 1"]


def test_a_spike_leaves_the_panels_their_size(tmp_path, figures):
    folds = {fold: history(30, EVERYTHING) for fold in range(3)}
    folds[1][7]["val/loss"] = folds[1][8]["train/grad_norm"] = 400.0
    plot_learning_curves(folds, {0: 5}, "val/patient/auroc", tmp_path / "curves.png")
    widths = [axes.get_position().width for axes in figures[0].axes]
    assert min(widths[:3]) > 0.22
    assert min(widths[3:]) > 0.35


def test_one_spike_flattens_nothing_and_is_marked(tmp_path, figures):
    folds = {0: history(20), 1: history(20)}
    folds[1][7]["val/loss"] = 40.0
    plot_learning_curves(folds, {0: 5, 1: 5}, "val/image/auroc", tmp_path / "curves.png")
    losses, selection = figures[0].axes
    assert losses.get_ylim()[1] < 2
    (mark,) = [line for line in losses.lines if line.get_marker() == "^" and len(line.get_xdata())]
    assert mark.get_xdata().tolist() == [7]
    assert "far above" in losses.get_xlabel()
    assert figures[0].get_suptitle() == "Learning curves"
    assert losses.get_title() == "training and validation loss"
    assert selection.get_title() == "validation, chooses the epoch"


def test_the_ring_is_at_the_chosen_epoch_and_an_unfinished_fold_has_none(tmp_path, figures):
    folds = {0: history(5), 2: history(4)}
    plot_learning_curves(folds, {2: 4}, "val/image/auroc", tmp_path / "curves.png")
    rings = [line for line in figures[0].axes[1].lines if len(line.get_xdata()) == 1]
    assert [(ring.get_xdata()[0], ring.get_ydata()[0]) for ring in rings] == [(4, 1 / 5)]


@pytest.mark.parametrize(
    ("select_by", "metrics", "shown"),
    [
        (
            "val/patient/auroc",
            ["val/loss", "val/image/auroc", "val/patient/auroc"],
            "val/patient/auroc",
        ),
        ("val/loss", ["val/loss", "val/image/auroc"], "val/image/auroc"),
        ("val/loss", ["val/loss"], "val/loss"),
    ],
)
def test_the_second_panel_shows_what_selects(tmp_path, figures, select_by, metrics, shown):
    plot_learning_curves({0: history(2, metrics)}, {0: 1}, select_by, tmp_path / "curves.png")
    assert figures[0].axes[1].get_ylabel() == shown


def test_missing_metrics_are_gaps_and_all_missing_is_said(tmp_path, figures):
    rows = history(3)
    rows[2]["val/image/auroc"] = None
    plot_learning_curves({0: rows}, {0: 1}, "val/image/auroc", tmp_path / "gap.png")
    assert np.isnan(figures[0].axes[1].lines[0].get_ydata()).tolist() == [False, True, False]
    for row in rows.values():
        row["val/image/auroc"] = None
    plot_learning_curves({0: rows}, {0: 1}, "val/image/auroc", tmp_path / "none.png")
    assert [text.get_text() for text in figures[1].axes[1].texts] == ["cannot be computed"]


def cells_of(axes: Axes):
    return [text.get_text().split("\n") for text in axes.texts]


def test_confusion_shows_counts_and_row_percentages(tmp_path, figures):
    plot_confusion(np.array([[3, 1], [0, 0]]), ["neg", "pos"], "Image level", tmp_path / "c.png")
    axes = figures[0].axes[0]
    assert cells_of(axes) == [
        ["3", "75.0%"],
        ["1", "25.0%"],
        ["0", "\N{EN DASH}"],
        ["0", "\N{EN DASH}"],
    ]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [text.get_color() for text in axes.texts[:2]] == ["white", "black"]


def test_a_dollar_in_a_name_is_a_dollar(tmp_path, figures):
    plot_confusion(np.eye(2, dtype=int), ["$a$", "b"], "$c$", tmp_path / "confusion.png")
    axes = figures[0].axes[0]
    texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), axes.title]
    assert [text.get_text() for text in texts] == ["$a$", "b", "$a$", "b", "$c$"]
    assert not any(text.get_parse_math() for text in texts)


@pytest.mark.filterwarnings("error")
def test_letters_that_the_font_lacks_are_no_flood_of_warnings(tmp_path):
    plot_confusion(np.eye(2, dtype=int), ["正常", "肺がん"], "title", tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 5000


@pytest.mark.parametrize(("size", "length"), [(2, 4), (7, 4), (2, 20)])
def test_long_class_names_are_inside_the_picture(tmp_path, size, length):
    classes = [f"{number} {'long name ' * length}" for number in range(size)]
    path = tmp_path / "confusion.png"
    plot_confusion(np.eye(size, dtype=int) * 1000, classes, "A title that goes on " * 4, path)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert (edges == 255).all()  # a label that is cut off reaches the edge
    assert pixels.min() < 50


def test_the_same_plot_has_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        plot_learning_curves({0: history(3)}, {0: 1}, "val/image/auroc", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert "Software" not in image.info  # the library's version would differ
