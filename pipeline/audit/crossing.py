"""Near copies that folds made elsewhere put on two sides: our own planning keeps groups together,
but only exact copies and `audit.near=merge` make groups.
"""

from collections import defaultdict
from collections.abc import Iterator

from pipeline.audit.content import AuditError, Content
from pipeline.audit.copies import SAME_PICTURE, Copy
from pipeline.audit.image_findings import COPIES_SHOWN, by_patients, pair_in_words
from pipeline.manifest import Finding
from pipeline.splits import Plan
from pipeline.splits.folds import PARTS
from pipeline.words import and_more, counted

Sides = tuple[str, str]
"""The parts of both images in the first fold that sets them apart, such as "test of fold 0"."""


def crossing_findings(plan: Plan, content: Content) -> Iterator[Finding]:
    """Near copies on two sides of a predefined plan, by pair of patients.

    Those of `SAME_PICTURE` or more are an error, as in an audited split; the others are for an eye.
    """
    if plan.scheme != "predefined":
        return
    patients = content.manifest.table["patient_id"].to_numpy(object)
    apart: dict[bool, list[Copy]] = defaultdict(list)
    sides: dict[frozenset[str], Sides] = {}
    for pair in content.copies.pairs:
        one, other = patients[pair.one], patients[pair.other]
        if not pair.exact and (found := _sides(plan, one, other)):
            sides[frozenset((one, other))] = found if one < other else found[::-1]
            apart[pair.correlation >= SAME_PICTURE].append(pair)
    for is_sure, pairs in sorted(apart.items(), reverse=True):
        theirs = by_patients(content.manifest, pairs)
        shown = []
        for same in theirs[:COPIES_SHOWN]:
            one, other = patients[same[0].one], patients[same[0].other]
            where = sides[frozenset((one, other))]
            shown.append(
                pair_in_words(content.manifest, same, where if one < other else where[::-1])
            )
        text = f"{counted(len(pairs), 'pair')} of images that are nearly the same in two parts of "
        text += f"the split: {and_more(shown, len(theirs), '; ')}"
        if is_sure:
            text += f"; from correlation {SAME_PICTURE} they are taken for the same picture: put "
            text += "both patients into one part, or take one's rows out of the manifest"
            yield Finding("shared_images", "error", text)
        else:
            text += "; look at them: patientfold check writes copies.png"
            yield Finding("near_images", "warning", text)


def crossing_warnings(plan: Plan, content: Content) -> list[str]:
    """What `crossing_findings` doubts; AuditError for what it is sure of."""
    findings = list(crossing_findings(plan, content))
    if errors := [str(finding) for finding in findings if finding.severity == "error"]:
        raise AuditError("\n  ".join([f"the split of {content.manifest.path}:", *errors]))
    return [str(finding) for finding in findings]


def _sides(plan: Plan, one: str, other: str) -> Sides | None:
    """Where the first fold puts two patients apart; None when no fold does."""
    for fold in plan.folds:
        of = {p: part for part in PARTS for p in (one, other) if p in fold.of(part)}
        if len(of) == 2 and of[one] != of[other]:
            suffix = f" of fold {fold.index}" if plan.num_folds > 1 else ""
            return of[one] + suffix, of[other] + suffix
    return None
