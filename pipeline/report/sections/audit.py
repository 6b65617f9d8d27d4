"""Why no patient is on both sides, and what was found on the way to that."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.engine.finished import Finished
from pipeline.report.blocks import Block, Cell, Folded, Section, Tone, Words, table
from pipeline.report.numbers import sentence
from pipeline.report.sections.answer import UNSAFE
from pipeline.words import counted

MOST_FINDINGS = 50
TONES: dict[str, Tone] = {"error": "bad", "warning": "doubt", "note": "muted"}
NO_RECORD = (
    "This run was made by an earlier version, which did not keep what the audit of the images and "
    "of the manifest found (flow.json). patientfold check of the same manifest finds it again."
)


def audit(run: Finished) -> Section:
    """The proof, made again from the files, and the findings."""
    blocks: list[Block] = list(_proof(run))
    if run.flow is None:
        blocks.append(Words(NO_RECORD, "muted"))
    else:
        blocks += [Words(text) for text in _copies(run.flow["copies"])]
        blocks += _findings(run.flow["findings"])
        lines = [Words(sentence(line), "muted") for line in run.flow["plan"]]
        blocks.append(Folded("How the plan deals patients, and how evenly", lines))
    return Section("audit", "Leak audit", blocks)


def _proof(run: Finished) -> Iterator[Block]:
    """Of the plan, and of the predictions that they follow it."""
    if run.is_unsafe:
        yield Words(UNSAFE, "bad")
        return
    plan = run.folds  # reading it proves it
    groups = len(set(plan.groups.values()))
    yield Words(
        f"Proved again for this page, from the plan in the run folder: in none of "
        f"{counted(plan.num_folds, 'fold')} is one of {counted(len(plan.groups), 'patient')}, or "
        f"of {counted(groups, 'leakage group')}, in two parts.",
        "good",
    )
    tested = {int(str(f)): set(rows) for f, rows in run.images.groupby("fold")["patient_id"]}
    wrong = [fold.index for fold in plan.folds if tested.get(fold.index, set()) != fold.test]
    if wrong:
        names = ", ".join(map(str, wrong))
        yield Words(f"The predictions of fold {names} are not of its test patients.", "bad")
    else:
        yield Words(
            "The test predictions of each fold are of exactly its test patients, and are those "
            "that were sealed with a hash when the fold ended.",
            "good",
        )


def _copies(copies: Mapping[str, int] | None) -> Iterator[str]:
    if copies is None:
        yield (
            "Copies of images under two patients: only files of the same bytes were looked for "
            "(audit.content=false)."
        )
        return
    exact, near = copies["exact_pairs"], copies["near_pairs"]
    if exact or near:
        yield (
            f"Copies of images under two patients: {counted(exact, 'pair')} with the same pixels, "
            f"whose patients were joined, and {counted(near, 'pair')} that are nearly the same; of "
            f"{counted(copies['patient_pairs'], 'pair')} of patients."
        )
    else:
        yield "No image was found under two patients, neither with the same pixels nor nearly so."
    if flat := copies["without_contrast"]:
        yield f"Not compared: {counted(flat, 'image')} without contrast."


def _findings(findings: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    if not findings:
        yield Words("Neither the manifest, nor the images, nor the plan gave cause for a warning.")
        return
    rows = [
        [
            Cell(of["severity"], TONES[of["severity"]]),
            str(of["rule"]).replace("_", " "),
            of["message"],
            str(of["line"] or ""),
        ]
        for of in findings[:MOST_FINDINGS]
    ]
    note = (
        ""
        if len(findings) <= MOST_FINDINGS
        else f"{len(findings) - MOST_FINDINGS} more: flow.json."
    )
    yield table(["", "about", "what was found", "line"], rows, note, num_words=3)
