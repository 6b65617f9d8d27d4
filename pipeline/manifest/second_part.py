"""Ids that carry a second part: eyes, visits, slices, letters of one patient."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.config import is_day
from pipeline.manifest.findings import Finding, Severity
from pipeline.regex import compiled, for_each
from pipeline.words import counted, listed

SHARED = 0.3
"""Share of ids that share a name with another id from which the second part is plain."""
FEWEST_SHARED = 0.1
"""The share from which it is possible."""
MANY_VISITS = 12.0
"""Numbered visits of one name, at most; numbered people of one site are more."""
EXAMPLES_OF_PARTS = 12

_LEFT = "left|l|lt|links|li|gauche|g|os|og|oi|oe|le|lh|izq|izda|izquierd[ao]|sx|sin|sinistr[ao]"
_LEFT += "|esq|esquerd[ao]|лев|левый|左"
_RIGHT = "right|r|rt|rechts|re|droite|d|od|rh|der|dcha|derech[ao]|dx|dex|destr[ao]|dir|direit[ao]"
_RIGHT += "|прав|правый|右"
_SIDE = f"{_LEFT}|{_RIGHT}"
_VIEW = "cc|mlo|ml|lm|ap|pa|lat"
_SLICE = "slices?|slc|frames?|tiles?|patch|crop|img|image"
_VISIT = (
    "visit|visite|visita|besuch|scan|session|sess?|timepoint|tp|followup|follow-up|fu|exam|study|"
    "series|acq|run|mr|ct|day|week|month|year|lesion|nodule|phase|view|echo"
)
_VISIT_FIRST = "visit|visite|visita|besuch|scan|session|sess?|timepoint|tp"
_MOMENT = r"baseline|bl|pre|post|follow-?up|fu|before|after|pre-?op|post-?op|[vtmwyd]\d{1,4}"
_DAY = r"(?:19|20)\d\d-\d\d-\d\d|(?:19|20)\d\d_\d\d_\d\d|(?:19|20)\d{6}"
_GAP = r"[\s_.-]"


@dataclass(frozen=True)
class _Kind:
    """A way to write a second part: groups `patient` and `part` of the whole id."""

    what: str
    form: "re.Pattern[str]"
    proposal: str
    """The regular expression for manifest.patient_pattern; PARTS stands for those found."""
    rule: str = "second_part"
    is_plain: bool = True
    """Such parts are never the names of people; else they are only possible."""


def _kind(
    what: str, form: str, proposal: str, rule: str = "second_part", is_plain: bool = True
) -> _Kind:
    return _Kind(what, re.compile(form, re.I), proposal, rule, is_plain)


_SLICES = _kind(
    "slices or frames",
    rf"(?P<patient>.+?){_GAP}+(?P<part>{_SLICE}){_GAP}*\d+",
    r"(?P<patient>.+?)[\s_.-]+(PARTS)[\s_.-]*\d+",
    "slice_ids",
)
_COUNTERS = _kind(
    "slices or frames",
    rf"(?P<patient>.*\d.*?){_GAP}+(?P<part>\d+)",
    r"(?P<patient>.*\d.*?)[\s_.-]+\d+",
    "slice_ids",
)
_SIDES = (
    _kind(
        "sides of the body",
        rf"(?P<patient>.+?)(?:{_GAP}+|(?<=\d))(?P<part>{_SIDE})(?:{_GAP}+(?:{_VIEW}))?",
        r"(?P<patient>.+?)[\s_.-]*(PARTS)([\s_.-]+[A-Za-z]+)?",
    ),
    _kind(
        "sides of the body",
        rf"(?P<part>{_SIDE}){_GAP}+(?P<patient>.*\d.*)",
        r"(PARTS)[\s_.-]+(?P<patient>.+)",
    ),
    _kind(
        "sides of the body",
        r"(?P<part>left|right|links|rechts|gauche|droite|od|os|og)(?P<patient>\d+)",
        r"(PARTS)(?P<patient>\d+)",
    ),
    _kind(
        "sides of the body",
        r"(?P<part>[lr])(?P<patient>\d+)",
        r"(PARTS)(?P<patient>\d+)",
        is_plain=False,
    ),
)
_VISITS = (
    _kind(
        "visits or scans",
        rf"(?P<patient>.*\d.*?){_GAP}+(?P<part>{_VISIT}){_GAP}*d?\d+",
        r"(?P<patient>.+?)[\s_.-]+(PARTS)[\s_.-]*d?\d+",
    ),
    _kind(
        "visits or scans",
        rf"(?P<part>{_VISIT_FIRST}){_GAP}*\d+{_GAP}+(?P<patient>.*\d.*)",
        r"(PARTS)[\s_.-]*\d+[\s_.-]+(?P<patient>.+)",
        is_plain=False,
    ),
    _kind(
        "visits or scans",
        rf"(?P<patient>.*\d.*?){_GAP}+(?P<part>{_MOMENT})",
        r"(?P<patient>.+?)[\s_.-]+(PARTS)",
        is_plain=False,
    ),
)
_DAYS = (
    _kind(
        "days",
        rf"(?P<patient>.*\d.*?){_GAP}+(?P<part>{_DAY})",
        r"(?P<patient>.+?)[\s_.-]+\d{4}[-_]?\d\d[-_]?\d\d",
        is_plain=False,
    ),
    _kind(
        "days",
        rf"(?P<part>{_DAY}){_GAP}+(?P<patient>.*[^\W\d_]+.*\d.*|\d{{4,}})",  # no count of the day
        r"\d{4}[-_]?\d\d[-_]?\d\d[\s_.-]+(?P<patient>.+)",
        is_plain=False,
    ),
)
_LETTERS = _kind(
    "letters",
    rf"(?P<patient>.*\d)(?P<part>{_GAP}?[a-z])",
    r"(?P<patient>.*\d)[\s_.-]?[A-Za-z]",
)


def second_part_findings(table: pd.DataFrame) -> Iterator[Finding]:
    """At most one finding: that many ids are fewer patients, once a second part is cut off.

    An error when the parts are plainly such, a warning when they may be the names of people.
    """
    patients = table.drop_duplicates("patient_id")
    patients = patients[patients["patient_id"].str.strip() != ""]
    ids = patients["patient_id"].str.strip()
    found = [(kind, names) for kind, names in _candidates(patients, ids, len(table)) if len(names)]
    ranked = sorted(found, key=lambda one: not _is_plain(one[0], one[1], len(ids)))
    for kind, names in ranked[:1]:
        plain = _is_plain(kind, names, len(ids))
        severity: Severity = "error" if plain else "warning"
        line = int(patients.loc[names.index[0], "line"])
        yield Finding(kind.rule, severity, _text(kind, names, patients, plain), line)


def _candidates(
    patients: pd.DataFrame, ids: "pd.Series[str]", num_rows: int
) -> Iterator[tuple[_Kind, "pd.Series[str]"]]:
    """Each kind with the ids that share a name once it is cut off, and that name."""
    least = FEWEST_SHARED * len(ids)
    slices = _shared(_cut(ids, _SLICES))
    if slices.nunique() >= 2 and len(slices) > SHARED * len(ids):
        yield _SLICES, slices
    for kind in _SIDES:
        cut = _cut(ids, kind)
        is_left = cut["part"].str.fullmatch(_LEFT, case=False)
        both = is_left.groupby(cut["patient"]).nunique().eq(2)
        pairs = cut["patient"].value_counts().eq(2) & both
        names = _shared(cut[cut["patient"].isin(pairs.index[pairs])])
        if names.nunique() >= 2 and len(names) >= least:
            yield kind, names
    for kind in (*_VISITS, *_DAYS):
        cut = _cut(ids, kind)
        if kind in _DAYS:
            days = cut["part"].str.replace(r"^(\d{4})\D?(\d\d)\D?(\d\d)$", r"\1-\2-\3", regex=True)
            cut = cut[days.map(is_day).astype(bool)]
        names = _shared(cut)
        few = names.nunique() >= 2 and names.value_counts().median() <= MANY_VISITS
        if few and len(names) >= least:
            yield kind, names
    letters = _lettered(ids)
    if letters.nunique() >= 2 and len(letters) >= least:
        yield _LETTERS, letters
    counted_ids = _numbered(patients, ids, num_rows)
    if counted_ids is not None:
        yield _COUNTERS, counted_ids


def _is_plain(kind: _Kind, names: "pd.Series[str]", num_ids: int) -> bool:
    """Letters end many an id that means one person: there it must be most ids."""
    return kind.is_plain and len(names) > (0.5 if kind is _LETTERS else SHARED) * num_ids


def _lettered(ids: "pd.Series[str]") -> "pd.Series[str]":
    """Ids such as 3a, 3b: letters from the first on, where no digit may stand in their place."""
    cut = _cut(ids, _LETTERS)
    letter = cut["part"].str[-1].str.casefold()
    places = letter.map(lambda text: ord(text) - ord("a"))
    known = places.groupby(cut["patient"])
    from_a = known.max().eq(known.size() - 1) & known.nunique().eq(known.size()) & known.max().gt(0)
    names = _shared(cut[cut["patient"].isin(from_a.index[from_a])])
    # A hexadecimal counter runs 19, 1a, 1b: digits stand where letters do.
    stems = set(names)
    digits = ids[ids.str.contains(r"\d$") & ids.str[:-1].isin(stems)]
    return names[~names.isin(set(digits.str[:-1]))]


def _numbered(
    patients: pd.DataFrame, ids: "pd.Series[str]", num_rows: int
) -> "pd.Series[str] | None":
    """Ids with a counter that seem to be slices; None if they look fine.

    Numbered sites (`site2_014`) have the same form as numbered slices (`pat2_014`). Ids are taken
    for slices only when nearly each has one image, and all ids of a shared name carry one label
    far more often than by chance.
    """
    shared = _shared(_cut(ids, _COUNTERS))
    if len(ids) < 0.9 * num_rows or shared.nunique() < 3 or len(shared) <= SHARED * len(ids):
        return None
    labels = patients["label"].loc[shared.index].groupby(shared)
    share = patients["label"].value_counts(normalize=True)
    by_chance = labels.size().map(lambda size: float((share**size).sum())).mean()
    return shared if (labels.nunique() == 1).mean() >= 0.9 and by_chance <= 0.6 else None


def _cut(ids: "pd.Series[str]", kind: _Kind) -> pd.DataFrame:
    """Columns patient and part of the ids that have this form."""
    texts = zip(ids.index.tolist(), ids.tolist(), strict=True)
    found = {row: match for row, text in texts if (match := kind.form.fullmatch(text))}
    parts = [match.group("patient", "part") for match in found.values()]
    return pd.DataFrame(parts, index=list(found), columns=["patient", "part"], dtype=str)


def _shared(cut: pd.DataFrame) -> "pd.Series[str]":
    names = cut["patient"]
    return names[names.duplicated(keep=False)]


def _text(kind: _Kind, names: "pd.Series[str]", patients: pd.DataFrame, plain: bool) -> str:
    ids = patients["patient_id"].str.strip()
    first = names.iloc[0]
    example = listed(ids.loc[names.index[names == first]].tolist(), 3)
    parts = sorted({kind.form.fullmatch(ids[row])["part"] for row in names.index})  # type: ignore[index]
    shown = "|".join(map(re.escape, parts[:EXAMPLES_OF_PARTS]))
    pattern = kind.proposal.replace("PARTS", shown)
    remain = names.reindex(ids.index).fillna(ids).nunique()  # an id may be bare: 3, 3a, 3b
    verb = "look like" if plain else "may be"
    return (
        f"patient ids {verb} {kind.what} of a patient: {example} of patient {first!r}; "
        f"{counted(len(ids), 'id')} would be {counted(int(remain), 'patient')}. Give the patient's "
        f"own id in the patient column, or set manifest.patient_pattern: '{pattern}', or "
        f"manifest.accept=[{kind.rule}] if they are different people"
    )


def apply_pattern(pattern: str, ids: "pd.Series[str]") -> tuple["pd.Series[str]", list[Finding]]:
    """The patient in each id by `manifest.patient_pattern`; other ids stay as they are.

    Raises:
        UserError: when matching takes too long.
    """
    what = f"manifest.patient_pattern={pattern!r}"
    form = compiled(pattern, what)
    unique: Sequence[str] = list(dict.fromkeys(ids))
    matches = for_each(lambda text: form.fullmatch(text.strip()), unique, what)
    patient_of = {
        raw: match["patient"] if match and match["patient"] else raw
        for raw, match in zip(unique, matches, strict=True)
    }
    patients = ids.map(patient_of)
    others = [raw for raw, match in zip(unique, matches, strict=True) if match is None]
    text = (
        f"manifest.patient_pattern makes {counted(patients.nunique(), 'patient')} of "
        f"{counted(len(unique), 'id')}"
    )
    if others:
        text += f"; {counted(len(others), 'id')} without such a part stay as they are: "
        text += listed(others)
    severity: Severity = "warning" if len(others) == len(unique) else "note"
    return patients, [Finding("patient_pattern", severity, text)]
