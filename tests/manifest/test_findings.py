"""One cause, one message: with the count, the first three lines and what is said of all once."""

import random

import pytest

from pipeline.manifest import Finding, ManifestError, by_cause


def of_lines(texts: list[str], rule: str = "x", first: int = 2) -> list[Finding]:
    return [Finding(rule, "error", text, line) for line, text in enumerate(texts, first)]


KINDS = {
    "lost": (
        [f"patient 'P{i}': image data/a {i}.png: no such file" for i in range(96)],
        [
            "96 alike: no such file",
            "line 2: patient 'P0': image data/a 0.png",
            "line 3: patient 'P1': image data/a 1.png",
            "line 4: patient 'P2': image data/a 2.png",
            "and 93 more",
        ],
    ),
    "range": (
        [
            f"patient 'P{i}': image {i}.nii.gz: has values from {-i} to {1.5 * i} after the "
            "transforms, which images.dtype=uint8 cannot hold; use float16 or float32"
            for i in range(5)
        ],
        [
            "5 alike; use float16 or float32",
            "line 2: patient 'P0': image 0.nii.gz: has values from 0 to 0.0 after the "
            "transforms, which images.dtype=uint8 cannot hold",
            "line 3: patient 'P1': image 1.nii.gz: has values from -1 to 1.5 after the "
            "transforms, which images.dtype=uint8 cannot hold",
            "line 4: patient 'P2': image 2.nii.gz: has values from -2 to 3.0 after the "
            "transforms, which images.dtype=uint8 cannot hold",
            "and 2 more",
        ],
    ),
    "cells": (
        [f"has {i} cell{'s' * (i > 1)}, the header has 3" for i in (1, 2, 4, 5)],
        [
            "4 alike, such as",
            "line 2: has 1 cell, the header has 3",
            "line 3: has 2 cells, the header has 3",
            "line 4: has 4 cells, the header has 3",
            "and 1 more",
        ],
    ),
    "blank": (
        ["the patient id is blank"] * 7,
        ["7 alike: the patient id is blank", "lines 2, 3, 4 and 4 more"],
    ),
    "quotes": (
        [f'patient "O\'Hara {name}" is lost; look for it' for name in ("Ann", "Bo", "Cy", "Di")],
        [
            "4 alike; look for it",
            'line 2: patient "O\'Hara Ann" is lost',
            'line 3: patient "O\'Hara Bo" is lost',
            'line 4: patient "O\'Hara Cy" is lost',
            "and 1 more",
        ],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_cause_is_told_once(kind: str) -> None:
    texts, expected = KINDS[kind]
    findings = of_lines(texts)
    random.Random(0).shuffle(findings)
    (one,) = by_cause(findings)
    assert [line.strip() for line in one.message.splitlines()] == expected
    assert (one.count, one.line, one.severity) == (len(texts), 2, "error")
    assert str(one) == one.message
    assert str(ManifestError("m.csv", findings)).splitlines() == [
        f"manifest m.csv: {len(texts)} problems",
        f"  {expected[0]}",
        *(f"    {line}" for line in expected[1:]),
    ]


def test_other_causes_stay_apart_and_few_are_listed() -> None:
    lost = of_lines([f"image {i}.png: no such file" for i in range(3)], first=8)
    empty = of_lines([f"image {i}.png: is empty" for i in range(3)], first=2)
    assert by_cause([*lost, *empty]) == [*empty, *lost]
    both = [*of_lines(["is blank"] * 4), *of_lines(["is blank"] * 4, rule="y")]
    assert [finding.count for finding in by_cause(both)] == [4, 4]


def test_lines_are_sorted_as_numbers() -> None:
    findings = [Finding("x", "error", f"word {word}", n) for word, n in (("a", 100), ("b", 9))]
    assert [finding.line for finding in by_cause(findings)] == [9, 100]
