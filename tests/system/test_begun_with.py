"""A run that has seen a patient of the test part is no start for that fold, also at one remove."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from system_runs import Cohort, make_cohort, only_run_dir

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config
from pipeline.config import UserError
from pipeline.manifest import read_manifest
from pipeline.splits import load_plan, plan_by_image, save_plan

Train = Callable[..., Path]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Train fold 0 for an epoch as the run called `name` -> its best.pt."""
    monkeypatch.chdir(tmp_path)
    cohort = make_cohort(tmp_path / "cohort", num_patients=36)

    def trained(name: str, *overrides: str) -> Path:
        common = [f"name={name}", "training.epochs=1", "folds=[0]"]
        cross_validate(load_config([*cohort.overrides, *common, *overrides]))
        return only_run_dir(tmp_path, name) / "fold_00" / "best.pt"

    return trained


def test_only_what_has_not_seen_the_test_part_is_a_start(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train("first")
    still = "optimizer.lr=0"
    second = train("second", f"init.weights={first}", still)
    assert f"init.weights={first}: 10 of 10 tensors taken over" in capsys.readouterr().out
    weights = [torch.load(path, weights_only=True)["network"] for path in (first, second)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])

    for name, folds in (("third", "folds=all"), ("third", "folds=[1]")):
        with pytest.raises(UserError, match=r"by \d+ patients of the test part of fold 1, e.g. 'P"):
            train(name, f"init.weights={first}", folds)
    assert not (tmp_path / "runs" / "third").exists(), "refused before any fold"

    other_plan = "split.seed=1"
    with pytest.raises(UserError, match="of the test part of fold 0"):
        train("third", f"init.weights={first}", other_plan)
    fresh = train("fresh", other_plan)
    bare = tmp_path / "bare.pt"  # weights that nobody knows the patients of: the user answers
    torch.save(torch.load(first, weights_only=True)["network"], bare)
    assert train("bare", f"init.weights={bare}", other_plan).parents[1] != fresh.parents[1]


def test_a_start_is_followed_to_the_run_that_it_began_with(train: Train, tmp_path: Path) -> None:
    """`second` knows patients only that are new to `first`, but began with whom that one saw."""
    first = train("first")
    unseen = load_plan(first.parents[1] / "plan.csv").folds[0].test
    cohort = Cohort(tmp_path / "cohort")
    everyone = cohort.rows()
    cohort.write_rows([row for row in everyone if row["patient_id"] in unseen])
    second = train("second", f"init.weights={first}", "optimizer.lr=0.5")
    cohort.write_rows(everyone)
    with pytest.raises(UserError, match=r"by \d+ patients of the test part of fold 1, e.g. 'P"):
        train("third", f"init.weights={second}", "folds=[1]")

    third = train("third", f"init.weights={first}")
    environment = json.loads((third.parents[1] / "environment.json").read_text())
    assert len(environment["identity"]["weights hash"]) == 12
    elsewhere = tmp_path / "moved"
    shutil.copytree(first.parents[1], elsewhere)
    again = train("third", f"init.weights={elsewhere / 'fold_00' / 'best.pt'}")
    assert again == third, "the file counts, not where it lies"

    first.write_bytes(third.read_bytes())
    with pytest.raises(UserError, match="its own start, has changed, so that nobody can tell"):
        train("fourth", f"init.weights={second}", "split.seed=1")
    first.unlink()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        train("fourth", f"init.weights={second}")


def test_a_run_that_cannot_tell_whom_it_saw_is_no_start(train: Train, tmp_path: Path) -> None:
    first = train("first")
    start, run_dir = f"init.weights={first}", first.parents[1]
    environment = json.loads((run_dir / "environment.json").read_text())
    (run_dir / "environment.json").write_text(json.dumps(environment | {"key": "0" * 64}))
    with pytest.raises(UserError, match=r"it belongs to another run than .*, so that nobody can"):
        train("second", start)
    (run_dir / "environment.json").write_text(json.dumps(environment))

    config = load_config(Cohort(tmp_path / "cohort").overrides)
    _, by_image = plan_by_image(read_manifest(config.manifest), config.split)
    save_plan(by_image, run_dir / "plan.csv")
    with pytest.raises(UserError, match="its plan deals images, not patients, so that nobody can"):
        train("second", start)

    hidden = train("hidden", "privacy.pseudonyms=true")
    with pytest.raises(UserError, match="its patients have other pseudonyms, so that nobody can"):
        train("second", f"init.weights={hidden}")
