"""From a CSV to an experiment: guess the columns, read a sample, ask the rules."""

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.config import ManifestConfig, UserError
from pipeline.configure.cohort import cohort_of
from pipeline.configure.fingerprint import Fingerprint
from pipeline.configure.guess import Guess, guess
from pipeline.configure.machine import gpus_here, machine
from pipeline.configure.pixels import pixels_of
from pipeline.configure.rules import decide
from pipeline.configure.written import Experiment
from pipeline.manifest import Manifest, read_usable, stop_at_errors
from pipeline.processes import call_in_child
from pipeline.words import counted

OWN_ID = "one_image_per_patient"
"""The rule of the check that is accepted, with a warning: a first hour needs an answer."""
FEWEST = 3
"""Independent patients of a class: one each to train, validate and test."""


def study(
    name: str,
    manifest: ManifestConfig,
    group: str,
    given: Mapping[str, Any],
    progress: Callable[[int, int], None],
) -> Experiment:
    """The experiment for a manifest; `given` are its settings that are to be written as they are.

    `group` is the file in conf/manifest/ that holds the others, or `default`.

    Raises:
        UserError: when a person must say which column is which, rows or images cannot be used, or
            a class has too few patients for any cross-validation.
    """
    guessed = guess(manifest)
    read = _usable(guessed.applied(manifest), guessed)
    fingerprint = Fingerprint(
        cohort=cohort_of(read),
        pixels=pixels_of(read, progress),
        machine=machine(call_in_child(gpus_here)),
    )
    lines = {key: (value, "") for key, value in given.items()}
    reasons = guessed.reasons.items()
    lines |= {key: (guessed.settings[key], reason) for key, reason in reasons}
    return Experiment(
        name=name,
        group=group,
        manifest=lines,
        decisions=decide(fingerprint),
        seen=list(fingerprint.describe()),
        warnings=[*guessed.doubts, *fingerprint.warnings()],
    )


def _usable(config: ManifestConfig, guessed: Guess) -> Manifest:
    """The manifest, without an error that would stop a cross-validation."""
    manifest = read_usable(config)
    errors = [finding for finding in manifest.findings if finding.severity == "error"]
    rest = [finding for finding in errors if finding.rule != OWN_ID]
    stop_at_errors(manifest.path, rest, config)
    if len(errors) > len(rest):
        accepted = [*config.accept, OWN_ID]
        guessed.put("accept", accepted, "every row has a patient id of its own: is that so?")
        guessed.doubts.append(
            f"each of the {counted(len(manifest), 'row')} has a patient id of its own: if the "
            "column names images and not people, the results will be too good"
        )
    _check_classes(manifest)
    return manifest


def _check_classes(manifest: Manifest) -> None:
    """UserError when a class has too few patients for any plan; all such classes are named."""
    cohort = cohort_of(manifest)
    numbers = zip(cohort.classes, cohort.independent_per_class, strict=True)
    few = [f"class {name!r} has {number}" for name, number in numbers if number < FEWEST]
    if few:
        label = "without it, too" if cohort.is_multilabel else "of each class"
        raise UserError(
            f"manifest {manifest.path}: {', '.join(few)} independent patients, and a "
            f"cross-validation needs {FEWEST} {label}: one each to train, validate and test. Leave "
            "the rows out, merge the class with another, or find more patients"
        )
