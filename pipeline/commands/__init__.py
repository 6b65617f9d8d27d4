"""The commands, a thin file each: what `patientfold <command>` does, from top to bottom."""

from typing import NamedTuple

PLANNED = (
    "plugins manifest split audit.content audit.near images sampler loss training.select_by "
    "evaluation.patient_label evaluation.middle privacy"
)
"""What is read to make a plan and to judge it."""
TRAINED = (
    f"{PLANNED} name folds run_dir augment model features init optimizer scheduler training "
    "evaluation tracking engine preflight.accept"
)


class Command(NamedTuple):
    """One line on a command, the YAML that composes its settings, and which of them it reads.

    `trains`: the imports of its workers begin once the settings are known. `words`: settings that
    may come first as words, `runs diff A B` for `runs diff=[A,B]`.
    """

    line: str
    config_name: str | None = None
    reads: str = ""
    trains: bool = False
    words: tuple[str, ...] = ()


COMMANDS = {
    "init": Command("begin a study folder here, with the settings of your own CSV"),
    "demo": Command("make the demo's images here (demo/, 2 MB)"),
    "make-manifest": Command(
        "write a manifest from folders, DICOM files or a table", "make_manifest"
    ),
    "configure": Command(
        "look at your data once, and write an experiment with the reason for each setting",
        "cv",
        "name manifest",
    ),
    "check": Command(
        "is this manifest fit for a cross-validation, and its plan?", "cv", f"{PLANNED} audit"
    ),
    "plan": Command("make a plan to keep, let it grow, or repair it", "cv", f"{PLANNED} plan"),
    "preflight": Command(
        "sanity checks before a long training, and a picture of what the model sees",
        "cv",
        TRAINED,
        True,
    ),
    "lr-find": Command(
        "a learning rate for this network and these images", "cv", f"{TRAINED} lr_find", True
    ),
    "cv": Command("cross-validate: from the CSV to MLflow", "cv", TRAINED, True),
    "leakage-cost": Command(
        "train split by image and by patient: what does the leak pretend?", "cv", TRAINED, True
    ),
    "canary": Command("random labels through the whole pipeline: would a leak show?"),
    "compare": Command("is one run better than another? Over the same patients, with intervals"),
    "select": Command("which settings of a sweep are best, and how good they really are"),
    "explain": Command("where does a network look? Heat maps of the worst mistakes"),
    "export": Command("hand a model over: to=onnx|torch_export|mlflow|folder, with its card"),
    "unlock": Command("open the patients that were locked away from all folds, once"),
    "final": Command("one network on all patients of a finished run, to be used; tested on nobody"),
    "predict": Command("predict new images with the networks of a run's folds"),
    "report": Command("a finished run for people: report.html, and report.md for a paper"),
    "runs": Command(
        "list run folders, show how two differ (diff A B), or make room (prune)",
        words=("diff", "prune"),
    ),
    "sync": Command("complete the MLflow runs of a run folder"),
    "forget": Command("find and delete what the study folder holds of a patient"),
}
"""In the order of use."""
