"""cohort.csv: what the manifest says of each row, and what pseudonyms keep out of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.commands.door import load_config
from pipeline.config import Config, ManifestConfig, UserError
from pipeline.engine.cohort import cohort_of, cohort_text, read_cohort, subgroup_columns
from pipeline.engine.run_folder import Run, open_run
from pipeline.engine.soundness import check_run_folder
from pipeline.engine.traces import find_traces
from pipeline.images.packed import PackedImages
from pipeline.manifest import Manifest, read_manifest
from pipeline.splits import plan_folds
from pipeline.tracking.upload import allowed

NAMES = ["007", "NA", 'a "b", c', "Ödön\u2028x", "1.50", ""]


@pytest.fixture
def planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_cohort: Callable[..., ManifestConfig]
) -> Callable[..., tuple[Manifest, Config]]:
    """A function that reads a cohort with further columns, with some overrides."""
    monkeypatch.chdir(tmp_path)
    kept = make_cohort({f"P{i:02d}": ["healthy" if i % 2 else "lesion"] for i in range(12)})
    table = pd.read_csv(kept.path, dtype=str)
    table["clinic"] = [f"c{i % 2}" for i in range(12)]
    table["Age"] = [str(30 + i) for i in range(12)]
    table["scanner"] = "s1"
    table["birth_name"] = NAMES * 2
    table["line"] = "own"
    table.to_csv(kept.path, index=False)

    def read(*overrides: str) -> tuple[Manifest, Config]:
        words = ["name=small", f"manifest.path={kept.path}", "manifest.columns.site=clinic"]
        config = load_config(
            [*words, "manifest.accept=[one_image_per_patient,key_spelling]", *overrides]
        )
        return read_manifest(config.manifest, config.privacy), config

    return read


def test_the_cohort_has_every_row_and_column_and_reads_back_as_text(
    planned: Callable[..., tuple[Manifest, Config]], tmp_path: Path
) -> None:
    manifest, config = planned()
    cohort = cohort_of(manifest, config)
    (path := tmp_path / "cohort.csv").write_text(cohort_text(cohort), newline="")
    again = read_cohort(path)
    pd.testing.assert_frame_equal(again, cohort.reset_index(drop=True))
    assert list(again)[:3] == ["patient_id", "image_path", "label"]
    assert set(again) > {"site", "Age", "scanner", "birth_name", "csv line"}
    assert len(again) == len(manifest) == 12
    assert set(again["birth_name"]) == set(NAMES)
    path.write_text(path.read_text() + "P99,x.png\n")
    with pytest.raises(UserError, match="whole rows"):
        read_cohort(path)


def test_pseudonyms_keep_out_what_no_setting_names(
    planned: Callable[..., tuple[Manifest, Config]],
) -> None:
    manifest, config = planned("privacy.pseudonyms=true")
    cohort = cohort_of(manifest, config)
    assert list(cohort) == ["patient_id", "image_path", "label", "site", "Age"]
    assert not set(cohort["patient_id"]) & {f"P{i:02d}" for i in range(12)}
    manifest, config = planned("privacy.pseudonyms=true", "evaluation.subgroups=[scanner]")
    assert list(cohort_of(manifest, config))[3:] == ["site", "scanner"]
    manifest, config = planned(
        "privacy.pseudonyms=true", "evaluation.subgroups=[]", "split.stratify=[Age]"
    )
    assert list(cohort_of(manifest, config))[3:] == ["site", "Age"]


def test_subgroups_are_found_by_the_names_of_the_csv(
    planned: Callable[..., tuple[Manifest, Config]],
) -> None:
    manifest, _ = planned()
    assert subgroup_columns(manifest, None) == {"clinic": "site", "Age": "Age"}
    assert subgroup_columns(manifest, ["scanner", "line"]) == {
        "scanner": "scanner",
        "line": "csv line",
    }
    assert subgroup_columns(manifest, []) == {}
    for wrong in ("hospital", "label", "patient_id", "group"):
        with pytest.raises(UserError, match=r"evaluation.subgroups: .*there are .*scanner"):
            subgroup_columns(manifest, [wrong])


def test_the_run_folder_has_it_and_notices_a_change(
    planned: Callable[..., tuple[Manifest, Config]], tmp_path: Path
) -> None:
    manifest, config = planned()
    np.save(tmp_path / "images.npy", np.zeros((12, 1, 2, 2), np.uint8))
    run = Run(config, manifest, plan_folds(manifest, config.split), PackedImages(tmp_path, "p"))
    asked = replace(config, evaluation=replace(config.evaluation, subgroups=("scanner",)))
    assert replace(run, config=asked).identity == run.identity  # another view of the same run
    with open_run(run):
        pass
    path = run.dir / "cohort.csv"
    assert len(read_cohort(path)) == 12
    with pytest.raises(UserError) as told:
        check_run_folder(run.dir)
    assert "cohort" not in str(told.value)  # nothing is trained yet, but this file is whole
    path.write_text(path.read_text().replace("c0", "c1"))
    with pytest.raises(UserError, match=r"cohort.csv was changed"):
        check_run_folder(run.dir)
    path.unlink()
    with pytest.raises(UserError, match=r"cohort.csv is missing"):
        check_run_folder(run.dir)
    environment = json.loads((run.dir / "environment.json").read_text())
    del environment["cohort_sha256"]
    (run.dir / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(UserError) as told:  # as an earlier version wrote it
        check_run_folder(run.dir)
    assert "cohort" not in str(told.value)


def test_it_is_withheld_and_forgotten_as_predictions_are(tmp_path: Path) -> None:
    assert list(allowed(["cohort.csv"], "all")) == ["cohort.csv"]
    assert not list(allowed(["cohort.csv"], "no_patients"))
    run_dir = tmp_path / "runs" / "a"
    run_dir.mkdir(parents=True)
    (run_dir / "environment.json").write_text("{}")
    (run_dir / "cohort.csv").write_text("patient_id,image_path,label\n7,7.png,a\n")
    (found,) = find_traces(tmp_path, ["7"], tmp_path / ".cache").runs
    assert found.files == (run_dir / "cohort.csv",)
    (run_dir / "cohort.csv").write_text("patient_id,image_path,label\n8,8.png,a\n")
    (run_dir / "predictions.csv").write_text("fold,patient_id\n0,7\n")
    (found,) = find_traces(tmp_path, ["7"], tmp_path / ".cache").runs
    assert found.files == (run_dir / "cohort.csv", run_dir / "predictions.csv")
