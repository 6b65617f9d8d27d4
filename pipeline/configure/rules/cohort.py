"""Who is dealt to how many folds, what counts how much, and what a patient's label is."""

from pipeline.configure.fingerprint import Fingerprint
from pipeline.configure.rules.rule import Choice, Chosen, rule
from pipeline.words import counted

NUM_FOLDS = 5
EVEN = 0.8
"""A class with less than this share of an even one is rare."""
MOST_REPEATS = 10
"""Times that a balanced sampler may show the same image in an epoch."""
MOST_UNEVEN = 0.5
"""Kish's number of patients below this share of them: few patients give most images."""
MOST_MIXED = 0.5
"""Share of patients with images of several labels from which on a patient has no label."""
FEW_POSITIVE = 1 / 3
"""Share of a positive patient's images that are positive, below which the mean hides them."""
COUNTS_TELL = 0.6
"""AUROC of the number of images alone from which on their highest ones may not decide."""
TO_VALIDATE, TO_SELECT = 3, 20
"""Patients of the rarest class in a validation part: for an AUROC at all, and for one of patients
to choose an epoch by."""


def repeats(f: Fingerprint) -> float:
    """How often an epoch of a class-balanced sampler shows an image of the rarest class."""
    return 1 / (len(f.cohort.classes) * f.cohort.rarest_share)


def validated(f: Fingerprint, chosen: Chosen) -> float:
    """Patients of the rarest class in a validation part."""
    return min(f.cohort.independent_per_class) / int(chosen["split.num_folds"])


@rule("split.num_folds", "as many as the rarest class has patients, at least 3", "fewer than 5")
def fewer_folds(f: Fingerprint, _: Chosen) -> Choice | None:
    number = min(f.cohort.independent_per_class)
    if number >= NUM_FOLDS:
        return None
    return Choice(max(3, number), f"the rarest class has {counted(number, 'patient')}")


@rule("split.num_folds", "5", "others")
def five_folds(f: Fingerprint, _: Chosen) -> Choice | None:
    number = f.cohort.num_independent
    return Choice(
        NUM_FOLDS, f"{number:,} independent patients: train on 3/5, validate, test on 1/5"
    )


@rule(
    "loss",
    "binary_cross_entropy",
    "several labels an image",
)
def several_labels(f: Fingerprint, _: Chosen) -> Choice | None:
    if not f.cohort.is_multilabel:
        return None
    return Choice("binary_cross_entropy", "labels do not exclude each other")


@rule(
    "loss",
    "logit_adjusted",
    "a balanced sampler would show an image of the rarest class more than 10 times an epoch",
)
def adjusted(f: Fingerprint, _: Chosen) -> Choice | None:
    if repeats(f) <= MOST_REPEATS:
        return None
    share = f"{f.cohort.rarest_share:.1%} of the images are of the rarest class"
    return Choice(
        "logit_adjusted", f"{share}: showing them {repeats(f):.0f} times an epoch overfits"
    )


@rule("sampler", "none", "`loss=logit_adjusted`, which corrects for rare classes already")
def not_twice(_: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen.get("loss") != "logit_adjusted":
        return None
    return Choice("none", "the loss corrects for rare classes: once is enough")


@rule("sampler", "class_patient", "Kish's number of patients is below half of them")
def by_patient(f: Fingerprint, _: Chosen) -> Choice | None:
    cohort = f.cohort
    if cohort.num_effective >= MOST_UNEVEN * cohort.num_patients:
        return None
    kish = f"{cohort.num_effective:.0f} of {counted(cohort.num_patients, 'patient')}"
    return Choice("class_patient", f"few patients give most images: they count as {kish} (Kish)")


@rule("sampler", "class", "the rarest class has less than 0.8 of an even share of the images")
def by_class(f: Fingerprint, _: Chosen) -> Choice | None:
    cohort = f.cohort
    if cohort.rarest_share >= EVEN / len(cohort.classes):
        return None
    return Choice("class", f"the rarest class has {cohort.rarest_share:.0%} of the images")


@rule("sampler", "none", "others")
def as_they_come(f: Fingerprint, _: Chosen) -> Choice | None:
    return Choice(
        "none", f"classes are even: the rarest has {f.cohort.rarest_share:.0%} of the images"
    )


@rule("evaluation.patient_label", "none", "half of the patients or more have several labels")
def no_patient_label(f: Fingerprint, _: Chosen) -> Choice | None:
    if f.cohort.num_mixed < MOST_MIXED * f.cohort.num_patients:
        return None
    return Choice("none", f"{_mixed(f)}: each image is judged by itself")


@rule(
    "evaluation.patient_label",
    "worst",
    "some patients have several labels; of two classes, or of several labels an image",
)
def worst_label(f: Fingerprint, _: Chosen) -> Choice | None:
    if not f.cohort.num_mixed or not (f.cohort.is_multilabel or len(f.cohort.classes) == 2):
        return None
    return Choice("worst", f"{_mixed(f)}: a finding in one image is the patient's")


@rule("evaluation.patient_label", "majority", "some patients have several labels; other tasks")
def commonest_label(f: Fingerprint, _: Chosen) -> Choice | None:
    if not f.cohort.num_mixed:
        return None
    return Choice("majority", f"{_mixed(f)}: the most frequent one counts")


@rule("evaluation.patient_label", "same", "no patient has several labels")
def same_label(_: Fingerprint, __: Chosen) -> Choice | None:
    return Choice("same", "no patient has images of different labels")


@rule(
    "evaluation.aggregate",
    "top3",
    "`patient_label=worst`, less than a third of a positive patient's images is positive, and the "
    "number of images alone has an AUROC of at most 0.6",
)
def highest(f: Fingerprint, chosen: Chosen) -> Choice | None:
    cohort = f.cohort
    few = cohort.positive_share < FEW_POSITIVE and cohort.count_auroc <= COUNTS_TELL
    if chosen["evaluation.patient_label"] != "worst" or not few:
        return None
    share = f"{cohort.positive_share:.0%}"
    return Choice("top3", f"{share} of a positive patient's images are positive: a mean hides them")


@rule("evaluation.aggregate", "mean", "other patients with a label")
def mean(f: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen["evaluation.patient_label"] == "none":
        return None
    if f.cohort.median_images == 1 and f.cohort.num_images == f.cohort.num_patients:
        return Choice("mean", "each patient has one image")
    return Choice("mean", "of a patient's images; a maximum would grow with their number")


@rule(
    "training.select_by",
    "val/loss",
    "fewer than 3 patients of the rarest class to validate on",
)
def by_loss(f: Fingerprint, chosen: Chosen) -> Choice | None:
    number = validated(f, chosen)
    if number >= TO_VALIDATE:
        return None
    return Choice("val/loss", f"{number:.1f} patients of the rarest class to validate on: too few")


@rule(
    "training.select_by",
    "val/patient/auroc",
    "patients have a label and several images, and 20 or more of the rarest class to validate on",
)
def by_patient_auroc(f: Fingerprint, chosen: Chosen) -> Choice | None:
    number = validated(f, chosen)
    several = f.cohort.num_images > f.cohort.num_patients
    if chosen["evaluation.patient_label"] == "none" or not several or number < TO_SELECT:
        return None
    return Choice("val/patient/auroc", f"{number:.0f} patients of the rarest class to validate on")


@rule("training.select_by", "val/image/auroc", "others")
def by_image_auroc(f: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen["evaluation.patient_label"] == "none":
        return Choice("val/image/auroc", "patients have no label of their own")
    if f.cohort.num_images == f.cohort.num_patients:
        return Choice("val/image/auroc", "each patient has one image")
    number = f"{validated(f, chosen):.0f} patients of the rarest class"
    return Choice("val/image/auroc", f"{number} to validate on: images make a steadier choice")


def _mixed(f: Fingerprint) -> str:
    patients = counted(f.cohort.num_patients, "patient")
    return f"{f.cohort.num_mixed:,} of {patients} have images of several labels"


RULES = (
    *(fewer_folds, five_folds, several_labels, adjusted),
    *(not_twice, by_patient, by_class, as_they_come),
    *(no_patient_label, worst_label, commonest_label, same_label, highest, mean),
    *(by_loss, by_patient_auroc, by_image_auroc),
)
