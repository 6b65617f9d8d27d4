"""report.html: what it says, of which runs, and that it is a page of its own."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import laid_out
from finished_run import cohort, finished_run, with_settings
from parsed_page import Element, parsed
from PIL import Image
from rich.console import Console

from pipeline.commands.door import load_config
from pipeline.commands.report import main
from pipeline.commands.reporting import report_at_end
from pipeline.commands.settings import ReportSettings
from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.files import sha256, write_json
from pipeline.report.numbers import NONE
from pipeline.report.page import write_report
from pipeline.report.paper import write_paper
from pipeline.report.sections import SECTIONS
from pipeline.report.sections.table_one import in_digits
from pipeline.splits.plan import plan_by_image
from pipeline.tracking.result import with_seal

KEYS = [
    *("answer", "flow", "patients", "audit", "learning", "performance", "curves", "confusion"),
    *(
        "threshold",
        "reliability",
        "utility",
        "subgroups",
        "failures",
        "configuration",
        "environment",
    ),
]
HOSTILE = ("<script>alert(1)</script>", "Υγιής & 'b' \"><img src=x onerror=alert(2)>")
FLOW: dict[str, Any] = {
    "schema": 1,
    "read": {"rows": 70, "patients": 33},
    "left_out": [{"reason": "no label", "rows": 11, "patients": 3}],
    "in_folds": {"rows": 59, "patients": 30},
    "tested": {"rows": 59, "patients": 30, "promise": "every patient is tested exactly once"},
    "classes": [{"name": "healthy", "rows": 30, "patients": 20}],
    "groups": {"num": 29, "patients": 30, "joins": {"copied images": 1}, "largest": 2},
    "parts": [],
    "copies": {"exact_pairs": 2, "near_pairs": 0, "patient_pairs": 1, "without_contrast": 0},
    "findings": [
        {"rule": "two_sites", "severity": "warning", "message": "a <b>bold</b> one", "line": 7}
    ],
    "plan": ["plan: kfold, 3 folds"],
}


def page_of(run: Finished) -> Element:
    return parsed(write_report(run))


def section(page: Element, key: str) -> Element:
    (found,) = [of for of in page.all("section") if of.attributes["id"] == key]
    return found


@pytest.fixture
def copied(tmp_path: Path, made_once: Callable[..., Path]) -> Finished:
    """A run of its own, with a flow."""

    def make(folder: Path) -> None:
        finished_run(folder / "run", "split.num_folds=3", flow=FLOW)

    shutil.copytree(made_once("with_flow", make) / "run", tmp_path / "run")
    return Finished.read(tmp_path / "run")


@pytest.fixture(scope="module")
def page(binary: Finished) -> Element:
    return page_of(binary)


def test_it_opens_with_the_answer_and_has_every_section_in_order(page: Element) -> None:
    assert [of.attributes["id"] for of in page.all("section")] == KEYS
    assert len(KEYS) == len(SECTIONS)
    linked = [of.attributes["href"] for of in page.all("nav")[0].all("a")]
    assert linked == [f"#{key}" for key in KEYS]


def test_the_headline_is_that_of_metrics_json(page: Element, binary: Finished) -> None:
    entry = binary.summary["patient"]["auroc"]  # type: ignore[index]
    (headline,) = page.all("div", "headline")
    assert headline.all("span", "value")[0].text == f"{entry['value']:.3f}"
    bounds = f"95 % interval {entry['ci_low']:.3f} to {entry['ci_high']:.3f}"
    assert headline.all("span", "interval")[0].text == bounds
    num = binary.summary["num"]
    expected = f"{num['patients']} patients, {num['images']} images; 10 patients with lesion"
    assert headline.all("span", "of")[0].text == expected


def test_every_metric_of_both_levels_is_there_with_interval_and_folds(
    page: Element, binary: Finished
) -> None:
    tables = section(page, "performance").all("table")
    headings = [of.text for of in section(page, "performance").all("h3")]
    assert headings == ["Patient level", "Image level"]
    for table, level in zip(tables, ("patient", "image"), strict=True):
        entries = binary.summary[level]  # type: ignore[literal-required]
        rows = table.rows[1:]
        assert len(rows) == len(entries) > 10
        for row, entry in zip(rows, entries.values(), strict=True):
            assert row[1] == (NONE if entry["value"] is None else f"{entry['value']:.3f}")
            if entry["ci_low"] is not None:
                assert row[2].startswith(f"{entry['ci_low']:.3f} to {entry['ci_high']:.3f}")
            assert row[4:] == [NONE if of is None else f"{of:.3f}" for of in entry["per_fold"]]


def test_the_confusion_matrix_is_that_of_metrics_json(page: Element, binary: Finished) -> None:
    tables = section(page, "confusion").all("table")
    for table, level in zip(tables, ("patient", "image"), strict=True):
        counts = [[int(cell.split(" ")[0]) for cell in row[1:]] for row in table.rows[1:]]
        assert counts == binary.summary["confusion"][level]


def test_thresholds_stand_with_what_they_reach_on_validation_and_on_test(
    page: Element, binary: Finished
) -> None:
    patients = section(page, "threshold").all("table")[0].rows[1:]
    assert len(patients) == 3
    for row, (fold, result) in zip(patients, sorted(binary.results.items()), strict=True):
        reached = [
            result[part]["patient"][name]
            for name in ("sensitivity", "specificity")
            for part in ("val", "test")
        ]
        expected = [result["thresholds"]["patient"], *reached]
        assert row == [f"fold {fold}", *(f"{of:.3f}" for of in expected)]


def test_a_fixed_threshold_was_chosen_by_nobody(binary: Finished) -> None:
    fixed = with_settings(binary, {"evaluation.threshold": "fixed"})
    assert "no part chose it" in section(page_of(fixed), "threshold").text
    assert "comes from its validation part alone" in section(page_of(binary), "threshold").text


def test_what_several_repeats_test_counts_once(several: Finished) -> None:
    page = page_of(several)
    assert "27 patients, 54 images" in section(page, "answer").text
    assert "54 images of 27 patients" in section(page, "flow").text


def test_studies_are_called_so(tmp_path: Path) -> None:
    manifest = cohort(30)
    table = manifest.table.assign(study=manifest.table["image_path"].str[-9:-4])
    run = finished_run(
        tmp_path / "run",
        "split.num_folds=3",
        "evaluation.middle=study",
        "manifest.columns.study=study",
        manifest=replace(manifest, table=table),
    )
    write_paper(run, tmp_path / "report.md")
    for text in (write_report(run).read_text(), (tmp_path / "report.md").read_text()):
        assert "studies" in text
        assert "studys" not in text


def test_table_one_counts_the_patients_of_each_part(page: Element, binary: Finished) -> None:
    one, parts = section(page, "patients").all("table")
    rows = {row[0]: row[1:] for row in one.rows}
    assert rows["patients"] == ["30", *(str(len(fold.test)) for fold in binary.folds.folds)]
    assert rows["with lesion"][0] == "10 (33 %)"
    assert [row[:3] for row in parts.rows[1:]] == [
        [str(fold.index), part, str(len(fold.of(part)))]
        for fold in binary.folds.folds
        for part in ("train", "val", "test")
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (12870.0, "12,870"),
        (-1234.0, "-1,234"),
        (999.95, "1000"),
        (62.5, "62.5"),
        (0.03125, "0.03125"),
    ],
)
def test_a_large_number_is_written_in_digits(value: float, said: str) -> None:
    assert in_digits(value) == said


def test_charts_are_drawn_for_paper_and_for_the_screen_and_the_library_comes_once(
    page: Element, binary: Finished
) -> None:
    scripts = page.all("script")
    (data,) = [of for of in scripts if of.attributes.get("id") == "charts"]
    charts = json.loads(" ".join(data.words))
    figures = page.all("figure")
    assert [of.attributes["data-chart"] for of in figures] == [str(i) for i in range(len(charts))]
    images = [of.all("img", "still")[0].attributes for of in figures]
    assert all(of["src"].startswith("data:image/svg+xml;base64,") and of["alt"] for of in images)
    titles = [chart["layout"]["title"]["text"] for chart in charts]
    assert "ROC, lesion" in titles
    assert "Precision-recall, lesion" in titles
    text = (binary.dir / "report.html").read_text()
    assert len(re.findall(r"plotly\.js v\d", text)) == 1


@pytest.mark.slow
def test_a_report_needs_neither_torch_nor_images_nor_mlflow(copied: Finished) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.commands.reporting import written; "
        f"written(Path({str(copied.dir)!r})); print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "pipeline.report.page" in loaded
    assert not {"torch", "monai", "mlflow", "matplotlib"} & loaded


def test_nothing_is_loaded_from_elsewhere(page: Element) -> None:
    tags = {
        of.tag for name in ("link", "iframe", "object", "embed", "base") for of in page.all(name)
    }
    assert tags == set()
    for name in ("img", "script", "a", "source", "video"):
        for of in page.all(name):
            where = of.attributes.get("src", of.attributes.get("href", "#"))
            assert where.startswith(("#", "data:image/")), where
    (style,) = page.all("style")
    assert not re.search(r"url\(|@import|@font-face", style.text)
    (policy,) = [of for of in page.all("meta") if "http-equiv" in of.attributes]
    assert policy.attributes["content"].startswith("default-src 'none'; img-src data: blob:;")


def test_names_are_text_and_never_markup(tmp_path: Path, page: Element) -> None:
    long = "a_very_long_name_" * 12
    manifest = cohort(30, (HOSTILE[0], HOSTILE[1], long))
    table = manifest.table.replace("north", "<b>north</b>")
    table["patient_id"] = table["group"] = table["patient_id"].str.replace("Patient", "<i>P$x$")
    overrides = ["split.num_folds=3", "manifest.task=multiclass", "name=strange"]
    run = finished_run(
        tmp_path / "run", *overrides, manifest=replace(manifest, table=table), flow=FLOW
    )
    cohort_rows = table[["patient_id", "image_path", "label", "site"]]
    cohort_rows.to_csv(run.dir / "cohort.csv", index=False)
    strange = page_of(Finished.read(run.dir))
    for tag in ("script", "style", "meta"):
        assert len(strange.all(tag)) == len(page.all(tag))
    assert not [of for of in strange.all("img") if "onerror" in of.attributes]
    assert not strange.all("i")
    texts = [row[0] for row in section(strange, "patients").all("table")[0].rows]
    assert {f"with {name}" for name in (*HOSTILE, long)} <= set(texts)
    assert "site: <b>north</b>" in texts
    assert "a <b>bold</b> one" in section(strange, "audit").text
    charts = json.loads(
        " ".join(
            next(of for of in strange.all("script") if of.attributes.get("id") == "charts").words
        )
    )
    names = [of.get("name", "") for chart in charts for of in chart["data"]]
    layouts = [chart["layout"] for chart in charts]
    titles = [of["title"]["text"] for layout in layouts for of in (layout, layout["xaxis"])]
    assert any("&lt;script&gt;" in title for title in titles)
    assert not [text for text in (*names, *titles) if "<" in text]  # plotly takes it for markup


def test_the_flow_of_rows_and_patients_adds_up(copied: Finished) -> None:
    flow = section(page_of(copied), "flow")
    boxes = [of.text for of in flow.all("div", "box")]
    assert boxes[0] == "In the manifest 70 images of 33 patients"
    assert flow.all("div", "aside")[0].text == "left out no label: 11 images of 3 patients"
    assert "29 leakage groups of 30 patients" in boxes[1]
    assert boxes[2] == "Dealt to folds 59 images of 30 patients"
    assert boxes[-1].startswith("Tested 60 images of 30 patients")


def test_a_run_of_an_earlier_version_gets_its_report_with_intervals(
    copied: Finished, binary: Finished
) -> None:
    run = copied
    (run.dir / "flow.json").unlink()
    kept = {"value", "per_fold", "num_missing", "how"}
    old = {
        name: of
        for name, of in json.loads((run.dir / "metrics.json").read_text()).items()
        if name != "seal"
    }
    for level in ("patient", "image"):
        old[level] = {
            metric: {key: value for key, value in entry.items() if key in kept}
            for metric, entry in old[level].items()
            if metric in ("auroc", "average_precision", "sensitivity")
        }
    write_json(run.dir / "metrics.json", old)
    page = page_of(Finished.read(run.dir))
    (headline,) = page.all("div", "headline")
    entry = binary.summary["patient"]["auroc"]  # type: ignore[index]
    bounds = f"95 % interval {entry['ci_low']:.3f} to {entry['ci_high']:.3f}"
    assert headline.all("span", "interval")[0].text == bounds
    assert "earlier version" in section(page, "flow").text
    assert "earlier version" in section(page, "performance").text
    assert "earlier version" in section(page, "audit").text
    assert json.loads((run.dir / "metrics.json").read_text()) == old


def test_the_same_folder_gives_the_same_bytes_and_nothing_else_is_changed(copied: Finished) -> None:
    run = copied
    before = {path: sha256(path) for path in run.dir.rglob("*") if path.is_file()}
    first = write_report(run).read_bytes()
    again = write_report(Finished.read(run.dir)).read_bytes()
    assert first == again
    after = {path: sha256(path) for path in run.dir.rglob("*") if path.is_file()}
    assert after == before | {run.dir / "report.html": sha256(run.dir / "report.html")}


def test_patients_are_named_among_the_failures_only(binary: Finished, page: Element) -> None:
    said = section(page, "failures").text
    assert binary.failures["cases"]
    for case in binary.failures["cases"]:
        assert case["patient_id"] in said
    assert "keep the page where their images may be" in said
    for key in KEYS:
        if key != "failures":
            assert "Patient-0" not in section(page, key).text
            assert "secret-" not in section(page, key).text


def test_failures_have_their_pictures_where_the_run_kept_them(copied: Finished) -> None:
    cases = copied.failures["cases"]
    Image.new("L", (8, 8)).save(copied.dir / "one.png")
    for number, case in enumerate(cases):
        case["picture"] = f"{number}.png"
    write_json(copied.dir / "failures" / "failures.json", with_seal({"cases": cases}))
    for number in range(len(cases)):
        shutil.copy(copied.dir / "one.png", copied.dir / "failures" / f"{number}.png")
    (copied.dir / "failures" / "0.png").write_text("<svg onload=alert(1)>")  # no picture
    (copied.dir / "failures" / "1.png").unlink()
    found = section(page_of(Finished.read(copied.dir)), "failures")
    for case in cases:
        assert case["patient_id"] in found.text
    images = found.all("img")
    assert len(images) == len(cases) - 2
    assert all(of.attributes["src"].startswith("data:image/png;base64,iVBOR") for of in images)


def test_subgroups_are_those_of_metrics_json(page: Element, binary: Finished) -> None:
    found = binary.summary["subgroups"]
    rows = section(page, "subgroups").all("table")[0].rows[1:]
    assert [row[0] for row in rows] == [f"site: {one['group']}" for one in found["groups"]]
    for row, one in zip(rows, found["groups"], strict=True):
        assert row[5] == str(one["num_patients"])
        assert row[3] == (one["missing"] if one["value"] is None else f"{one['value']:.3f}")


def test_an_unsafe_run_is_called_so_first(tmp_path: Path) -> None:
    split = load_config(["manifest.path=x.csv", "split.num_folds=3"]).split
    leaking, plan = plan_by_image(cohort(), split)
    overrides = "split.num_folds=3", "evaluation.patient_label=none"
    run = finished_run(tmp_path / "run", *overrides, manifest=leaking, plan=plan)
    page = page_of(run)
    first = section(page, "answer").all("p")[0]
    assert first.attributes["class"] == "bad"
    assert first.text.startswith("UNSAFE")
    assert "Proved" not in section(page, "audit").text
    assert "never seen" not in section(page, "answer").text


@pytest.mark.slow
def test_leave_one_out_has_no_auroc_and_says_why(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", "split=leave_one_out", manifest=cohort(12))
    page = page_of(run)
    answer = section(page, "answer")
    assert answer.all("span", "name")[0].text == "balanced accuracy, patient level"
    assert "12 of 12 folds test patients of one class only" in answer.text
    assert "No mean where the test part of a fold lacks a class" in section(page, "curves").text
    assert section(page, "performance").all("table")[0].rows[0][-1] == "smallest to largest fold"


@pytest.mark.slow
def test_several_classes_and_labels_have_each_their_own(several: Finished, tmp_path: Path) -> None:
    page = page_of(several)
    assert "mean over the 3 classes" in section(page, "answer").all("span", "name")[0].text
    assert [of.text for of in page.all("summary")].count("Of each class by itself") == 2
    matrix = section(page, "confusion").all("table")[0].rows
    assert [row[0].split(" ")[0] for row in matrix[1:]] == ["normal", "bacteria", "virus"]
    assert "threshold" not in [of.attributes["id"] for of in page.all("section")]
    labels = cohort(30, ("edema", "effusion"), ["edema", "edema|effusion", "none"])
    run = finished_run(
        tmp_path / "run", "split.num_folds=3", "manifest.task=multilabel", manifest=labels
    )
    page = page_of(run)
    assert [row[0] for row in section(page, "confusion").all("table")[0].rows[1:]] == [
        "edema",
        "effusion",
    ]
    rows = section(page, "threshold").all("table")[0].rows
    assert [row[:2] for row in rows[1:3]] == [["fold 0", "edema"], ["fold 0", "effusion"]]


def test_a_run_that_is_not_finished_gets_one_message(copied: Finished) -> None:
    (copied.dir / "metrics.json").unlink()
    (copied.dir / "fold_00" / "result.json").unlink()
    with pytest.raises(UserError, match="not all of its folds are done; the same cv command"):
        main(ReportSettings(run_dir=str(copied.dir)))
    assert not (copied.dir / "report.html").exists()


def test_a_folder_of_runs_is_not_taken_for_a_run(binary: Finished) -> None:
    with pytest.raises(UserError, match="not the folder of a run, which is runs/<name>/<key>"):
        Finished.read(binary.dir.parent)


def test_a_report_that_cannot_be_written_is_a_warning_at_the_end_of_a_run(
    copied: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied.dir / "flow.json").write_text("{}")
    (copied.dir / "predictions.csv").write_text("damaged")
    report_at_end(copied.dir, Console(width=500))
    said = capsys.readouterr().out
    assert said.count("warning: the report was not written: ") == 1
    assert f"The run is whole; patientfold report run_dir={copied.dir}" in said


def test_the_command_says_where_both_files_are(
    copied: Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    main(ReportSettings(run_dir=str(copied.dir)))
    said = f"report: {copied.dir}/report.html (for a paper: report.md)"
    assert capsys.readouterr().out.splitlines() == [said]
    assert (copied.dir / "report.md").exists()


@pytest.mark.slow
def test_a_phone_shows_it_without_scrolling_sideways(several: Finished) -> None:
    found = laid_out(write_report(several), 400)
    assert found["width"] <= 400
    shown = [end for _, wide, end in found["cells"] if wide]
    assert len(shown) > 200
    assert max(shown) <= 400
