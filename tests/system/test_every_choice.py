"""Every file of the groups that a network is chosen from is trained through the whole of `cv`."""

import json
import re
from itertools import cycle, islice
from pathlib import Path

import pytest
from system_runs import make_cohort

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
        if run["loss"] in ("weighted_cross_entropy", "logit_adjusted"):
            run["sampler"] = "patient"  # else classes are balanced twice
    return runs


RUNS = choices()


def test_every_file_is_chosen() -> None:
    for group in GROUPS:
        assert {run[group] for run in RUNS} == set(options(group)), group


@pytest.mark.slow
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
        "training.epochs=6" if run["scheduler"] == "step" else "training.epochs=2",
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
