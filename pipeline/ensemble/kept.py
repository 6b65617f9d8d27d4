"""What a run folder keeps of its networks, and whether they may predict. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.config import Config, UserError, plugin_facts
from pipeline.config.leaf import is_baseline
from pipeline.engine.again import config_again
from pipeline.engine.finished import Finished
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.summary import shifted
from pipeline.files import read_json, sha256
from pipeline.levels import Level
from pipeline.splits import NO_FOLD
from pipeline.tracking.removed import gone
from pipeline.tracking.untested import FINAL

CHECKPOINT = "best.pt"
NETWORKS = ("folds", "final")


@dataclass(frozen=True)
class Kept:
    """The checkpoints of a run, and what its folds say beside them."""

    run: Finished
    config: Config
    """Of the run; `images.dtype` is the type that it stands for."""
    network: str
    """folds or final."""

    @classmethod
    def of(cls, run: Finished, network: str = "folds", plugins: Sequence[str] = ()) -> "Kept":
        """What a finished run has kept.

        Raises:
            UserError: the run has no networks that may predict, or one is missing.
        """
        if network not in NETWORKS:
            raise UserError(f"network={network}: must be one of {', '.join(NETWORKS)}")
        if run.is_unsafe:
            raise UserError(
                f"{run.dir} was split by image (UNSAFE): its thresholds were chosen on patients "
                "whom its networks had seen, so that it predicts nothing"
            )
        config = config_again(run, plugins)
        if is_baseline(config.model):
            raise UserError(
                f"{run.dir}: its model is a baseline of scikit-learn, of which a run folder keeps "
                "how it was made, not what was fitted: it cannot predict. Choose the run of a "
                "network"
            )
        _refuse_other_plugins(run, config)
        # all weights come from the checkpoint: the file that training began with may be gone
        config = replace(config, init=replace(config.init, weights=None))
        images = replace(config.images, dtype=_dtype(run, config))
        if network == "final" and run.final is None:
            raise UserError(
                f"{run.dir}: no final network was trained: patientfold final run_dir={run.dir}"
            )
        kept = cls(run, replace(config, images=images), network)
        if missing := [path for path in kept.checkpoints.values() if not path.is_file()]:
            raise UserError(gone(missing[0]))
        return kept

    @property
    def doubt(self) -> str:
        """What is doubtful of the ensemble's decisions; "" where nothing is known."""
        found = shifted(self.run.numbers[self.run.level] or {})
        if found is None or self.network == "final" or self.config.evaluation.calibration != "none":
            return ""
        return (
            "the scores of the folds' networks have different scales (auroc of all together "
            f"{found[0]:.3f}, mean over folds {found[1]:.3f}), and nothing calibrated them: the "
            "ranking by the mean probability can be used, the decisions at one threshold are "
            "doubtful. Training with evaluation.calibration=temperature_bias calibrates them"
        )

    @cached_property
    def checkpoints(self) -> Mapping[int, Path]:
        """Fold -> its best.pt; -1: of the final network."""
        if self.network == "final":
            return {NO_FOLD: self.run.dir / FINAL / CHECKPOINT}
        return {fold: self.run.dir / f"fold_{fold:02d}" / CHECKPOINT for fold in self.results}

    @cached_property
    def hashes(self) -> Mapping[str, str]:
        """SHA-256 of each checkpoint, by its name within the run folder."""
        paths = self.checkpoints.values()
        return {str(path.relative_to(self.run.dir)): sha256(path) for path in paths}

    @property
    def results(self) -> Mapping[int, Mapping[str, Any]]:
        """Fold -> its result.json; -1: final.json."""
        if self.network == "final":
            return {NO_FOLD: self.run.final or {}}
        return self.run.results

    def decisions(self, fold: int) -> Mapping[Level, Decision]:
        """A fold's thresholds at each level of the run."""
        result, classes = self.results[fold], self.run.classes
        return {level: Decision.read(result, level, classes) for level in self.run.levels}

    def __getstate__(self) -> dict[str, Any]:
        """For another process: without what was read of the run folder so far."""
        return {"run": Finished(self.run.dir), "config": self.config, "network": self.network}

    def state(self, fold: int, device: str) -> Mapping[str, Any]:
        """What the checkpoint of a fold holds.

        Raises:
            UserError: it is damaged, or belongs to another fold or run.
        """
        from pipeline.training.checkpoint import read_checkpoint

        return read_checkpoint(self.checkpoints[fold], self.run.key, fold, device)

    @property
    def dtype(self) -> str:
        """Of the images in the run's cache."""
        return self.config.images.dtype

    def shape(self, state: Mapping[str, Any]) -> tuple[int, ...]:
        """(C, ...) of the images in the run's cache.

        Raises:
            UserError: the checkpoint of an earlier version does not say it, and the cache is gone.
        """
        if "shape" in state:
            return tuple(state["shape"])
        pixels = self.run.environment["identity"].get("pixels hash", "")
        cache_dir = Path(self.config.images.cache_dir)
        found = sorted(cache_dir.glob(f"{pixels}*/cache.json")) if pixels else []
        if not found:
            raise UserError(
                f"{self.run.dir}: an earlier version trained it, and did not write down the size "
                f"of its images; images.cache_dir {cache_dir} has none of them. The same cv "
                "command makes them again, and trains nothing anew"
            )
        return tuple(read_json(found[0])["shape"][1:])


def _dtype(run: Finished, config: Config) -> Any:
    """What `images.dtype` stood for when the run's images were decoded."""
    return run.environment["identity"].get("images.dtype", config.images.dtype)


def _refuse_other_plugins(run: Finished, config: Config) -> None:
    """UserError when the code of a plugin that the folds were made with is not what it was."""
    identity = run.environment["identity"]
    known = {name: identity.get(f"plugin {name}") for name in config.plugins}
    if changed := [
        name
        for name, before in known.items()
        if before is not None and not plugin_facts(name)["sha256"].startswith(before)
    ]:
        raise UserError(
            f"{run.dir}: the code of {', '.join(changed)} is not what it was when the run was "
            "made, so that its networks could be others: bring back that version"
        )
