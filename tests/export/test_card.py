"""The card says what a model is for, how good it was, what nobody has tried; it names nobody."""

from dataclasses import replace
from pathlib import Path

import pytest
from finished_run import cohort
from run_with_networks import PRIVATE, run_with_networks

from pipeline.engine.finished import Finished
from pipeline.ensemble import Ensemble
from pipeline.export.card import card
from pipeline.export.exporting import contents_of

HEADINGS = (
    "Intended use",
    "What it takes and gives",
    "Data",
    "How good it was",
    "Subgroups",
    "Limits",
    "Never tried",
)


def of(run: Finished) -> str:
    return card(run, contents_of(Ensemble.read(run), "folds").plain)


def test_it_has_all_parts_with_the_numbers_of_the_run(run: Finished) -> None:
    text = of(run)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(HEADINGS)
    entry = (run.numbers["patient"] or {})["auroc"]
    assert f"{entry['value']:.3f} (95 % CI {entry['ci_low']:.3f} to {entry['ci_high']:.3f})" in text
    assert "30 patients" in text
    assert run.plan[0]["plan_hash"][:12] in text
    assert "the mean of 3 networks, one of each fold" in text
    assert "1 x 24 x 24 values (channels first) of uint8" in text
    assert "no medical device" in text
    assert "cannot be tested on these patients" in text
    thresholds = contents_of(Ensemble.read(run), "folds").thresholds
    assert f"{thresholds['patient']['lesion']:.4g}" in text


def test_the_network_of_everybody_is_called_untested(run: Finished) -> None:
    contents = replace(contents_of(Ensemble.read(run), "folds"), network="final")
    text = card(run, contents.plain)
    assert "**Untested.** This one network was trained on everybody" in text
    assert "one network, trained on everybody" in text
    assert "This very network, on anybody." in text


def test_it_names_no_patient_and_no_file(run: Finished) -> None:
    text = of(run).encode()
    assert not [name for name in (*PRIVATE, str(run.dir).encode()) if name in text]


def test_names_from_outside_break_no_table(tmp_path: Path) -> None:
    classes = ("no|ne", "<b>le*sion</b>")
    text = of(run_with_networks(tmp_path / "run", manifest=cohort(30, classes)))
    assert "<b>" not in text
    assert "no\\|ne" in text


@pytest.mark.slow
@pytest.mark.parametrize("site", [True, False])
def test_what_was_never_tried_follows_from_the_settings(tmp_path: Path, site: bool) -> None:
    column = ["manifest.columns.site=site"] if site else []
    run = run_with_networks(tmp_path / "run", *column, "images.spacing=[1.0]")
    text = of(run)
    assert "Patients of other hospitals, devices or years" in text
    assert "`run_onnx.py` cannot prepare images by itself (images.spacing" in text
    assert "no column says who belongs to them" in text  # this run has no cohort.csv
