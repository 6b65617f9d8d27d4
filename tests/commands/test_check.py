"""The command line door: one clear message, no traceback, exit code 1; and the right answer."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import called
from PIL import Image

from pipeline.commands import demo, door
from pipeline.commands.door import load_config
from pipeline.config import ManifestConfig, SplitConfig, UserError
from pipeline.manifest import read_manifest
from pipeline.splits import load_plan, plan_folds, save_plan
from pipeline.training.planning import make_plan

Cohort = Callable[..., ManifestConfig]
PATIENTS = {f"P{i}": ["no", "no"] if i % 2 else ["yes"] for i in range(8)}


def check(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Run the command in `folder`."""
    return run(folder, "check", *overrides)


def run(
    folder: Path, command: str, *overrides: str, encoding: str = "utf-8"
) -> subprocess.CompletedProcess[str]:
    """A command in `folder`; one whose terminal has another encoding is a process of its own."""
    if encoding == "utf-8":
        return called(folder, command, *overrides)
    terminal = {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", command, *overrides],
        cwd=folder,
        env=os.environ | terminal,
        capture_output=True,
        text=True,
        check=False,
    )


def told(folder: Path, *overrides: str) -> str:
    """The one message of a command that the user must mend."""
    done = check(folder, "audit.content=false", *overrides)
    assert done.returncode == 1, done.stderr
    assert "error" not in done.stdout
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    before, message = done.stderr.split("error: ")
    assert before == ""
    return message.rstrip()


def of(config: ManifestConfig, *overrides: str) -> list[str]:
    """Overrides that make the command read this cohort."""
    return [
        f"manifest.path={config.path}",
        f"manifest.task={config.task}",
        *overrides,
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("split.num_fold=4", "split.num_fold: unknown setting; did you mean 'split.num_folds'?"),
        ("training.epochs=many", "training.epochs: input should be a valid integer"),
        ("split.num_folds=2", "greater than or equal to 3, got 2 (kfold: how many; each needs"),
        ("manifest.path=none.csv", "manifest none.csv: 1 problem\n  no such file (searched from "),
        ("experiment=dmeo", "dmeo"),
        (
            "manifest.classes=[no,yes,1]",
            "manifest.classes.2: input should be a valid string, got 1 "
            "(YAML reads it as a number or as yes/no: put it in quotes; Class names in order",
        ),
        ("split.test_from=2018-1-1", "split.test_from: must be a day, YYYY-MM-DD, got '2018-1-1'"),
        (
            "split.val_from=2018-W01-1",
            "split.val_from: must be a day, YYYY-MM-DD, got '2018-W01-1'",
        ),
    ],
)
def test_a_wrong_setting_is_told_in_one_message(
    tmp_path: Path, override: str, message: str
) -> None:
    found = told(tmp_path, "manifest=demo", override)
    assert message in found
    assert len(found.splitlines()) <= 12


def test_more_folds_than_patients_is_told(tmp_path: Path, make_cohort: Cohort) -> None:
    config = make_cohort(PATIENTS)
    assert told(tmp_path, *of(config, "split.num_folds=9")) == (
        f"split.num_folds is 9, but {config.path} has only 8 independent patients, and "
        "class 'no' only 4; use 3 to 4 folds."
    )


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path, make_cohort: Cohort) -> None:
    (tmp_path / "taken").write_text("mine")
    message = told(tmp_path, *of(make_cohort(PATIENTS), "split.num_folds=3", "audit.out_dir=taken"))
    assert message == "taken: File exists"
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.slow
def test_an_ascii_terminal_shows_every_id(tmp_path: Path, make_cohort: Cohort) -> None:
    config = make_cohort(PATIENTS | {"J\u00f6rg 1": ["yes"], "J\u00f6rg1": ["no"]})
    overrides = of(config, "split.num_folds=3", "audit.content=false")
    done = run(tmp_path, "check", *overrides, encoding="ascii")
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
    assert r"patient ids 'J\xf6rg 1' (line 14), 'J\xf6rg1' (line 15)" in done.stdout


def test_errors_found_before_a_step_stops_are_shown_with_it(
    tmp_path: Path, make_cohort: Cohort
) -> None:
    """P1's picture, under P2 with another label, and a plan that cannot be: both are told."""
    config = make_cohort(PATIENTS)
    images = Path(config.path).parent / "images"
    with Image.open(images / "P1_00.png") as image:
        image.save(images / "P2_00.png", compress_level=1)
    shortcuts = ("audit.shortcuts=false", "images=grey64", f"images.cache_dir={tmp_path}/cache")
    save_plan(plan_folds(read_manifest(config), SplitConfig(num_folds=3)), tmp_path / "p.csv")
    done = check(tmp_path, *of(config, "split.file=p.csv", *shortcuts))
    assert done.returncode == 1
    assert "error: manifest " in done.stderr
    assert "1 image with different labels" in done.stderr
    assert "plan p.csv: " in done.stderr


def test_a_class_of_one_patient_is_told(tmp_path: Path, make_cohort: Cohort) -> None:
    config = make_cohort({f"P{i}": ["no"] for i in range(8)} | {"Q": ["yes", "yes"]})
    message = told(tmp_path, *of(config, "split.num_folds=3", "loss=weighted_cross_entropy"))
    first, second, *_ = message.splitlines()
    assert first == f"3 folds of {config.path} cannot be trained:"
    assert second.startswith("  class 'yes' has 1 patient, none in ")
    assert "train of fold" in second


def test_a_check_goes_on_and_tells_everything_in_one_report(
    tmp_path: Path, make_cohort: Cohort
) -> None:
    """A lost file, a broken file, two labels, an impossible plan; and copies among the rest."""
    config = make_cohort({f"P{i}": ["no"] for i in range(8)} | {"Q": ["yes", "no"]})
    images = Path(config.path).parent / "images"
    (images / "P0_00.png").unlink()
    (images / "P1_00.png").write_bytes((images / "P1_00.png").read_bytes()[:60])
    (images / "P3_00.png").write_bytes((images / "P2_00.png").read_bytes())
    done = check(tmp_path, *of(config, f"images.cache_dir={tmp_path}/cache", "images=grey64"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    told = [
        f"error: manifest {config.path}: 4 problems",
        "line 2: patient 'P0': image",
        "no such file",
        "line 3: patient 'P1': image",
        "cannot be decoded",
        "line 11: patient 'Q' has contradictory labels 'yes' (line 10), 'no' (line 11)",
        "5 folds of",
        "class 'yes' has 1 patient, none in",
    ]
    assert [text for text in told if text not in done.stderr] == []
    assert "2 of 10 images cannot be used; what follows is about the others" in done.stdout
    assert "1 pair of images of two patients with the same pixels" in done.stdout
    assert "plan: kfold, 5 folds" in done.stdout
    report = json.loads((tmp_path / "runs" / "check" / "manifest" / "check.json").read_text())
    assert report["fit"] is False
    assert report["copies"]["num_exact"] == 1
    assert report["split"]["lines"][0].startswith("plan: kfold, 5 folds")
    assert "places" not in report["split"]
    page = (tmp_path / "runs" / "check" / "manifest" / "check.html").read_text()
    assert "Not fit: 4 errors" in page


def test_one_cause_is_one_message(tmp_path: Path, make_cohort: Cohort) -> None:
    """Every image is lost, as with a wrong image_root."""
    config = make_cohort({f"P{i:03d}": ["no" if i % 2 else "yes"] for i in range(90)})
    message = told(tmp_path, *of(config, "manifest.image_root=elsewhere"))
    folder = Path("elsewhere/images")
    assert message.splitlines() == [
        f"manifest {config.path}: 90 problems",
        "  90 alike: no such file",
        *(f"    line {i + 2}: patient 'P00{i}': image {folder}/P00{i}_00.png" for i in range(3)),
        "    and 87 more",
    ]


def test_accepted_notes_are_bounded(tmp_path: Path, make_cohort: Cohort) -> None:
    """Every row lies outside the root, and that is right: one note, and a page that loads."""
    config = make_cohort({f"P{i:03d}": ["no" if i % 2 else "yes"] for i in range(300)})
    path = Path(config.path)
    path.write_text(path.read_text().replace("images/", "../cohort/images/"))
    accept = "manifest.accept=[outside_image_root,one_image_per_patient]"
    done = check(tmp_path, *of(config, accept, "audit.content=false"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("note: 300 alike; set manifest.image_root to a folder that") == 1
    assert done.stdout.count("accepted: image '../cohort/images/P0") == 3
    written = tmp_path / "runs" / "check" / "manifest"
    found = json.loads((written / "check.json").read_text())["findings"]
    assert [f["count"] for f in found if f["rule"] == "outside_image_root"] == [300]
    assert (written / "check.html").stat().st_size < 12_000


def test_all_problems_of_a_manifest_are_told(tmp_path: Path, make_cohort: Cohort) -> None:
    config = make_cohort(PATIENTS)
    path = Path(config.path)
    path.write_text(path.read_text().replace("P1_00", "P1_77").replace("P3,", "p3,", 1))
    message = told(tmp_path, *of(config, "manifest.hint=look in the cupboard", "split.num_folds=3"))
    assert message.splitlines()[0] == f"manifest {config.path}: 2 problems"
    assert "P1_77.png: no such file" in message
    assert "'P3' is also written 'p3'" in message
    assert message.endswith("\n  hint: look in the cupboard")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["audit.part_column=part"], "split of column 'part': nobody is in two parts"),
        (
            ["split=predefined", "manifest.columns.part=part", "training.select_by=val/loss"],
            "plan: predefined, 1 fold",
        ),
    ],
)
def test_words_for_parts_are_mapped_on_the_command_line(
    tmp_path: Path, make_cohort: Cohort, overrides: list[str], line: str
) -> None:
    """In an audit, and where such a split is to be trained on."""
    config = make_cohort(PATIENTS)
    header, *rows = Path(config.path).read_text().splitlines()
    rows = [f"{row},{'Discovery' if row[1] < '6' else 'Validation'}" for row in rows]
    Path(config.path).write_text("\n".join([f"{header},part", *rows]) + "\n")
    words = "audit.words={Discovery: train, Validation: test}"
    done = check(tmp_path, *of(config, "audit.content=false", *overrides, words))
    assert (done.returncode, done.stderr) == (0, "")
    assert line in done.stdout
    assert re.search(r"test +│ +2 / 3", done.stdout)
    wrong = told(tmp_path, *of(config, *overrides, words.replace("train", "trian")))
    assert "audit.words.Discovery: input should be 'train', 'val' or 'test', got 'trian'" in wrong


def test_a_good_manifest_is_described(tmp_path: Path, make_cohort: Cohort) -> None:
    config = make_cohort(PATIENTS)
    done = check(tmp_path, *of(config, "split.num_folds=4", "sampler=none", "audit.content=false"))
    assert (done.returncode, done.stderr) == (0, "")
    plan = plan_folds(read_manifest(config), SplitConfig(num_folds=4, seed=0))
    assert f"manifest {config.path}: 12 images of 8 patients" in done.stdout
    assert "no 8 images of 4 patients, yes 4 images of 4 patients" in done.stdout
    assert f"plan: kfold, 4 folds, hash {plan.hash[:12]}" in done.stdout
    assert "every patient is tested exactly once" in done.stdout
    written = tmp_path / "runs" / "check" / "manifest"
    assert sorted(path.name for path in written.iterdir()) == ["check.html", "check.json"]
    assert not (tmp_path / ".cache").exists()


@pytest.mark.slow
def test_the_demo_is_fit_and_nothing_slow_is_imported(tmp_path: Path) -> None:
    """That is why the answer comes within seconds; torch, monai and mlflow need many."""
    demo.make_images(tmp_path / "demo")
    demo.write_manifest(tmp_path / "demo" / "manifest.csv")
    code = (
        "import sys\n"
        "from pipeline.commands.door import run\n"
        "run('check')\n"
        "print('loaded', *sorted(name for name in sys.modules if '.' not in name))\n"
    )
    overrides = ["manifest=demo", "audit.content=false"]
    done = subprocess.run(
        [sys.executable, "-c", code, *overrides],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "435 images of 78 patients" in done.stdout
    loaded = done.stdout.splitlines()[-1].split()
    assert loaded[0] == "loaded"
    assert {"pandas", "hydra", "pipeline"} <= set(loaded)
    assert not {"torch", "monai", "mlflow"} & set(loaded)


# --- what is asked of a plan, without a process


def check_of(config: ManifestConfig, num_folds: int, *overrides: str) -> list[str]:
    manifest = read_manifest(config)
    settings = load_config(
        ["manifest=demo", "sampler=none", f"split.num_folds={num_folds}", *overrides]
    )
    return list(make_plan(settings, manifest).warnings)


def test_a_fine_plan_has_no_warnings(make_cohort: Cohort) -> None:
    assert check_of(make_cohort(PATIENTS), 4) == []


def test_a_validation_part_without_a_class_matters_unless_the_loss_selects(
    make_cohort: Cohort,
) -> None:
    config = make_cohort({f"P{i}": ["no"] for i in range(9)} | {"Q": ["yes"], "R": ["yes"]})
    with pytest.raises(UserError) as caught:
        check_of(config, 3)
    assert "a class needs 3 independent patients or more" in str(caught.value)
    assert "val of fold" in str(caught.value)
    with pytest.raises(UserError) as caught:
        check_of(config, 3, "training.select_by=val/loss")
    assert "train of fold" in str(caught.value)
    assert "val of fold" not in str(caught.value)


def test_a_test_part_without_a_class_is_a_warning(make_cohort: Cohort) -> None:
    config = make_cohort(
        {f"P{i}": ["no"] for i in range(9)} | {"Q": ["yes"], "R": ["yes"], "S": ["yes"]}
    )
    with pytest.raises(UserError) as caught:
        check_of(config, 4)
    assert "class 'yes' has 3 patients, none in val of fold" in str(caught.value)
    assert "use at most 3 folds (split.num_folds); or training.select_by=val/loss" in str(
        caught.value
    )
    (warning,) = check_of(config, 4, "training.select_by=val/loss")
    assert warning.startswith("class 'yes' has 3 patients, none in ")
    assert "test of fold" in warning
    assert warning.endswith("; metrics there that need it will be reported as missing")


def test_the_advice_counts_independent_patients(make_cohort: Cohort) -> None:
    """Four ill patients of whom two share a picture; or four that the locked part thins out."""
    config = make_cohort(
        {f"P{i}": ["no"] for i in range(12)} | {f"Q{i}": ["yes"] for i in range(4)}
    )
    images = Path(config.path).parent / "images"
    (images / "Q1_00.png").write_bytes((images / "Q0_00.png").read_bytes())
    with pytest.raises(UserError, match=r"(?s)has 4 patient.*use at most 3 folds"):
        check_of(replace(config, largest_group=1.0), 4)


def test_a_patient_with_two_labels_is_told_before_training(make_cohort: Cohort) -> None:
    config = make_cohort(PATIENTS | {"P0": ["yes", "no"]})
    with pytest.raises(UserError, match="P0"):
        check_of(config, 3)
    assert check_of(config, 3, "evaluation.patient_label=worst") == []


def test_a_frozen_plan_is_used_as_it_is(tmp_path: Path, make_cohort: Cohort) -> None:
    config = make_cohort(PATIENTS)
    plan = plan_folds(read_manifest(config), SplitConfig(num_folds=3, seed=11))
    save_plan(plan, tmp_path / "frozen.csv")
    done = check(
        tmp_path, *of(config, "split.file=frozen.csv", "split.seed=0", "audit.content=false")
    )
    assert done.returncode == 0, done.stderr
    assert f"plan: kfold, 3 folds, hash {plan.hash[:12]}" in done.stdout
    other = make_cohort(PATIENTS | {"Q": ["no"]}, name="other")
    message = told(tmp_path, *of(other, "split.file=frozen.csv"))
    assert message.startswith("plan frozen.csv: 1 patient in no fold, e.g. 'Q'. Place new")
    assert load_plan(tmp_path / "frozen.csv").hash == plan.hash


@pytest.mark.parametrize("command", ["cv", "leakage-cost", "check"])
def test_a_leaf_that_does_not_fit_is_refused_before_an_image_is_decoded(
    tmp_path: Path,
    make_cohort: Cohort,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    """The images are cut short: decoding them would be another error."""
    config = make_cohort(PATIENTS)
    for image in Path(config.path).parent.rglob("*.png"):
        image.write_bytes(image.read_bytes()[:60])
    monkeypatch.chdir(tmp_path)
    words = of(config, "split.num_folds=3", "model._target_=torch.optim.SGD")
    monkeypatch.setattr("sys.argv", ["patientfold", *words])
    with pytest.raises(SystemExit) as stopped:
        door.run(command)
    assert stopped.value.code == 1
    message = "model._target_: must be a subclass of torch.nn.Module, got torch.optim.SGD, a class"
    assert message in capsys.readouterr().err
    assert not (tmp_path / ".cache").exists()


# --- a split that needs no pixels


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["some", "all"])
@pytest.mark.parametrize("source", ["part_column", "part_file"])
def test_a_split_audit_needs_no_image(
    tmp_path: Path, make_cohort: Cohort, source: str, lost: str
) -> None:
    """Missing, misnamed and wrong files are warnings; patients on two sides are errors."""
    config = make_cohort(PATIENTS)
    path, images = Path(config.path), Path(config.path).parent / "images"
    _spoil(images, all_of_them=lost == "all")
    header, *rows = path.read_text().splitlines()
    clean = [f"{row},{'train' if row[1] < '6' else 'test'}" for row in rows]
    path.write_text("\n".join([f"{header},part", *clean]) + "\n")
    (tmp_path / "split.csv").write_text(path.read_text())
    asked = f"audit.{source}={'part' if source == 'part_column' else 'split.csv'}"
    done = check(tmp_path, *of(config, "audit.content=false", asked))
    assert (done.returncode, done.stderr) == (0, "")
    assert "nobody is in two parts, and nobody is lost" in done.stdout
    assert "manifest.csv: 12 images of 8 patients" in done.stdout
    assert "warning: line 2: patient 'P0': image" in done.stdout or lost == "all"
    assert "no such file" in done.stdout
    page = (tmp_path / "runs" / "check" / "manifest" / "check.html").read_text()
    assert "Fit for a cross-validation" not in page
    assert "No errors in the split. Of its images some cannot be read" in page
    leaking = [row.replace(",test", ",train") if row.startswith("P7") else row for row in clean]
    path.write_text("\n".join([f"{header},part", *clean[:-1], leaking[-1]]) + "\n")
    (tmp_path / "split.csv").write_text(path.read_text())
    done = check(tmp_path, *of(config, "audit.content=false", asked))
    assert done.returncode == 1
    assert "1 problem\n  1 of 8 patients in both train and test: 'P7' (line " in done.stderr


def test_a_plan_without_pixels_is_of_all_rows_and_lost_images_are_errors(
    tmp_path: Path, make_cohort: Cohort
) -> None:
    config = make_cohort(PATIENTS)
    _spoil(Path(config.path).parent / "images", all_of_them=False)
    done = check(tmp_path, *of(config, "audit.content=false", "split.num_folds=4"))
    assert done.returncode == 1
    assert "3 problems\n  line 2: patient 'P0': image" in done.stderr
    assert "manifest.csv: 12 images of 8 patients" in done.stdout
    assert "plan: kfold, 4 folds" in done.stdout


def _spoil(images: Path, all_of_them: bool) -> None:
    """One file is gone, one is called otherwise, one is text, one is of another format."""
    files = sorted(images.iterdir())
    files[0].unlink()
    files[1].rename(files[1].with_suffix(".jpg"))
    files[3].write_text("not an image")
    with Image.open(files[4]) as image:
        image.save(files[4], format="JPEG")
    if all_of_them:
        shutil.rmtree(images)
