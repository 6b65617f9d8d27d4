"""Every file of the groups that a network is chosen from is trained through the whole of `cv`."""

import json
import re
from itertools import cycle, islice
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml
from PIL import Image
from system_runs import Cohort, make_cohort

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.tracking.journal import EpochEnded, read_journal

CONF = Path(__file__).parents[2] / "conf"
GROUPS = ("init", "loss", "optimizer", "scheduler", "sampler", "features")
HEAVY = ("alexnet", "resnet101", "resnet152", "vgg11", "vgg16", "vit_b16")
"""Networks whose checkpoints have hundreds of megabytes: without an optimizer's own state."""
BALANCED = ("class", "class_patient")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def is_light(name: str) -> bool:
    return name not in HEAVY


def choices() -> list[dict[str, str]]:
    """As few runs as cover every file of every group; heavy networks come last."""
    models = sorted(options("model"), key=is_light, reverse=True)
    drawn = {group: islice(cycle(options(group)), len(models)) for group in GROUPS}
    runs = [
        {"model": model, **{group: next(values) for group, values in drawn.items()}}
        for model in models
    ]
    for run in runs:
        if run["model"] in HEAVY:
            run |= {"optimizer": "gradient_descent", "loss": "cross_entropy"}
            run["scheduler"] = "constant"  # one epoch is enough
        if run["loss"] in ("weighted_cross_entropy", "logit_adjusted"):
            run["sampler"] = "patient"  # else classes are balanced twice
    return runs


def num_epochs(run: dict[str, str]) -> int:
    """Enough to see each schedule act: of a step of 5 epochs, or a patience of 3, 6."""
    if run["model"] in HEAVY:
        return 1
    return 6 if run["scheduler"] in ("step", "plateau") else 2


RUNS = choices()


def test_every_file_is_chosen() -> None:
    for group in GROUPS:
        assert {run[group] for run in RUNS} == set(options(group)), group


@pytest.mark.parametrize("run", RUNS, ids=lambda run: "-".join(run.values()))
def test_a_choice_is_trained(
    run: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(tmp_path / "cohort", num_patients=9)
    common = [o for o in cohort.overrides if not o.startswith(("images.transforms", "model="))]
    side = 20 if is_light(run["model"]) else 64
    text = (CONF / "model" / f"{run['model']}.yaml").read_text()
    if found := re.search(r"from (\d+) pixel", text):
        side = max(side, int(found[1]))
    side = -(-side // 16) * 16  # transformers cut images into patches
    resize = f"{{_target_:monai.transforms.Resize,spatial_size:[{side},{side}]}}"
    settings = [
        *common,
        *(f"{group}={option}" for group, option in run.items()),
        f"images.transforms=[{resize}]",
        "optimizer.lr=1e-3",
        f"training.epochs={num_epochs(run)}",
        "folds=[0]",
    ]
    outcome = cross_validate(load_config(settings))
    fold = outcome.run_dir / "fold_00"
    result = json.loads((fold / "result.json").read_text())
    epochs = [e for e in read_journal(fold / "journal.jsonl") if isinstance(e, EpochEnded)]
    assert len(epochs) == result["num_epochs"] > 0
    losses = [event.metrics["val/loss"] for event in epochs]
    assert all(isinstance(loss, float) for loss in losses)
    assert 0 <= result["test"]["image"]["auroc"] <= 1


def images_choices() -> list[tuple[str, int]]:
    """Every preset with the dimensions it is made for; those of volumes that have a size also 2."""
    found = []
    for name in options("images"):
        values = yaml.safe_load((CONF / "images" / f"{name}.yaml").read_text())
        dims = values.get("spatial_dims", 2)
        found += [(name, dims), *([(name, 2)] if dims == 3 and "size" in values else [])]
    return found


def make_files(folder: Path, preset: str, dims: int) -> Cohort:
    """One image each of six patients; a lesion is a bright corner. CT has Hounsfield units."""
    folder.mkdir(parents=True)
    generator, rows = np.random.default_rng(0), []
    for number in range(6):
        pixels = generator.normal(40, 20, (20,) * dims)
        pixels[(slice(4),) * dims] += 60 * (number % 2)
        if preset.startswith("ct_"):
            pixels[-3:] = -1000
        if dims == 3 or preset in ("ct_lung", "ct_soft", "ct_bone", "mr"):
            name = f"{number}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(pixels.astype(np.int16), np.eye(4)), folder / name)
        else:
            name = f"{number}.png"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
        label = "lesion" if number % 2 else "healthy"
        rows.append({"patient_id": f"P{number}", "image_path": name, "label": label})
    cohort = Cohort(folder)
    cohort.write_rows(rows)
    return cohort


@pytest.mark.parametrize(("preset", "dims"), images_choices())
def test_a_preset_is_trained(
    preset: str, dims: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cohort = make_files(tmp_path / "cohort", preset, dims)
    common = [o for o in cohort.overrides if not o.startswith(("images.transforms", "model="))]
    settings = [
        *common,
        f"images={preset}",
        f"images.spatial_dims={dims}",
        "model=linear",
        f"augment={'volume' if dims == 3 else 'light'}",
        "manifest.accept=[one_image_per_patient]",
        "training.epochs=2",
        "folds=[0]",
    ]
    outcome = cross_validate(load_config(settings))
    fold = outcome.run_dir / "fold_00"
    epochs = [e for e in read_journal(fold / "journal.jsonl") if isinstance(e, EpochEnded)]
    losses = [e.metrics[name] for e in epochs for name in ("train/loss", "val/loss")]
    assert len(losses) == 4
    assert np.isfinite(np.array(losses, dtype=float)).all()
