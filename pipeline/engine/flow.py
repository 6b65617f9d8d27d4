"""flow.json: how rows became patients, groups and folds, and what was found on the way.

`cv` writes it, since only `cv` sees the manifest and the images; the report reads it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from pipeline.audit.content import Content
from pipeline.audit.image_findings import by_patients
from pipeline.audit.report import sorted_findings
from pipeline.config import SplitConfig
from pipeline.manifest import Finding, Manifest
from pipeline.splits import Plan
from pipeline.splits.describe import describe_plan, promise
from pipeline.splits.quality import count_parts
from pipeline.training.planning import Planned

SCHEMA = 1


def flow_of(
    content: Content, planned: Planned, split: SplitConfig, doubts: Sequence[str] = ()
) -> dict[str, Any]:
    """What flow.json holds; `doubts` are warnings about the plan that are no finding.

    Numbers are rows of the manifest and patients. What is `left_out` counts the patients who have
    no row left: `read` less all that was left out is `in_folds`, in rows and in patients.
    """
    manifest, plan = planned.manifest, planned.plan
    warnings = (*planned.warnings, *doubts)
    findings = [*manifest.findings, *content.findings]
    findings += [Finding("plan", "warning", text) for text in warnings]
    tested = {patient for patient, times in plan.times_tested.items() if times}
    return {
        "schema": SCHEMA,
        **_stages(manifest, plan),
        "tested": {
            "rows": len(manifest.of(tested)),
            "patients": len(tested),
            "promise": promise(plan),
        },
        "classes": _classes(manifest),
        "groups": {
            "num": manifest.grouping.num_groups,
            "patients": manifest.grouping.num_patients,
            "joins": {key: num for key, num in manifest.grouping.joins.items() if num},
            "largest": manifest.grouping.largest_num_patients,
        },
        "parts": [asdict(counts) for counts in count_parts(plan, manifest)],
        "copies": _copies(content),
        "findings": [finding.for_files() for finding in sorted_findings(findings)],
        "plan": [line.strip() for line in describe_plan(plan, manifest, split)],
    }


def _stages(manifest: Manifest, plan: Plan) -> dict[str, Any]:
    """Rows and patients read, left out for which reason, and in the folds."""
    rows = [manifest.table[["patient_id"]].assign(why="")]
    rows[0].loc[sorted(manifest.purged), "why"] = "earlier than the period of their patient"
    is_locked = rows[0]["patient_id"].isin(plan.locked) & rows[0]["why"].eq("")
    rows[0].loc[is_locked, "why"] = "locked away for a final test (split.locked_fraction)"
    if manifest.num_left_out:
        rows.insert(0, manifest.left_out[["patient_id"]].assign(why="no label"))
    table = pd.concat(rows, ignore_index=True)
    left_out: list[dict[str, Any]] = []
    remaining = table
    for reason in [why for why in table["why"].unique() if why]:
        is_out = remaining["why"].eq(reason)
        after = remaining[~is_out]
        lost = remaining["patient_id"].nunique() - after["patient_id"].nunique()
        left_out.append({"reason": reason, "rows": int(is_out.sum()), "patients": lost})
        remaining = after
    return {"read": _size(table), "left_out": left_out, "in_folds": _size(remaining)}


def _size(table: pd.DataFrame) -> dict[str, int]:
    return {"rows": len(table), "patients": int(table["patient_id"].nunique())}


def _classes(manifest: Manifest) -> list[dict[str, Any]]:
    everybody = manifest.of(manifest.patients)
    images = manifest.num_per_class(everybody).tolist()
    patients = manifest.num_patients_per_class(everybody).tolist()
    return [
        {"name": name, "rows": rows, "patients": of}
        for name, rows, of in zip(manifest.classes, images, patients, strict=True)
    ]


def _copies(content: Content) -> Mapping[str, int] | None:
    """Numbers of pairs; None where images were not compared by their pixels."""
    if content.images is None:
        return None
    pairs = content.copies.pairs
    return {
        "exact_pairs": sum(pair.exact for pair in pairs),
        "near_pairs": sum(not pair.exact for pair in pairs),
        "patient_pairs": len(by_patients(content.manifest, pairs)),
        "without_contrast": len(content.copies.flat),
    }
