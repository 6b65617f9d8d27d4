"""The commands, called from Python: in a notebook, a script or a test of your own.

Each does what the command of its name does, with the same settings, files and messages; what ends a
command with a message is an exception here, UserError or ConfigError.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from pipeline.commands.arguments import in_order
from pipeline.commands.door import begin_imports, in_words, load_job
from pipeline.commands.overrides import overrides_of, several_values
from pipeline.commands.settings import PredictSettings
from pipeline.config import Config, UserError, to_config, to_settings
from pipeline.console import tell
from pipeline.engine.finished import Finished
from pipeline.levels import Level
from pipeline.processes import THREADS

__all__ = ["cross_validate", "load_run", "predict"]


def cross_validate(*overrides: str, experiment: str | None = None, **settings: Any) -> Finished:
    """Cross-validate as `patientfold cv` does, and give the finished run.

        run = cross_validate(experiment="demo", training={"epochs": 5}, model="resnet10")
        run = cross_validate("optimizer.lr=1e-3", "+optimizer.amsgrad=true", experiment="demo")

    Args:
        overrides: settings as the command line has them, `name=value`.
        experiment: a file of conf/experiment, by its name.
        settings: settings as Python has them. Those of a section stand in a dict, `split={"seed":
            1}`, or under their whole name, `**{"split.seed": 1}`; the name of a file takes a group
            from it, `model="resnet10"`.

    It is the same run as the command's: the same run folder, MLflow runs and numbers. The same call
    goes on where an earlier one, or the command, was stopped, and trains nothing twice. Without
    `folds` of its own it trains all folds; of a run whose folds are not all done, what is of
    all folds (`metrics`, `predictions`) is an error when asked for.

    In a script, call it below `if __name__ == "__main__":`, for every worker imports the script.

    Raises:
        ConfigError: settings are wrong; all of them are named.
        UserError: for anything else that can be mended, and when a fold did not get done.
        KeyboardInterrupt: it was stopped; what is written is whole, and the same call goes on.
    """
    with _in_our_words():
        asked = [*overrides, *([f"experiment={experiment}"] if experiment else [])]
        flags, asked = in_order([*asked, *overrides_of(settings)])
        if flags:
            raise UserError(f"{flags[0]}: cross_validate takes settings only, as name=value")
        if several := several_values(asked):
            raise UserError(f"{several}: cross_validate tries one setting; call it for each value")
        cfg, hydra = load_job(asked)
        begin_imports(cfg, is_single=True)
        from pipeline.commands import cv, sweep  # beside the imports of the workers
        from pipeline.engine.session import Called

        found = cv.cross_validate(to_config(cfg), Called(sweep.in_short(hydra)))
        return Finished.begun(found.run_dir)


def load_run(run_dir: str | Path) -> Finished:
    """Open a run folder, `runs/<experiment>/<key>`: its metrics, predictions, plan and settings.

    Nothing is trained, and neither images nor torch are needed. The folder is looked over first: a
    run that is shown is whole and as it was written.

    Raises:
        UserError: it is no run folder, or a file of it is missing, damaged or was changed.
    """
    with _in_our_words():
        return Finished.begun(Path(run_dir))


def predict(
    run: Finished | str | Path,
    manifest: str | Path | dict[str, Any] | None = None,
    *,
    images: str | Path | None = None,
    level: Level = "image",
    **settings: Any,
) -> pd.DataFrame:
    """Predict new images as `patientfold predict` does, and give the table.

        table = predict(run, "new.csv", level="patient")
        table = predict(run, images="folder/*.nii.gz")

    Args:
        run: a finished run, or its folder.
        manifest: the CSV of the new images; or settings, `{"path": "new.csv", "image_root": "x"}`,
            where they are not those of the run.
        images: files instead, `folder/*.png`, or a folder that holds one DICOM series.
        level: which table: of images, or of what they make, as the run has them.
        settings: further settings of the command: `network`, `out`, `device`, ...

    Returns:
        A row for each image, or each patient: `prob_<class>`, the mean of the folds' calibrated
        probabilities; `predicted`; and `lowest_`, `highest_` and `sd_<class>`, the spread between
        the networks. The files of the command are written as well.

    Raises:
        UserError: an image cannot be used, or whatever else can be mended.
    """
    with _in_our_words():
        from pipeline.commands import predict as command

        of = {"path": str(manifest)} if isinstance(manifest, str | Path) else manifest
        asked = {"images": None if images is None else str(images), "manifest": of, **settings}
        run_dir = run.dir if isinstance(run, Finished) else Path(run)
        given = {name: value for name, value in asked.items() if value is not None}
        values = {"run_dir": str(run_dir), **given}
        found = command.main(to_settings(OmegaConf.create(values), PredictSettings))
        if level not in found.tables:
            raise UserError(f"level={level}: take {' or '.join(found.tables)}")
        return found.tables[level]


@contextmanager
def _in_our_words() -> Iterator[None]:
    """What a command would say is the message of a UserError; the process is left as it was."""
    before = {name: os.environ.get(name) for name in THREADS}
    try:
        yield
    except KeyboardInterrupt:
        tell("stopped; what is written is whole, the same call continues")
        raise
    except SystemExit as end:  # of a script that every worker would run again
        raise UserError(str(end.code).removeprefix("error: ")) from None
    except UserError:
        raise
    except Exception as error:
        if (message := in_words(error, Config)) is None:
            raise
        raise UserError(message) from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
