"""The settings of a run from its folder, to work on it once more with its images."""

from collections.abc import Sequence
from dataclasses import replace

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.config import Config, UserError, distinctive, to_config
from pipeline.engine.finished import Finished
from pipeline.engine.run_folder import Run
from pipeline.engine.soundness import read_environment


def config_again(run: Finished, plugins: Sequence[str]) -> Config:
    """The settings of a run with its own plan, for all its folds.

    `plugins` are those that may be imported: whoever sent the folder could have named code.

    Raises:
        UserError: it names others, or settings that are none.
    """
    if unnamed := sorted({*run.settings.get("plugins", [])} - {*plugins}):
        names = ",".join(unnamed)
        raise UserError(f"{run.dir} runs code of your own; if you trust it: plugins=[{names}]")
    try:
        config = to_config(OmegaConf.create({**run.settings, "folds": "all"}))
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"{run.dir / 'config.yaml'}: {error}") from None
    split = replace(config.split, file=str(run.dir / "plan.csv"))
    return replace(config, split=split, run_dir=str(run.dir))


def check_same(run: Run, consequence: str) -> None:
    """UserError unless manifest, images and settings are still those that the run was made of."""
    there = distinctive(read_environment(run.dir)["identity"])
    names = sorted(there.keys() | run.distinctive.keys())
    if differ := [name for name in names if there.get(name) != run.distinctive.get(name)]:
        raise UserError(
            f"{run.dir} was made of other data or settings than those that are here now: "
            f"{', '.join(differ)} differ. {consequence}"
        )
