"""An external test: the numbers of the new patients, beside the cross-validation; and its page."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from finished_run import cohort, finished_run, with_settings
from parsed_page import parsed
from sklearn.metrics import roc_auc_score

from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.ensemble.ensemble import median_decision
from pipeline.ensemble.external import Labelled, evaluate, in_words, write
from pipeline.evaluation.beside import External
from pipeline.evaluation.predictions import prob_columns
from pipeline.files import read_json
from pipeline.label_names import LabelNames
from pipeline.levels import Level
from pipeline.manifest import Manifest
from pipeline.report.external import ExternalTest, write_external_report
from pipeline.tracking.result import read_sealed

LABELS = ("effusion", "nodule")
SETS = ("none", "effusion", "nodule", "effusion|nodule")


@pytest.fixture(scope="module")
def binary(made_once: Callable[..., Path]) -> Finished:
    return Finished.read(made_once("external_binary", partial(_made, "split.num_folds=3")) / "run")


@pytest.fixture(scope="module")
def several(made_once: Callable[..., Path]) -> Finished:
    settings = ["split.num_folds=3", "manifest.task=multiclass", "manifest.columns.site=site"]
    manifest = cohort(27, ("normal", "bacteria", "virus"))
    make = partial(_made, *settings, manifest=manifest)
    return Finished.read(made_once("external_several", make) / "run")


@pytest.fixture(scope="module")
def sets(made_once: Callable[..., Path]) -> Finished:
    manifest = cohort(40, LABELS, SETS)
    make = partial(_made, "split.num_folds=3", "manifest.task=multilabel", manifest=manifest)
    return Finished.read(made_once("external_sets", make) / "run")


def _made(*arguments: object, manifest: Manifest | None = None) -> None:
    *overrides, folder = arguments
    finished_run(Path(str(folder)) / "run", *map(str, overrides), manifest=manifest)


def new_patients(run: Finished, num: int = 40, labels: Sequence[str] | None = None) -> Manifest:
    """As the run's, with other names."""
    classes = run.classes
    made = cohort(num, tuple(classes), labels)
    table = made.table.assign(
        patient_id=made.table["patient_id"].str.replace("Patient", "New"),
        group=made.table["group"].str.replace("Patient", "New"),
    )
    return replace(made, table=table)


def predicted(run: Finished, manifest: Manifest, signal: float = 1.0, seed: int = 0) -> Labelled:
    """With drawn probabilities."""
    has = manifest.has_class.astype(float)
    logits = np.random.default_rng(seed).normal(size=has.shape) + signal * has
    if isinstance(run.classes, LabelNames):
        values = 1 / (1 + np.exp(1 - logits))
    else:
        values = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    images = manifest.table[["patient_id", "image_path", "label"]].copy()
    images[prob_columns(run.classes)] = values.astype(np.float32).astype(np.float64)
    decisions = [{of: d for of in run.levels for d in [run.decisions(of)[f]]} for f in run.results]
    return Labelled(images.assign(unlike=""), manifest, partial(median_decision, decisions))


def entries_of(found: External, level: Level) -> dict[str, float | None]:
    entries = found[level]
    assert entries is not None
    return {name: entry["value"] for name, entry in entries.items()}


def test_the_numbers_are_those_of_the_new_patients(binary: Finished) -> None:
    labelled = predicted(binary, new_patients(binary))
    found, tables = evaluate(binary, labelled)
    patients = tables["patient"]
    assert patients is not None
    means = labelled.images.groupby("patient_id")["prob_lesion"].mean()
    assert len(patients) == len(means) == 40
    positive = patients["label"] == "lesion"
    expected = roc_auc_score(positive, means.loc[patients["patient_id"]])
    values = entries_of(found, "patient")
    assert values["auroc"] == pytest.approx(expected, abs=1e-5)
    threshold = float(np.median([of["thresholds"]["patient"] for of in binary.results.values()]))
    point = found["points"]["patient"]["lesion"]
    assert point["threshold"] == pytest.approx(threshold)
    called = means.loc[patients["patient_id"]].to_numpy() >= threshold
    assert point["reached"]["true_positives"] == int((called & positive).sum())
    assert values["sensitivity"] == pytest.approx(point["reached"]["sensitivity"])
    entry = (found["patient"] or {})["auroc"]
    assert entry["ci_low"] < entry["value"] < entry["ci_high"]  # type: ignore[operator]
    assert found["num_networks"] == 3


def test_it_stands_beside_the_cross_validation(binary: Finished) -> None:
    found, _ = evaluate(binary, predicted(binary, new_patients(binary), signal=-3.0))
    worse = found["beside"]["patient"]["auroc"]
    assert worse["cv_value"] == (binary.numbers["patient"] or {})["auroc"]["value"]
    assert worse["difference_high"] is not None
    assert worse["difference_high"] < 0
    assert any("cross-validated" in line for line in in_words(found, "patient"))


def test_images_of_a_patient_and_patients_of_a_group_are_no_more_patients(binary: Finished) -> None:
    """The same patients in twos: the interval is that of half as many."""
    manifest = new_patients(binary, 80)
    number = manifest.table["group"].str[-3:].astype(int)
    joined = (number // 6 * 3 + number % 3).map("{:03}".format)  # of the same class
    together = replace(manifest, table=manifest.table.assign(group=joined))
    widths = []
    for of in (manifest, together):
        found, _ = evaluate(binary, predicted(binary, of))
        entry = (found["patient"] or {})["sensitivity"]
        assert entry["ci_low"] is not None
        assert entry["ci_high"] is not None
        widths.append(entry["ci_high"] - entry["ci_low"])
    assert widths[1] > widths[0]


def test_of_one_class_what_is_not_defined_says_why(binary: Finished, tmp_path: Path) -> None:
    manifest = new_patients(binary, 6)
    manifest = replace(manifest, table=manifest.table.assign(label="healthy"))
    labelled = predicted(binary, manifest)
    found, tables = evaluate(binary, labelled)
    assert entries_of(found, "patient")["auroc"] is None
    assert "no patient has the class" in found["undefined"]["auroc"]
    assert entries_of(found, "patient")["specificity"] is not None
    write(found, tmp_path)
    page = write_external_report(page_of(binary, labelled, found, tables), tmp_path)
    assert "not defined: no patient has the class" in parsed(page).text


def test_of_one_patient_there_is_a_page_too(binary: Finished, tmp_path: Path) -> None:
    labelled = predicted(binary, new_patients(binary, 1))
    found, tables = evaluate(binary, labelled)
    write(found, tmp_path)
    page = write_external_report(page_of(binary, labelled, found, tables), tmp_path)
    assert found["num"]["patients"] == 1
    text = parsed(page).text
    assert "There is no headline: not defined: no patient has the class" in text
    assert "patients 1 30 images 1 60" in text, "new ones beside those of the cross-validation"


def test_without_labels_or_with_others_nothing_is_evaluated(binary: Finished) -> None:
    labelled = predicted(binary, new_patients(binary))
    without = replace(labelled, images=labelled.images.drop(columns="label"))
    with pytest.raises(UserError, match="no image has a label"):
        evaluate(binary, without)
    other = replace(labelled, images=labelled.images.assign(label="benign"))
    with pytest.raises(UserError, match="must be among those of the run, healthy, lesion; got 'be"):
        evaluate(binary, other)


def test_the_metrics_without_unlike_images_stand_beside_those_with(binary: Finished) -> None:
    labelled = predicted(binary, new_patients(binary))
    flags = np.where(np.arange(len(labelled.images)) % 5 == 0, "shape: 9x9", "")
    found, _ = evaluate(binary, replace(labelled, images=labelled.images.assign(unlike=flags)))
    plain, _ = evaluate(binary, labelled)
    assert found["patient"] == plain["patient"]  # all count
    assert found["unlike"]["num_images"] == int((flags != "").sum())
    rest = labelled.images[flags == ""].reset_index(drop=True)
    alone, _ = evaluate(binary, replace(labelled, images=rest))
    assert found["unlike"]["without"] == alone["patient"]
    assert plain["unlike"]["without"] is None


def page_of(run: Finished, labelled: Labelled, found: External, tables: object) -> ExternalTest:
    return ExternalTest(
        run,
        found,
        tables,  # type: ignore[arg-type]
        labelled.groups,
        labelled.manifest.table.drop(columns=["line", "group"]).astype(str),
        labelled.images[labelled.images["unlike"] != ""],
        "new.csv: some images",
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "several", "sets"])
def test_the_page_and_the_file_say_the_same(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run: Finished = request.getfixturevalue(kind)
    manifest = new_patients(run, 40, SETS if kind == "sets" else None)
    labelled = predicted(run, manifest)
    flags = np.where(np.arange(len(labelled.images)) < 2, "picture: <b>far</b>", "")
    labelled = replace(labelled, images=labelled.images.assign(unlike=flags))
    found, tables = evaluate(run, labelled)
    path = write(found, tmp_path)
    assert read_sealed(path, "") is not None
    assert read_json(path)["beside"] == found["beside"]
    test = page_of(run, labelled, found, tables)
    page = parsed(write_external_report(test, tmp_path))
    entry = found["beside"]["patient"]["auroc"]
    assert f"{entry['value']:.3f}" in page.text
    assert f"{entry['cv_value']:.3f}" in page.text
    assert "picture: <b>far</b>" in page.text  # a text, no element
    headings = [of.text for of in page.all("h2")]
    expected = ["The answer", "Images unlike those of training", "Patients"]
    expected += ["All metrics, beside the cross-validation", "Decisions"]
    assert headings[:5] == expected
    (patients,) = [of for of in page.all("section") if of.attributes["id"] == "patients"]
    rows = patients.all("table")[0].rows
    assert rows[0] == ["", "new patients", "cross-validation"]
    num = run.images["patient_id"].nunique()
    assert rows[1] == ["patients", "40", f"{num}"]
    if kind == "several":
        assert "subgroups" in found
        assert "Subgroups" in headings


def test_a_column_that_the_run_does_not_keep_is_not_shown(
    several: Finished, tmp_path: Path
) -> None:
    manifest = new_patients(several)
    labelled = predicted(several, manifest)
    found, tables = evaluate(several, labelled)
    test = page_of(several, labelled, found, tables)
    shown = replace(test, cohort=test.cohort.assign(birth_name="secret"))
    text = write_external_report(shown, tmp_path).read_text()
    assert "birth_name" not in text


def test_the_page_says_how_it_was_decided(
    binary: Finished, several: Finished, tmp_path: Path
) -> None:
    fixed = with_settings(binary, {"evaluation.threshold": "fixed"})
    for run, words in (
        (binary, "at the median of the thresholds that the folds have chosen"),
        (fixed, "at the threshold 0.5 of the run, which no part chose"),
        (several, "for the class with the highest probability"),
    ):
        labelled = predicted(run, new_patients(run))
        found, tables = evaluate(run, labelled)
        page = write_external_report(page_of(run, labelled, found, tables), tmp_path)
        text = page.read_text()
        assert [
            of in text for of in ("at the median", "at the threshold 0.5", "for the class")
        ] == [of in words for of in ("at the median", "at the threshold 0.5", "for the class")]
        assert words in text


def test_a_middle_level_is_as_in_the_run(tmp_path: Path) -> None:
    manifest = cohort(30)
    slides = manifest.table["image_path"].str[-9:-4]
    manifest = replace(manifest, table=manifest.table.assign(slide=slides))
    run = finished_run(
        tmp_path / "run",
        "split.num_folds=3",
        "evaluation.middle=slide",
        "manifest.columns.slide=slide",
        manifest=manifest,
    )
    new = new_patients(run)
    new = replace(new, table=new.table.assign(slide=new.table["image_path"].str[-9:-4]))
    labelled = predicted(run, new)
    images = labelled.images.assign(slide=new.table["slide"])
    found, _ = evaluate(run, replace(labelled, images=images))
    assert set(found["beside"]) == {"patient", "slide", "image"}
    assert pd.notna(entries_of(found, "slide")["auroc"])
