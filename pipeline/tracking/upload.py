"""What of a run folder may leave it: `tracking.upload`."""

from collections.abc import Iterable, Iterator, Mapping

from pipeline.config import Upload

NAMING = frozenset(
    {
        "cohort.csv",
        "plan.csv",
        "plan.json",
        "predictions.csv",
        "predictions_val.csv",
        "predictions_test.csv",
        "journal.jsonl",  # the text of an error may name whom it is about
        "flow.json",  # findings name whom they are about
        "report.html",
        "failures.json",
        "explain.json",
    }
)
"""Files that name patients, or may."""
GOES: Mapping[Upload, str] = {
    "all": "settings, metrics, checkpoints, plots, plan, cohort and predictions",
    "no_patients": "settings, metrics, checkpoints and plots, no file that names a patient",
    "metrics": "settings and metrics, no files",
}
WITHHELD_ERROR = "the error's text stays in the run folder (tracking.upload={})"


def allowed(names: Iterable[str], upload: Upload) -> Iterator[str]:
    """Those of the files that may be uploaded."""
    return (
        name
        for name in names
        if upload == "all" or (upload == "no_patients" and name not in NAMING)
    )


def shown_error(error: str, upload: Upload) -> str:
    """An error as the tracking server may show it."""
    return error if upload == "all" else WITHHELD_ERROR.format(upload)
