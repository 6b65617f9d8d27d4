"""Subgroups: does the model fail somebody?"""

from collections.abc import Sequence

from pipeline.engine.finished import Finished
from pipeline.evaluation.subgroups import Subgroup, Subgroups, flagged, sentence
from pipeline.evaluation.within_site import WithinSite
from pipeline.report.blocks import Block, Cell, Section, Words, table
from pipeline.report.numbers import interval, metric_words, number
from pipeline.words import counted

HOW = (
    "Each group of patients against all others. Worse is said only where p is below 0.05 for all "
    "comparisons together (Holm), and groups with fewer than 10 patients of a class are not "
    "compared: their values stand here without a verdict."
)


def subgroups_section(run: Finished) -> Section | None:
    """What metrics.json says of groups; None where the run compared none."""
    found = run.numbers.get("subgroups")
    return None if found is None else section_of(found)


def section_of(found: Subgroups) -> Section:
    """Of the block `subgroups` of a metrics.json."""
    blocks: list[Block] = [Words(HOW, "muted")]
    worse = list(flagged(found))
    blocks += [Words(sentence(one, found["num_comparisons"]), "bad") for one in worse]
    if not found["num_comparisons"]:
        blocks.append(Words("No group is large enough to be compared.", "doubt"))
    elif not worse:
        num = counted(found["num_comparisons"], "comparison")
        blocks.append(Words(f"No group is shown to fare worse than the others ({num}).", "good"))
    blocks += _sites(found.get("within_site"))
    columns = ["group", "metric", "", "value", "95 % interval", "patients", "with the class"]
    rows = [_row(one) for one in found["groups"]]
    note = f"At {found['level']} level. Differences: to all other patients, with 95 % intervals."
    blocks.append(table([*columns, "difference", "p"], rows, note, num_words=3))
    return Section("subgroups", "Subgroups", blocks)


def _row(one: Subgroup) -> Sequence[str | Cell]:
    """A metric of a group."""
    verdict = Cell("worse", "bad") if one["flagged"] else Cell("")
    difference = ""
    if one["difference"] is not None:
        low, high = one["difference_low"], one["difference_high"]
        bounds = "" if low is None or high is None else f" ({low:+.3f} to {high:+.3f})"
        difference = f"{one['difference']:+.3f}{bounds}"
    return [
        f"{one['column']}: {one['group']}",
        metric_words(one["metric"]),
        verdict,
        number(one["value"]) if one["value"] is not None else one["missing"],
        interval(one["ci_low"], one["ci_high"]) if one["ci_low"] is not None else "",
        f"{one['num_patients']:,}",
        f"{one['num_positive']:,}",
        difference,
        "not compared" if one["p"] is None else f"{one['p']:.2g}",
    ]


def _sites(found: WithinSite | None) -> Sequence[Block]:
    if found is None:
        return []
    text = (
        f"AUROC among patients of one {found['column']}: {found['within']:.3f} "
        f"({found['within_low']:.3f} to {found['within_high']:.3f}); among patients of all: "
        f"{found['over_all']:.3f}."
    )
    return [Words(text), *([Words(found["note"], "doubt")] if found["note"] else [])]
