"""Select settings: patientfold select sweep=runs/demo

Each fold is tested with the run that is best on its own validation part: an honest value for "we
tried these settings and took the best". Beside it stands what is reported otherwise: the test value
of the run with the best mean of validation, and the best test value of all. Both are too good.

The runs must have the same plan and images. Writes selection.json.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from pipeline.commands.settings import SelectSettings
from pipeline.config import fingerprint
from pipeline.console import say
from pipeline.engine.selecting import HEADLINE, Selection, finished_below, select_runs
from pipeline.evaluation.console import print_summary
from pipeline.files import write_json


def main(settings: SelectSettings) -> None:
    """Select, tell and write."""
    runs = finished_below(settings.sweep)
    found = select_runs(runs, settings.plugins)
    console = Console()
    print_summary(found.summary, found.level, console)
    say(_lines(found), console)
    key = fingerprint(sorted(str(run.dir.resolve()) for run in runs))
    folder = Path(settings.out) / key[:12]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "selection.json", asdict(found))
    say([f"written: {folder}/selection.json"], console)


def _lines(found: Selection) -> Iterator[str]:
    times = Counter(found.chosen)
    if found.left_out:
        names = ", ".join(found.left_out)
        yield f"left out: {names}; to compute them, name their package, plugins=[...]"
    yield ""
    num = len(found.names)
    yield f"{num} settings, chosen by {found.select_by} on each fold's own validation part:"
    for run, often in times.most_common():
        yield f"  {found.names[run]}: in {often} of {len(found.chosen)} folds"
    if found.nested is None or found.naive is None or found.best_test is None:
        yield f"{HEADLINE}: not defined in every fold"
        return
    yield f"{HEADLINE}, {found.level} level, on test:"
    yield f"  {found.nested:.3f}  nested selection: report this for the sweep"
    yield (
        f"  {found.naive:.3f}  {found.names[found.best_mean]}, the best mean of validation: chosen "
        "with patients that other folds test"
    )
    yield f"  {found.best_test:.3f}  the best on test of {num}: no result at all"
