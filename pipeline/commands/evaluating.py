"""What predict does with labels: an external test, unless it is one of patients of the plan."""

from collections.abc import Sequence
from functools import partial

from rich.console import Console

from pipeline.console import say
from pipeline.engine.cohort import OURS
from pipeline.ensemble.ensemble import median_decision
from pipeline.ensemble.external import Labelled, evaluate, in_words, write
from pipeline.ensemble.flags import KNOWN, UNLIKE, Flagger
from pipeline.ensemble.known import refuse
from pipeline.ensemble.predicting import NewImages, Predicted
from pipeline.evaluation.summary import levels_of
from pipeline.words import counted, one_line


def refuse_patients(flagger: Flagger, new: NewImages) -> None:
    """Before an image is decoded. UserError for patients of the plan, or where nobody can tell."""
    table = new.manifest.table
    reasons = table["patient_id"].map(flagger.of_patients).tolist()
    refuse(
        flagger.run,
        table["patient_id"].tolist(),
        table["image_path"].tolist(),
        reasons,
        flagger.problems,
    )


def evaluated(found: Predicted, flagger: Flagger, plugins: Sequence[str], console: Console) -> None:
    """Write metrics.json and report.html beside the predictions, and say what they come to.

    Raises:
        UserError: an image is one of the plan; what is predicted is kept.
    """
    from pipeline.report.external import ExternalTest, write_external_report

    run, images, manifest = flagger.run, found.tables["image"], found.manifest
    refuse(run, *(images[name].tolist() for name in ("patient_id", "image_path", KNOWN)))
    kept = found.kept
    decisions = [kept.decisions(fold) for fold in kept.checkpoints]
    decide = partial(median_decision, decisions)
    labelled = Labelled(images, manifest, decide, flagger.is_compared)
    own, _ = run.own_metrics(plugins)
    numbers, tables = evaluate(run, labelled, kept.network, own)
    size = f"{counted(len(manifest), 'image')} of {counted(len(manifest.patients), 'patient')}"
    test = ExternalTest(
        run,
        numbers,
        tables,
        labelled.groups,
        manifest.table.drop(columns=[*OURS]).astype(str),
        images[images[UNLIKE] != ""],
        f"{manifest.path}: {size}",
    )
    page = write_external_report(test, found.dir)
    path = write(numbers, found.dir)  # last: it says that the test is whole
    level = levels_of(numbers)[0]
    lines = [
        f"external test, {level} level:",
        *in_words(numbers, level),
        f"written: {page}, {path}",
    ]
    say(map(one_line, lines), console)
