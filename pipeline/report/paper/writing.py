"""The whole of report.md."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.engine.finished import Finished
from pipeline.files import write_whole
from pipeline.report.paper.facts import Facts
from pipeline.report.paper.guidelines import GUIDELINES
from pipeline.report.paper.limitations import limitations
from pipeline.report.paper.markdown import escaped
from pipeline.report.paper.methods import methods
from pipeline.report.paper.outcomes import headline, results

WORDS = """\
*Words.* Validation (tuning) part: it chooses epochs, settings and thresholds. Internal test part:
patients of the same data set that took no part in any choice. CLAIM 2024 advises against the word
"validation" for a test; here it never means one."""


def write_paper(finished: Finished, path: Path) -> None:
    """Write a run's report.md: Methods, results, and the items of three reporting guidelines.

    It names no patient and no image. What the run folder does not say is a TODO(author).
    """
    write_whole(path, "\n\n".join(blocks(finished)) + "\n")


def blocks(finished: Finished) -> Iterator[str]:
    """Blocks of Markdown, in order."""
    facts = Facts(finished)
    name, run = escaped(str(facts.get("manifest.name"))), escaped(finished.name)
    yield f"# {name}: {run}"
    if facts.plan.unsafe:
        yield "**UNSAFE: split by image. These values are too good and belong in no paper.**"
    yield headline(facts)
    yield (
        "A draft for a paper, written by patientfold from the run folder alone. What no run folder "
        "knows is marked TODO(author). Reporting guidelines, of which the tables below have each "
        "item in words of our own:"
    )
    yield "\n".join(f"- {guideline.coverage(facts)}" for guideline in GUIDELINES)
    yield "## Methods"
    yield from methods(facts)
    yield WORDS.replace("\n", " ")
    yield "## Results"
    yield headline(facts)
    yield from (block for block in results(facts) if block)
    yield "## Limitations that the data show"
    yield "\n".join(f"- {text}" for text in limitations(facts))
    for guideline in GUIDELINES:
        yield from guideline.blocks(facts)
