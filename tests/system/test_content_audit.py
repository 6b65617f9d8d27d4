"""Copies in the pixels reach the groups, the plan, the report and the exit code."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from planted import CHANGES, texture
from rich.console import Console

from pipeline.audit.content import AuditError, known_copies, look_at_images
from pipeline.audit.copies import Copies, Copy
from pipeline.audit.image_findings import copy_findings
from pipeline.audit.report import Report, write_report
from pipeline.audit.sheet import copy_sheet
from pipeline.commands.check import examine
from pipeline.commands.check import main as check
from pipeline.commands.door import load_config
from pipeline.config import Config, UserError
from pipeline.images.packed import PackedImages
from pipeline.images.packing import pack_images
from pipeline.manifest import Finding, Manifest, ManifestError, read_manifest
from pipeline.splits import LeakageError, load_plan, plan_folds, save_plan
from pipeline.splits.frozen import check_fits
from pipeline.training.planning import Planned, make_plan, rehearse

PATIENTS = [f"P{i:02d}" for i in range(12)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve patients with two textures each, the odd ones ill, as PNGs without a manifest."""
    generator = np.random.default_rng(0)
    for patient in PATIENTS:
        for i in range(2):
            Image.fromarray(texture(generator, 64)).save(tmp_path / f"{patient}_{i}.png")
    return tmp_path


def config_of(
    folder: Path, labels: Mapping[str, str] | None = None, overrides: Sequence[str] = ()
) -> Config:
    """Write the manifest of all images in `folder`; `labels` of single images."""
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient_id", "image_path", "label"])
        for path in sorted([*folder.glob("*.png"), *folder.glob("*.tif")]):
            patient = path.name[:3]
            label = (labels or {}).get(path.name, ("well", "ill")[int(patient[1:]) % 2])
            writer.writerow([patient, path.name, label])
    return load_config(
        [
            f"manifest.path={folder}/manifest.csv",
            "manifest.name=copies",
            "manifest.classes=[well,ill]",
            "split.num_folds=3",
            f"images.cache_dir={folder}/cache",
            "images.num_processes=1",
            "sampler=none",
            "images.transforms=[]",
            "images.dtype=uint8",
            "manifest.largest_group=1.0",
            f"audit.out_dir={folder}/out",
            *overrides,
        ]
    )


def plant(folder: Path, source: str, target: str, change: str) -> None:
    """Another file, whose bytes differ from the source's even where its pixels do not."""
    remark = PngInfo()
    remark.add_text("copied to", target)
    with Image.open(folder / source) as image:
        changed = CHANGES[change](image.convert("L"), np.random.default_rng(0))
    named: dict[str, Any] = {"pnginfo": remark} if target.endswith("png") else {}
    changed.resize((64, 64)).save(folder / target, **named)


def found(report: Report) -> dict[str, Finding]:
    return {finding.rule: finding for finding in report.findings if finding.severity != "note"}


def quiet() -> Console:
    return Console(quiet=True)


def rehearsed(config: Config) -> Manifest:
    """The manifest as it stands before an image is decoded; some plan can work."""
    manifest = read_manifest(config.manifest)
    rehearse(config, manifest)
    return manifest


def audited(config: Config) -> Manifest:
    """The manifest whose groups know of copied images."""
    return look_at_images(config, read_manifest(config.manifest), quiet()).sound_manifest()


def planned(config: Config) -> Planned:
    return make_plan(config, audited(config))


def decoded(config: Config, manifest: Manifest) -> PackedImages:
    return pack_images(manifest, config.images, lambda _done, _total: None)


def test_strangers_have_no_findings(folder: Path) -> None:
    report = examine(config_of(folder), quiet())
    assert not report.has_error("stopped")
    assert found(report) == {}
    assert report.copies is not None
    assert report.copies.pairs == ()
    assert report.manifest is not None
    assert report.manifest.grouping.num_groups == 12


def test_a_lossless_copy_in_another_format_joins_two_patients(folder: Path) -> None:
    plant(folder, "P00_0.png", "P04_9.tif", "exact")
    report = examine(config_of(folder), quiet())
    assert not report.has_error("stopped")
    assert report.manifest is not None
    groups = report.manifest.table.groupby("patient_id")["group"].first()
    assert groups["P00"] == groups["P04"] == "P00"
    assert report.manifest.grouping.num_groups == 11
    assert "copied images 1" in report.manifest.grouping.describe()[0]
    finding = found(report)["exact_copies"]
    assert finding.severity == "warning"
    assert "'P00' (line 2, P00_0.png) = 'P04' (line 12, P04_9.tif)" in finding.message
    split = report.split
    assert split is not None
    assert "no patient is in two parts" in split.lines[-1]


def test_copies_are_looked_for_again_when_a_patient_id_is_corrected(folder: Path) -> None:
    plant(folder, "P00_0.png", "P04_9.tif", "exact")
    config = config_of(folder)
    manifest = read_manifest(config.manifest)
    images = decoded(config, manifest)
    (pair,) = known_copies(manifest, images).pairs
    corrected = manifest.table.copy()
    corrected.loc[pair.other, "patient_id"] = "P00"
    assert known_copies(replace(manifest, table=corrected), images).pairs == ()


@pytest.mark.parametrize(
    ("near", "severity", "num_groups"),
    [("report", "warning", 12), ("merge", "warning", 11), ("error", "error", 12)],
)
def test_near_copies_follow_the_policy(
    folder: Path, near: str, severity: str, num_groups: int
) -> None:
    plant(folder, "P00_0.png", "P04_9.png", "turned by 90 degrees")
    config = config_of(folder, overrides=[f"audit.near={near}"])
    report = examine(config, quiet())
    finding = found(report)["near_copies"]
    assert finding.severity == severity
    assert "correlation 1.00, turned by 90 degrees" in finding.message
    assert report.manifest is not None
    assert report.manifest.grouping.num_groups == num_groups
    if near == "error":
        with pytest.raises(AuditError, match=r"'P00' \(line 2, P00_0.png\) = 'P04'"):
            audited(config)
    else:
        assert audited(config).grouping.num_groups == num_groups


def test_a_near_copy_with_another_label_says_so(folder: Path) -> None:
    plant(folder, "P00_0.png", "P01_9.png", "flipped top to bottom")
    report = examine(config_of(folder), quiet())
    message = found(report)["near_copies"].message
    assert "flipped top to bottom, labelled " in message
    assert sorted(message.split("labelled ")[1].split(" and ")) == ["'ill'", "'well'"]


def test_a_copy_with_another_label_is_an_error_unless_accepted(folder: Path) -> None:
    plant(folder, "P00_0.png", "P01_9.tif", "exact")
    report = examine(config_of(folder), quiet())
    finding = found(report)["copies_with_two_labels"]
    assert finding.severity == "error"
    assert "1 image with different labels: line 2 'well' = line 6 'ill'" in finding.message
    assert "manifest.accept=[copies_with_two_labels]" in finding.message
    accepted = ["manifest.accept=[copies_with_two_labels]"]
    report = examine(config_of(folder, overrides=accepted), quiet())
    assert "copies_with_two_labels" not in found(report)


def test_black_images_are_reported_and_join_nobody(folder: Path) -> None:
    for name, size in (("P00_9.png", 64), ("P01_9.tif", 64)):
        Image.fromarray(np.zeros((size, size), np.uint8)).save(folder / name)
    report = examine(config_of(folder), quiet())
    assert not report.has_error("stopped")
    message = found(report)["flat_images"].message
    assert message == "2 images without any contrast: not compared"  # they link nobody
    assert "copies_with_two_labels" not in found(report)  # one is well, the other ill
    assert report.manifest is not None
    assert report.manifest.grouping.num_groups == 12


@pytest.mark.parametrize(
    ("near", "change", "rule"),
    [
        ("report", "cropped by 2 %", "near_images"),
        ("report", "10 % brighter", "shared_images"),  # correlation 0.99 and more
        ("merge", "cropped by 2 %", "shared_images"),
        ("error", "cropped by 2 %", "shared_images"),
    ],
)
def test_near_copies_across_a_given_split_follow_the_policy_unless_they_are_sure(
    folder: Path, near: str, change: str, rule: str
) -> None:
    plant(folder, "P00_0.png", "P04_9.png", change)
    parts = {p: ("train", "val", "test")[i // 2 % 3] for i, p in enumerate(PATIENTS)}
    assert parts["P00"] != parts["P04"]
    lines = [f"{patient},{part}" for patient, part in parts.items()]
    (folder / "parts.csv").write_text("\n".join(["patient_id,part", *lines]))
    report = examine(
        config_of(folder, overrides=[f"audit.part_file={folder}/parts.csv", f"audit.near={near}"]),
        quiet(),
    )
    told = {f.rule: f.severity for f in report.findings if f.rule.endswith("_images")}
    assert told == {rule: "warning" if rule == "near_images" else "error"}
    assert report.split is not None
    assert "nobody is in two parts" not in report.split.lines[0]
    page = write_report(report, folder / "page").read_text()
    assert "Fit for a cross-validation" not in page
    assert ("the split may share pictures between its parts" in page) == (rule == "near_images")


def test_sizes_that_are_all_different_are_just_mixed(folder: Path) -> None:
    """No file is the odd one among 36 of three shapes."""
    generator = np.random.default_rng(9)
    for patient in PATIENTS:
        Image.fromarray(texture(generator, 70 + int(patient[1:]) % 2)).save(
            folder / f"{patient}_9.png"
        )
    resize = "images.transforms=[{_target_: monai.transforms.Resize, spatial_size: [64, 64]}]"
    report = examine(config_of(folder, overrides=[resize]), quiet())
    (told,) = [f for f in report.findings if f.rule == "mixed_shapes"]
    assert (told.severity, told.line) == ("note", 0)
    assert told.message == "images of 3 shapes: 64x64 (24), 70x70 (6), 71x71 (6)"


def test_mixed_shapes_and_bit_depths_are_told(folder: Path) -> None:
    odd = texture(np.random.default_rng(9), 70)
    Image.fromarray(odd).save(folder / "P03_9.png")
    Image.fromarray(odd[:64, :64].astype(np.uint16)).save(folder / "P05_9.tif")
    resize = "images.transforms=[{_target_: monai.transforms.Resize, spatial_size: [64, 64]}]"
    report = examine(config_of(folder, overrides=[resize]), quiet())
    rules = found(report)
    assert rules["mixed_shapes"].message == "25 images have shape 64x64, 1 not: line 10: 70x70"
    assert rules["mixed_bit_depths"].message == "25 images have bit depth 8, 1 not: line 15: 16"


def test_a_group_that_became_too_large_stops_with_an_explanation(folder: Path) -> None:
    for patient in PATIENTS[1:]:
        plant(folder, "P00_0.png", f"{patient}_9.png", "exact")
    accepted = ["manifest.accept=[copies_with_two_labels]", "manifest.largest_group=0.5"]
    config = config_of(folder, overrides=accepted)
    report = examine(config, quiet())
    assert found(report)["largest_group"].severity == "error"
    assert "12 of 12 patients" in found(report)["largest_group"].message


# --- what a cross-validation and a frozen plan make of it


def test_a_plan_keeps_copies_together_unless_nobody_looked(folder: Path) -> None:
    plant(folder, "P00_0.png", "P04_9.tif", "exact")
    config = config_of(folder)
    before = rehearsed(config)
    assert before.grouping.num_groups == 12
    made = planned(config)
    assert made.manifest.grouping.num_groups == 11
    check_fits(made.plan, made.manifest)
    assert all(len({"P00", "P04"} & fold.test) in (0, 2) for fold in made.plan.folds)
    unseen = planned(config_of(folder, overrides=["audit.content=false"]))
    assert unseen.manifest.hash == before.hash
    assert unseen.plan == make_plan(config, before).plan


def test_a_frozen_plan_that_parts_two_copies_is_refused_naming_both(folder: Path) -> None:
    config = config_of(folder)
    plan = planned(config).plan
    save_plan(plan, folder / "plan.csv")
    apart = next(p for p in plan.folds[1].test if int(p[1:]) % 2 == 0)
    here = next(p for p in plan.folds[0].test if int(p[1:]) % 2 == 0)
    plant(folder, f"{here}_0.png", f"{apart}_1.png", "exact")
    frozen = config_of(folder, overrides=[f"split.file={folder}/plan.csv"])
    one, other = sorted((here, apart))
    manifest = rehearsed(frozen)  # the files' names and bytes are in order
    content = look_at_images(frozen, manifest, quiet())
    with pytest.raises(LeakageError, match=f"patients '{one}' .* and '{other}' .* belong together"):
        make_plan(frozen, content.sound_manifest())
    assert load_plan(folder / "plan.csv").hash == plan.hash


def test_a_frozen_plan_that_knows_of_copies_is_used_again(folder: Path) -> None:
    plant(folder, "P00_0.png", "P04_9.tif", "exact")
    manifest = audited(config_of(folder))
    plan = plan_folds(manifest, config_of(folder).split)
    save_plan(plan, folder / "plan.csv")
    frozen = config_of(folder, overrides=[f"split.file={folder}/plan.csv"])
    rehearsed(frozen)
    again = planned(frozen)
    assert again.plan == plan
    assert again.manifest.hash == manifest.hash
    report = examine(frozen, quiet())
    assert not report.has_error("stopped")
    assert report.split is not None
    assert report.split.source == f"plan {plan.hash[:12]}"


def test_a_frozen_plan_of_other_labels_is_refused_though_the_images_are_the_same(
    folder: Path,
) -> None:
    config = config_of(folder)
    save_plan(planned(config).plan, folder / "plan.csv")
    labels = {"P00_0.png": "ill", "P00_1.png": "ill"}
    frozen = config_of(folder, labels, [f"split.file={folder}/plan.csv"])
    with pytest.raises(LeakageError, match="the plan was made for another manifest"):
        rehearsed(frozen)


def test_a_link_that_only_a_frozen_plan_has_is_refused(folder: Path) -> None:
    """It was made for images that were copies; now they are not, so it is another manifest."""
    plant(folder, "P00_0.png", "P04_1.png", "exact")
    plan = plan_folds(audited(config_of(folder)), config_of(folder).split)
    save_plan(plan, folder / "plan.csv")
    Image.fromarray(texture(np.random.default_rng(7), 64)).save(folder / "P04_1.png")
    frozen = config_of(folder, overrides=[f"split.file={folder}/plan.csv"])
    rehearsed(frozen)
    manifest = audited(frozen)
    with pytest.raises(LeakageError, match="the plan was made for another manifest"):
        make_plan(frozen, manifest)


def test_the_copies_are_looked_for_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(folder, "P00_0.png", "P04_9.png", "10 % brighter")
    config = config_of(folder)
    manifest = read_manifest(config.manifest)
    images = decoded(config, manifest)
    first = known_copies(manifest, images)
    assert [(pair.one, pair.other) for pair in first.pairs] == [(0, 10)]
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.audit.content.find_copies", lambda *_: 1 / 0)
        assert known_copies(manifest, images) == first
        (kept,) = images.path.glob("copies-*.json")
        kept.write_text("{")
        with pytest.raises(ZeroDivisionError):
            known_copies(manifest, images)
    assert known_copies(manifest, images) == first


# --- folds made elsewhere


def test_a_copy_across_somebodys_split_is_found(folder: Path) -> None:
    plant(folder, "P00_0.png", "P04_9.png", "exact")
    config = config_of(folder, overrides=["audit.part_column=where", "manifest.columns.part=where"])
    path = folder / "manifest.csv"
    first, *rows = path.read_text().splitlines()
    parts = [row + (",train" if row < "P04" else ",test") for row in rows]
    path.write_text("\n".join([f"{first},where", *parts]) + "\n")
    report = examine(config, quiet())
    assert not report.has_error("stopped")
    assert "'P00_0.png' (line 2 in train) = 'P04_9.png' (line 12 in test)" in (
        found(report)["shared_images"].message
    )
    assert {f.rule for f in report.findings if f.severity == "error"} == {"shared_images"}
    assert report.split is not None
    assert report.split.source == "column 'where'"


@pytest.mark.parametrize("content", ["true", "false"])
def test_a_split_is_audited_though_files_are_missing(folder: Path, content: str) -> None:
    """P01's other image, which is lost, is in the other part; so is a copy of one of P00's."""
    plant(folder, "P00_0.png", "P04_9.png", "exact")
    overrides = ["audit.part_column=where", f"audit.content={content}"]
    config = config_of(folder, overrides=overrides)
    path = folder / "manifest.csv"
    first, *rows = path.read_text().splitlines()
    parts = [row + (",train" if row < "P01,P01_1" else ",test") for row in rows]
    path.write_text("\n".join([f"{first},where", *parts]) + "\n")
    (folder / "P01_1.png").unlink()
    (folder / "P03_0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    report = examine(config, quiet())
    errors = {f.rule for f in report.findings if f.severity == "error"}
    pixels = {"unusable_image", "shared_images"} if content == "true" else set()
    assert errors == {"shared_patients"} | pixels | ({"image_file"} if pixels else set())
    assert found(report)["image_file"].severity == ("error" if pixels else "warning")
    assert "'P01'" in found(report)["shared_patients"].message
    if pixels:
        assert "P00_0.png" in found(report)["shared_images"].message
    assert report.split is not None
    assert sum(part.num_images for part in report.split.parts) == len(rows)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split.num_folds=13", "split.num_folds is 13"),
        ("audit.part_column=wehre", "audit.part_column=wehre: "),
    ],
)
def test_a_plan_or_split_that_cannot_be_keeps_nobody_from_looking_at_the_images(
    folder: Path, override: str, message: str
) -> None:
    plant(folder, "P00_0.png", "P04_9.tif", "exact")
    report = examine(config_of(folder, overrides=[override]), quiet())
    assert message in found(report)["stopped"].message
    assert "exact_copies" in found(report)
    assert report.shortcuts
    assert report.split is None


# --- the report


def test_the_report_says_all_and_the_exit_code_is_that_of_errors(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(folder, "P00_0.png", "P04_9.tif", "exact")
    plant(folder, "P02_0.png", "P06_9.png", "flipped left to right")
    config = config_of(folder, overrides=["audit.near=error"])
    monkeypatch.setattr("pipeline.commands.check.to_config", lambda _: config)
    with pytest.raises(ManifestError, match="1 problem\n  1 pair of images of two patients"):
        check(OmegaConf.create())
    page = (folder / "out" / "check.html").read_text()
    told = json.loads((folder / "out" / "check.json").read_text())
    assert told["fit"] is False
    assert (told["copies"]["num_exact"], told["copies"]["num_near"]) == (1, 1)
    assert [finding["rule"] for finding in told["findings"][:2]] == ["near_copies", "exact_copies"]
    assert told["manifest"]["num_patients"] == 12
    assert len(told["split"]["parts"]) == 9
    assert {shortcut["name"] for shortcut in told["shortcuts"]} == {"file metadata", "image count"}
    for words in ("Not fit: 1 error, ", "P02_0.png", "data:image/png;base64", "near_copies"):
        assert words in page
    for name in ("patients", "images", "well", "ill"):  # on a phone, cells say what they are
        assert page.count(f'data-name="{name}"') >= len(told["split"]["parts"])
    with Image.open(folder / "out" / "copies.png") as sheet:
        assert sheet.size[0] > 800
    printed = capsys.readouterr().out
    assert "report: " in printed
    assert "warning: 1 pair of images of two patients with the same pixels" in printed
    fine = config_of(folder)
    monkeypatch.setattr("pipeline.commands.check.to_config", lambda _: fine)
    check(OmegaConf.create())
    assert json.loads((folder / "out" / "check.json").read_text())["fit"] is True


def test_with_pseudonyms_a_damaged_image_does_not_tell_its_name(folder: Path) -> None:
    for i in range(2):
        (folder / f"P00_{i}.png").write_bytes(b"\xff\xd8\xff" + bytes(200))  # a JPEG by its mark
    hidden = ["privacy.pseudonyms=true", f"privacy.key_file={folder}/key"]
    report = examine(config_of(folder, overrides=hidden), quiet())
    page = write_report(report, folder / "out")
    assert "P00" not in page.read_text() + page.with_name("check.json").read_text()
    assert "its header cannot be read" in found(report)["unusable_image"].message


def test_a_name_in_the_data_cannot_write_html(tmp_path: Path) -> None:
    evil = Finding("rule", "warning", "<script>alert(1)</script>")
    page = write_report(Report("m.csv", (evil,)), tmp_path)
    assert "<script>" not in page.read_text()
    assert "&lt;script&gt;" in page.read_text()


def test_pairs_of_two_patients_are_told_once_by_the_strongest(folder: Path) -> None:
    manifest = read_manifest(config_of(folder).manifest)
    weak, strong, others = (  # two images each of P00, P01, P02, ...
        Copy(0, 8, exact=False, correlation=0.93),
        Copy(1, 9, exact=False, correlation=0.97),
        Copy(4, 12, exact=False, correlation=0.95),
    )
    (told,) = copy_findings(manifest, Copies((weak, strong, others)), "report")
    assert told.message.startswith("3 pairs of images of two patients that are nearly the same")
    assert "P00_1.png) = 'P04'" in told.message
    assert "correlation 0.97, and 1 more pair of these two patients; 'P02'" in told.message
    assert "0.93" not in told.message


def test_the_sheet_shows_both_images_and_cuts_long_names(folder: Path) -> None:
    plant(folder, "P00_0.png", "P04_9.png", "exact")
    config = config_of(folder)
    manifest = read_manifest(config.manifest)
    pairs = [Copy(0, 10, exact=True), Copy(1, 3, exact=False, correlation=0.95)]
    sheet = np.asarray(copy_sheet(manifest, pairs, 2, 1))
    assert sheet.shape == (12 + 272, 2 * 414 + 12, 3)
    left, right = (sheet[72:272, x : x + 200] for x in (426, 628))  # the exact pair comes last
    np.testing.assert_array_equal(left, right)
    assert left.std() > 20


READER = """
import numpy as np

class Read:
    def __call__(self, path):
        return np.frombuffer(path.read_bytes()[4:], np.uint8).reshape(1, 64, 64)
"""


def test_the_sheet_shows_copies_that_only_a_reader_of_ones_own_can_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "sheet_lab.py").write_text(READER)
    plant(folder, "P00_0.png", "P04_9.png", "flipped left to right")
    for name in ("P00_0.png", "P04_9.png"):
        with Image.open(folder / name) as image:
            (folder / name).write_bytes(b"RAW8" + image.convert("L").tobytes())
    own = ["+images.reader={_target_:sheet_lab.Read}", "manifest.accept=[unknown_format]"]
    config = config_of(folder, overrides=[*own, "plugins=[sheet_lab]"])
    monkeypatch.setattr("pipeline.commands.check.to_config", lambda _: config)
    check(OmegaConf.create())
    told = json.loads((folder / "out" / "check.json").read_text())
    assert told["copies"]["num_near"] == 1
    with Image.open(folder / "out" / "copies.png") as sheet:
        pair = np.asarray(sheet.convert("L"), float)[72:272]
    left, right = pair[:, 12:212], pair[:, 214:414]
    assert left.std() > 20
    assert np.abs(left - right[:, ::-1]).mean() < 2


def test_the_sheet_shows_two_labels_first_and_then_the_most_doubtful(folder: Path) -> None:
    manifest = read_manifest(config_of(folder).manifest)
    sure, doubtful, odd = (
        Copy(0, 8, exact=False, correlation=0.99),
        Copy(1, 12, exact=False, correlation=0.93),
        Copy(4, 6, exact=False, correlation=0.95),  # P02 is well, P03 ill
    )
    sheet = np.asarray(copy_sheet(manifest, [sure, doubtful, odd], 2, 1))
    for number, pair in enumerate((odd, doubtful, sure)):
        alone = np.asarray(copy_sheet(manifest, [pair], 2, 1))
        np.testing.assert_array_equal(sheet[:, 12 + 414 * number :][:, :402], alone[:, 12:414])


def test_the_sheet_tells_parts_and_shows_pairs_of_two_parts_first(folder: Path) -> None:
    manifest = read_manifest(config_of(folder).manifest)
    within, across = Copy(0, 4, False, 0.93), Copy(8, 12, False, 0.97)  # lines 2, 6, 10, 14
    places = {2: "train", 6: "train", 10: "train", 14: "test"}
    sheet = np.asarray(copy_sheet(manifest, [within, across], 2, 1, places))
    bare = np.asarray(copy_sheet(manifest, [across, within], 2, 1))  # the doubtful one first
    left, right = np.s_[:, 12:426], np.s_[:, 426:840]
    pictures, words = np.s_[72:], np.s_[42:57]  # the line with label and part
    np.testing.assert_array_equal(sheet[left][pictures], bare[right][pictures])
    for pair, places_of in ((across, {14: "test"}), (across, {10: "train"}), (within, places)):
        alone = np.asarray(copy_sheet(manifest, [pair], 2, 1, places_of))
        assert (
            alone[left][words] != np.asarray(copy_sheet(manifest, [pair], 2, 1))[left][words]
        ).any()


@pytest.mark.parametrize("length", [60, 3000])
def test_the_sheet_shows_the_end_of_a_long_name(folder: Path, length: int) -> None:
    """Two names that differ in the end are seen to; what differs before is cut off."""
    manifest = read_manifest(config_of(folder).manifest)

    def line_of_path(path: str) -> Any:
        table = manifest.table.copy()
        table.loc[0, "image_path"] = path
        named = replace(manifest, table=table, true_names={path: "P00_0.png"})
        return np.asarray(copy_sheet(named, [Copy(0, 8, exact=True)], 2, 1))[57:72, 12:212]

    one = line_of_path("a/" * length + "IM-0001.png")
    assert (one != line_of_path("a/" * length + "IM-0002.png")).any()
    np.testing.assert_array_equal(one, line_of_path("b/" + "a/" * length + "IM-0001.png"))
    assert (one[:, -6:] == 255).all()  # it does not run into the next picture's


def test_pairs_in_the_report_are_bounded(folder: Path) -> None:
    """All are counted; of a pair of patients the first twenty are listed."""
    manifest = read_manifest(config_of(folder).manifest)
    pairs = tuple(Copy(0, i, False, 0.93) for i in range(2, 24)) + tuple(
        Copy(1, i, False, 0.95 + i / 1000) for i in (2, 3)
    )
    report = Report("m.csv", manifest=manifest, copies=Copies(pairs * 12))
    copies = report.as_dict()["copies"]
    assert (copies["num_near"], copies["num_patient_pairs"]) == (288, 11)
    first = next(p for p in copies["patient_pairs"] if p["patient_ids"] == ["P00", "P01"])
    assert (first["num_pairs"], len(first["pairs"])) == (48, 20)
    assert [p["parts"] for p in first["pairs"][:1]] == [[None, None]]


def test_a_black_image_that_links_patients_is_told(folder: Path) -> None:
    for patient in PATIENTS[:4]:
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / f"{patient}_9.png")
    report = examine(config_of(folder), quiet())
    assert "such files are in group 'P00', of 4 of its patients: where they link them, leave" in (
        found(report)["flat_images"].message
    )


def test_copies_with_two_labels_come_first(folder: Path) -> None:
    """Twelve near copies, of which the last has another label."""
    generator = np.random.default_rng(5)
    for i in range(12):
        Image.fromarray(texture(generator, 64)).save(folder / f"P00_a{i:02d}.png")
        target = "P01" if i == 11 else "P02"
        plant(folder, f"P00_a{i:02d}.png", f"{target}_a{i:02d}.png", "flipped top to bottom")
    config = config_of(folder)
    report = examine(config, quiet())
    message = found(report)["near_copies"].message
    assert "1 with two labels, first 'P00' (line 15, P00_a11.png) = 'P01'" in message
    copies = report.as_dict()["copies"]
    assert [(p["patient_ids"], p["num_pairs"]) for p in copies["patient_pairs"]] == [
        (["P00", "P01"], 1),
        (["P00", "P02"], 11),
    ]
    assert (copies["num_patient_pairs"], copies["num_near"]) == (2, 12)
    assert [len(p["pairs"]) for p in copies["patient_pairs"]] == [1, 11]
    (pair,) = copies["patient_pairs"][0]["pairs"]
    assert pair["labels"] == ["well", "ill"]
    assert {part.rsplit(" ", 1)[0] for part in pair["parts"]} == {"test of fold"}
    assert pair["image_paths"] == ["P00_a11.png", "P01_a11.png"]


def test_byte_identical_files_are_compared_without_decoding(folder: Path) -> None:
    (folder / "P04_9.png").write_bytes((folder / "P00_0.png").read_bytes())
    (folder / "P05_9.png").write_bytes((folder / "P02_0.png").read_bytes())  # well and ill
    off = ["audit.content=false"]
    report = examine(config_of(folder, overrides=off), quiet())
    assert found(report)["exact_copies"].severity == "warning"
    assert "'P00' (line 2, P00_0.png) = 'P04' (line 12, P04_9.png)" in (
        found(report)["exact_copies"].message
    )
    assert found(report)["copies_with_two_labels"].severity == "error"
    config = config_of(folder, overrides=off)
    with pytest.raises(UserError, match="1 image with different labels"):
        audited(config)
    rehearsed(config)
    accepted = config_of(folder, overrides=[*off, "manifest.accept=[copies_with_two_labels]"])
    assert audited(accepted).grouping.num_groups == 10
