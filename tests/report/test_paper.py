"""report.md: its numbers are those of the run folder, its words those of the run's settings."""

import json
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from finished_run import cohort, finished_run, with_settings
from markdown_it import MarkdownIt

from pipeline.config import SplitConfig
from pipeline.engine.finished import Finished
from pipeline.files import write_json
from pipeline.report.paper import cells, write_paper
from pipeline.report.paper.facts import Facts
from pipeline.splits import plan_by_image
from pipeline.tracking.ledger import Entry, note_tested
from pipeline.tracking.result import with_seal

Table = list[list[str]]


def paper_of(run: Finished, path: Path) -> str:
    write_paper(run, path)
    return path.read_text(encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """A function that makes a run with settings, and returns its report."""

    def make(*overrides: str, **more: object) -> str:
        found = finished_run(tmp_path / "run", *overrides, **more)  # type: ignore[arg-type]
        return paper_of(found, tmp_path / "report.md")

    return make


def tables(text: str) -> list[Table]:
    """The cells of every table, as a renderer shows them."""
    tokens = MarkdownIt().enable("table").parse(text)
    found: list[Table] = []
    for token, inner in pairwise(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            shown = "".join(child.content for child in inner.children or [])
            found[-1][-1].append(shown)
    return found


# --- numbers


def test_the_tables_have_the_numbers_of_the_run_folder(binary: Finished, tmp_path: Path) -> None:
    summary = json.loads((binary.dir / "metrics.json").read_text())
    text = paper_of(binary, tmp_path / "report.md")
    _, patient, confusion, *_ = tables(text)
    entries = summary["patient"]
    assert len(patient) == 1 + len(entries)
    for row, entry in zip(patient[1:], entries.values(), strict=True):
        assert row[1] == f"{entry['value']:.3f}"
        assert row[2] == f"{entry['ci_low']:.3f} to {entry['ci_high']:.3f}"
        if None in entry["per_fold"]:
            assert row[3] == f"{entry['num_missing']} of 3 not defined"
            continue
        values = {f"{value:.3f}" for value in (min(entry["per_fold"]), max(entry["per_fold"]))}
        assert {*re.findall(r"-?\d+\.\d+", row[3])} == values
    counts = [[int(cell) for cell in row[1:3]] for row in confusion[1:]]
    assert counts == summary["confusion"]["patient"]
    assert sum(int(row[3]) for row in confusion[1:]) == summary["num"]["patients"]
    auroc = entries["auroc"]
    interval = f"{auroc['ci_low']:.3f} to {auroc['ci_high']:.3f}"
    assert f"AUROC {auroc['value']:.3f} (95 % CI {interval})" in text.splitlines()[2]


def test_each_fold_has_its_line_and_its_operating_point(binary: Finished, tmp_path: Path) -> None:
    found = tables(paper_of(binary, tmp_path / "report.md"))
    folds = next(table for table in found if table[0][:2] == ["fold", "test patients"])
    points = next(table for table in found if table[0][:2] == ["fold", "threshold"])
    for fold, result in binary.results.items():
        of_test = result["test"]["patient"]
        assert folds[1 + fold][3] == f"{of_test['auroc']:.3f}"
        val = result["val"]["patient"]
        expected = [val["sensitivity"], of_test["sensitivity"]]
        assert points[1 + fold][1] == f"{result['thresholds']['patient']:.3f}"
        assert points[1 + fold][2:4] == [f"{value:.3f}" for value in expected]


def test_it_names_no_patient_no_image_and_no_folder(
    binary: Finished, several: Finished, tmp_path: Path
) -> None:
    for found in (binary, several):
        text = paper_of(found, tmp_path / "report.md")
        assert "Patient-" not in text
        assert "secret" not in text
        assert str(found.dir.parent) not in text


def test_mean_and_sd_over_folds_are_nowhere(binary: Finished, tmp_path: Path) -> None:
    text = paper_of(binary, tmp_path / "report.md")
    assert not re.search(r"\d (?:\+-|\N{PLUS-MINUS SIGN}) ?\d", text)


# --- words


def test_a_network_is_described_with_all_that_trained_it(several: Finished, tmp_path: Path) -> None:
    text = paper_of(several, tmp_path / "report.md")
    for words in (
        "pipeline.models.LeNet5 (in_channels 1, num_classes 3), with 1,000 trainable parameters",
        "drawn by the scheme he_normal, biases 0 (seed 5)",
        "The optimizer was torch.optim.AdamW",
        "an exponential moving average of the weights (decay 0.9)",
        "Training images were augmented at random",
        "the epoch with the smallest loss on it was kept",
        "the largest of those of the patient's images (evaluation.aggregate=max)",
        "The decision is the class, of 3, with the highest probability",
        "over leakage groups",
        "there was 1 group of 2 patients",
        "by the one model of the fold that tests it, in each of 2 repeats; models were not",
        "decisions (2 repeats, patient level) were wrong",
        "Internal test on 27 patients (54 images)",
        "in each of 2 repeats, which were dealt with the seeds 7 to 8; 6 folds in all",
        "(mean 100.000 to 105.000, SD 10.000 to 15.000)",
        "Models were thus trained as if the class shares were normal 33.3 %",
    ):
        assert words in text, words


def test_several_classes_have_a_row_each(several: Finished, tmp_path: Path) -> None:
    found = tables(paper_of(several, tmp_path / "report.md"))
    of_class = next(table for table in found if table[0][:2] == ["class", "patients with it"])
    assert [row[0] for row in of_class[1:]] == ["normal", "bacteria", "virus"]
    entry = several.summary["patient"]["auroc_virus"]  # type: ignore[index]
    assert of_class[3][2].startswith(f"{entry['value']:.3f} (")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["split=holdout", "split.test_fraction=0.3", "split.val_fraction=0.3"],
            "Only the patients of the test part, 9 of 30",
        ),
        (
            ["split=leave_one_out", "split.leave_out=site", "manifest.columns.site=site"],
            "each value of the column site was tested by a model of the others",
        ),
        (
            ["split=temporal", "split.test_from=2015-01-01", "manifest.columns.date=date"],
            "patients with images from 2015-01-01 on were tested",
        ),
        (["split.num_folds=3", "split.locked_fraction=0.2"], "patients had been locked away"),
        (["evaluation.patient_label=none"], "There is no patient level"),
    ],
)
def test_each_way_of_splitting_and_deciding_has_its_words(
    run: Callable[..., str], overrides: list[str], words: str
) -> None:
    text = run(*overrides)
    assert words in text
    assert "nan" not in re.sub("nan or infinite", "", text)
    assert all(len({len(row) for row in table}) == 1 for table in tables(text))


@pytest.mark.slow
def test_a_ranking_that_cannot_be_computed_is_missing_with_its_reason(
    run: Callable[..., str],
) -> None:
    text = run("split=leave_one_out", manifest=cohort(12))
    assert "Each of 12 folds tested one patient" in text
    assert "AUROC and average precision cannot be computed: in 12 of 12 folds" in text
    assert "AUROC" not in text.splitlines()[2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"evaluation.threshold": "cost5"},
            "least cost, where a missed positive costs as much as 5 false alarms",
        ),
        (
            {"evaluation.threshold": "specificity0.95"},
            "the lowest with a specificity of 0.95 or more",
        ),
        ({"evaluation.threshold": "fixed"}, "at a fixed threshold of 0.5"),
        ({"evaluation.aggregate": "q75"}, "the percentile 75 of those of the patient's images"),
        ({"evaluation.patient_label": "worst"}, "the latest class of any image, in the order"),
        ({"evaluation.novelty": "strange"}, "Further settings: evaluation.novelty = strange."),
        (
            {"evaluation.calibration": "temperature"},
            "calibrated by a temperature, fitted on the validation part of each fold",
        ),
        ({"images.window": [-150.0, 250.0], "images.unit": "HU"}, "windowed from -150 to 250 HU"),
        ({"images.spacing": [1.0, 1.0, 2.5]}, "resampled to 1 x 1 x 2.5 mm"),
        ({"manifest.columns.study": "exam"}, "Patients linked by the column exam or an identical"),
        ({"split.stratify": ["sex"]}, "the shares of each class and sex"),
        ({"split.file": "somewhere/frozen.csv"}, "read from a file (frozen.csv)"),
        (
            {
                "model": {"_target_": "monai.networks.nets.DenseNet121"},
                "init.weights": "somewhere/best.pt",
            },
            "a file of weights (best.pt, SHA-256 unknown). TODO(author): on which data",
        ),
    ],
)
def test_each_setting_has_its_words(
    settings: dict[str, object], words: str, binary: Finished, tmp_path: Path
) -> None:
    text = paper_of(with_settings(binary, settings), tmp_path / "report.md")
    assert words in text
    assert "somewhere" not in text


@pytest.mark.slow
def test_labels_that_do_not_exclude_each_other(run: Callable[..., str]) -> None:
    manifest = cohort(30, ("edema", "effusion"), ("edema|effusion", "edema", "none"))
    text = run("manifest.task=multilabel", "split.num_folds=3", manifest=manifest)
    assert "An image can have several labels, or none" in text
    decisions = next(t for t in tables(text) if t[0][:2] == ["label", "true positives"])
    assert [row[0] for row in decisions[1:]] == ["edema", "effusion"]
    assert [sum(map(int, row[1:])) for row in decisions[1:]] == [30, 30]
    assert re.search(r"patient level: edema [\d., and]+ in folds 0 to 2; effusion", text)


def test_what_was_left_out_and_warned_of_comes_from_the_flow(
    binary: Finished, tmp_path: Path
) -> None:
    later = with_settings(binary, {"manifest.blank_label": "leave_out"})
    vars(later)["flow"] = {
        "read": {"rows": 64, "patients": 31},
        "left_out": [{"reason": "no label", "rows": 4, "patients": 1}],
        "groups": {"joins": {}},
        "parts": [],
        "findings": [
            {"rule": "two_sites", "severity": "warning", "message": "Patient-003 is at two sites"}
        ],
    }
    text = paper_of(later, tmp_path / "report.md")
    assert "The manifest has 64 rows, of which 60 have a label" in text
    assert "4 rows without a label were left out" in text
    assert "The check of data and plan gave warnings (two sites)" in text
    assert "Patient-003" not in text


def test_a_split_by_image_says_first_that_it_is_unsafe(run: Callable[..., str]) -> None:
    manifest, plan = plan_by_image(cohort(), SplitConfig(num_folds=3))
    text = run("split.num_folds=3", manifest=manifest, plan=plan)
    assert text.splitlines()[2].startswith("**UNSAFE")
    assert "Images, not patients, were dealt" in text
    assert "no patient is in two parts" not in text
    assert "Patient-" not in text


def test_names_of_classes_cannot_break_a_table(run: Callable[..., str]) -> None:
    names = ("a|*b*", "<c>_`d`[e](f)")
    manifest = cohort(30, names)
    text = run("split.num_folds=3", manifest=manifest)
    found = tables(text)
    assert len(found) >= 8
    assert all(len({len(row) for row in table}) == 1 for table in found)
    confusion = next(t for t in found if t[0][0] == "patients" and len(t[0]) == 4)
    assert confusion[0][1:3] == [f"called {name}" for name in names]


def test_a_folder_of_an_earlier_version_has_its_report(binary: Finished, tmp_path: Path) -> None:
    """Without intervals, settings, flow and hashes that later versions write."""
    old = tmp_path / "old"
    shutil.copytree(binary.dir, old)
    summary = json.loads((old / "metrics.json").read_text())
    for entries in (summary["patient"], summary["image"]):
        for entry in entries.values():
            for name in ("ci_low", "ci_high", "num_positive", "marks", "pooled"):
                entry.pop(name, None)
    del summary["seal"]
    write_json(old / "metrics.json", summary)
    for path in old.glob("fold_*/result.json"):
        result = json.loads(path.read_text())
        for name in ("trained_under", "logit_shift", "best_sha256", "seconds", "candidate", "seal"):
            result.pop(name)
        write_json(path, with_seal(result))
    environment = json.loads((old / "environment.json").read_text())
    del environment["plugins"]
    write_json(old / "environment.json", environment)
    config = (old / "config.yaml").read_text()
    for group in ("privacy", "features"):
        config = re.sub(rf"^{group}:\n(?:  .*\n)+", "", config, flags=re.MULTILINE)
    config = re.sub(r"^  (?:normalise|nonfinite|blank_label|prior): .*\n", "", config, flags=re.M)
    (old / "config.yaml").write_text(config)
    text = paper_of(Finished.read(old), tmp_path / "report.md")
    new = paper_of(binary, tmp_path / "new.md")
    assert tables(text)[1] == tables(new)[1]  # intervals are computed anew
    assert "None" not in text


def test_how_many_settings_were_tried_comes_from_the_ledger(
    binary: Finished, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    run = with_settings(binary, {"tracking.ledger": str(ledger)})
    plan = run.plan[0]
    for num, words in enumerate(
        ("nothing was chosen by test results", "those of the best of 2, and optimistic"), 1
    ):
        entry = Entry(
            event="tested", plan=plan["plan_hash"], manifest=plan["manifest_hash"], key=f"key {num}"
        )
        ledger.touch()
        note_tested(ledger, entry)
        assert words in paper_of(run, tmp_path / "report.md")
    assert "TODO(author): how many settings" in paper_of(binary, tmp_path / "report.md")


def test_the_locked_patients_have_their_values(binary: Finished, tmp_path: Path) -> None:
    opened = with_settings(binary, {})
    vars(opened)["locked"] = {**binary.summary, "opened": [{"key": opened.key}]}
    text = paper_of(opened, tmp_path / "report.md")
    auroc = binary.summary["patient"]["auroc"]["value"]  # type: ignore[index]
    assert f"at patient level: AUROC {auroc:.3f} (95 % CI" in text
    assert "They were opened for 1 run." in text
    assert "### Locked patients" not in paper_of(binary, tmp_path / "report.md")


def test_a_threshold_that_was_no_choice_is_named(binary: Finished, tmp_path: Path) -> None:
    changed = with_settings(binary, {})
    made = binary.results[1]["operating_points"]["patient"]["lesion"]
    point = {"patient": {"lesion": made | {"rule": "fixed"}}}
    results = {fold: {**result, "operating_points": {}} for fold, result in binary.results.items()}
    vars(changed)["results"] = results | {1: {**results[1], "operating_points": point}}
    words = "In fold 1 the validation part had one class alone: the threshold is 0.5 there."
    assert words in paper_of(changed, tmp_path / "report.md")
    assert words not in paper_of(binary, tmp_path / "report.md")


def test_labels_of_which_a_fold_could_not_choose_are_named(
    run: Callable[..., str], tmp_path: Path
) -> None:
    manifest = cohort(30, ("edema", "effusion"), ("edema|effusion", "edema", "none"))
    run("manifest.task=multilabel", "split.num_folds=3", manifest=manifest)
    found = Finished.read(tmp_path / "run")
    result = found.results[2]
    points = deepcopy(result["operating_points"])
    points["patient"]["effusion"]["rule"] = "fixed"
    changed = with_settings(found, {})
    vars(changed)["results"] = {**found.results, 2: {**result, "operating_points": points}}
    words = "had a label, its threshold is 0.5: effusion (fold 2)."
    assert words in paper_of(changed, tmp_path / "other.md")


def test_a_fixed_threshold_was_chosen_nowhere(binary: Finished, tmp_path: Path) -> None:
    fixed = with_settings(binary, {"evaluation.threshold": "fixed"})
    assert "where it was chosen" in paper_of(binary, tmp_path / "report.md")
    assert "where it was chosen" not in paper_of(fixed, tmp_path / "report.md")


@pytest.mark.parametrize(
    ("used", "words"),
    [
        ("bfloat16", "the precision was bfloat16."),
        ("float16", "the precision was float16 with loss scaling."),
        (None, "the precision was bfloat16 (float16 on a GPU without it)."),
    ],
)
def test_the_precision_is_that_in_which_folds_were_computed(
    several: Finished, tmp_path: Path, used: str | None, words: str
) -> None:
    changed = with_settings(several, {"training.precision": "auto"})
    vars(changed)["results"] = {
        fold: {**result, "device": "cuda:0"} | ({"precision": used} if used else {})
        for fold, result in several.results.items()
    }
    assert words in paper_of(changed, tmp_path / "report.md")


def test_where_nothing_is_wrong_no_error_is_the_most_frequent(
    binary: Finished, tmp_path: Path
) -> None:
    changed = with_settings(binary, {})
    right = {**binary.numbers["confusion"], "patient": [[20, 0], [0, 10]]}
    vars(changed)["numbers"] = {**binary.numbers, "confusion": right}
    text = paper_of(changed, tmp_path / "report.md")
    assert "None of 30 patients was called wrongly" in text
    assert "most often" not in text


def test_intervals_are_of_the_smaller_side_of_the_class_they_are_of(tmp_path: Path) -> None:
    """50 patients have the positive class and 4 do not."""
    manifest = cohort(54, labels=None)
    few = manifest.table["patient_id"].isin([f"Patient-{i:03}" for i in range(0, 36, 9)])
    table = manifest.table.assign(label=np.where(few, "healthy", "lesion"))
    found = finished_run(
        tmp_path / "run", "split.num_folds=4", manifest=replace(manifest, table=table)
    )
    assert Facts(found).rarest() == 4
    assert Facts(found).rarest(1, in_groups=True) == 4
    text = paper_of(found, tmp_path / "report.md")
    assert "a class (the fewest are 4): exchange one" in text


def test_the_rarest_side_is_that_of_the_level(tmp_path: Path) -> None:
    """Patients with a lesion have healthy images, too."""
    manifest = cohort(30)
    first = manifest.table["image_path"].str.endswith("-0.png")
    sick = manifest.table["patient_id"].str[-1].isin([*"0123456"])
    table = manifest.table.assign(label=np.where(first & sick, "lesion", "healthy"))
    found = finished_run(
        tmp_path / "run",
        "split.num_folds=3",
        "evaluation.patient_label=worst",
        manifest=replace(manifest, table=table),
    )
    assert Facts(found).level == "patient"
    assert Facts(found).rarest() == 9


GROUP = {
    "column": "sex",
    "group": "f",
    "metric": "sensitivity",
    "num_patients": 15,
    "num_positive": 12,
    "num_negative": 3,
    "value": 0.5,
    "ci_low": 0.25,
    "ci_high": 0.75,
    "difference": -0.4,
    "difference_low": -0.6,
    "difference_high": -0.1,
    "p": 0.004,
    "flagged": True,
    "missing": "",
}


@pytest.mark.parametrize("flagged", [True, False])
def test_groups_of_patients_have_their_values(
    binary: Finished, tmp_path: Path, flagged: bool
) -> None:
    run = with_settings(binary, {})
    groups = [{**GROUP, "flagged": flagged}]
    found = {"level": "patient", "num_comparisons": 3, "groups": groups}
    vars(run)["numbers"] = {**binary.summary, "subgroups": found}
    text = paper_of(run, tmp_path / "report.md")
    rows = next(t for t in tables(text) if t[0][0] == "group")
    expected = ["0.500 (0.250 to 0.750)", "-0.400 (-0.600 to -0.100)", "0.004"]
    assert rows[1][:6] == ["sex: f", "sensitivity", "15", *expected]
    worse = "sex f: sensitivity 0.500, 0.400 below all others (p = 0.004, Holm)."
    assert (f"- {worse}" in text) is flagged
    assert (worse in cells.subgroups(Facts(run)).text) is flagged  # type: ignore[union-attr]
    if not flagged:
        vars(run)["numbers"] = {**binary.summary, "subgroups": {**found, "num_comparisons": 0}}
        few = paper_of(run, tmp_path / "report.md")
        assert "By sex; the groups are too small to be compared." in few
        assert "P values are not given: nothing is compared." in few


def test_table_one_has_no_column_that_might_name_somebody(binary: Finished, tmp_path: Path) -> None:
    run = with_settings(binary, {})
    rows = binary.images[["patient_id", "image_path", "label"]]
    sex = ["fm"[int(patient[-1]) % 2] for patient in rows["patient_id"]]
    vars(run)["cohort"] = rows.assign(sex=sex, nurse="Nightingale").astype(str)
    text = paper_of(run, tmp_path / "report.md")
    found = {row[0]: row[1] for row in tables(text)[0][1:]}
    assert found["patients"] == "30"
    assert found["sex: f"] == found["sex: m"] == "15 (50 %)"
    assert found["with lesion"] == "10 (33 %)"
    assert "Nightingale" not in text
    assert "nurse" not in text
