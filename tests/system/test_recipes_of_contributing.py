"""CONTRIBUTING.md is followed to the letter in a copy of the package, which then trains."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image
from system_runs import Cohort, make_cohort

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(python|yaml|diff)\n# (at the end of )?(\S+)\n(.*?)```", re.DOTALL)


class Block(NamedTuple):
    """What a recipe shows: a new file, or what is added to one."""

    kind: str
    at_the_end: str
    path: str
    text: str


def recipes() -> dict[str, list[Block]]:
    """The blocks under each heading of the recipes."""
    page = PAGE[PAGE.index("## Recipes") : PAGE.index("## A setting that gets another name")]
    parts = re.split(r"^### (.+)\n", page, flags=re.MULTILINE)[1:]
    return {
        heading: [Block(*found) for found in BLOCK.findall(text)]
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }


def follow(block: Block, copy: Path) -> None:
    path = copy / block.path
    if block.kind == "diff":
        context = "".join(re.findall(r"^ (.*\n)", block.text, re.MULTILINE))
        added = "".join(re.findall(r"^\+(.*\n)", block.text, re.MULTILINE))
        before = path.read_text(encoding="utf-8")
        assert before.count(f"\n{context}") == 1, f"{block.path}: {context}"
        path.write_text(before.replace(f"\n{context}", f"\n{context}{added}"), encoding="utf-8")
    elif block.at_the_end:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\n\n{block.text}")
    else:
        assert not path.exists(), block.path
        path.write_text(block.text, encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is when every recipe was followed."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("pipeline", "conf", "data_manifests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for blocks in recipes().values():
        for block in blocks:
            follow(block, folder)
    return folder


def patientfold(copy: Path, cwd: Path, *words: str) -> str:
    """What a command of the copy prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pipeline", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "200", "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def as_pgm(cohort: Cohort) -> None:
    """The same cohort with its images as portable grey maps."""
    rows = cohort.rows()
    for row in rows:
        png = cohort.folder / row["image_path"]
        image = Image.open(png)
        head = f"P5\n{image.width} {image.height}\n255\n".encode()
        png.with_suffix(".pgm").write_bytes(head + image.tobytes())
        png.unlink()
        row["image_path"] = Path(row["image_path"]).with_suffix(".pgm").name
    cohort.write_rows(rows)


def test_a_recipe_is_one_new_file_and_one_line() -> None:
    found = recipes()
    assert list(found) == ["A model", "A loss", "A metric", "A reader", "A scheme"]
    for heading, blocks in found.items():
        modules = [block for block in blocks if block.kind == "python"]
        lines = [block for block in blocks if block.kind != "python"]
        assert (len(modules), len(lines)) == (1, 1), heading
        for block in lines:
            statements = re.findall(r"^\+ {0,4}\S", block.text, re.MULTILINE)
            assert block.kind == "yaml" or len(statements) in (1, 2), heading  # 2: ( and )


def test_the_recipes_train_together_and_their_metric_is_reported(
    copy: Path, tmp_path: Path
) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    as_pgm(cohort)
    out = patientfold(
        copy,
        tmp_path,
        "cv",
        f"manifest.path={cohort.folder}/manifest.csv",
        "images.transforms=[]",
        "images.dtype=auto",
        "model=two_layers",
        "+model.hidden=8",
        "loss=square",
        "split.scheme=halves",
        "split.val_fraction=0.4",
        "training.epochs=1",
        "engine.device=cpu",
        "run_dir=run",
    )
    assert "youden" in out
    run = tmp_path / "run"
    plan = json.loads((run / "plan.json").read_text())
    assert (plan["scheme"], plan["num_folds"]) == ("halves", 2)
    metrics = json.loads((run / "metrics.json").read_text())
    youden, found = metrics["patient"]["youden"], metrics["patient"]
    expected = found["sensitivity"]["value"] + found["specificity"]["value"] - 1
    assert youden["value"] == pytest.approx(expected)
    assert youden["ci_low"] <= youden["value"] <= youden["ci_high"]
    for fold in (0, 1):
        result = json.loads((run / f"fold_{fold:02d}" / "result.json").read_text())
        assert result["num_parameters"] == 24 * 24 * 8 + 8 + 8 * 2 + 2
    settings = (run / "config.yaml").read_text()
    assert "pipeline.losses.square.Square" in settings
    assert "pipeline.models.two_layers.TwoLayers" in settings
    tested = (run / "predictions.csv").read_text()
    assert tested.count(".pgm") == len(cohort.rows())


def test_a_broken_file_of_the_new_format_is_one_message(copy: Path, tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort")
    as_pgm(cohort)
    name = cohort.rows()[0]["image_path"]
    (cohort.folder / name).write_bytes(b"P5\n24 24\n255\nshort")
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "pipeline",
            "check",
            f"manifest.path={cohort.folder}/manifest.csv",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(copy), "COLUMNS": "200"},
    )
    assert done.returncode == 1
    assert name in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_help_of_the_copy_lists_the_new_words(copy: Path, tmp_path: Path) -> None:
    text = patientfold(copy, tmp_path, "cv", "--help")
    assert re.search(r"^model=.*\btwo_layers\b", text, re.MULTILINE)
    assert re.search(r"^loss=.*\bsquare\b", text, re.MULTILINE)
    assert "halves|kfold|" in text
