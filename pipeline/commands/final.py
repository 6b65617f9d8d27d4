"""One network on all patients of a finished run: patientfold final run_dir=runs/demo/KEY

For use, when all settings are chosen. It trains for as many epochs as the folds chose (their
median), and takes its thresholds and calibration from them (medians, too); of a baseline it takes
the candidate with the best mean validation. Locked patients stay locked out. It is tested on
nobody: what can be expected of it is what the cross-validation says of the same settings.

Writes final/ into the run folder: best.pt (of a baseline best.json) and final.json. The same
command goes on where it was stopped. Needs the images and their cache, as cv does.
"""

from pathlib import Path

from rich.console import Console

from pipeline.commands.cv import ready
from pipeline.commands.reporting import report_at_end
from pipeline.commands.settings import FinalSettings
from pipeline.commands.trusted import trusted_uri
from pipeline.config import UserError
from pipeline.console import say, warn
from pipeline.engine.final import FinalTraining, config_of
from pipeline.engine.finished import Finished
from pipeline.splits import NO_FOLD
from pipeline.tracking.background import BackgroundMirror
from pipeline.tracking.destination import destination, is_here, plain_http_warnings
from pipeline.tracking.record import RunRecord
from pipeline.tracking.untested import FINAL
from pipeline.words import one_line


def main(settings: FinalSettings) -> None:
    """Train it, mirror it, and say what can be expected; one that is there is left alone."""
    console, run_dir = Console(), Path(settings.run_dir)
    finished = Finished.read(run_dir)
    if finished.final is None:
        config = config_of(finished, settings.plugins, settings.engine.kind, settings.engine.device)
        uri = settings.tracking.uri or trusted_uri(run_dir, "final", f"run_dir={run_dir}")
        if uri is None:
            raise UserError(
                f"{run_dir}: the tracking server's address came from the environment and is not "
                "recorded; give it with tracking.uri="
            )
        run, slots = ready(config, console)
        training = FinalTraining(run, finished)
        say(training.lines, console)
        warn(training.doubts, console)
        with _mirrored(run_dir, uri, config.tracking.timeout_s, console):
            training.train(slots, console)
            report_at_end(run_dir, console)  # before the mirror ends, which uploads it
    else:
        say([f"{run_dir / FINAL} is there already; delete that folder to train it anew"], console)
    say(_told(run_dir), console)


def _mirrored(run_dir: Path, uri: str, timeout_s: float, console: Console) -> BackgroundMirror:
    """Mirrors it to MLflow beside the run, whatever becomes of it."""
    if not is_here(uri):
        say([destination(uri, RunRecord.load(run_dir).upload)], console)
        warn(plain_http_warnings(uri), console)
    return BackgroundMirror(
        run_dir,
        lambda message: warn([message], console),
        timeout_s,
        uri=uri,
        folds=[NO_FOLD],
        is_beside=True,
    )


def _told(run_dir: Path) -> list[str]:
    """What it is, and what can be expected of it."""
    final = Finished(run_dir).final
    assert final is not None, "it is done"
    expected = final["expected"]
    lines = [final["rule"], expected["line"], expected["optimism"]]
    return [*map(one_line, filter(None, lines)), one_line(f"written: {run_dir / FINAL}")]
