"""A frozen plan: saved, loaded, and proved again for the manifest as it is now."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pipeline.manifest import PSEUDONYM, Manifest
from pipeline.splits.dealing.counts import groups_of
from pipeline.splits.folds import LeakageError, folds_of
from pipeline.splits.plan import Plan
from pipeline.splits.plan_file import EDITED, named, read_files, write_files
from pipeline.words import counted

PLAN_COMMAND = "`patientfold plan plan.action={}` and the same settings"


def save_plan(plan: Plan, path: Path) -> None:
    """Write `plan.csv` and `plan.json` beside it: versioned text, fit to be committed.

    `fold` holds the folds that test the patient (several in repeated schemes, none for a patient
    who is only trained on), or "locked" or "purged"; `val_fold` those that validate on it.
    """
    header = {
        "scheme": plan.scheme,
        "num_folds": plan.num_folds,
        "repeats": plan.repeats,
        "seed": plan.seed,
        "version": plan.version,
        "parent_plan_hash": plan.parent_hash,
        "plan_hash": plan.hash,
        "manifest_hash": plan.manifest_hash,
        "purged_images": sorted(plan.purged_images),
        "cuts": list(plan.cuts),
    }
    write_files(header, plan.rows, path)


def load_plan(path: Path, manifest: Manifest | None = None) -> Plan:
    """Read a plan; raises LeakageError when it is missing, was edited, leaks or fits no more."""
    with named(path):
        header, rows = read_files(path)
        plan = _plan(header, rows)
        if len(plan.groups) != len(rows) or plan.hash != header["plan_hash"]:
            raise LeakageError(EDITED)
    if manifest is not None:
        try:
            check_fits(plan, manifest)
        except LeakageError as error:
            raise LeakageError(f"plan {path}: {error}") from None
    return plan


def check_fits(plan: Plan, manifest: Manifest) -> None:
    """Raises LeakageError unless `plan` was made for `manifest`.

    It refuses another manifest, a lost or unknown patient, a newly found link, and, under a
    temporal plan, a date that has changed its period.
    """
    ids = set(manifest.table["patient_id"])
    if not ids & plan.groups.keys():
        if problem := _pseudonym_problem(plan.groups.keys(), ids):
            raise LeakageError(problem)
        raise LeakageError(
            f"the plan was made for another manifest: none of its {len(plan.groups)} patients, "
            f"e.g. {min(plan.groups)!r}, is among the {len(ids)} of this one, e.g. {min(ids)!r}."
        )
    check_links(plan, manifest)
    if lost := ids - plan.groups.keys():
        raise LeakageError(
            f"{counted(len(lost), 'patient')} in no fold, e.g. {min(lost)!r}. Place new patients "
            f"without moving old ones with {PLAN_COMMAND.format('grow')}."
        )
    check_nobody_is_gone(plan, manifest)
    if plan.manifest_hash != manifest.hash:
        raise LeakageError(
            f"the plan was made for another manifest (hash {plan.manifest_hash[:12]}, this one is "
            f"{manifest.hash[:12]}): images, labels or groups differ. A plan that knows of copied "
            "images needs audit.content=true, and the audit.near that it was made with. If the "
            f"difference is right, adopt the new manifest with {PLAN_COMMAND.format('grow')}; "
            "nobody moves."
        )
    if check := plan.made_by.check_manifest:
        check(plan.folds, plan.cuts, plan.purged_images, manifest)


def _pseudonym_problem(planned: Collection[str], ids: Collection[str]) -> str:
    """Why a plan and a manifest that share no name may still mean the same patients."""
    has_pseudonyms = [all(map(PSEUDONYM.fullmatch, names)) for names in (planned, ids)]
    match has_pseudonyms:
        case [True, True]:
            return (
                "its pseudonyms were made with another key (or for other patients): put the key "
                "file of the plan in the place of privacy.key_file, or make the plan again."
            )
        case [True, False]:
            return "it has pseudonyms: privacy.pseudonyms=true and its key file go with it."
        case [False, True]:
            return "it has names, no pseudonyms: make it again with privacy.pseudonyms=true."
    return ""


def check_nobody_is_gone(plan: Plan, manifest: Manifest) -> None:
    """Raises LeakageError when a patient of the plan has no image any more."""
    if gone := plan.groups.keys() - set(manifest.table["patient_id"]):
        raise LeakageError(
            f"the manifest lacks {counted(len(gone), 'patient')} of the plan, e.g. {min(gone)!r}. "
            "A plan cannot shrink: put them back, or make a new plan."
        )


def check_links(plan: Plan, manifest: Manifest) -> None:
    """Raises LeakageError when patients who belong together now lie in two places of the plan."""
    place = {row[0]: (row[2], row[3]) for row in plan.rows}
    first: dict[str, str] = {}
    for patient, group in groups_of(manifest).items():
        if patient not in place or patient in plan.purged_patients:
            continue
        other = first.setdefault(group, patient)
        if place[other] != place[patient]:
            raise LeakageError(
                f"patients {other!r} (fold {place[other][0] or '-'}) and {patient!r} (fold "
                f"{place[patient][0] or '-'}) belong together, as was found now. "
                f"{PLAN_COMMAND.format('repair')} make a new version of the plan, in which the "
                "smaller side (or who is locked) has moved to the other fold."
            )


def _plan(header: dict[str, Any], rows: list[list[str]]) -> Plan:
    """The folds follow from the rows: who is neither tested nor validated on is trained on."""
    states = {s: frozenset(row[0] for row in rows if row[2] == s) for s in ("locked", "purged")}
    members = [row for row in rows if row[2] not in states]
    num_folds, most = header["num_folds"], sum(len(row[2].split()) for row in members)
    if num_folds > most:  # before memory is asked for them
        raise LeakageError(
            f"{num_folds:,} folds, but its patients are tested {counted(most, 'time')} in all: "
            "a fold would have nobody to test."
        )
    tested: list[set[str]] = [set() for _ in range(num_folds)]
    validated: list[set[str]] = [set() for _ in range(num_folds)]
    for patient, _, test, val in members:
        for sets, folds in ((tested, test), (validated, val)):
            for fold in folds.split():
                if not 0 <= int(fold) < len(sets):
                    raise LeakageError(f"fold {fold} is outside 0 to {len(sets) - 1}.")
                sets[int(fold)].add(patient)
    everyone = frozenset(row[0] for row in members)
    return Plan(
        scheme=header["scheme"],
        seed=header["seed"],
        folds=folds_of(
            everyone, zip(map(frozenset, tested), map(frozenset, validated), strict=True)
        ),
        groups={row[0]: row[1] for row in rows},
        manifest_hash=header["manifest_hash"],
        repeats=header["repeats"],
        locked=states["locked"],
        purged_patients=states["purged"],
        purged_images=frozenset(header["purged_images"]),
        cuts=tuple(header["cuts"]),
        version=header["version"],
        parent_hash=header["parent_plan_hash"],
    )
