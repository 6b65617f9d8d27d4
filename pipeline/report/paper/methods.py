"""The Methods of a run, as a paper has them: every statement comes from the run folder."""

from collections.abc import Iterator

from pipeline.report.paper import analysis, partitions, preprocessing, recipe, software
from pipeline.report.paper.facts import Facts, Statement

SECTIONS: dict[str, tuple[tuple[Statement, ...], ...]] = {
    "Data": ((partitions.data, partitions.used, preprocessing.missing),),
    "Data partitions": (
        (partitions.unit, partitions.assignment),
        (partitions.sizes, partitions.balance, partitions.identity),
    ),
    "Image preprocessing": ((preprocessing.steps, preprocessing.normalisation),),
    "Model": ((recipe.model, recipe.initialisation, recipe.ensembling),),
    "Training": ((recipe.loss, recipe.optimisation), (recipe.augmentation,)),
    "Selection and decision threshold": (
        (recipe.selection,),
        (analysis.calibration, analysis.decision, analysis.tested_last),
    ),
    "Statistical analysis": (
        (analysis.aggregation, analysis.evaluation_settings),
        (analysis.metrics,),
        (analysis.intervals,),
    ),
    "Software and hardware": ((software.software, software.hardware, software.seeds),),
}
"""Heading -> its paragraphs -> their statements."""
TODO = {
    "Data": "source, period and setting of the data, how patients were recruited or selected, "
    "inclusion and exclusion criteria, how images were acquired, how and by whom the reference "
    "labels were made, ethics approval and consent.",
}
"""What follows a paragraph and no run folder says."""


def methods(facts: Facts) -> Iterator[str]:
    """Blocks of Markdown: a heading, a paragraph, a heading, ..."""
    for heading, paragraphs in SECTIONS.items():
        yield f"### {heading}"
        for statements in paragraphs:
            said = [text.strip() for statement in statements if (text := statement(facts))]
            yield " ".join(text for text in said if text)
        if heading in TODO:
            yield f"TODO(author): {TODO[heading]}"
