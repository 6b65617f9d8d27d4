"""Select settings: patientfold select sweep=runs/demo

Each fold is tested with the run that is best on its own validation part: an honest value for "we
tried these settings and took the best". Beside it stands what is reported otherwise: the test value
of the run with the best mean of validation, and the best test value of all. Both are too good.

The runs must have the same plan and images. Writes selection.json.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from pipeline.commands.settings import SelectSettings
from pipeline.config import fingerprint
from pipeline.console import say
from pipeline.engine.finished import Finished
from pipeline.engine.selecting import HEADLINE, Selection, finished_below, select_runs
from pipeline.evaluation.console import print_summary
from pipeline.files import write_json
from pipeline.words import counted


def main(settings: SelectSettings) -> None:
    """Select, tell and write."""
    runs = finished_below(settings.sweep)
    found = select_runs(runs, settings.level, settings.plugins)
    console = Console()
    print_summary(found.summary, found.level, console)
    say([*_lines(found), *_cautions(runs)], console)
    key = fingerprint(sorted(str(run.dir.resolve()) for run in runs))
    folder = Path(settings.out) / key[:12]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "selection.json", asdict(found))
    say([f"written: {folder}/selection.json"], console)


def _cautions(runs: Sequence[Finished]) -> Iterator[str]:
    """Why even the nested value may be too good: which settings there are was chosen over folds."""
    tries = runs[0].tries
    sweepers = sorted({run.sweeper for run in runs} - {""})
    missing = set() if tries is None else {*tries.keys} - {run.key for run in runs}
    if sweepers:
        yield f"the settings were drawn by {' and '.join(sweepers)}, by the validation of all folds"
    if missing and tries is not None:
        yield (
            f"{counted(len(missing), 'setting')} of {tries.num} tested on this plan "
            f"{'is' if len(missing) == 1 else 'are'} not here: stopped early, deleted or left out"
        )
    if sweepers or missing:
        yield (
            "so that the nested value is still a little too good: only patients that were locked "
            "away are free of it (docs/sweeps.md)"
        )


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
