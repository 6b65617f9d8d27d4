"""What was found in the images, in words: copies, two labels of one picture, mixed formats."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.audit.copies import Copies, Copy
from pipeline.manifest import Finding, Manifest
from pipeline.words import SHOWN, and_more, counted

COPIES_SHOWN = 10
MUCH = 0.5
"""Share of an image that was filled and should be looked at."""
ALIKE = 0.02
"""Sizes that differ by this share are the same, written with other digits."""
USUAL = 0.9
"""Where so many images are alike, the others are named; else the set is just mixed."""
_ADVICE = {
    "error": "look at them, then leave rows out or choose audit.near=merge or report",
    "merge": "such patients stay together (audit.near=merge)",
    "report": "look at them; audit.near=merge keeps such patients together",
}


def copy_findings(manifest: Manifest, copies: Copies, near: str) -> Iterator[Finding]:
    """Exact copies, near copies under the policy `audit.near`, and images without contrast."""
    if exact := [pair for pair in copies.pairs if pair.exact]:
        text = f"{counted(len(exact), 'pair')} of images of two patients with the same pixels; a "
        text += f"plan keeps them together: {_listed(manifest, exact)}"
        yield Finding("exact_copies", "warning", text)
    if alike := [pair for pair in copies.pairs if not pair.exact]:
        text = f"{counted(len(alike), 'pair')} of images of two patients that are nearly the same, "
        text += f"{_ADVICE[near]}: {_listed(manifest, alike)}"
        yield Finding("near_copies", "error" if near == "error" else "warning", text)
    if copies.flat:
        text = f"{counted(len(copies.flat), 'image')} without any contrast: not compared"
        flat = manifest.table.iloc[list(copies.flat)]
        patients = flat.groupby("group")["patient_id"].nunique()
        if (patients > 1).any():
            text += f"; such files are in group {patients.idxmax()!r}, of {patients.max()} of its "
            text += "patients: where they link them, leave the rows out"
        yield Finding("flat_images", "warning", text)


def contradictions(
    manifest: Manifest, digests: Sequence[str], flat: Collection[int], accept: Collection[str]
) -> Iterator[Finding]:
    """Images with the same pixels but different labels, also of one patient; not flat ones."""
    rows = manifest.table[["label", "line"]].assign(digest=digests).drop(index=list(flat))
    several = rows.groupby("digest")["label"].transform("nunique") > 1
    found = list(rows[several].groupby("digest", sort=False))
    if not found:
        return
    shown = []
    for _, same in found[:COPIES_SHOWN]:
        first = same.sort_values("line")[:4]
        named = zip(first["line"], first["label"], strict=True)
        shown.append(" = ".join(f"line {line} {label!r}" for line, label in named))
    text = f"{counted(len(found), 'image')} with different labels: "
    text += f"{and_more(shown, len(found), '; ')}; correct the labels or leave the rows out"
    if "copies_with_two_labels" in accept:
        yield Finding("copies_with_two_labels", "note", f"accepted: {text}")
    else:
        advice = "; if it is right: manifest.accept=[copies_with_two_labels]"
        yield Finding("copies_with_two_labels", "error", text + advice)


def two_labels_first(manifest: Manifest, pairs: Sequence[Copy]) -> list[Copy]:
    """The pairs in their order, but before all others those whose images have two labels."""
    return sorted(pairs, key=lambda pair: not _has_two_labels(manifest, pair))


def _has_two_labels(manifest: Manifest, pair: Copy) -> bool:
    return bool((manifest.labels[pair.one] != manifest.labels[pair.other]).any())


def _listed(manifest: Manifest, pairs: Sequence[Copy]) -> str:
    num = sum(_has_two_labels(manifest, pair) for pair in pairs)
    first = f"{num} with two labels, first " if num and len(pairs) > COPIES_SHOWN else ""
    theirs = by_patients(manifest, pairs)
    shown = [pair_in_words(manifest, same) for same in theirs[:COPIES_SHOWN]]
    return first + and_more(shown, len(theirs), "; ")


def by_patients(manifest: Manifest, pairs: Sequence[Copy]) -> list[list[Copy]]:
    """The pairs by pair of patients: those of two labels first, then the strongest."""
    patients = manifest.table["patient_id"].to_numpy(object)
    theirs: dict[frozenset[str], list[Copy]] = {}
    for pair in two_labels_first(manifest, sorted(pairs, key=lambda p: -p.correlation)):
        theirs.setdefault(frozenset((patients[pair.one], patients[pair.other])), []).append(pair)
    return list(theirs.values())


def pair_in_words(
    manifest: Manifest, same: Sequence[Copy], parts: tuple[str, str] = ("", "")
) -> str:
    """Both patients, lines and image paths, how alike the images are, and two labels.

    Of the pairs of `same` two patients the first is told, and the parts that they are in, if any;
    the others are counted.
    """
    pair, *more = same
    one, other = (manifest.table.iloc[row] for row in (pair.one, pair.other))
    words = " = ".join(
        f"{row['patient_id']!r} (line {row['line']}, {row['image_path']}{part and f', in {part}'})"
        for row, part in zip((one, other), parts, strict=True)
    )
    if not pair.exact:
        words += f", correlation {pair.correlation:.2f}"
    if pair.orientation:
        words += f", {pair.orientation}"
    if _has_two_labels(manifest, pair):
        words += f", labelled {one['label']!r} and {other['label']!r}"
    if more:
        words += f", and {counted(len(more), 'more pair')} of these two patients"
    return words


def format_findings(manifest: Manifest, facts: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    """Mixed shapes and bit depths: a few unusual files among many are often from another source;
    and what `geometry_findings` and `filled_findings` say. `facts` (N,) are of the packed images.
    """
    yield from geometry_findings(facts)
    yield from filled_findings(manifest, facts)
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


def geometry_findings(facts: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    """Voxel sizes and orientations of volumes, as stored; mixed pixel sizes of pictures.

    Older caches do not know them.
    """
    spacings = Counter(fact.get("spacing") or "" for fact in facts)
    are_volumes = any(fact["original_shape"].count("x") == 2 for fact in facts)
    if set(spacings) != {""} and (are_volumes or _are_mixed(spacings)):
        yield _spacing_finding(spacings, facts[0].get("resampled") or "", are_volumes)
    stored = Counter(fact.get("orientation") or "unknown" for fact in facts)
    if are_volumes and set(stored) != {"unknown"}:
        yield Finding("orientation", "note", f"axes as stored: {_counts(stored)}; turned to RAS")


def _spacing_finding(spacings: Counter[str], resampled: str, are_volumes: bool) -> Finding:
    noun = "voxel size" if are_volumes else "pixel size"
    named = Counter({_size(size) if size else "unknown": n for size, n in spacings.items()})
    text = f"{noun} in mm as stored: {_counts(named)}"
    if len(spacings) > 1:
        known = np.array([size.split() for size in spacings if size], dtype=float)
        ends = zip(known.min(axis=0), known.max(axis=0), strict=True)
        ranges = [f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in ends]
        text += f"; along the axes: {', '.join(ranges)}"
    if resampled:
        return Finding("spacing", "note", f"{text}; resampled to {_size(resampled)}")
    if not _are_mixed(spacings):
        return Finding("spacing", "note", text)
    text += (
        f"; they are taken as equal: images.spacing=[{','.join(_usual(spacings))}] resamples all"
    )
    return Finding("spacing", "warning" if are_volumes else "note", text)


def _are_mixed(spacings: Counter[str]) -> bool:
    """Do they differ by more than rounding, or are some unknown?"""
    known = np.array([size.split() for size in spacings if size], dtype=float)
    return len(known) > 0 and (
        "" in spacings or bool((np.ptp(known, axis=0) > ALIKE * known.min(axis=0)).any())
    )


def _usual(spacings: Counter[str]) -> list[str]:
    return max((size for size in spacings if size), key=lambda size: spacings[size]).split()


def _size(spacing: str) -> str:
    return " x ".join(spacing.split())


def _counts(values: Counter[str]) -> str:
    """The most frequent first."""
    shown = [f"{value} ({number:,})" for value, number in values.most_common(SHOWN)]
    return and_more(shown, len(values))


def filled_findings(manifest: Manifest, facts: Sequence[Mapping[str, str]]) -> Iterator[Finding]:
    """Images of which a part was not finite and got images.fill_value; a warning from MUCH on."""
    shares = pd.Series([float(fact.get("filled") or 0) for fact in facts])
    if not shares.any():
        return
    most = shares.set_axis(manifest.table["line"])[(shares > 0).to_numpy()].nlargest(SHOWN)
    named = [f"line {line}: {100 * share:.3g} %" for line, share in most.items()]
    value, number = facts[0]["fill_value"], int((shares > 0).sum())
    text = f"{counted(number, 'image')} with values that are not finite, which became {value}: "
    text += and_more(named, number)
    if (shares > MUCH).any():
        text += f"; {counted(int((shares > MUCH).sum()), 'image')} more than {100 * MUCH:g} %"
    yield Finding("filled", "warning" if (shares > MUCH).any() else "note", text)
