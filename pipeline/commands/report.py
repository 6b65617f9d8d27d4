"""The page of a finished run: patientfold report run_dir=runs/demo/KEY

Writes report.html into the run folder: one file, which needs no network; and report.md, a draft in
the words of a paper. Both are made from the folder alone, without images, and also of a run that an
earlier version made. cv writes them by itself.

Where several commands have trained the folds, as an array job does, and none has put them together,
this does: predictions.csv and metrics.json over all folds, which takes the images' cache, and the
parent run in MLflow.
"""

from pathlib import Path

from rich.console import Console

from pipeline.commands.reporting import written
from pipeline.commands.settings import ReportSettings
from pipeline.console import say
from pipeline.engine.finished import Finished


def main(settings: ReportSettings) -> None:
    """Write them, and say where."""
    console, run_dir = Console(), Path(settings.run_dir)
    if Finished.begun(run_dir).is_to_gather:
        from pipeline.commands.gathering import gather  # with cv's flow, which takes a second

        gather(run_dir, settings.plugins, console)
    else:
        say(written(run_dir), console)
