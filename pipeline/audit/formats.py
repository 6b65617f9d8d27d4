"""Mixed shapes and bit depths: a few unusual files among many are often from another source."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from pipeline.manifest import Finding, Manifest
from pipeline.words import SHOWN, and_more, counted

USUAL = 0.9
"""Where so many images are alike, the others are named; else the set is just mixed."""


def format_findings(manifest: Manifest, facts: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    """Mixed image shapes and bit depths; `facts` (N,) are those of the packed images."""
    for rule, name, column in (
        ("mixed_shapes", "shape", "original_shape"),
        ("mixed_bit_depths", "bit depth", "bit_depth"),
    ):
        found = pd.Series([fact[column] for fact in facts])
        counts = found.value_counts()
        if len(counts) < 2:
            continue
        usual, number = counts.index[0], counts.iloc[0]
        if number < USUAL * len(found):
            most = [f"{value} ({num:,})" for value, num in counts.head(SHOWN).items()]
            text = f"images of {counted(len(counts), name)}: {and_more(most, len(counts))}"
            yield Finding(rule, "note" if rule == "mixed_shapes" else "warning", text)
            continue
        others = found[found != usual].set_axis(manifest.table["line"][found != usual]).sort_index()
        named = [f"line {line}: {value}" for line, value in others.head(SHOWN).items()]
        text = f"{number:,} images have {name} {usual}, {len(others):,} not: "
        yield Finding(rule, "warning", text + and_more(named, len(others)))
