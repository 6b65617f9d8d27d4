"""report.html and report.md, as cv and the command report write them."""

from functools import partial
from pathlib import Path

from rich.console import Console

from pipeline.console import say, warn
from pipeline.engine.finished import Finished
from pipeline.engine.standby import Standby
from pipeline.words import one_line

PAPER = "report.md"
REPORT = (
    *("pipeline.commands.reporting", "pipeline.report.page", "pipeline.report.paper"),
    "plotly.offline",
)
"""What writing the report imports."""


def report_at_end(run_dir: Path, console: Console, standby: Standby | None = None) -> None:
    """Of a command that has just finished the run; a warning where it cannot be written."""
    if not (run_dir / "metrics.json").exists():
        return  # some folds are still to come
    try:
        write = partial(written, run_dir)
        say(write() if standby is None else standby.side_by_side(write)[0], console)
    except Exception as error:  # noqa: BLE001  (whatever it is, the run is done)
        again = f"patientfold report run_dir={run_dir}"
        warn([one_line(f"the report was not written: {error} The run is whole; {again}")], console)


def written(run_dir: Path) -> list[str]:
    """Write them; says where."""
    from pipeline.report.page import write_report
    from pipeline.report.paper import write_paper

    run = Finished.read(run_dir)
    page, paper = write_report(run), run.dir / PAPER
    write_paper(run, paper)
    return [one_line(f"report: {page} (for a paper: {paper.name})")]
