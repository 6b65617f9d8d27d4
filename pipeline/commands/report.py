"""The page of a finished run: patientfold report run_dir=runs/demo/KEY

Writes report.html into the run folder: one file, which needs no network; and report.md, a draft in
the words of a paper. Both are made from the folder alone, without images, and also of a run that an
earlier version made. cv writes them by itself.

Where several commands have trained the folds, as an array job does, and none has put them together,
this does: predictions.csv and metrics.json over all folds, which takes the images' cache, and the
parent run in MLflow.
"""

from functools import partial
from pathlib import Path

from rich.console import Console

from pipeline.commands.settings import ReportSettings
from pipeline.console import say, warn
from pipeline.engine.finished import Finished
from pipeline.engine.standby import Standby
from pipeline.words import one_line

PAPER = "report.md"
REPORT = (
    *("pipeline.commands.report", "pipeline.report.page", "pipeline.report.paper"),
    "plotly.offline",
)
"""What writing the report imports."""


def main(settings: ReportSettings) -> None:
    """Write them, and say where."""
    console, run_dir = Console(), Path(settings.run_dir)
    if Finished.begun(run_dir).is_to_gather:
        from pipeline.commands.gathering import gather  # with the commands' flow

        gather(run_dir, settings.plugins, console)
    else:
        say(_written(run_dir), console)


def report_at_end(run_dir: Path, console: Console, standby: Standby | None = None) -> None:
    """Of a command that has just finished the run; a warning where it cannot be written."""
    if not (run_dir / "metrics.json").exists():
        return  # some folds are still to come
    try:
        write = partial(_written, run_dir)
        lines = write() if standby is None else standby.side_by_side(write)[0]
        say(lines, console)
    except Exception as error:  # noqa: BLE001  (whatever it is, the run is done)
        again = f"patientfold report run_dir={run_dir}"
        warn([one_line(f"the report was not written: {error} The run is whole; {again}")], console)


def _written(run_dir: Path) -> list[str]:
    from pipeline.report.page import write_report
    from pipeline.report.paper import write_paper

    run = Finished.read(run_dir)
    page, paper = write_report(run), run.dir / PAPER
    write_paper(run, paper)
    return [one_line(f"report: {page} (for a paper: {paper.name})")]
