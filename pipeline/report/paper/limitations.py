"""Limitations that the numbers themselves show."""

from collections.abc import Iterator

from pipeline.evaluation.summary import IMPRECISE_ABOVE, UNSTABLE_BELOW, shifted
from pipeline.report.paper.facts import Facts
from pipeline.report.paper.markdown import escaped, interval, joined, named, number, span
from pipeline.report.paper.outcomes import FIRST
from pipeline.report.paper.patients import flagged
from pipeline.words import counted


def limitations(facts: Facts) -> list[str]:
    """One sentence each, the gravest first; there is always one."""
    found = [*_leak(facts), *_marks(facts), *_shift(facts), *flagged(facts), *_range(facts)]
    found += [escaped(note["note"]) for note in facts.summary.get("fit", [])]
    if (count := facts.summary.get("image_count")) is not None:
        found.append(escaped(count["note"]))
    found += _doubts(facts)
    return [*found, _internal(facts), tried(facts)]


def _leak(facts: Facts) -> Iterator[str]:
    if facts.plan.unsafe:
        yield "Patients are in training and test parts alike; the values are too good."


def _marks(facts: Facts) -> Iterator[str]:
    entries = facts.entries(facts.level)
    shown = [name for name in FIRST if name in entries]
    if unstable := [named(n) for n in shown if "unstable" in entries[n].get("marks", [])]:
        yield (
            f"Fewer than {UNSTABLE_BELOW} tested patients have, or do not have, a class (the "
            f"fewest are {facts.rarest()}): exchange one, and {joined(unstable)} change visibly."
        )
    if imprecise := [n for n in shown if "imprecise" in entries[n].get("marks", [])]:
        listed = [f"{named(n)} {interval(entries[n])}" for n in imprecise]
        yield (
            f"Some intervals are wider than {2 * IMPRECISE_ABOVE:.2f}: {joined(listed)}. More test "
            "patients would be needed to say more."
        )


def _shift(facts: Facts) -> Iterator[str]:
    if (found := shifted(facts.entries(facts.level))) is not None:
        yield (
            f"The AUROC of all folds' scores in one list is {number(found[0])}, against a mean "
            f"over folds of {number(found[1])}: the models of the folds have scores of different "
            "scales, so that no single threshold serves them all."
        )


def _range(facts: Facts) -> Iterator[str]:
    entries = facts.entries(facts.level)
    for name in ("auroc", "balanced_accuracy"):
        values = [v for v in entries[name]["per_fold"] if v is not None] if name in entries else []
        if len(values) > 1:
            yield (
                f"{named(name)} was {span(values, number)} in {counted(len(values), 'fold')} with "
                f"{span(facts.num_patients('test'))} test patients each."
            )
            return


def _doubts(facts: Facts) -> Iterator[str]:
    """Warnings of the check of data and plan, by their rules: their texts may name patients."""
    findings = [] if facts.run.flow is None else facts.run.flow["findings"]
    rules = dict.fromkeys(f["rule"] for f in findings if f["severity"] == "warning")
    if rules:
        listed = joined([escaped(str(rule).replace("_", " ")) for rule in rules])
        yield f"The check of data and plan gave warnings ({listed}); `flow.json` has their texts."


def _internal(facts: Facts) -> str:
    site = facts.get("manifest.columns.site")
    where = "no column of sites is known"
    if site and facts.plan.made_by.name == "leave_one_out" and facts.get("split.leave_out") == site:
        where = f"each value of the column {escaped(site)} was tested by a model of the others"
    elif site:
        where = f"sites (column {escaped(site)}) are in training and test parts alike"
    name = escaped(str(facts.get("manifest.name")))
    return (
        f"All tests are internal, within the data set {name}; {where}. There is no external test."
    )


def tried(facts: Facts) -> str:
    """How many settings were tested on this plan, and what follows."""
    plan, tries = facts.run.plan[0]["plan_hash"][:12], facts.run.tries
    if tries is None or not tries.num:
        return (
            f"TODO(author): how many settings were tried on this plan ({plan}). The best of "
            "several, chosen by the mean of validation over rotating folds, is too good on test, "
            "unless each fold chose for itself (`patientfold select`)."
        )
    settings = f"{counted(tries.num, 'setting')} {'was' if tries.num == 1 else 'were'} tested"
    known = f"{settings} on this plan ({plan}), as far as the ledger beside the run folders knows"
    if tries.num == 1:
        return f"{known}; nothing was chosen by test results."
    if not facts.run.optimism:
        return f"{known}; the locked patients were opened for this one first, and are free of it."
    return (
        f"{known}. If this one was chosen among them, its values are those of the best of "
        f"{tries.num}, and optimistic."
    )
