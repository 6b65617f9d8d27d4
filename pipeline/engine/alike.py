"""Which runs may be put side by side, and what they are called then."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.config import UserError
from pipeline.engine.finished import Finished


def names_of(runs: Sequence[Finished]) -> list[str]:
    """Of each run, without the words that all have; two of one name have their folder's with it."""
    words = [run.name.split() for run in runs]
    shared = set.intersection(*map(set, words))
    names = [" ".join(word for word in of if word not in shared) or " ".join(of) for of in words]
    return [
        f"{name} ({run.dir.resolve().name})" if names.count(name) > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]


def refuse_unlike(runs: Sequence[Finished]) -> None:
    """UserError unless all runs have judged the same rows in the same folds by the same rules."""
    if len(runs) < 2:
        raise UserError("name two run folders or more, e.g. '[runs/demo/A,runs/demo/B]'")
    if len({run.dir.resolve() for run in runs}) < len(runs):
        raise UserError("a run folder is named twice; it differs from itself by nothing")
    first = runs[0]
    problems = [
        f"{run.dir} was split by image (UNSAFE): its numbers are no results"
        for run in runs
        if run.is_unsafe
    ]
    for run in runs[1:]:
        for what, of_first, of_other in _facts(first, run):
            if of_first != of_other:
                problems.append(
                    f"{run.dir} has another {what} than {first.dir}: "
                    + f"{of_other}, not {of_first}".removesuffix(", not ")
                )
                break
    if problems:
        raise UserError("These runs cannot be compared:\n  " + "\n  ".join(problems))


def _facts(first: Finished, other: Finished) -> Iterator[tuple[str, Any, Any]]:
    """What must be the same: its name, and what both have; in the order of their weight."""
    yield "plan", first.plan[0]["plan_hash"][:12], other.plan[0]["plan_hash"][:12]
    yield "list of classes", list(first.classes), list(other.classes)
    of_first, of_other = (asdict(run.rules) for run in (first, other))
    for name, value in of_first.items():
        yield f"evaluation.{name}", value, of_other[name]
    columns = ["fold", "patient_id", "image_path", "label"]
    columns += [first.rules.middle] if first.rules.middle else []
    rows = [run.images[columns] for run in (first, other)]
    missing = len(rows[0].merge(rows[1], how="outer", indicator=True).query("_merge != 'both'"))
    yield "set of images and labels", "", f"{missing} rows are not in both" if missing else ""
