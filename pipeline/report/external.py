"""The page of an external test: what the networks of a run come to on new patients."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.arrays import AnyInts
from pipeline.engine.finished import Finished
from pipeline.evaluation.beside import Beside, External
from pipeline.evaluation.cases import cases_of
from pipeline.evaluation.summary import levels_of
from pipeline.files import write_whole
from pipeline.levels import PLURALS, Level
from pipeline.report.blocks import (
    Block,
    Cell,
    Folded,
    Heading,
    Headline,
    Section,
    Tone,
    Words,
    charts_of_levels,
    table,
)
from pipeline.report.numbers import NONE, interval, metric_names, metric_words, number, sentence
from pipeline.report.page import REPORT, rendered
from pipeline.report.sections.answer import IN_WORDS
from pipeline.report.sections.confusion import confusion_tables
from pipeline.report.sections.reliability import calibration_words, reliability_charts
from pipeline.report.sections.subgroups import section_of
from pipeline.report.sections.table_one import characteristics
from pipeline.words import counted

KEYS = ["patient_id", "image_path", "label"]
SHOWN = 30
"""Images that are unlike training, in the list of them."""
HEADLINES = ("auroc", "balanced_accuracy")
NEW = (
    "None of these patients is in the plan of the run: they were compared with it by id, by the "
    "pixels of their images, and by pictures that are nearly the same."
)
OTHERS = (
    "The cross-validation tests single networks, each on patients that it had not seen; here all "
    "of them predict together, which alone may make a small difference. The rest of a difference "
    "says that the patients, the labels or the scanners are others."
)
THRESHOLDS = (
    "Decided at the median of the thresholds that the folds have chosen on their validation parts. "
)
FIXED = "Decided at the threshold 0.5 of the run, which no part chose. "
LIKELIEST = "Decided for the class with the highest probability. "
UNCHOSEN = "Nothing was chosen on the new patients."
UNCOMPARED = (
    "The run keeps nothing that new images could be compared with: whether they are like those of "
    "training was not looked at."
)


@dataclass(frozen=True)
class ExternalTest:
    """All that the page shows."""

    run: Finished
    """Whose networks they are."""
    numbers: External
    tables: Mapping[Level, pd.DataFrame | None]
    """Decided, with fold, patient_id, label, predicted, prob_*."""
    groups: Mapping[str, str]
    """New patient -> leakage group."""
    cohort: pd.DataFrame
    """Rows of the new CSV: patient_id, image_path, label, and other columns as text."""
    unlike: pd.DataFrame
    """patient_id, image_path and `unlike` of the images that are unlike training."""
    source: str
    """Where the new patients come from, in words."""

    @property
    def levels(self) -> list[Level]:
        return levels_of(self.numbers)

    @property
    def level(self) -> Level:
        return self.levels[0]

    def units(self, level: Level) -> AnyInts:
        """(N,) leakage groups of a level's rows, as numbers."""
        of = self.tables[level]
        assert of is not None, "the level is there"
        return pd.factorize(of["patient_id"].map(self.groups))[0].astype(np.int64)


def write_external_report(test: ExternalTest, out_dir: Path) -> Path:
    """Write report.html; the same test gives the same bytes."""
    path = out_dir / REPORT
    write_whole(path, external_page(test))
    return path


def external_page(test: ExternalTest) -> str:
    """The whole page."""
    sections = [section for make in SECTIONS if (section := make(test)) is not None]
    num = test.numbers["num_networks"]
    networks = f"the {num} networks" if num > 1 else "the network"
    under = f"{test.source}, predicted by {networks} of run {test.numbers['key'][:12]}."
    return rendered(f"External test: {test.run.name}", under, sections)


def _answer(test: ExternalTest) -> Section:
    found = test.numbers["beside"][test.level]
    name = next((n for n in HEADLINES if n in found and found[n]["value"] is not None), None)
    blocks: list[Block] = []
    if name is not None:
        blocks += _headline(test, name, found[name])
    else:
        whys = dict.fromkeys(test.numbers["undefined"].values())
        blocks.append(Words(f"There is no headline: {'; '.join(whys)}.", "doubt"))
    blocks.append(Words(NEW))
    return Section("answer", "The answer", blocks)


def _headline(test: ExternalTest, name: str, of: Beside) -> Iterator[Block]:
    num, level = test.numbers["num"], test.level
    who = f"{counted(num['patients'], 'new patient')}, {counted(num['images'], 'image')}"
    title = f"{metric_words(name)}, {level} level"
    bounds = interval(of["ci_low"], of["ci_high"])
    yield Headline(title, number(of["value"]), f"95 % interval {bounds}", who)
    yield Words(*_verdict(of))
    marks = (test.numbers[level] or {})[name]["marks"]
    yield from (Words(IN_WORDS[mark], "doubt") for mark in marks)


def _verdict(of: Beside) -> tuple[str, Tone]:
    """New patients against those of the cross-validation."""
    crossed = f"{number(of['cv_value'])} ({interval(of['cv_low'], of['cv_high'])})"
    low, high, difference = of["difference_low"], of["difference_high"], of["difference"]
    if low is None or high is None or difference is None:
        why = f"with {crossed} of the cross-validation it is not compared: {of['missing']}."
        return sentence(why), "doubt"
    text = f"The cross-validation said {crossed}; the difference is {difference:+.3f}, "
    text += f"95 % interval {low:+.3f} to {high:+.3f}. "
    if high < 0:
        return (
            f"{text}The networks do worse on these patients: the whole interval is below 0.",
            "bad",
        )
    if low > 0:
        return (
            f"{text}The networks do better on these patients: the whole interval is above 0.",
            "good",
        )
    return f"{text}No difference is shown: the interval holds 0.", "plain"


def _unlike(test: ExternalTest) -> Section:
    """Images of a kind that no test of the run was about."""
    found = test.numbers["unlike"]
    blocks: list[Block] = []
    if not found["compared"]:
        blocks.append(Words(UNCOMPARED, "doubt"))
    elif not found["num_images"]:
        blocks.append(Words("No image is unlike those of training.", "good"))
    else:
        num = counted(found["num_images"], "image")
        text = (
            f"{num} of {counted(found['num_patients'], 'patient')} unlike those of training. No "
            "test of these networks was about such images. They count in the numbers of this page. "
            "Of images that are like those of training, 1 in 100 is flagged, too."
        )
        blocks.append(Words(sentence(text), "doubt"))
        blocks += _without(test)
        rows = test.unlike[["patient_id", "image_path", "unlike"]].head(SHOWN).to_numpy().tolist()
        note = f"The first {SHOWN}; all are in predictions.csv." if len(test.unlike) > SHOWN else ""
        inner = table(["patient", "image", "why"], rows, note, num_words=3)
        blocks.append(Folded("Which images, and why", [inner]))
    return Section("unlike", "Images unlike those of training", blocks)


def _without(test: ExternalTest) -> Iterator[Block]:
    without = test.numbers["unlike"]["without"]
    name = next((n for n in HEADLINES if n in (without or {})), None)
    if without is not None and name is not None and without[name]["value"] is not None:
        bounds = interval(without[name]["ci_low"], without[name]["ci_high"])
        yield Words(
            f"Without these images: {metric_words(name)} {number(without[name]['value'])}, 95 % "
            f"interval {bounds}."
        )


def _patients(test: ExternalTest) -> Section:
    """The new patients next to those of the plan."""
    run = test.run
    crossed = run.images[KEYS] if run.cohort is None else run.cohort
    inside = {patient for fold in run.folds.folds for patient in fold.train | fold.val | fold.test}
    crossed = crossed[crossed["patient_id"].isin(inside)]
    shared = [name for name in crossed if name in test.cohort]
    columns = {"new patients": test.cohort[shared], "cross-validation": crossed[shared]}
    rows, left_out = characteristics(run.classes, pd.concat(columns.values()), columns)
    note = "Patients (share), or median (smallest to largest) over patients."
    if left_out:
        note += f" Not shown, since nearly every value differs: {', '.join(left_out)}."
    if lacking := [str(name) for name in crossed if name not in test.cohort]:
        note += f" Not in the new CSV: {', '.join(lacking)}."
    return Section("patients", "Patients", [table(["", *columns], rows, note)])


def _performance(test: ExternalTest) -> Section:
    """Every metric beside that of the cross-validation."""
    blocks: list[Block] = [Words(OTHERS, "muted")]
    for level in test.levels:
        blocks.append(Heading(f"{level.capitalize()} level"))
        entries = test.numbers[level] or {}
        names = metric_names(entries, test.run.classes, level)
        rows = [_row(names[name], of) for name, of in test.numbers["beside"][level].items()]
        columns = ["metric", "", "new patients", "95 % interval"]
        columns += ["cross-validation", "95 % interval", "difference", "95 % interval"]
        blocks.append(table(columns, rows, num_words=2))
    return Section("performance", "All metrics, beside the cross-validation", blocks)


def _row(name: str, of: Beside) -> Sequence[str | Cell]:
    low, high = of["difference_low"], of["difference_high"]
    bounds = NONE if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
    differs = low is not None and high is not None and (low > 0 or high < 0)
    difference = NONE if of["difference"] is None else f"{of['difference']:+.3f}"
    return [
        name,
        Cell("differs", "doubt") if differs else Cell(of["missing"], "muted"),
        number(of["value"]),
        interval(of["ci_low"], of["ci_high"]),
        number(of["cv_value"]),
        interval(of["cv_low"], of["cv_high"]),
        difference,
        bounds,
    ]


def _decisions(test: ExternalTest) -> Section:
    """Thresholds, what they came to, and the confusion matrices."""
    if not any(test.numbers["points"].values()):
        how = LIKELIEST
    elif test.run.settings["evaluation"].get("threshold") == "fixed":
        how = FIXED
    else:
        how = THRESHOLDS
    blocks: list[Block] = [Words(how + UNCHOSEN, "muted")]
    for level in test.levels:
        blocks.append(Heading(f"{level.capitalize()} level"))
        names = ("sensitivity", "specificity", "ppv", "npv")
        rows: list[Sequence[str | Cell]] = [
            [name, number(of["threshold"]), *(number(of["reached"][each]) for each in names)]
            for name, of in test.numbers["points"][level].items()
        ]
        if rows:
            blocks.append(table(["called", "threshold", *map(metric_words, names)], rows))
        matrix = test.numbers["confusion"].get(level)
        if matrix is not None:
            blocks += confusion_tables(test.run.classes, level, matrix)
    return Section("decisions", "Decisions", blocks)


def _reliability(test: ExternalTest) -> Section:
    how = (
        f"New {PLURALS[test.level]}, in bins of as many each by the probability that is given. On "
        "the dotted line, as many have the class as it says. Bars: 95 % intervals over patients."
    )
    blocks: list[Block] = [Words(how, "muted")]
    charts = {}
    for level in test.levels:
        of = test.tables[level]
        assert of is not None, "the level is there"
        cases = cases_of(of, test.run.classes)
        charts[level] = [*reliability_charts(cases, test.units(level), test.run.classes, level)]
    blocks += charts_of_levels(charts)
    blocks += [
        Words(text)
        for level in test.levels
        for text in calibration_words(test.numbers[level] or {}, level)
    ]
    return Section("reliability", "Reliability of the probabilities", blocks)


def _subgroups(test: ExternalTest) -> Section | None:
    found = test.numbers.get("subgroups")
    return None if found is None else section_of(found)


def _origin(test: ExternalTest) -> Section:
    """Whose networks they are."""
    numbers = test.numbers
    rows = [
        ["run folder", numbers["run_dir"]],
        ["run", numbers["key"]],
        ["plan", numbers["plan_hash"]],
        ["networks", f"{numbers['num_networks']} ({numbers['network']})"],
        ["patientfold", str(test.run.environment["packages"].get("patientfold", NONE))],
    ]
    note = "The version is that of the run. Every setting of it is in its own report."
    return Section("origin", "Which networks", [table(["", " "], rows, note, num_words=2)])


SECTIONS: tuple[Callable[[ExternalTest], Section | None], ...] = (
    _answer,
    _unlike,
    _patients,
    _performance,
    _decisions,
    _reliability,
    _subgroups,
    _origin,
)
"""In the order of the page."""
