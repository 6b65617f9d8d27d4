"""The answer: the headline with its interval, against what needs no model, in plain words."""

from collections.abc import Iterator, Sequence

from pipeline.engine.finished import Finished
from pipeline.evaluation.cases import cases_of
from pipeline.evaluation.console import MARKS
from pipeline.evaluation.floors import FLOORS, Verdict, against, floor_of
from pipeline.evaluation.summary import MetricEntry, shifted
from pipeline.label_names import LabelNames
from pipeline.levels import PLURALS, Level
from pipeline.report.blocks import Block, Cell, Headline, Section, Tone, Words, table
from pipeline.report.numbers import epoch_metric, interval, metric_words, number, percent, sentence
from pipeline.words import counted

UNSAFE = (
    "UNSAFE: this run was split by image, so that patients were trained and tested on. Its numbers "
    "show what that leak costs, and nothing else. Do not report them."
)
VERDICTS: dict[Verdict, tuple[str, str]] = {
    "better": ("better", "This is better than {}: the whole interval lies above it."),
    "not distinguishable": (
        "no difference shown",
        "No difference from {} is shown: the interval holds it.",
    ),
    "worse": ("worse", "This is worse than {}: the whole interval lies below it."),
    "unknown": (
        "no interval",
        "Whether this is better than {} cannot be said, since it has no interval.",
    ),
}
TONES: dict[Verdict, Tone] = {
    "better": "good",
    "not distinguishable": "doubt",
    "worse": "bad",
    "unknown": "muted",
}
IN_WORDS = {
    "unstable": f"Unstable: {MARKS['unstable']}. One patient more or less may move the value much.",
    "imprecise": f"Imprecise: {MARKS['imprecise']}. The true value may lie anywhere within it.",
}


def answer(run: Finished) -> Section:
    """What everybody wants to know first."""
    entries = run.numbers[run.level] or {}
    name = next(
        (n for n in ("auroc", "balanced_accuracy") if _value(entries, n) is not None), "auroc"
    )
    blocks: list[Block] = [Words(UNSAFE, "bad")] * run.is_unsafe
    if name in entries:
        blocks += _headline(run, name, entries[name])
    blocks += [Words(text) for text in _sentences(run, entries)]
    blocks += [Words(text, "doubt") for text in _doubts(run, name, entries)]
    blocks += [Words(text) for text in (*_locked(run), *_final(run))]
    blocks.append(_floors(run, entries))
    return Section("answer", "The answer", blocks)


def _value(entries: dict[str, MetricEntry], name: str) -> float | None:
    return entries[name]["value"] if name in entries else None


def _headline(run: Finished, name: str, entry: MetricEntry) -> Iterator[Block]:
    num, level = run.numbers["num"], run.level
    of = f"{counted(num['patients'], 'patient')}, {counted(num['images'], 'image')}"
    if _is_binary(run.classes):
        of += f"; {counted(entry['num_positive'], 'patient')} with {run.classes[1]}"
    title = f"{metric_words(name)}, {level} level"
    if len(run.classes) > 2 or isinstance(run.classes, LabelNames):
        noun = "labels" if isinstance(run.classes, LabelNames) else "classes"
        title += f", mean over the {len(run.classes)} {noun}"
    bounds = interval(entry.get("ci_low"), entry.get("ci_high"))
    yield Headline(title, number(entry["value"]), f"95 % interval {bounds}", of)


def _sentences(run: Finished, entries: dict[str, MetricEntry]) -> Iterator[str]:
    entry = entries.get("auroc")
    if entry is not None and entry["value"] is not None:
        yield _ranking(run, entry)
    elif entry is not None and entry.get("num_missing"):
        missing, of = entry["num_missing"], len(run.numbers["num"]["per_fold"])
        yield (
            f"There is no AUROC over folds: {missing} of {of} folds test {PLURALS[run.level]} of "
            "one class only. One of all folds together would compare the scores of networks that "
            "have scales of their own."
        )
    matrix = run.numbers["confusion"].get(run.level)
    if matrix is not None and _is_binary(run.classes):
        yield _decisions(run, matrix)
    if not run.is_unsafe:
        yield (
            "Every patient was tested by a network that had never seen that patient, and that was "
            f"chosen by the {epoch_metric(run.select_by)}, of other patients. The test part of "
            "each fold was opened once, at the end."
        )


def _ranking(run: Finished, entry: MetricEntry) -> str:
    """An AUROC in plain words."""
    level, classes = run.level, run.classes
    low, high = entry.get("ci_low"), entry.get("ci_high")
    has_bounds = low is not None and high is not None
    bounds = f" (95 % interval {percent(low)} to {percent(high)})" if has_bounds else ""
    pair = f"a random {level} of a class and one of the others, mean over the classes"
    if _is_binary(classes):
        pair = f"a random {level} labelled {classes[1]} and one labelled {classes[0]}"
    verdict = VERDICTS[against(entry, 0.5)][1].format("chance")
    return (
        f"Of {pair}, the model ranks the right one higher in {percent(entry['value'])} of pairs"
        f"{bounds}. Chance is 50 %. {verdict}"
    )


def _decisions(run: Finished, matrix: Sequence[Sequence[int]]) -> str:
    """What the decisions of two classes come to."""
    (right, alarms), (missed, found) = matrix
    negative, positive = run.classes
    rule, repeats = run.settings["evaluation"].get("threshold", ""), run.folds.repeats
    each = f" Each {run.level} counts in each of the {repeats} repeats."
    again = each if repeats > 1 else ""
    return (
        f"With the threshold of each fold (evaluation.threshold={rule}), the model finds {found:,} "
        f"of {found + missed:,} {PLURALS[run.level]} labelled {positive}. Of {right + alarms:,} "
        f"labelled {negative} it calls {alarms:,} {positive} by mistake.{again}"
    )


def _locked(run: Finished) -> Iterator[str]:
    """What the patients say that no fold saw, once they were opened."""
    found = ((run.locked or {}).get(run.level) or {}).get("auroc")
    if found is not None:
        bounds = interval(found.get("ci_low"), found.get("ci_high"))
        yield (
            "On the locked patients, whom no fold saw: AUROC "
            f"{number(found['value'])}, 95 % interval {bounds}."
        )


def _final(run: Finished) -> Iterator[str]:
    """That there is a network which was trained on everybody."""
    if run.final is not None:
        whom = counted(run.final["trained_on"]["patients"], "patient")
        yield (
            f"final/ holds one network that was trained on all {whom} of the folds, with the "
            "settings of this run. It was tested on nobody: what can be expected of it are the "
            "results on this page."
        )


def _doubts(run: Finished, name: str, entries: dict[str, MetricEntry]) -> Iterator[str]:
    if run.optimism:
        yield sentence(run.optimism)
    if name in entries:
        yield from (IN_WORDS[mark] for mark in entries[name].get("marks", []))
    if (found := shifted(entries)) is not None:
        yield (
            f"The AUROC of all folds' scores together is {found[0]:.3f}, not {found[1]:.3f}: the "
            "networks of the folds have scores of different scales. Take the mean over folds, and "
            "no single threshold for all networks."
        )
    if count := run.numbers.get("image_count"):
        yield count["note"]
    yield from (sentence(found["note"]) for found in run.numbers.get("fit", []))


def _floors(run: Finished, entries: dict[str, MetricEntry]) -> Block:
    """Each metric against what it would be without a model."""
    level: Level = run.level
    cases = cases_of(run.cases(level), run.classes)
    folds = run.cases(level)["fold"].to_numpy()
    rows: list[Sequence[str | Cell]] = []
    for name in FLOORS:
        if name not in entries or (found := floor_of(name, cases, folds)) is None:
            continue
        entry, (words, floor) = entries[name], found
        verdict = against(entry, floor)
        rows.append(
            [
                f"{metric_words(name)}, {PLURALS[level]}",
                Cell(VERDICTS[verdict][0], TONES[verdict]),
                number(entry["value"]),
                interval(entry.get("ci_low"), entry.get("ci_high")),
                f"{number(floor)} ({words})",
            ]
        )
    columns = ["against no model", "the model is", "value", "95 % interval", "without a model"]
    note = "Better or worse only where the whole interval is. Intervals are over patients."
    return table(columns, rows, note, num_words=2)


def _is_binary(classes: Sequence[str]) -> bool:
    return len(classes) == 2 and not isinstance(classes, LabelNames)
