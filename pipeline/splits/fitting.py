"""Does a plan that was made before fit the manifest as it is now?"""

from pipeline.manifest import Manifest
from pipeline.splits.folds import LeakageError, Plan
from pipeline.splits.temporal import check_dates

PLAN_COMMAND = "`patientfold plan plan.action={}` and the same settings"


def check_fits(plan: Plan, manifest: Manifest) -> None:
    """Prove that `plan` was made for `manifest`.

    Raises:
        LeakageError: for another manifest, a lost or unknown patient, a newly found link, or, under
            a temporal plan, a date that has changed its period.
    """
    ids = set(manifest.table["patient_id"])
    if not ids & plan.groups.keys():
        raise LeakageError(
            f"the plan was made for another manifest: none of its {len(plan.groups)} patients, "
            f"e.g. {min(plan.groups)!r}, is among the {len(ids)} of this one, e.g. {min(ids)!r}."
        )
    check_links(plan, manifest)
    if lost := ids - plan.groups.keys():
        raise LeakageError(
            f"{len(lost)} patient(s) are in no fold, e.g. {min(lost)!r}; place new patients "
            f"without moving old ones with {PLAN_COMMAND.format('grow')}."
        )
    if unknown := plan.groups.keys() - ids:
        raise LeakageError(
            f"{len(unknown)} patient(s) of the plan are not in the manifest, e.g. "
            f"{min(unknown)!r}; a plan cannot shrink: put them back, or make a new plan."
        )
    if plan.manifest_hash != manifest.hash:
        raise LeakageError(
            f"the plan was made for another manifest (hash {plan.manifest_hash[:12]}, this one is "
            f"{manifest.hash[:12]}): images, labels or groups differ. A plan that knows of copied "
            "images needs audit.content=true, and the audit.near that it was made with. If the "
            f"difference is right, adopt the new one with {PLAN_COMMAND.format('grow')}; nobody "
            "moves."
        )
    if plan.scheme == "temporal":
        check_dates(plan, manifest)


def check_links(plan: Plan, manifest: Manifest) -> None:
    """Prove that no group of `manifest` is cut by this plan.

    Raises:
        LeakageError: naming two patients that belong together but lie in two places.
    """
    place = {row[0]: (row[2], row[3]) for row in plan.rows}
    first: dict[str, str] = {}
    pairs = manifest.table[["patient_id", "group"]].drop_duplicates()
    for patient, group in zip(pairs["patient_id"], pairs["group"], strict=True):
        if patient not in place or patient in plan.purged_patients:
            continue
        other = first.setdefault(group, patient)
        if place[other] != place[patient]:
            raise LeakageError(
                f"patients {other!r} (fold {place[other][0] or '-'}) and {patient!r} (fold "
                f"{place[patient][0] or '-'}) belong together, as was found now; move the smaller "
                f"side (or who is locked) to the other fold, in a new version of the plan, with "
                f"{PLAN_COMMAND.format('repair')}."
            )
