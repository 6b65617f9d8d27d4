"""Keyed pseudonyms: who can make them, what knows them, what stays as it was."""

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipeline.config import ManifestConfig, PrivacyConfig, SplitConfig, UserError
from pipeline.manifest import PSEUDONYM, Manifest, ManifestError, Pseudonyms, read_manifest
from pipeline.splits import plan_folds
from pipeline.splits.given.names import match_names

PATIENTS = {f"Quitte{number:02d}": ["a", "b"][number % 2 :][:1] * 2 for number in range(12)}
Cohorts = Callable[..., ManifestConfig]


@pytest.fixture
def privacy(tmp_path: Path) -> PrivacyConfig:
    return PrivacyConfig(pseudonyms=True, key_file=str(tmp_path / "study" / "my.key"))


@pytest.fixture
def config(make_cohort: Cohorts) -> ManifestConfig:
    return make_cohort(PATIENTS)


def true_files(manifest: Manifest) -> list[str]:
    return sorted(path.name for path in manifest.image_files)


def test_everything_after_reading_knows_pseudonyms_only(
    config: ManifestConfig, privacy: PrivacyConfig
) -> None:
    plain, manifest = read_manifest(config), read_manifest(config, privacy)
    for column in ("patient_id", "image_path", "group"):
        assert manifest.table[column].str.fullmatch(PSEUDONYM.pattern).all()
    assert "Quitte" not in manifest.table.to_csv() + " ".join(manifest.describe())
    assert true_files(manifest) == true_files(plain)  # opened by their true names
    assert all(path.is_file() for path in manifest.image_files)
    names = {manifest.true_names[name] for name in manifest.patients}
    assert names == set(plain.patients)
    for row, path in enumerate(manifest.image_files):
        owner = manifest.true_names[manifest.table["patient_id"][row]]
        assert path.name.startswith(owner)


def test_keys_that_link_rows_are_hidden_and_link_the_same_rows(
    config: ManifestConfig, privacy: PrivacyConfig
) -> None:
    """A family's name tells whose family it is; a blank one still links nobody."""
    table = pd.read_csv(config.path, dtype=str)
    of = table["patient_id"].map({"Quitte00": "Apfel", "Quitte02": "Apfel", "Quitte03": "Birne"})
    table["glass"] = "Glass" + table["patient_id"]
    table.assign(family=of.fillna(""), exam=of.fillna(" ")).to_csv(config.path, index=False)
    columns = replace(config.columns, study="exam", slide="glass")
    keyed = replace(config, columns=columns, group_columns=("family",))
    plain, manifest = read_manifest(keyed), read_manifest(keyed, privacy)
    hidden = manifest.table.to_csv()
    assert not [name for name in ("Quitte", "Apfel", "Birne", "Glass") if name in hidden]
    assert sorted(manifest.table["family"].str.fullmatch("k-[0-9a-f]{16}|")) == [True] * 24
    assert manifest.grouping.num_groups == plain.grouping.num_groups == 11
    assert manifest.grouping.joins == plain.grouping.joins


def test_keys_with_stray_spaces_link_the_same_rows(
    config: ManifestConfig, privacy: PrivacyConfig
) -> None:
    """A row without a label too: `E1 ` of one patient is the study of another's `E1`."""
    table = pd.read_csv(config.path, dtype=str)

    def cells(of: dict[str, str]) -> "pd.Series[str]":
        return table["patient_id"].map(of).fillna("")

    table["exam"] = cells({"Quitte00": "E1", "Quitte02": "E1 "})
    table["glass"] = cells({"Quitte03": "\u00a0G", "Quitte05": "G"})
    table["family"] = cells({"Quitte07": "F\t", "Quitte09": "F"})
    table.loc[23, ["label", "exam"]] = "", " E1"  # of Quitte11
    table.to_csv(config.path, index=False)
    columns = replace(config.columns, study="exam", slide="glass")
    keyed = replace(config, columns=columns, group_columns=("family",), blank_label="leave_out")
    plain, manifest = read_manifest(keyed), read_manifest(keyed, privacy)
    assert manifest.grouping.num_groups == plain.grouping.num_groups == 8
    assert manifest.grouping.joins == plain.grouping.joins
    pseudonyms = Pseudonyms.open(Path(privacy.key_file))
    assert set(manifest.table["study"]) == {"", pseudonyms.of("study", "E1")}


def test_the_same_key_gives_the_same_plan_whatever_the_order_of_rows(
    config: ManifestConfig, privacy: PrivacyConfig
) -> None:
    split = SplitConfig(num_folds=3)
    first = plan_folds(read_manifest(config, privacy), split)
    table = pd.read_csv(config.path, dtype=str)
    table.iloc[::-1].to_csv(config.path, index=False)
    assert plan_folds(read_manifest(config, privacy), split).hash == first.hash
    other = replace(privacy, key_file=f"{privacy.key_file}2")
    assert plan_folds(read_manifest(config, other), split).hash != first.hash


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "my.key"
    made, again = Pseudonyms.open(path), Pseudonyms.open(path)
    assert (made.is_new, again.is_new) == (True, False)
    assert made.key == again.key
    assert len(set(made.key)) > 8
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["my.key"]


def test_a_key_that_others_may_read_or_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "my.key"
    Pseudonyms.open(path)
    path.chmod(0o640)
    with pytest.raises(UserError, match=r"others may read it .*chmod 600"):
        Pseudonyms.open(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(UserError, match="expected 64 hexadecimal digits"):
        Pseudonyms.open(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="cannot be read as a key"):
        Pseudonyms.open(path)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(UserError, match="cannot be read as a key"):
        Pseudonyms.open(path)


def test_a_blank_cell_has_no_pseudonym() -> None:
    """Else all patients without a family would share one, and be one group."""
    assert Pseudonyms(bytes(32)).of("family", " ") == " "


def test_what_is_wrong_with_the_csv_is_told_on_the_console_only(
    config: ManifestConfig, privacy: PrivacyConfig
) -> None:
    (Path(config.path).parent / "images" / "Quitte03_00.png").unlink()
    with pytest.raises(ManifestError, match=r"Quitte03_00\.png") as caught:
        read_manifest(config, privacy)
    found = [finding for finding in caught.value.findings if finding.severity == "error"]
    assert found
    assert all("Quitte" not in str(finding.for_files()) for finding in found)
    assert [finding.for_files()["line"] for finding in found] == [8]


@pytest.mark.parametrize("of", ["true", "shown"])
def test_a_split_made_elsewhere_may_use_either_names(
    config: ManifestConfig, privacy: PrivacyConfig, of: str
) -> None:
    manifest = read_manifest(config, privacy)
    names = [manifest.true_names[p] if of == "true" else p for p in manifest.patients]
    matched = match_names(manifest, names)
    assert matched.share_known == 1
    owner = manifest.table["patient_id"].map(manifest.true_names if of == "true" else str)
    for number, row in matched.rows.itertuples(index=False):
        assert names[number] == owner[row]


def test_two_patients_never_share_a_pseudonym(config: ManifestConfig) -> None:
    class Careless(Pseudonyms):
        def of(self, column: str, value: str) -> str:
            return super().of(column, value)[:3]

    manifest = read_manifest(config)
    with pytest.raises(AssertionError, match="two names have one pseudonym"):
        Careless(bytes(32)).applied(manifest, [])
