"""Copies in words."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from pipeline.audit.copies import Copies, Copy
from pipeline.manifest import Finding, Manifest
from pipeline.words import and_more, counted

SHOWN = 10


def copy_findings(manifest: Manifest, copies: Copies, near: str) -> Iterator[Finding]:
    """Exact copies, near copies under the policy `audit.near`, and images without contrast."""
    if exact := [pair for pair in copies.pairs if pair.exact]:
        yield Finding(
            "exact_copies",
            "warning",
            f"{counted(len(exact), 'pair')} of images of two patients with the same pixels; a plan "
            f"keeps them together: {_listed(manifest, exact)}",
        )
    if alike := [pair for pair in copies.pairs if not pair.exact]:
        advice = {
            "error": "look at them, then leave rows out or choose audit.near=merge or report",
            "merge": "such patients stay together (audit.near=merge)",
            "report": "look at them; audit.near=merge keeps such patients together",
        }[near]
        yield Finding(
            "near_copies",
            "error" if near == "error" else "warning",
            f"{counted(len(alike), 'pair')} of images of two patients that are nearly the same, "
            f"{advice}: {_listed(manifest, alike)}",
        )
    if copies.flat:
        text = f"{counted(len(copies.flat), 'image')} without any contrast: not compared"
        flat = manifest.table.iloc[list(copies.flat)]
        patients = flat.groupby("group")["patient_id"].nunique()
        if (patients > 1).any():
            text += (
                f"; such files are in group {patients.idxmax()!r}, of {patients.max()} of its "
                "patients: where they link them, leave the rows out"
            )
        yield Finding("flat_images", "warning", text)


def contradictions(
    manifest: Manifest, digests: Sequence[str], flat: Collection[int], accept: Collection[str]
) -> Iterator[Finding]:
    """Images with the same pixels but different labels, also of one patient; not flat ones."""
    labels, lines = manifest.table["label"].tolist(), manifest.table["line"].tolist()
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row in sorted(set(range(len(digests))) - set(flat)):
        rows_of[digests[row]].append(row)
    found = [rows for rows in rows_of.values() if len({labels[row] for row in rows}) > 1]
    if not found:
        return
    shown = [
        " = ".join(
            f"line {lines[row]} {labels[row]!r}" for row in sorted(rows, key=lines.__getitem__)[:4]
        )
        for rows in found[:SHOWN]
    ]
    text = (
        f"{counted(len(found), 'image')} with different labels: "
        f"{and_more(shown, len(found), '; ')}; correct the labels or leave the rows out"
    )
    if "copies_with_two_labels" in accept:
        yield Finding("copies_with_two_labels", "note", f"accepted: {text}")
    else:
        advice = "; if it is right: manifest.accept=[copies_with_two_labels]"
        yield Finding("copies_with_two_labels", "error", text + advice)


def in_words(manifest: Manifest, pair: Copy) -> str:
    """Both patients, lines and image paths, how alike the images are, and two labels."""
    table = manifest.table
    one, other = (
        f"{table['patient_id'][row]!r} (line {table['line'][row]}, {table['image_path'][row]})"
        for row in (pair.one, pair.other)
    )
    how = [] if pair.exact else [f"correlation {pair.correlation:.2f}"]
    how += [pair.orientation] if pair.orientation else []
    if has_two_labels(manifest, pair):
        how.append(f"labelled {table['label'][pair.one]!r} and {table['label'][pair.other]!r}")
    return f"{one} = {other}" + (f", {', '.join(how)}" if how else "")


def two_labels_first(manifest: Manifest, pairs: Sequence[Copy]) -> list[Copy]:
    """The pairs in their order, but before all others those whose images have two labels."""
    return sorted(pairs, key=lambda pair: not has_two_labels(manifest, pair))


def has_two_labels(manifest: Manifest, pair: Copy) -> bool:
    """Is one picture called two things?"""
    return bool(manifest.labels[pair.one] != manifest.labels[pair.other])


def _listed(manifest: Manifest, pairs: Sequence[Copy]) -> str:
    num = sum(has_two_labels(manifest, pair) for pair in pairs)
    first = f"{num} with two labels, first " if num and len(pairs) > SHOWN else ""
    shown = [in_words(manifest, pair) for pair in two_labels_first(manifest, pairs)[:SHOWN]]
    return first + and_more(shown, len(pairs), "; ")
