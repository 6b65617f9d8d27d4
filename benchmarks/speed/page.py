"""What was measured, as Markdown; put between two marks of a document. Imports no torch."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speed.figures import Line, Spread, faster_than, table, values_of

BUSY = 0.05
"""Share of the processors that others may use before the figures are called those of a busy
machine."""


def block(found: Mapping[str, Any]) -> list[str]:
    """The tables of a workload: all variants, and where the time of ours goes."""
    rounds = found["rounds"]
    shape = " x ".join(map(str, found["shape"]))
    return [
        *_head(found),
        f"{found['images']:,} images of {shape}, {found['folds']} folds, {found['epochs']} epochs, "
        f"batches of {found['batch_size']}, {found['network']}.",
        "",
        *table(rounds, found["variants"]),
        "",
        *_listed(faster_than(rounds, "ours, warm", _peers(found))),
        *_listed(_own(rounds)),
    ]


def sizes_block(found: Mapping[str, Any]) -> list[str]:
    """Wall time of ours over the number of images, and a line through it."""
    sizes = [size["images"] for size in found["sizes"]]
    seconds = [size["whole"] for size in found["sizes"]]
    line = Line.through(sizes, seconds)
    ratio = (seconds[-1] / sizes[-1]) / (seconds[0] / sizes[0])
    rows = [
        f"| {s['images']:,} | {s['whole']:.1f} | {1e3 * s['whole'] / s['images']:.1f} "
        f"| {line.start + line.slope * s['images']:.1f} | {s['processor']:.0f} |"
        for s in found["sizes"]
    ]
    return [
        *_head(found),
        "| images | whole process, s | ms an image | on the line, s | processor time, s |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"- Line: {line.start:.1f} s + {1e3 * line.slope:.2f} ms an image, R² {line.r2:.4f}.",
        f"- An image of the largest set takes {ratio:.2f} times as long as one of the smallest.",
        "",
    ]


def put(lines: Sequence[str], name: str, path: Path) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` in the document.

    Raises:
        ValueError: when it does not hold the two marks, once each.
    """
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = path.read_text(encoding="utf-8")
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{path}: expected one {begin} and one {end} after it.")
    body = "\n".join([begin, *lines, end])
    found = re.sub(f"{re.escape(begin)}.*{re.escape(end)}", lambda _: body, text, flags=re.DOTALL)
    path.write_text(found, encoding="utf-8")


def _head(found: Mapping[str, Any]) -> list[str]:
    """The command, the machine, and whether it did other work too."""
    machine, others = found["machine"], found["used_by_others"]
    load = f"Other work took {others:.0%} of the processors meanwhile"
    load += ": only ratios of processor time mean something." if others > BUSY else "."
    place = f"{machine['date']}, {machine['device']}: {machine['processor']}; {machine['system']}"
    return [
        "",
        f"`{found['command']}`",
        "",
        f"Measured {place}; {machine['packages']}. {load}",
        "",
    ]


def _peers(found: Mapping[str, Any]) -> list[str]:
    return [name for name in found["variants"] if name.startswith("MONAI")]


def _own(rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """What only ours can say."""
    lines = []
    for variant in ("ours, warm", "ours, cold"):
        if not values_of(rounds, variant, "start"):
            continue
        start, end, first, share = (
            Spread.of(values_of(rounds, variant, name))
            for name in ("start", "end", "first_epoch", "own_share")
        )
        lines.append(
            f"{variant}: {start.text(1)} s to the first training step, {end.text(1)} s from the "
            f"last test to the prompt; the first epoch takes {first.text(2)} times as long as "
            f"later ones; the command's own process (journals to MLflow, the table on the screen) "
            f"uses {100 * share.median:.1f} % of the processors while folds train"
        )
    return lines


def _listed(lines: Sequence[str]) -> list[str]:
    return [*(f"- {line}." for line in lines), ""] if lines else []
