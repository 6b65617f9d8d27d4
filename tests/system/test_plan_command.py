"""`patientfold plan`: make, grow, repair, export; a refused command changes no file."""

import csv
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image
from planted import texture

from pipeline.commands import plan as command
from pipeline.commands.door import load_config
from pipeline.config import Config, UserError
from pipeline.manifest import read_manifest
from pipeline.splits import LeakageError, load_plan
from pipeline.splits.describe import describe_plan
from pipeline.training.planning import make_plan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Textures of eighteen patients, two each."""
    generator = np.random.default_rng(0)
    for number in range(18):
        for i in range(2):
            Image.fromarray(texture(generator, 48)).save(tmp_path / f"P{number:02d}_{i}.png")
    return tmp_path


def run(folder: Path, num_patients: int, *overrides: str, study: Collection[str] = ()) -> None:
    """The command on the first patients, of whom those of `study` share one."""
    config = config_of(folder, num_patients, *overrides, study=study)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.commands.plan.to_config", lambda _: config)
        command.main(OmegaConf.create())


def config_of(
    folder: Path, num_patients: int, *overrides: str, study: Collection[str] = ()
) -> Config:
    """Writes the manifest too."""
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient_id", "image_path", "label", "exam", "day"])
        for path in sorted(folder.glob("P*.png")):
            number = int(path.name[1:3])
            if number < num_patients:
                exam = "shared" if path.name[:3] in study else f"own {number}"
                label = ("no", "yes")[number % 3 == 0]
                day = f"2020-{(number + 5 * int(path.name[4])) % 12 + 1:02d}-01"
                writer.writerow([path.name[:3], path.name, label, exam, day])
    return load_config(
        [
            f"manifest.path={folder}/manifest.csv",
            "manifest.name=plans",
            "manifest.classes=[no,yes]",
            "manifest.largest_group=1.0",
            f"manifest.columns.study={'exam' if study else 'null'}",
            "split.num_folds=3",
            "images.transforms=[]",
            f"images.cache_dir={folder}/cache",
            "images.num_processes=1",
            f"plan.out={folder}/plan.csv",
            *overrides,
        ]
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("plan*")}


def grow(folder: Path) -> tuple[str, ...]:
    return f"split.file={folder}/plan.csv", "plan.action=grow"


def test_a_plan_is_made_once_and_never_overwritten_by_another(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, 12)
    assert "every patient is tested exactly once" in capsys.readouterr().out
    written = files(folder)
    assert set(written) == {"plan.csv", "plan.json"}
    run(folder, 12)  # the same again is fine
    assert files(folder) == written
    with pytest.raises(UserError, match=r"exists and is another plan; keep it \(split\.file="):
        run(folder, 12, "split.num_folds=4")
    assert files(folder) == written


def test_what_a_frozen_plan_overrides_is_told(folder: Path) -> None:
    run(folder, 12)
    file = f"split.file={folder}/plan.csv"
    for asked in (
        {},
        {"seed=5": "0", "num_folds=4": "3", "repeats=2": "1"},
        {"scheme=holdout": "kfold", "locked_fraction=0.2": "nobody locked"},
    ):
        config = config_of(folder, 12, file, *(f"split.{setting}" for setting in asked))
        warnings = make_plan(config, read_manifest(config.manifest)).warnings
        assert [line for line in warnings if "is ignored" in line] == [
            f"split.{setting} is ignored: split.file {folder}/plan.csv has {found}"
            for setting, found in asked.items()
        ]


def test_a_plan_grows_in_place_and_is_exported(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, 12)
    before = load_plan(folder / "plan.csv")
    run(folder, 18, *grow(folder), f"plan.test_fold={folder}/test_fold.csv")
    after = load_plan(folder / "plan.csv")
    assert "version 2: 6 new patients, 0 moved" in capsys.readouterr().out
    for old, new in zip(before.folds, after.folds, strict=True):
        assert old.test <= new.test
    test_fold = pd.read_csv(folder / "test_fold.csv").set_index("image_path")["test_fold"]
    assert len(test_fold) == 36
    assert all(f"P{n:02d}" in after.folds[test_fold[f"P{n:02d}_1.png"]].test for n in range(18))


def test_a_new_link_is_refused_with_the_repair_that_then_works(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, 12)
    written = files(folder)
    first, second = (min(fold.test) for fold in load_plan(folder / "plan.csv").folds[:2])
    with pytest.raises(LeakageError, match=r"belong together.*plan\.action=repair"):
        run(folder, 12, *grow(folder), study={first, second})
    assert files(folder) == written
    run(folder, 12, f"split.file={folder}/plan.csv", "plan.action=repair", study={first, second})
    assert "0 new patients, 1 moved" in capsys.readouterr().out
    after = load_plan(folder / "plan.csv")
    assert any({first, second} <= fold.test for fold in after.folds)
    assert after.version == 2


def test_copied_images_are_links_too(folder: Path) -> None:
    run(folder, 12)
    places = {p: fold.index for fold in load_plan(folder / "plan.csv").folds for p in fold.test}
    other = next(p for p in sorted(places) if places[p] != places["P00"] and int(p[1:]) % 3 == 0)
    with Image.open(folder / "P00_0.png") as image:
        image.save(folder / f"{other}_1.png", compress_level=1)  # other bytes, equal pixels
    with pytest.raises(LeakageError, match=f"'P00' .* and '{other}' .* belong together"):
        run(folder, 12, *grow(folder))
    run(folder, 12, *grow(folder), "audit.content=false")


def test_a_link_that_only_pixels_show_outlives_growth_without_a_look_at_them(folder: Path) -> None:
    with Image.open(folder / "P00_0.png") as image:
        image.save(folder / "P03_1.png", compress_level=1)
    run(folder, 12)
    assert load_plan(folder / "plan.csv").groups["P03"] == "P00"
    run(folder, 18, *grow(folder), "audit.content=false")
    after = load_plan(folder / "plan.csv")
    assert (after.version, after.groups["P03"]) == (2, "P00")


def test_nothing_is_overwritten_by_an_export(folder: Path) -> None:
    run(folder, 12)
    manifest = (folder / "manifest.csv").read_bytes()
    with pytest.raises(UserError, match=r"plan\.test_fold: .*manifest.csv exists and is something"):
        run(folder, 12, f"plan.test_fold={folder}/manifest.csv")
    assert (folder / "manifest.csv").read_bytes() == manifest
    for _ in range(2):  # an older export is replaced
        run(folder, 12, f"plan.test_fold={folder}/new/test_fold.csv")
    with pytest.raises(UserError, match=r"plan\.out: must end in \.csv"):
        run(folder, 12, f"plan.out={folder}/plan.json")
    for name in ("a.csv", f"../{folder.name}/a.csv", "a.json"):
        with pytest.raises(UserError, match="is the plan's own file; name another"):
            run(folder, 12, f"plan.out={folder}/a.csv", f"plan.test_fold={folder}/{name}")
    assert not (folder / "a.csv").exists()


def test_locked_patients_are_in_no_export(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(folder, 18, "split.locked_fraction=0.2", f"plan.test_fold={folder}/test_fold.csv")
    locked = load_plan(folder / "plan.csv").locked
    exported = pd.read_csv(folder / "test_fold.csv")["image_path"].str[:3]
    assert locked
    assert set(exported) == {f"P{n:02d}" for n in range(18)} - locked
    assert f"without {2 * len(locked)} locked or purged images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["plan.action=grow"], r"plan\.action=grow needs split\.file"),
        (["plan.action=grow", "split.file=none.csv"], "plan none.* cannot be read"),
    ],
)
def test_a_missing_plan_is_told(folder: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(folder, 12, *overrides)


def test_a_tampered_plan_is_refused(folder: Path) -> None:
    run(folder, 12)
    path = folder / "plan.csv"
    lines = path.read_text().splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("P00,"))
    cells = lines[row].split(",")
    cells[2] = str((int(cells[2]) + 1) % 3)
    path.write_text("\n".join([*lines[:row], ",".join(cells), *lines[row + 1 :]]) + "\n")
    with pytest.raises(LeakageError):
        run(folder, 12, *grow(folder))


def test_what_cannot_be_trained_is_not_frozen(folder: Path) -> None:
    with pytest.raises(UserError, match="class 'yes' has 1 patient"):
        run(folder, 3)
    assert files(folder) == {}


def test_a_temporal_plan_is_described_without_what_it_purged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [
        "manifest.columns.date=day",
        "split.scheme=temporal",
        "split.test_from=2020-09-01",
        "split.val_fraction=0.4",
    ]
    run(folder, 18, *asked)
    config = config_of(folder, 18, *asked)
    planned = make_plan(config, read_manifest(config.manifest))
    lines = describe_plan(planned.plan, planned.manifest, config.split)
    assert any("purged: " in line for line in lines)
    assert "\n".join(lines) in capsys.readouterr().out


def test_a_manifest_that_is_odd_is_warned_of(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, 12, "audit.content=false", study={"P00", "P01"})
    assert "warning: " not in capsys.readouterr().out
    (folder / "plan.csv").unlink()
    run(folder, 12, "audit.content=false", "manifest.columns.site=day")
    printed = capsys.readouterr().out
    assert "warning: 12 alike; is it one person?\n  line 3: patient 'P00' is at 2" in printed


def test_who_is_linked_to_a_fold_is_locked_no_more(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, 18, "split.locked_fraction=0.1")
    plan = load_plan(folder / "plan.csv")
    linked = {*plan.locked, min(plan.folds[0].test)}
    repair = (f"split.file={folder}/plan.csv", "plan.action=repair", "split.seed=3")
    capsys.readouterr()
    run(folder, 18, *repair, study=linked)
    said = capsys.readouterr().out
    assert "split.seed=3 is ignored" in said
    assert "nobody is locked away any more" in said
    assert f"{min(plan.locked)!r} from locked to fold 0" in said
