"""Compare runs: patientfold compare 'runs=[runs/demo/A,runs/demo/B]'

The runs must have the same plan, the same images and the same way from images to patients; another
model, loss, sampler or augmentation is what is compared. Each run is compared with the first.

The difference has an interval by a bootstrap over patients that both runs judge, drawn within class
and fold, and a p value of the same; of several comparisons the p values are those of all together
(Holm). Writes comparison.json and forest.png.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from pipeline.commands.settings import CompareSettings
from pipeline.commands.trusted import trusted_uri
from pipeline.config import fingerprint
from pipeline.console import say
from pipeline.engine.comparing import Comparison, compare_runs
from pipeline.engine.finished import Finished
from pipeline.evaluation.forest import plot_differences
from pipeline.files import write_json
from pipeline.tracking.comparison import log_comparison
from pipeline.words import one_line


def main(settings: CompareSettings) -> None:
    """Compare, tell, write and log."""
    runs = [Finished.read(Path(run)) for run in settings.runs]
    found = compare_runs(runs, settings.metric, settings.level, settings.plugins)
    console = Console()
    say(_lines(found), console)
    key = fingerprint([found.metric, found.level, *(str(run.dir.resolve()) for run in runs)])
    folder = Path(settings.out) / key[:12]
    folder.mkdir(parents=True, exist_ok=True)
    plot_differences(
        [(of.name, of.difference.interval) for of in found.compared],
        f"{found.metric}, {found.level} level, less that of {found.first}",
        found.higher_is_better,
        folder / "forest.png",
    )
    write_json(folder / "comparison.json", asdict(found))
    say([f"written: {folder}/comparison.json and forest.png"], console)
    command = "compare", f"runs=[{','.join(settings.runs)}]"
    uri = settings.tracking.uri or trusted_uri(runs[0].dir, *command)
    where = log_comparison(runs[0].dir, folder, asdict(found), uri, settings.tracking.upload)
    say([one_line(where)], console)


def _lines(found: Comparison) -> Iterator[str]:
    first = found.compared[0].difference.first
    yield f"{found.metric}, {found.level} level; {found.first} has {first:.3f}"
    for of in found.compared:
        one, bounds = of.difference, of.difference.interval
        yield ""
        yield (
            f"{of.name} has {one.second:.3f}: {bounds.value:+.3f} [{bounds.low:+.3f}, "
            f"{bounds.high:+.3f}], better in {one.probability:.0%} of the draws"
        )
        tests = {
            "bootstrap": one.p,
            "DeLong": one.p_delong,
            "McNemar": one.p_mcnemar,
            "corrected t over folds": one.p_folds,
        }
        told = [f"{name} {p:.2g}" for name, p in tests.items() if p is not None]
        yield f"p values: {', '.join(told)}"
        yield of.verdict
    if len(found.compared) > 1:
        yield ""
        yield f"The p of a sentence is that of {len(found.compared)} comparisons together (Holm)."
