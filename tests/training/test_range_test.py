"""The range test: rates that rise, the steepest fall, and the end when the loss runs away."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.commands.door import load_config
from pipeline.config import ConfigError, LrFindConfig
from pipeline.engine.lr_find import check_asked
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
from pipeline.training import range_test as module
from pipeline.training.job import FoldJob
from pipeline.training.learner import Learner
from pipeline.training.planning import make_plan
from pipeline.training.range_test import judged, plot_range_test, range_test, rates_of

Cohort = Callable[..., Any]


@pytest.fixture
def job_of(tmp_path: Path, make_cohort: Cohort) -> Callable[..., FoldJob]:
    """Fold 0 of 24 patients whose centres tell the classes apart."""
    config = make_cohort({f"P{i:02d}": [("healthy", "lesion")[i % 2]] * 3 for i in range(24)})

    def job(*overrides: str) -> FoldJob:
        settings = load_config(
            [
                f"manifest.path={config.path}",
                *("split.num_folds=3", "images.transforms=[]", "model=linear", "augment=none"),
                *("images.num_processes=1", f"images.cache_dir={tmp_path}/cache", *overrides),
            ]
        )
        manifest = read_manifest(settings.manifest)
        images = pack_images(manifest, settings.images, lambda _done, _total: None)
        planned = make_plan(settings, manifest)
        fold = planned.plan.folds[0]
        return FoldJob(settings, planned.manifest, fold, images, tmp_path / "fold_00", "key")

    return job


def test_every_rate_is_larger_by_the_same_factor() -> None:
    rates = rates_of(LrFindConfig(lowest=1e-5, highest=1e-1, steps=41))
    assert len(rates) == 41
    assert (rates[0], rates[-1]) == (pytest.approx(1e-5), pytest.approx(1e-1))
    assert np.allclose(rates[1:] / rates[:-1], 10 ** (4 / 40))


def test_the_lowest_rate_is_below_the_highest() -> None:
    with pytest.raises(ConfigError, match=r"lr_find.lowest=1 must be less than lr_find.highest=1"):
        check_asked(load_config(["manifest.path=x.csv", "lr_find.lowest=1"]))


@pytest.mark.parametrize("steepest", [1e-4, 1e-3, 1e-2])
def test_the_suggestion_is_where_the_loss_falls_steepest(steepest: float) -> None:
    rates = np.geomspace(1e-6, 1, 200)
    distance = np.log10(rates / steepest)
    losses = 0.7 - 0.5 / (1 + np.exp(-4 * distance)) + np.maximum(distance - 1.2, 0) ** 2
    noise = np.random.default_rng(0).normal(0, 0.005, 200)
    found = judged(rates, losses + noise, ran_away=False)
    assert found.suggestion is not None
    assert abs(np.log10(found.suggestion / steepest)) < 0.2
    assert found.setting == f"optimizer.lr={found.suggestion:.1e}"


@pytest.mark.parametrize("rise", [0.0, 0.3])
def test_where_the_loss_does_not_fall_nothing_is_suggested(rise: float) -> None:
    losses = 0.7 + np.random.default_rng(0).normal(0, 0.005, 100) + rise * np.linspace(0, 1, 100)
    found = judged(np.geomspace(1e-6, 1, 100), losses, ran_away=False)
    assert (found.suggestion, found.setting) == (None, None)


def test_each_step_is_made_at_its_rate(
    job_of: Callable[..., FoldJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    step = Learner.step

    def spy(self: Learner) -> Any:
        seen.append(self.optimizer.param_groups[0]["lr"])
        return step(self)

    monkeypatch.setattr(Learner, "step", spy)
    settings = "scheduler=one_cycle", "training.warmup_epochs=1", "training.batch_size=16"
    found = range_test(job_of(*settings, "lr_find.steps=20", "lr_find.highest=1e-3"))
    assert not found.ran_away
    assert seen == pytest.approx(rates_of(LrFindConfig(steps=20, highest=1e-3)).tolist())


def test_it_stops_when_the_loss_runs_away(job_of: Callable[..., FoldJob]) -> None:
    pool = "{_target_:torch.nn.AdaptiveAvgPool2d,output_size:1}"
    head = "{_target_:torch.nn.Linear,in_features:1,out_features:2}"
    layers = f"[{pool},{{_target_:torch.nn.Flatten}},{head}]"
    network = f"+model={{_target_:torch.nn.Sequential,_args_:{layers}}}"
    settings = "optimizer=gradient_descent", "lr_find.highest=1e4", "training.batch_size=8"
    job = job_of(*settings, "~model", network)
    labels = np.random.default_rng(0).permutation(job.manifest.table["label"])
    manifest = replace(job.manifest, table=job.manifest.table.assign(label=labels))
    found = range_test(replace(job, manifest=manifest))
    assert found.ran_away
    assert 10 < len(found.rates) < 100
    assert np.isfinite(found.losses).all()


def test_the_suggested_rate_trains(job_of: Callable[..., FoldJob]) -> None:
    found = range_test(job_of("optimizer=gradient_descent", "training.batch_size=8"))
    assert found.suggestion is not None
    best = found.smoothed[np.searchsorted(found.rates, found.suggestion) :].min()
    assert best < 0.8 * found.smoothed[0]


def test_the_test_and_validation_parts_are_not_asked_for(
    job_of: Callable[..., FoldJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    rows = FoldJob.rows

    def spy(self: FoldJob, part: Any) -> Any:
        asked.append(part)
        return rows(self, part)

    monkeypatch.setattr(FoldJob, "rows", spy)
    range_test(job_of("lr_find.steps=20"))
    assert set(asked) == {"train"}


def test_the_plot_marks_the_suggestion(tmp_path: Path) -> None:
    rates = np.geomspace(1e-6, 1, 100)
    losses = 0.7 - 0.5 / (1 + np.exp(-4 * np.log10(rates / 1e-3)))
    reds = []
    for name, values in (("with", losses), ("without", np.full(100, 0.7))):
        plot_range_test(judged(rates, values, False), "a $ title", tmp_path / f"{name}.png")
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")).astype(int)
        reds.append(int((pixels[..., 0] - pixels[..., 1:].max(axis=2) > 80).sum()))
    assert reds[0] > 200
    assert reds[1] == 0


@pytest.mark.parametrize("name", ["falls", "rises", "noise", "runs away"])
def test_the_curve_is_within_the_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rates = np.geomspace(1e-6, 1, 100)
    losses = {
        "falls": np.linspace(0.7, 0.2, 100),
        "rises": np.linspace(0.6, 0.9, 100),
        "noise": np.random.default_rng(0).normal(1, 0.3, 100) + np.linspace(0, 0.3, 100),
        "runs away": np.concatenate([np.linspace(0.7, 0.3, 90), np.geomspace(0.3, 1e6, 10)]),
    }[name]
    limits: list[tuple[float, float]] = []
    monkeypatch.setattr(
        "pipeline.training.range_test.save_figure",
        lambda figure, _path: limits.append(figure.axes[0].get_ylim()),
    )
    found = judged(rates, losses, ran_away=False)
    plot_range_test(found, name, tmp_path / "range_test.png")
    ((low, high),) = limits
    assert ((low <= found.smoothed) & (found.smoothed <= high)).mean() > 0.8
    assert high < 5


def test_a_loss_that_is_never_finite_gives_nothing(
    job_of: Callable[..., FoldJob], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "losses_of_steps", lambda *_: iter([float("nan")] * 20))
    found = range_test(job_of())
    assert (len(found.rates), found.ran_away, found.setting) == (0, True, None)
    plot_range_test(found, "nothing", tmp_path / "nothing.png")
