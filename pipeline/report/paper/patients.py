"""Table 1 and the subgroups: who was tested, and how groups of patients fared."""

from collections.abc import Iterator, Sequence

from pipeline.engine.cohort import USUAL
from pipeline.evaluation.subgroups import Subgroups
from pipeline.report.blocks import Table
from pipeline.report.paper.facts import Facts
from pipeline.report.paper.markdown import escaped, joined, named, number, table
from pipeline.report.sections.table_one import table_one
from pipeline.words import counted

MOST_ROWS = 60
"""Of the table of subgroups."""


def characteristics(facts: Facts) -> str | None:
    """Table 1: sizes, classes, and the columns by which patients are grouped; no other column.

    Any other might name somebody.
    """
    found = next((b for b in table_one(facts.run).blocks if isinstance(b, Table)), None)
    if found is None:
        return None
    allowed = grouping_columns(facts)
    kept = [
        [escaped(cell.text) for cell in row]
        for row in found.rows
        if _heads(row[0].text, facts, allowed)
    ]
    header = [escaped(column.name) for column in found.columns]
    note = "Patients (share), or median (smallest to largest) over patients."
    return f"{note}\n\n{table(header, kept)}"


def _heads(text: str, facts: Facts, allowed: Sequence[str]) -> bool:
    """Is it a row of sizes or classes, or of an allowed column?"""
    own = ["patients", "images", "images of a patient", *(f"with {name}" for name in facts.classes)]
    return text in own or any(text == name or text.startswith(f"{name}: ") for name in allowed)


def grouping_columns(facts: Facts) -> list[str]:
    """Columns of cohort.csv by which patients may be grouped in public."""
    if facts.run.cohort is None:
        return []
    asked = {*(facts.get("evaluation.subgroups") or ()), *(facts.get("split.stratify") or ())}
    return [
        name
        for name in map(str, facts.run.cohort)
        if name in asked or name.casefold() in USUAL or name == "site"
    ]


def subgroups_of(facts: Facts) -> Subgroups | None:
    """The block of metrics.json; None where patients cannot be grouped, or of an older run."""
    found = facts.summary.get("subgroups")
    return found if found is not None and found["groups"] else None


def subgroups(facts: Facts) -> str | None:
    """A row for each metric of each group."""
    if (found := subgroups_of(facts)) is None:
        return None
    rows = [
        [
            f"{escaped(one['column'])}: {escaped(one['group'])}",
            named(one["metric"]),
            f"{one['num_patients']:,}",
            _with(one["value"], one["ci_low"], one["ci_high"]),
            _with(one["difference"], one["difference_low"], one["difference_high"]),
            number(one["p"]),
            "worse" if one["flagged"] else "",
        ]
        for one in found["groups"][:MOST_ROWS]
    ]
    header = ["group", "metric", "patients", "value (95 % CI)", "less all others (95 % CI)"]
    note = f"{str(found['level']).capitalize()} level. {_compared(found)}"
    more = "" if len(rows) == len(found["groups"]) else " More are in `metrics.json`."
    return f"{note}{more}\n\n{table([*header, 'p', ''], rows)}{_within(found)}"


def _compared(found: Subgroups) -> str:
    """How many groups are, and which are not."""
    least = "fewer than 10 patients with or without the class are in the group or among all others"
    if not found["num_comparisons"]:
        return f"No group is compared: {least}."
    num = counted(found["num_comparisons"], "comparison")
    return f"P values are of {num} together (Holm); a group is not compared where {least}."


def _with(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return number(value)
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _within(found: Subgroups) -> str:
    """AUROC of patients of one site, beside that of all."""
    if (site := found.get("within_site")) is None:
        return ""
    within = _with(site["within"], site["within_low"], site["within_high"])
    text = f"AUROC among patients of the same {escaped(site['column'])} {within}, among all"
    return f"\n\n{text} {number(site['over_all'])}. {escaped(site['note'])}".rstrip()


def flagged(facts: Facts) -> Iterator[str]:
    """The groups that fare worse, a sentence each."""
    found = subgroups_of(facts)
    for one in [] if found is None else found["groups"]:
        if one["flagged"] and one["difference"] is not None:
            yield (
                f"{escaped(one['column'])} {escaped(one['group'])}: {named(one['metric'])} "
                f"{number(one['value'])}, {number(abs(one['difference']))} below all others "
                f"(p = {one['p']:.2g}, Holm)."
            )


def groups_in_short(facts: Facts) -> str | None:
    """By which columns, and how many groups fare worse."""
    if (found := subgroups_of(facts)) is None:
        return None
    columns = list(dict.fromkeys(escaped(one["column"]) for one in found["groups"]))
    by = f"By {joined(columns)}"
    if not found["num_comparisons"]:
        return f"{by}; the groups are too small to be compared."
    num = counted(found["num_comparisons"], "comparison")
    worse = list(flagged(facts))
    said = f" {' '.join(worse)}" if worse else " No group fares worse than all others."
    return f"{by}, {num} (Holm).{said}"
