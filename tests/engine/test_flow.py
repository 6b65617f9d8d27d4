"""flow.json: its numbers add up, and it can be read again only as it was written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.audit.content import Content
from pipeline.audit.copies import Copies, Copy
from pipeline.commands.door import load_config
from pipeline.config import ManifestConfig, UserError
from pipeline.engine.finished import Finished
from pipeline.engine.flow import flow_of
from pipeline.engine.run_folder import FLOW
from pipeline.files import write_json
from pipeline.images.packed import PackedImages
from pipeline.manifest import Finding, read_manifest
from pipeline.tracking.result import with_seal
from pipeline.training.planning import make_plan

PATIENTS = {f"P{i:02d}": ["healthy" if i % 2 else "lesion"] * (1 + i % 3) for i in range(30)}


@pytest.fixture
def flow(make_cohort: Callable[..., ManifestConfig]) -> dict[str, Any]:
    """Of a cohort with unlabelled rows, two of one patient without any other, and locked ones."""
    config = make_cohort(PATIENTS)
    path = Path(config.path)
    lines = path.read_text().splitlines()
    lines[4] = lines[4].rsplit(",", 1)[0] + ","  # P02 keeps two of its three images
    for number in (1, 2):  # P00 has one image, P01 has two, of which one keeps its label
        lines[number] = lines[number].rsplit(",", 1)[0] + ","
    path.write_text("\n".join(lines) + "\n")
    overrides = [f"manifest.path={path}", "split.num_folds=3", "split.locked_fraction=0.2"]
    settings = load_config([*overrides, "manifest.blank_label=leave_out"])
    manifest = read_manifest(settings.manifest)
    planned = make_plan(settings, manifest)
    secret = Finding("two_sites", "warning", "P03 is at two sites", 3, private=True)
    copies = Copies((Copy(0, 5, exact=True), Copy(1, 5, exact=False, correlation=0.95)), (7,))
    content = Content(manifest, copies, (secret,), PackedImages(path.parent, "pixels"))
    return flow_of(content, planned, settings.split, ["a doubt"])


def test_what_is_read_less_what_is_left_out_is_in_the_folds(flow: dict[str, Any]) -> None:
    assert flow["read"] == {"rows": sum(map(len, PATIENTS.values())), "patients": 30}
    no_label, locked = flow["left_out"]
    assert no_label == {"reason": "no label", "rows": 3, "patients": 1}
    assert locked["patients"] >= 4
    for what in ("rows", "patients"):
        out = sum(reason[what] for reason in flow["left_out"])
        assert flow["read"][what] - out == flow["in_folds"][what] == flow["tested"][what]


def test_the_parts_of_each_fold_add_up_to_what_is_in_the_folds(flow: dict[str, Any]) -> None:
    assert len(flow["parts"]) == 9
    for fold in "012":
        parts = [part for part in flow["parts"] if part["fold"] == fold]
        assert [part["part"] for part in parts] == ["train", "val", "test"]
        assert sum(part["num_patients"] for part in parts) == flow["in_folds"]["patients"]
        assert sum(part["num_images"] for part in parts) == flow["in_folds"]["rows"]


def test_findings_copies_and_doubts_are_told_and_private_ones_keep_their_names(
    flow: dict[str, Any],
) -> None:
    assert flow["copies"] == {
        "exact_pairs": 1,
        "near_pairs": 1,
        "patient_pairs": 2,
        "without_contrast": 1,
    }
    messages = {finding["rule"]: finding["message"] for finding in flow["findings"]}
    assert messages["plan"] == "a doubt"
    assert "P03" not in messages["two_sites"]
    assert flow["plan"][0].startswith("plan: kfold, 3 folds")
    json.dumps(flow, allow_nan=False)


def test_a_flow_that_was_changed_is_refused(flow: dict[str, Any], tmp_path: Path) -> None:
    assert Finished(tmp_path).flow is None
    write_json(tmp_path / FLOW, with_seal(flow))
    assert Finished(tmp_path).flow == json.loads(json.dumps(flow))
    text = (tmp_path / FLOW).read_text().replace('"rows": 3,', '"rows": 2,')
    (tmp_path / FLOW).write_text(text)
    with pytest.raises(UserError, match=r"flow\.json was changed after it was written"):
        Finished(tmp_path).flow  # noqa: B018
