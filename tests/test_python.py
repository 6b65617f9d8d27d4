"""The commands in Python: what importing costs, what errors are, what a run shows."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from finished_run import cohort
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase
from run_copies import copy_of

import pipeline
from pipeline import cross_validate, load_run, predict
from pipeline.config import ConfigError, UserError
from pipeline.engine.finished import Finished


@pytest.fixture
def run(one_run: Path) -> Finished:
    return Finished.read(one_run)


# --- importing


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_of_it() -> None:
    loaded = loaded_by("import pipeline; pipeline.__version__")
    assert {name for name in loaded if name.startswith("pipeline")} == {"pipeline"}


def test_importing_the_three_loads_neither_torch_nor_monai_nor_mlflow() -> None:
    loaded = loaded_by("from pipeline import cross_validate, load_run, predict")
    assert "pipeline.python" in loaded
    assert not {"torch", "monai", "mlflow", "matplotlib", "sklearn"} & loaded


def test_there_are_three_and_each_is_typed_and_documented() -> None:
    assert pipeline.__all__ == ["cross_validate", "load_run", "predict"]
    for function in (cross_validate, load_run, predict):
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty
        assert "Raises:" in (function.__doc__ or "")
    with pytest.raises(AttributeError, match="no attribute 'crossvalidate'"):
        _ = pipeline.crossvalidate


# --- errors are exceptions, with the command's message


@pytest.mark.parametrize(
    ("overrides", "settings", "message"),
    [
        ((), {}, "no manifest is named"),
        (("experiment=nothing",), {}, "experiment=nothing: no such file; "),
        ((), {"experiment": "dem"}, "experiment=dem: no such file; did you mean demo"),
        ((), {"trainin": {"epochs": 1}}, "trainin.epochs: unknown setting; did you mean"),
        (("epochs",), {}, "settings are written name=value"),
        (("-m", "optimizer.lr=1,2"), {}, "-m: cross_validate takes settings only"),
        ((), {"tracking": {"uri": "http://me:secret@host"}}, "password"),
        ((), {"experiment": "demo", "hydra": {"sweeper": "x"}}, "hydra"),
    ],
)
def test_what_can_be_mended_is_a_user_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: tuple[str, ...],
    settings: dict[str, object],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as raised:
        cross_validate(*overrides, **settings)  # type: ignore[arg-type]
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_wrong_settings_are_told_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        cross_validate(
            manifest={"path": "a.csv"}, split={"num_folds": 1}, training={"batch_size": 0}
        )
    assert len(raised.value.problems) == 2


def test_several_values_are_no_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="cross_validate tries one setting"):
        cross_validate("optimizer.lr=1e-3,3e-4", experiment="demo")


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match="not the folder of a run"):
        predict(tmp_path, "new.csv")


def test_a_notebook_shows_the_message_alone() -> None:
    error = ConfigError(["split.seed: wrong"])
    assert error._render_traceback_() == [
        "ConfigError: The settings have problems:",
        "  split.seed: wrong",
    ]


# --- the process is left as it was


def test_hydra_of_the_caller_is_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "mine.yaml").write_text("a: 1\n")
    ConfigStore.instance().store("settings", {"of": "theirs"})
    with hydra.initialize_config_dir(version_base="1.1", config_dir=str(tmp_path / "theirs")):
        before = GlobalHydra.instance().hydra
        with pytest.raises(ConfigError):
            cross_validate(manifest={"path": "a.csv"}, split={"num_folds": 1})
        assert GlobalHydra.instance().hydra is before
        assert str(VersionBase.instance().getbase()) == "1.1"
        assert hydra.compose("mine") == {"a": 1}
    assert ConfigStore.instance().load("settings.yaml").node == {"of": "theirs"}
    del ConfigStore.instance().repo["settings.yaml"]
    assert not GlobalHydra.instance().is_initialized()


def test_the_number_of_threads_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with pytest.raises(UserError):
        cross_validate(experiment="demo")  # whose images are not made
    assert "MKL_NUM_THREADS" not in os.environ
    assert os.environ["OMP_NUM_THREADS"] == "3"


# --- what a run shows


def test_metrics_are_a_table_with_intervals_and_folds(run: Finished) -> None:
    found = load_run(run.dir).metrics
    entry = run.summary["patient"]["auroc"]  # type: ignore[index]
    row = found.xs(("patient", "auroc"))
    assert list(found.columns[:3]) == ["value", "low", "high"]
    assert row["value"] == entry["value"]
    assert [row["low"], row["high"]] == [entry["ci_low"], entry["ci_high"]]
    assert [row[f"fold_{fold:02d}"] for fold in range(5)] == entry["per_fold"]
    assert set(found.index.get_level_values("level")) == {"patient", "image"}


def test_what_cannot_be_computed_is_missing(run: Finished) -> None:
    values = [None, 0.5, None, 0.5, 0.5]
    run.summary["patient"]["auroc"] |= {"value": None, "per_fold": values}  # type: ignore[index]
    row = run.metrics.xs(("patient", "auroc"))
    assert row.isna()[["value", "fold_00", "fold_02"]].all()
    assert row["fold_01"] == 0.5


def test_predictions_have_every_image_once(run: Finished) -> None:
    found = load_run(str(run.dir)).predictions
    assert len(found) == len(set(found["image_path"])) == len(cohort())
    assert {"fold", "patient_id", "label", "prob_healthy", "prob_lesion"} <= set(found)


def test_a_notebook_shows_the_headline_and_no_patient(run: Finished) -> None:
    text = run._repr_html_()
    auroc = run.summary["patient"]["auroc"]["value"]  # type: ignore[index]
    assert f"{auroc:.3f}" in text
    assert "5 of 5 folds done" in text
    assert "Patient-0" not in text


def test_names_of_strangers_are_text_in_a_notebook(one_run: Path, tmp_path: Path) -> None:
    run = Finished(copy_of(one_run, tmp_path / "one"))
    record = run.dir / "tracking.json"
    record.write_text(record.read_text().replace('"logistic"', '"<script>x</script>"'))
    assert "&lt;script&gt;" in Finished(run.dir)._repr_html_()
    assert "<script>" not in Finished(run.dir)._repr_html_()


def test_a_run_with_folds_to_come_shows_how_far_it_is(one_run: Path, tmp_path: Path) -> None:
    run_dir = copy_of(one_run, tmp_path / "one")
    (run_dir / "metrics.json").unlink()
    (run_dir / "fold_03" / "result.json").unlink()
    run = load_run(run_dir)
    assert "4 of 5 folds done" in run._repr_html_()
    assert sorted(run.histories) == [0, 1, 2, 4]
    for name in ("metrics", "predictions"):
        with pytest.raises(UserError, match="not all of its folds are done"):
            getattr(run, name)
