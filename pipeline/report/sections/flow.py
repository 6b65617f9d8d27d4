"""Rows and patients, from the manifest to the folds."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.engine.finished import Finished
from pipeline.report.blocks import Block, Flow, Section, Step, Words
from pipeline.splits.describe import promise
from pipeline.words import counted

NO_RECORD = (
    "This run was made by an earlier version, which did not record (flow.json) what became of the "
    "rows before they were planned: how many were read, left out and joined is not known here."
)


def flow(run: Finished) -> Section:
    """A diagram whose numbers add up."""
    blocks: list[Block] = [Flow(tuple(_steps(run)))]
    if run.flow is None:
        blocks.append(Words(NO_RECORD, "muted"))
    return Section("flow", "Flow of patients and images", blocks)


def _steps(run: Finished) -> Iterator[Step]:
    found = run.flow
    plan, num = run.folds, run.numbers["num"]
    if found is None:
        lines = [counted(len(plan.groups), "patient")]
        aside = [f"{counted(len(plan.locked), 'patient')} locked away"] * bool(plan.locked)
        aside += [f"{counted(len(plan.purged_patients), 'patient')} purged"] * bool(
            plan.purged_patients
        )
        yield Step("In the plan", lines, aside)
    else:
        aside = [f"{reason['reason']}: {_size(reason)}" for reason in found["left_out"]]
        yield Step("In the manifest", [_size(found["read"])], aside)
        classes = [f"{of['name']}: {_size(of)}" for of in found["classes"]]
        groups = found["groups"]
        joins = ", ".join(f"{key} ({times})" for key, times in groups["joins"].items())
        lines = [f"{counted(groups['num'], 'leakage group')} of {_patients(groups)}"]
        lines += [
            f"joined by {joins}; the largest has {_patients({'patients': groups['largest']})}"
        ] * bool(joins)
        yield Step("Labelled, and grouped", [*classes, *lines])
        yield Step("Dealt to folds", [_size(found["in_folds"])])
    yield Step(
        f"{counted(plan.num_folds, 'fold')}, scheme {plan.scheme}",
        [
            f"{part}: {_range([len(fold.of(part)) for fold in plan.folds])}"
            for part in ("train", "val", "test")
        ],
    )
    tested = [f"{counted(num['images'], 'image')} of {counted(num['patients'], 'patient')}"]
    yield Step("Tested", [*tested, *([] if run.is_unsafe else [promise(plan)])])


def _size(of: Mapping[str, Any]) -> str:
    return f"{counted(of['rows'], 'image')} of {_patients(of)}"


def _patients(of: Mapping[str, Any]) -> str:
    return counted(of["patients"], "patient")


def _range(sizes: list[int]) -> str:
    least, most = min(sizes), max(sizes)
    return counted(least, "patient") if least == most else f"{least:,} to {most:,} patients"
