"""Failures: the worst mistakes, with their pictures where the run kept them."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.engine.explanation import FOLDER as EXPLAINED
from pipeline.engine.explanation import read_explanation
from pipeline.engine.finished import Finished
from pipeline.engine.gallery import FOLDER
from pipeline.evaluation.failures import Failure
from pipeline.levels import PLURALS, Level
from pipeline.report.blocks import Block, Folded, Gallery, Heading, Picture, Section, Words, table
from pipeline.report.numbers import number

HOW = (
    "The wrong decisions of which the model was most sure: their probabilities are furthest beyond "
    "the threshold of their fold. Look at them: a wrong label, a poor image or a shortcut shows "
    "here first."
)
NAMES = "This part shows patients: keep the page where their images may be."
PNG = b"\x89PNG\r\n\x1a\n"


def failures(run: Finished) -> Section | None:
    """By level and kind; None where every decision was right."""
    cases = run.failures["cases"]
    if not cases:
        return None
    blocks: list[Block] = [Words(HOW, "muted"), Words(NAMES, "doubt")]
    for level in run.levels:
        of_level = [*_of_level(run, level, [case for case in cases if case["level"] == level])]
        if level == run.level:
            blocks += of_level
        elif of_level:
            blocks.append(Folded(f"{level.capitalize()} level", of_level))
    blocks += _explained(run)
    return Section("failures", "Failures", blocks)


def _of_level(run: Finished, level: Level, cases: list[Failure]) -> Iterator[Block]:
    kinds = dict.fromkeys((case["kind"], case["about"]) for case in cases)
    for kind, about in kinds:
        some = [case for case in cases if (case["kind"], case["about"]) == (kind, about)]
        yield Heading(f"{kind.capitalize()}, {about}: {PLURALS[level]}")
        shown = [(case, _picture(run.dir / FOLDER, case)) for case in some]
        if pictures := [picture for _, picture in shown if picture is not None]:
            yield Gallery(pictures)
        if rows := [_row(case) for case, picture in shown if picture is None]:
            yield table(["patient", "image", "decision", "fold"], rows, num_words=3)


def _picture(folder: Path, case: Failure) -> Picture | None:
    png = _png(folder, case["picture"])
    return (
        None if png is None else Picture(png, case["patient_id"], [_decision(case), *_where(case)])
    )


def _png(folder: Path, name: str | None) -> bytes | None:
    """A picture of the run folder; None where it has been deleted, or is none."""
    path = folder / (name or "")
    if not name or not path.is_file():
        return None
    content = path.read_bytes()
    return content if content.startswith(PNG) else None


def _decision(case: Failure) -> str:
    limit = "" if case["threshold"] is None else f", threshold {number(case['threshold'])}"
    scored = case["predicted"] if case["kind"] == "wrong class" else case["about"]
    probability = f"{scored} {number(case['probability'])}{limit}"
    return f"{case['label']}, called {case['predicted']}: {probability}"


def _where(case: Failure) -> list[str]:
    return [case["image_path"], f"fold {case['fold']}"]


def _row(case: Failure) -> list[str]:
    return [case["patient_id"], case["image_path"], _decision(case), str(case["fold"])]


def _explained(run: Finished) -> Iterator[Block]:
    """The heat maps of `patientfold explain`, if it was run."""
    found = read_explanation(run.dir)
    if found is None:
        return
    yield Heading("Where the network looks (Grad-CAM)")
    yield Words(found["check"], "plain" if found["shows_learning"] else "bad")
    pictures = []
    for case in found["cases"]:
        png = _png(run.dir / EXPLAINED, case["picture"])
        if png is not None:
            lines = [f"speaks for {case['about']}", case["image_path"], f"fold {case['fold']}"]
            pictures.append(Picture(png, case["patient_id"], lines))
    yield Gallery(pictures)
