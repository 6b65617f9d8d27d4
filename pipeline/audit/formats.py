"""Mixed shapes and bit depths: a few odd files among many are often from another source."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from pipeline.manifest import Finding, Manifest

USUAL = 0.9
"""Where so many images are alike the others are named, as odd ones; else the set is just mixed."""
SHOWN = 5


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
        usual = counts.index[0]
        if counts.iloc[0] < USUAL * len(found):
            most = ", ".join(f"{value} ({number})" for value, number in counts.head(SHOWN).items())
            more = ", ..." if len(counts) > SHOWN else ""
            text = f"images of {len(counts)} {name}s: {most}{more}"
            yield Finding(rule, "note" if rule == "mixed_shapes" else "warning", text)
            continue
        odd = manifest.table.loc[(found != usual).to_numpy(), "line"].sort_values()
        value_of = dict(zip(manifest.table["line"], found, strict=True))
        named = ", ".join(f"line {line}: {value_of[line]}" for line in odd.head(SHOWN))
        more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        text = f"{counts.iloc[0]} images have {name} {usual}, {len(odd)} not: {named}{more}"
        yield Finding(rule, "warning", text)
