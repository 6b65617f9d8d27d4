"""Which folder a run has: the same command continues, a changed one starts anew, whatever grew."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.commands.door import load_config
from pipeline.config import (
    DEFAULTS_VERSION,
    EngineConfig,
    UserError,
    defaults,
    distinctive,
    identity,
)
from pipeline.config.identity import SECTIONS
from pipeline.config.plain import flatten
from pipeline.engine.devices import device_slots
from pipeline.engine.local import _reason
from pipeline.engine.run_folder import Run, open_run
from pipeline.engine.session import UNNAMED, _record
from pipeline.images.packed import PackedImages
from pipeline.manifest import read_manifest
from pipeline.processes import DISK_FULL_EXIT, FAILED_EXIT
from pipeline.splits import load_plan, plan_folds
from pipeline.tracking.journal import Failed, read_journal

RunOf = Callable[..., Run]
IDENTITY = sys.modules["pipeline.config.identity"]


@pytest.fixture
def run_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_cohort: Callable[..., Any]
) -> RunOf:
    """The run of a small cohort with some overrides, in a new current folder."""
    monkeypatch.chdir(tmp_path)
    patients = {f"P{i:02d}": ["healthy" if i % 2 else "lesion"] for i in range(12)}
    cohort = make_cohort(patients)
    manifest = read_manifest(replace(cohort, accept=("one_image_per_patient",)))
    np.save(tmp_path / "images.npy", np.zeros((12, 1, 2, 2), np.uint8))

    def make(*overrides: str) -> Run:
        config = load_config(["name=small", f"manifest.path={cohort.path}", *overrides])
        plan = plan_folds(manifest, config.split)
        return Run(config, manifest, plan, PackedImages(tmp_path, "pixels"))

    return make


def opened(run: Run) -> Run:
    with open_run(run):
        pass
    return run


def trained(run: Run, file: str = "last.pt") -> Run:
    """Open it and leave what training would."""
    opened(run)
    (run.fold_dir(0) / file).write_text("")
    return run


def environment(run: Run) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((run.dir / "environment.json").read_text())
    return values


def test_the_same_command_finds_its_folder_and_another_gets_its_own(run_of: RunOf) -> None:
    first = trained(run_of())
    assert first.dir == Path("runs/small") / first.key[:12]
    assert (again := opened(run_of("folds=[1]", "engine.device=cpu"))).dir == first.dir
    assert again.key == first.key == environment(first)["key"]
    other = opened(run_of("optimizer.lr=0.5"))
    assert other.dir != first.dir
    assert other.key != first.key
    assert opened(run_of("split.seed=1")).dir not in (first.dir, other.dir)


def test_a_renamed_folder_is_found(run_of: RunOf) -> None:
    first = trained(run_of())
    first.dir.rename("runs/small/best so far")
    again = run_of()
    assert again.dir == Path("runs/small/best so far")
    assert again.key == first.key


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "\xff",
        '{"key": "a"}',
        '{"identity": {}}',
        '{"key": "a", "identity": "b"}',
        '{"key": "a", "identity": {"epochs": [1]}}',
        None,
    ],
)
def test_a_damaged_folder_stops_only_its_own_run(run_of: RunOf, content: str | None) -> None:
    first = trained(run_of())
    file = Path("runs/small/another/environment.json")
    file.parent.mkdir()
    Path("runs/small/notes.txt").write_text("mine")
    file.mkdir() if content is None else file.write_text(content, encoding="latin-1")
    assert opened(run_of()).dir == first.dir
    assert opened(run_of("optimizer.lr=0.5")).dir not in (first.dir, file.parent)
    with pytest.raises(UserError, match=r"another.environment.json|another cannot be written"):
        opened(run_of(f"run_dir={file.parent}"))


# --- a setting that did not exist when the folder was made


def with_new_setting(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """As if the schema had training.warmup, 0.0 by default, and the command set it to `value`."""
    grown = defaults() | {"training": defaults()["training"] | {"warmup": 0.0}}
    monkeypatch.setattr(IDENTITY, "defaults", lambda: grown)
    monkeypatch.setattr(
        "pipeline.engine.run_folder.identity",
        lambda config: identity(config) | {"training.warmup": value},
    )


def test_a_new_setting_with_its_default_orphans_nobody(
    run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, key_before = trained(run_of()), run_of("training.seed=1").key
    with_new_setting(monkeypatch, "0.0")
    after = opened(run_of())
    assert (after.dir, after.key) == (before.dir, before.key)
    assert environment(after)["identity"]["training.warmup"] == "0.0"
    assert opened(run_of()).dir == before.dir
    assert run_of("training.seed=1").key == key_before, "nor is a new run's key another one"
    assert opened(run_of(f"run_dir={before.dir}")).key == before.key


def test_a_new_setting_with_another_value_makes_another_run(
    run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = trained(run_of())
    with_new_setting(monkeypatch, "3.0")
    assert run_of().dir != before.dir
    with pytest.raises(UserError, match=r"training.warmup: the default there, 3.0 now"):
        opened(run_of(f"run_dir={before.dir}"))


def test_a_default_that_changes_makes_another_run(
    run_of: RunOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder has written down the value that it was trained with."""
    before = trained(run_of())
    changed = defaults() | {"training": defaults()["training"] | {"epochs": 30}}
    monkeypatch.setattr(IDENTITY, "defaults", lambda: changed)
    run = run_of("training.epochs=30", f"run_dir={before.dir}")
    with pytest.raises(UserError, match=r"training.epochs: 20 there, 30 now"):
        opened(run)


def test_whoever_changes_a_default_counts_the_version_up() -> None:
    """Keys are made of what differs from the defaults: an old key must not mean something new."""
    values = {name: defaults()[name] for name in SECTIONS if name in defaults()}
    values["training"].pop("select_by")  # its names are in SAME
    known = {key: value for key, value in dict(flatten(values, "")).items() if key in DEFAULTS_THEN}
    assert (DEFAULTS_VERSION, known) == (1, DEFAULTS_THEN), (
        "a default changed: count DEFAULTS_VERSION up, and write the new values here"
    )


DEFAULTS_THEN = {
    "augment.brightness": "0.0",
    "augment.contrast": "0.0",
    "augment.flip_axes": "[]",
    "augment.noise": "0.0",
    "augment.rotate90": "false",
    "augment.rotate_degrees": "0.0",
    "augment.shift": "0.0",
    "augment.transforms": "[]",
    "augment.zoom": "0.0",
    "evaluation.aggregate": "mean",
    "evaluation.patient_label": "same",
    "evaluation.threshold": "youden",
    "images.dtype": "float32",
    "images.num_channels": "1",
    "images.spatial_dims": "2",
    "images.transforms": "[]",
    "init.scheme": "default",
    "loss.class_weights": "none",
    "sampler.allow_double_correction": "false",
    "sampler.balance": "none",
    "training.batch_size": "32",
    "training.epochs": "20",
    "training.patience": "0",
    "training.precision": "auto",
    "training.seed": "0",
}


def test_other_weights_of_images_are_another_run(run_of: RunOf) -> None:
    plain = run_of()

    def weighed(*weights: str) -> Run:
        table = plain.manifest.table.assign(weight=[*weights, *["1"] * (12 - len(weights))])
        return replace(run_of(), manifest=replace(plain.manifest, table=table))

    assert "image weights hash" not in plain.identity
    assert weighed("2").plan == plain.plan
    assert len({run.key for run in (plain, weighed("2"), weighed("3"), weighed("1"))}) == 4
    assert weighed("2").key == weighed("2.0").key


def test_other_slides_are_another_run_where_they_are_a_level(run_of: RunOf) -> None:
    plain = run_of()
    level = ("manifest.columns.slide=slide", "evaluation.middle=slide")

    def keys(*overrides: str) -> list[str]:
        runs = []
        for slides in (["a"] * 12, ["a"] * 11 + ["b"]):
            table = plain.manifest.table.assign(slide=slides)
            runs.append(replace(run_of(*overrides), manifest=replace(plain.manifest, table=table)))
        return [run.key for run in runs]

    assert keys() == [plain.key] * 2
    assert len({plain.key, *keys(*level)}) == 3


# --- folders made before keys were made of what differs


OLD_KEY = "d839e2f12f1e200127cd647b5738bd2870805ee372a1d5cefcb2dc27235f6274"


def old_environment(run: Run, **changes: str) -> Path:
    """Write a folder as it was made then: every setting of the time, old names of metrics."""
    folder = Path("runs/small") / OLD_KEY[:12]
    folder.mkdir(parents=True)
    settings = identity(run.config) | {"training.select_by": "val/auroc"}
    settings["images.dtype"] = "uint8"  # what grey64 said then
    hashes = {"manifest": run.manifest.hash, "plan": run.plan.hash, "pixels": run.images.key}
    settings |= {f"{name} hash": value[:12] for name, value in hashes.items()}
    text = json.dumps({"key": OLD_KEY, "identity": settings | changes, "unsafe": False})
    (folder / "environment.json").write_text(text)
    (folder / "fold_00").mkdir()
    (folder / "fold_00" / "last.pt").write_text("")
    return folder


def test_an_old_folder_is_continued_under_its_own_key(run_of: RunOf) -> None:
    folder = old_environment(run_of())
    run = opened(run_of())
    assert (run.dir, run.key) == (folder, OLD_KEY)
    assert run.job(0).key == OLD_KEY
    assert environment(run)["key"] == OLD_KEY
    assert opened(run_of("folds=[0]")).key == OLD_KEY


def test_a_type_found_in_the_images_is_the_type_that_was_named(run_of: RunOf) -> None:
    assert run_of().config.images.dtype == "auto"
    assert run_of().key == run_of("images.dtype=uint8").key
    assert run_of().key != run_of("images.dtype=float32").key
    assert run_of().identity["images.dtype"] == "uint8"


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer.lr": "0.5"},
        {"augment.noise": "0.7"},
        {"plan hash": "0"},
        {"manifest hash": "0"},
        {"pixels hash": "0"},
        {"training.select_by": "val/loss"},
        {"model.extra": "1"},
    ],
)
def test_an_old_folder_of_something_else_is_left_alone(
    run_of: RunOf, changes: dict[str, str]
) -> None:
    folder = old_environment(run_of(), **changes)
    before = (folder / "environment.json").read_bytes()
    run = opened(run_of())
    assert run.dir != folder
    assert run.key != OLD_KEY
    assert (folder / "environment.json").read_bytes() == before


def test_old_names_of_the_selecting_metric_are_todays() -> None:
    old = distinctive({"training.select_by": "val/balanced_accuracy", "training.epochs": "20"})
    assert old == distinctive({"training.select_by": "val/image/balanced_accuracy"}) != {}
    assert distinctive({"training.select_by": "val/auroc"}) == {}
    assert distinctive({"training.select_by": "val/image/auroc"}) == {}


# --- a folder may be used again until something was trained in it


def test_an_untrained_folder_takes_another_setting(run_of: RunOf, tmp_path: Path) -> None:
    common = f"run_dir={tmp_path}/chosen"
    first = opened(run_of(common))
    for name in ("mlflow.json", "tracking.json", "fold_00/journal.jsonl", "fold_00/output.log"):
        (first.dir / name).write_text("of the first")
    (first.dir / "notes.txt").write_text("mine")
    second = opened(run_of(common, "optimizer.lr=0.5", "split.seed=1"))
    assert second.dir == first.dir
    assert environment(second)["key"] == second.key != first.key
    assert "lr: 0.5" in (second.dir / "config.yaml").read_text()
    assert load_plan(second.dir / "plan.csv", second.manifest).hash == second.plan.hash
    assert not (second.dir / "mlflow.json").exists(), "or the first one's MLflow run would go on"
    assert not (second.dir / "tracking.json").exists()
    assert not (second.fold_dir(0) / "journal.jsonl").exists()
    assert (second.dir / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("file", ["last.pt", "best.pt", "result.json"])
def test_a_folder_in_which_something_was_trained_is_kept(
    run_of: RunOf, tmp_path: Path, file: str
) -> None:
    common = f"run_dir={tmp_path}/chosen"
    first = trained(run_of(common), file)
    before = {path: path.read_bytes() for path in first.dir.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as caught:
        opened(run_of(common, "optimizer.lr=0.5", "split.seed=1"))
    assert str(caught.value).splitlines()[:2] == [
        f"run folder {tmp_path}/chosen holds another cross-validation; it differs in",
        "  optimizer.lr: 0.001 there, 0.5 now",
    ]
    assert {path: path.read_bytes() for path in before} == before


# --- plugins


def test_a_plugin_is_noted_and_its_code_is_part_of_the_identity(run_of: RunOf) -> None:
    with_lab = ["plugins=[my_lab]", "~model", "+model={_target_:my_lab.Net}"]
    Path("my_lab.py").write_text("version = 1")
    first = trained(run_of(*with_lab))
    facts = environment(first)["plugins"]["my_lab"]
    assert facts["file"] == str(Path("my_lab.py").absolute())
    tag = _record(first, UNNAMED).tags["patientfold.plugin.my_lab"]
    assert tag == f"sha256:{facts['sha256'][:12]}"
    assert run_of(*with_lab).dir == first.dir
    Path("my_lab.py").write_text("version = 2")
    assert run_of(*with_lab).dir != first.dir
    with pytest.raises(UserError, match=r"plugin my_lab: \w{12} there, \w{12} now"):
        opened(run_of(*with_lab, f"run_dir={first.dir}"))


def test_a_plugin_that_no_leaf_names_changes_nothing(run_of: RunOf) -> None:
    Path("my_lab.py").write_text("version = 1")
    assert run_of("plugins=[my_lab]").key == run_of().key
    assert run_of("plugins=[my_lab]").plugins == {}


@pytest.mark.parametrize("folds", ["[5]", "[0,9]", "[]"])
def test_folds_that_the_plan_does_not_have_are_refused(run_of: RunOf, folds: str) -> None:
    with pytest.raises(UserError, match=r"folds: the plan has folds 0 to 4, got \["):
        _ = run_of(f"folds={folds}").folds
    assert run_of("folds=[4,0,4]").folds == (0, 4)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (7, "the worker ended with exit code 7; see "),
        (DISK_FULL_EXIT, "the disk has no room left, not even for the journal"),
        (-9, "killed by SIGKILL: often too little memory"),
        (-15, "killed by SIGTERM"),
    ],
)
def test_a_worker_that_could_not_say_why_it_ended_is_spoken_for(
    run_of: RunOf, code: int, words: str
) -> None:
    job = opened(run_of()).job(0)
    reason = _reason(job, code)
    assert words in reason
    assert ("too little memory" in reason) is (code == -9)
    (event,) = read_journal(job.fold_dir / "journal.jsonl")
    assert isinstance(event, Failed)
    assert event.error == reason
    assert _reason(job, FAILED_EXIT) == reason, "what the journal says last"


def test_a_precision_that_needs_a_gpu_is_refused_without_one() -> None:
    config = EngineConfig(device="cpu", folds_at_once=2)
    assert device_slots(config, "auto") == ["cpu", "cpu"]
    with pytest.raises(UserError, match=r"training\.precision=float16 needs a GPU"):
        device_slots(config, "float16")
