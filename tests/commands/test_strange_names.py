"""What commands that end well print of strange names: a terminal has nothing to obey."""

import csv
from pathlib import Path

import numpy as np
import pytest
from command_line import called
from PIL import Image

STRANGE = "\x1b[31m\x07\u202e\nFORGED"
"""Colours, a bell, a mark that turns the direction of writing, and a line of its own."""
CSV = f"mine{STRANGE}.csv"
SETTINGS = [
    f"manifest.path='{CSV}'",
    "manifest.name=mine",
    "manifest.columns.site=site",
    "manifest.largest_group=1.0",
    "images.transforms=[]",
    "images.num_processes=1",
    "split.num_folds=3",
    "training.select_by=val/loss",
]
TRAINING = [
    "augment=none",
    "model=lenet5",
    "training.epochs=1",
    "engine.device=cpu",
    "engine.folds_at_once=1",
]
FOLDER = f"{STRANGE}\rscans"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A strange name has each folder, file and site; in ids and labels `check` refuses them."""
    folder = tmp_path_factory.mktemp("study") / f"study{FOLDER}"
    generator = np.random.default_rng(0)
    rows = []
    for number in range(12):
        label, patient = ("no", "yes")[number % 2], f"P{number:02d}"
        for image in range(2):
            pixels = generator.integers(0, 255, (24, 24), dtype=np.uint8)
            for path in (
                folder / f"{patient}_{image}.png",
                folder / FOLDER / f"{label}{STRANGE}" / f"{patient}{STRANGE}" / f"{image}.png",
            ):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
            rows.append([patient, f"{patient}_{image}.png", label, f"site {number % 3}{STRANGE}"])
    rows[1][3] += " too"  # a patient at two sites
    with (folder / CSV).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["patient_id", "image_path", "label", "site"], *rows])
    return folder


def printed(folder: Path, *words: str) -> str:
    """What a command wrote, every line feed and escape as it was."""
    done = called(folder, *words)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    return text


def assert_plain(text: str) -> None:
    """Nothing but line feeds moves the cursor, and no line is that of a stranger."""
    assert {letter for letter in text if not letter.isprintable()} <= {"\n"}
    assert [line for line in text.split("\n") if line.strip().startswith("FORGED")] == []
    assert r"\x1b[31m\x07\u202e\nFORGED" in text, "nothing strange was printed: the test is blind"


def test_check_shows_strange_names_escaped(study: Path) -> None:
    text = printed(study, "check", *SETTINGS, f"audit.out_dir='page{STRANGE}'")
    assert "report: page\\x1b" in text
    assert "at 2 sites" in text
    assert_plain(text)


def test_plan_shows_strange_names_escaped(study: Path) -> None:
    assert_plain(printed(study, "plan", *SETTINGS, f"plan.out='plan{STRANGE}.csv'"))


def test_make_manifest_shows_strange_names_escaped(study: Path) -> None:
    source = [f"root={FOLDER}", "pattern={label}/{patient}/{image}.png"]
    text = printed(study, "make-manifest", "source=tree", *source, "out=made.csv")
    assert "24 images of 12 patients" in text
    assert_plain(text)


@pytest.mark.slow
def test_cv_its_summary_and_forget_show_strange_names_escaped(study: Path) -> None:
    text = printed(study, "cv", *SETTINGS, *TRAINING, f"run_dir='run{STRANGE}'")
    assert "positive: patients labelled yes" in text
    assert_plain(text)
    run_dir = f"run_dir=run{STRANGE}"
    assert_plain(printed(study, "sync", run_dir))
    assert_plain(printed(study, "forget", "patient=P03", f"folder={study}"))
