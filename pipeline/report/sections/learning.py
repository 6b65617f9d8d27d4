"""Learning curves of all folds, and the epoch that validation chose in each."""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.arrays import Floats
from pipeline.engine.finished import Finished
from pipeline.evaluation.plots import ACCURACIES, AUROC
from pipeline.report.blocks import Block, Cell, Charts, Folded, Section, Words, table
from pipeline.report.charts import GREY, Chart, Line, color_of
from pipeline.report.numbers import epoch_metric, number, sentence

MANY = 10
"""Folds: more are drawn alike, in grey."""
LOSSES = ("train/loss", "val/loss")


def learning(run: Finished) -> Section | None:
    """One chart for losses, one for what chose the epoch, one for accuracies; a table."""
    if not any(run.histories.values()):
        return None
    known = {name for history in run.histories.values() for row in history.values() for name in row}
    select_by = run.select_by
    chosen = AUROC if select_by == "val/loss" and AUROC in known else select_by
    panels = {"loss": LOSSES, epoch_metric(chosen): (chosen,), "accuracy of images": ACCURACIES}
    charts = [
        _chart(run, title, [name for name in names if name in known])
        for title, names in panels.items()
        if known.intersection(names)
    ]
    unit = _unit(known)
    text = (
        f"Solid: training. Dashed: validation. A ring marks the {unit} that was kept, by "
        f"the {epoch_metric(select_by)} of its own fold; the test part has no say in it."
    )
    blocks: list[Block] = [Words(text, "muted"), Charts(charts)]
    blocks += [Words(sentence(found["note"]), "doubt") for found in run.numbers.get("fit", [])]
    blocks.append(_chosen(run, unit, select_by))
    return Section("learning", "Learning curves", blocks)


def _unit(known: set[str]) -> str:
    return "candidate" if "train/loss" not in known else "epoch"


def _chart(run: Finished, title: str, names: Sequence[str]) -> Chart:
    unit = _unit({name for of in run.histories.values() for row in of.values() for name in row})
    lines = [line for name in names for line in _lines(run, name, len(names) > 1)]
    values = [y for line in lines for y in line.y if y is not None]
    y_range = _without_spikes(np.array(values))
    cut = " (cut off above)" if y_range is not None else ""
    return Chart(
        f"{sentence(title)}{cut}",
        unit,
        title,
        lines,
        y_range=y_range,
        whole_x=True,
        in_words=f"{title} of {len(run.histories)} folds over their {unit}s",
    )


def _without_spikes(values: Floats) -> tuple[float, float] | None:
    """An axis that ends a little above what most epochs have, where one spike would flatten all."""
    if not values.size:
        return None
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    top = float(high + max(3 * (high - low), abs(middle) / 2))
    least = float(values.min())
    return None if values.max() <= top else (least - 0.05 * (top - least), top)


def _lines(run: Finished, name: str, both: bool) -> Iterator[Line]:
    is_val = name.startswith("val/")
    many = len(run.histories) > MANY
    for fold, history in run.histories.items():
        color = GREY if many else color_of(fold)
        epochs = list(history)
        values = [row.get(name) for row in history.values()]
        is_second = both and is_val
        label = f"fold {fold}{', validation' * is_second}"
        style = "dashed" if is_second else "line"
        in_legend = not many and not is_second
        yield Line(label, epochs, values, color, style, 1.2, in_legend=in_legend)  # type: ignore[arg-type]
        best = run.results[fold]["best_epoch"]
        if is_val and best in history and history[best].get(name) is not None:
            kept = f"fold {fold}, kept"
            yield Line(kept, [best], [history[best][name]], color, "rings", in_legend=False)


def _chosen(run: Finished, unit: str, select_by: str) -> Block:
    rows: list[Sequence[str | Cell]] = [
        [
            f"fold {fold}",
            f"{result['best_epoch']} of {result['num_epochs']}",
            number(result["select_value"]),
            _minutes(result.get("seconds")),
            str(result.get("device", "")),
        ]
        for fold, result in sorted(run.results.items())
    ]
    columns = ["", f"kept {unit}", epoch_metric(select_by), "minutes", "device"]
    found = table(columns, rows)
    return found if len(rows) <= MANY else Folded(f"The {unit}s that were kept", [found])


def _minutes(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.1f}"
