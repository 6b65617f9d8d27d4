"""Ids that carry a second part are found in many spellings; ids of people are left alone."""

import hashlib
import random
import re
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.commands.door import load_config
from pipeline.config import ConfigError, ManifestConfig, UserError
from pipeline.manifest import Finding, ManifestError, read_manifest
from pipeline.manifest.second_part import apply_pattern, second_part_findings


def said(ids: Sequence[str], images: int = 2) -> list[Finding]:
    """What is said of these ids with so many images each, whose labels alternate."""
    rows = [(raw, str(i % 2)) for i, raw in enumerate(ids) for _ in range(images)]
    table = pd.DataFrame(rows, columns=["patient_id", "label"])
    table["line"] = range(2, len(table) + 2)
    return list(second_part_findings(table))


def found(ids: Sequence[str], images: int = 2) -> list[tuple[str, str]]:
    return [(finding.rule, finding.severity) for finding in said(ids, images)]


def pairs(form: str, *parts: str, num: int = 14) -> list[str]:
    return [form.format(i, part) for i in range(10, 10 + num) for part in parts]


PLAIN = {
    "eyes": pairs("{}_{}", "left", "right"),
    "no gap": pairs("{}{}", "left", "right"),
    "knees": pairs("{}{}", "L", "R"),
    "dash": pairs("P{}-{}", "L", "R"),
    "ophthalmologists": pairs("{}_{}", "OD", "OS"),
    "French eyes": pairs("{} {}", "od", "og"),
    "Spanish eyes": pairs("{}.{}", "OD", "OI"),
    "Portuguese eyes": pairs("{}_{}", "OD", "OE"),
    "German": pairs("Pat{}_{}", "links", "rechts"),
    "French": pairs("pat-{}-{}", "gauche", "droite"),
    "Spanish": pairs("{}_{}", "izq", "der"),
    "Spanish, long": pairs("{}_{}", "izquierda", "derecha"),
    "Italian": pairs("{}_{}", "sx", "dx"),
    "Russian": pairs("{}_{}", "лев", "прав"),
    "hemispheres": pairs("sub-{}_{}", "lh", "rh"),
    "breasts": [f"P{i}_{s}_CC" for i in range(14) for s in ("LEFT", "RIGHT")],
    "prefix": [f"{side}_{i}" for i in range(14) for side in ("left", "right")],
    "prefix, no gap": [f"{side}{i}" for i in range(14) for side in ("OD", "OS")],
    "re-admissions": pairs("C0{}{}", "a", "b"),
    "letters with a gap": pairs("C0{}_{}", "A", "B"),
    "three letters": pairs("{}{}", "a", "b", "c"),
    "first one bare": [f"C{i}{part}" for i in range(9) for part in ("", "a", "b")],
    "visits": pairs("P{}_{}", "visit1", "visit2"),
    "BIDS": pairs("sub-{}_{}", "ses-01", "ses-02"),
    "OASIS": pairs("OAS1_00{}_{}", "MR1", "MR2"),
    "OASIS 3": pairs("OAS300{}_{}", "MR_d0129", "MR_d0757"),
    "scans": pairs("P{}-{}", "scan-1", "scan-2"),
    "slices": pairs("P{}_{}", *(f"slice_{i:03d}" for i in range(20))),
}
POSSIBLE = {
    "days": pairs("P{}_{}", "20240105", "20240219"),
    "days, dashed": pairs("P{}_{}", "2024-01-05", "2024-02-19"),
    "day first": [f"{day}_P{i}" for i in range(9) for day in ("20240105", "20240219")],
    "months": pairs("002_S_00{}_{}", "bl", "m06", "m12"),
    "time points": pairs("P{}_{}", "T1", "T2"),
    "operation": pairs("P{}_{}", "pre", "post"),
    "visit first": [f"visit{v}_P{i}" for i in range(9) for v in (1, 2)],
    "letter first": [f"{side}{i}" for i in range(20, 34) for side in "LR"],
    "a few re-admissions": [f"C{i:03d}" for i in range(30)] + ["C040a", "C040b", "C041a", "C041b"],
    "few eyes": [f"{i:02d}" for i in range(30)] + pairs("{}_{}", "left", "right", num=3),
}
random_ = random.Random(0)
HEX = [hashlib.sha1(str(i).encode()).hexdigest() for i in range(300)]
PEOPLE = {
    "P001": [f"P{i:03d}" for i in range(1, 101)],
    "numbers": [str(i) for i in range(1, 200)],
    "MRN": [str(random_.randrange(10**7, 10**8)) for _ in range(300)],
    "letters and numbers": [f"{a}{i:02d}" for a in "ABC" for i in range(1, 31)],
    "A12, B07": ["A12", "B07", "C33", "A07", "B12", "C12", "A33", "B33"],
    "site": [f"site{s}_{i:03d}" for s in range(1, 6) for i in range(20)],
    "lettered site": [f"{s}_{i:03d}" for s in "ABCDLR" for i in range(20)],
    "UUID": [str(uuid.UUID(int=random_.getrandbits(128))) for _ in range(300)],
    "SHA-1": HEX,
    "short hashes": [raw[:6] for raw in HEX],
    "12 hexadecimal digits": [raw[:12] for raw in HEX],
    "hexadecimal counter": [f"{i:04x}" for i in range(300)],
    "HEXADECIMAL COUNTER": [f"ID{i:03X}" for i in range(300)],
    "TCGA": [f"TCGA-{a}-{i:04d}" for a in ("02", "06", "12") for i in range(30)],
    "TCGA, later": [
        f"TCGA-A{i % 9}-A{''.join(random_.choices('0123456789ABCDEFGHIJKLMNO', k=3))}"
        for i in range(200)
    ],
    "days": [f"2024-{m:02d}-{d:02d}" for m in range(1, 13) for d in range(1, 20)],
    "days, together": [f"2024{m:02d}{d:02d}" for m in range(1, 13) for d in range(1, 20)],
    "day and number": [f"202401{d:02d}-{i}" for d in range(1, 9) for i in range(1, 9)],
    "ADNI": [f"{s:03d}_S_{i:04d}" for s in range(2, 8) for i in range(20)],
    "LIDC": [f"LIDC-IDRI-{i:04d}" for i in range(100)],
    "CPTAC": [f"C3{c}-{i:05d}" for c in "LN" for i in range(50)],
    "NSCLC": [f"R01-{i:03d}" for i in range(80)] + [f"AMC-{i:03d}" for i in range(40)],
    "HN": [f"HN-{h}-{i:03d}" for h in ("CHUM", "CHUS", "HGJ") for i in range(30)],
    "BraTS": [f"BraTS20_Training_{i:03d}" for i in range(90)],
    "BraTS 2021": [f"BraTS2021_{i:05d}" for i in range(90)],
    "ISIC": [f"ISIC_{i:07d}" for i in range(90)],
    "MURA": [f"patient{i:05d}" for i in range(90)],
    "CBIS-DDSM": [f"P_{i:05d}" for i in range(90)],
    "BIDS": [f"sub-{i:02d}" for i in range(90)],
    "BIDS with letters": [f"sub-{a}{i:02d}" for a in ("control", "patient") for i in range(30)],
    "OASIS": [f"OAS1_{i:04d}" for i in range(90)],
    "OpenNeuro": [f"sub-A000{random_.randrange(10000, 99999)}" for _ in range(90)],
    "IXI": [f"IXI{i:03d}-{random_.choice(['Guys', 'HH', 'IOP'])}-{i:04d}" for i in range(90)],
    "scans of a site": [f"scan_{i:03d}" for i in range(90)],
    "scans of two studies": [f"study{s}_scan_{i:03d}" for s in (1, 2) for i in range(60)],
    "visit": [f"visit{i}" for i in range(90)],
    "names": ["Gauche A", "Links B", "left", "right", "L", "R", "od", "os"],
    "Greek": [f"\u0391{i:02d}" for i in range(40)],
    "Chinese": [f"病人{i}" for i in range(40)],
    "one eye each": [f"{i:02d}_{'left' if i % 2 else 'right'}" for i in range(40)],
    "one letter each": [f"{i:02d}{'ab'[i % 2]}" for i in range(40)],
    "check letters": [f"{i:08d}{'TRWAGMYFPDXBNJZSQVHLCKE'[i % 23]}" for i in range(1000, 1200)],
    "initials": [f"{i}{''.join(random_.choices('ABCDEFGHJK', k=2))}" for i in range(90)],
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_second_part_is_an_error(name: str) -> None:
    ((rule, severity),) = found(PLAIN[name])
    assert (rule, severity) == ("slice_ids" if name == "slices" else "second_part", "error")
    assert found(PLAIN[name], images=1) == [(rule, severity)], "no second finding of one cause"


@pytest.mark.parametrize("name", POSSIBLE)
def test_a_possible_second_part_is_a_warning(name: str) -> None:
    assert found(POSSIBLE[name]) == [("second_part", "warning")]


@pytest.mark.parametrize("name", PEOPLE)
def test_ids_of_people_are_left_alone(name: str) -> None:
    assert found(sorted(set(PEOPLE[name]))) == []
    assert found(sorted(set(PEOPLE[name])), images=1) == []


@pytest.mark.parametrize("name", [*PLAIN, *POSSIBLE])
def test_the_proposed_pattern_makes_the_patients_that_are_named(name: str) -> None:
    ids = (PLAIN | POSSIBLE)[name]
    (finding,) = said(ids)
    pattern = re.search("manifest.patient_pattern: '(.*)', or", finding.message)
    numbers = re.search(r"; (\d+) ids would be (\d+) patients", finding.message)
    assert pattern is not None
    assert numbers is not None
    patients, (note,) = apply_pattern(pattern[1], pd.Series(ids))
    assert (len(set(ids)), patients.nunique()) == tuple(map(int, numbers.groups()))
    assert note.severity == "note"
    assert said(patients.tolist()) == []


# --- from a CSV


def config_of(folder: Path, ids: Sequence[str], **settings: Any) -> ManifestConfig:
    generator, rows = np.random.default_rng(0), []
    for i, raw in enumerate(ids):
        image = Image.fromarray(generator.integers(0, 255, (4, 4), np.uint8))
        image.save(folder / f"{i}.png")
        rows.append((raw, f"{i}.png", "ab"[i // 4 % 2]))
    table = pd.DataFrame(rows, columns=["patient_id", "image_path", "label"])
    table.to_csv(folder / "m.csv", index=False)
    return ManifestConfig(name="m", path=str(folder / "m.csv"), **settings)


EYES = [f"{i // 4:02d}_{'left' if (i // 2) % 2 else 'right'}" for i in range(56)]
SUFFIX = [f"C{i // 4:03d}{'ab'[(i // 2) % 2]}" for i in range(56)]


@pytest.mark.parametrize(
    ("ids", "first"),
    [(EYES, "'00_right', '00_left' of patient '00'"), (SUFFIX, "'C000a', 'C000b' of patient")],
)
def test_two_patients_of_one_are_an_error_until_they_are_grouped_or_accepted(
    tmp_path: Path, ids: list[str], first: str
) -> None:
    with pytest.raises(ManifestError, match="28 ids would be 14 patients") as caught:
        read_manifest(config_of(tmp_path, ids))
    assert first in str(caught.value)
    pattern = re.search("patient_pattern: '(.*)', or", str(caught.value))
    assert pattern is not None
    manifest = read_manifest(config_of(tmp_path, ids, patient_pattern=pattern[1]))
    assert len(manifest.patients) == manifest.grouping.num_groups == 14
    (note,) = manifest.findings
    assert note.message == "manifest.patient_pattern makes 14 patients of 28 ids"
    accepted = read_manifest(config_of(tmp_path, ids, accept=("second_part",)))
    assert len(accepted.patients) == 28


def test_an_id_that_does_not_match_stays_as_it_is(tmp_path: Path) -> None:
    ids = ["C1", "C1b", "C2a", "C2b", "X-9", " C3a "]
    manifest = read_manifest(config_of(tmp_path, ids, patient_pattern=r"(?P<patient>C\d)[ab]"))
    assert manifest.patients == ("C1", "C2", "C3", "X-9")
    assert "2 ids without such a part stay as they are: 'C1', 'X-9'" in str(manifest.findings[0])


def test_a_pattern_that_matches_nothing_is_warned_of(tmp_path: Path) -> None:
    manifest = read_manifest(
        config_of(tmp_path, ["C1", "C2", "C3", "C3", "C4"], patient_pattern="(?P<patient>x)y")
    )
    assert [(f.rule, f.severity) for f in manifest.findings] == [("patient_pattern", "warning")]


def test_a_pattern_that_would_search_for_ever_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.regex.LIMIT_S", 0.2)
    with pytest.raises(UserError, match=r"patient_pattern=.*takes too long"):
        read_manifest(config_of(tmp_path, ["a" * 50], patient_pattern="(?P<patient>(a+)+)b"))


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(?P<patient>", "manifest.patient_pattern is not a regular expression"),
        (r"(.+)_\d", r"manifest.patient_pattern: must have a group (?P<patient>...)"),
    ],
)
def test_a_pattern_is_checked_at_the_door(pattern: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(["manifest=demo", f"manifest.patient_pattern='{pattern}'"])
    assert words in str(caught.value)
