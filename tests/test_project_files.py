"""What surrounds the code: changelog, citation, templates of issues and pull requests."""

import datetime
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import pipeline
from pipeline.commands import COMMANDS

ROOT = Path(__file__).parents[1]
CHANGES = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Known limits"}
"""Of Keep a Changelog; the last is ours."""
ISSUES = ROOT / ".github" / "ISSUE_TEMPLATE"
FORMS = sorted(path for path in ISSUES.glob("*.yml") if path.name != "config.yml")
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
FIELDS = {
    *("abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi"),
    *("identifiers", "keywords", "license", "license-url", "message", "preferred-citation"),
    *("references", "repository", "repository-artifact", "repository-code", "title", "type"),
    *("url", "version"),
}
"""Of a CITATION.cff, version 1.2.0 of the Citation File Format's schema."""
OF_A_PERSON = {
    *("address", "affiliation", "alias", "city", "country", "email", "family-names", "fax"),
    *("given-names", "name-particle", "name-suffix", "orcid", "post-code", "region", "tel"),
    "website",
}
OF_AN_ENTITY = {
    *("address", "alias", "city", "country", "date-end", "date-start", "email", "fax", "location"),
    *("name", "orcid", "post-code", "region", "tel", "website"),
}


def read(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


# --- CHANGELOG.md


def test_the_changelog_has_its_form() -> None:
    text = read("CHANGELOG.md")
    assert text.startswith("# Changelog\n")
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    for version in versions[1:]:
        found = re.fullmatch(r"\[\d+\.\d+\.\d+\] - (\d{4}-\d\d-\d\d)", version)
        assert found is not None, version
        datetime.date.fromisoformat(found[1])
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= CHANGES
    assert not re.search(r"^### .*\n+(?=##|\Z)", text, re.MULTILINE), "an empty list"


def test_the_changelog_is_of_this_version() -> None:
    """A version is in it once it is released; until then it is what Unreleased will be."""
    text = read("CHANGELOG.md")
    version = re.escape(pipeline.__version__)
    assert re.search(rf"^## \[{version}\]|what {version} will be", text, re.MULTILINE)


def test_the_changelog_names_every_command() -> None:
    assert [name for name in COMMANDS if f"`patientfold {name}`" not in read("CHANGELOG.md")] == [
        "cv"  # all of it
    ]


# --- CITATION.cff


def citation() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(read("CITATION.cff"))
    return found


def faults(found: dict[str, Any]) -> list[str]:
    """What the schema of the Citation File Format 1.2.0 would not take."""
    wrong = [f"unknown field {name}" for name in found.keys() - FIELDS]
    for name in ("cff-version", "message", "title", "authors"):
        if not found.get(name):
            wrong.append(f"{name} is required")
    for name in ("cff-version", "message", "title", "version", "license", "abstract", "type"):
        if name in found and not isinstance(found[name], str):
            wrong.append(f"{name} must be text: put it in quotes")
    if found.get("cff-version") != "1.2.0":
        wrong.append("cff-version must be 1.2.0")
    if found.get("type", "software") not in ("software", "dataset"):
        wrong.append("type must be software or dataset")
    if "date-released" in found and not isinstance(found["date-released"], datetime.date):
        wrong.append("date-released must be a day")
    for name in ("authors", "keywords"):
        items = found.get(name, ["one"])
        if not isinstance(items, list) or not items or len(set(map(str, items))) < len(items):
            wrong.append(f"{name} must be a list of different items")
    for author in found.get("authors") or []:
        is_entity = "name" in author
        if unknown := author.keys() - (OF_AN_ENTITY if is_entity else OF_A_PERSON):
            wrong.append(f"an author has no field {sorted(unknown)[0]}")
    return wrong


def test_the_citation_fits_the_schema_and_the_package() -> None:
    found = citation()
    assert faults(found) == []
    assert found["version"] == pipeline.__version__
    assert found["title"].startswith("patientfold")
    assert f'license = "{found["license"]}"' in read("pyproject.toml")
    released = f"## [{pipeline.__version__}] - " in read("CHANGELOG.md")
    assert ("date-released" in found) == released


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"authors": None}, "authors is required"),
        ({"message": ""}, "message is required"),
        ({"version": 0.1}, "version must be text: put it in quotes"),
        ({"type": "program"}, "type must be software or dataset"),
        ({"licence": "MIT"}, "unknown field licence"),
        ({"keywords": ["a", "a"]}, "keywords must be a list of different items"),
        ({"date-released": "soon"}, "date-released must be a day"),
        ({"authors": [{"name": "A", "given-names": "B"}]}, "an author has no field given-names"),
        ({"authors": [{"family-names": "A", "mail": "B"}]}, "an author has no field mail"),
        ({"cff-version": "1.1.0"}, "cff-version must be 1.2.0"),
    ],
)
def test_a_wrong_citation_is_seen(change: dict[str, Any], fault: str) -> None:
    assert fault in faults(citation() | change)


# --- issues and pull requests


def test_there_is_a_form_for_a_bug_a_wish_and_a_leak() -> None:
    assert [path.stem for path in FORMS] == ["bug", "feature", "leak"]
    config = yaml.safe_load((ISSUES / "config.yml").read_text(encoding="utf-8"))
    assert config == {"blank_issues_enabled": False}


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_is_one_that_the_site_takes(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert (
        {"name", "description", "body"}
        <= form.keys()
        <= {*("name", "description", "title", "labels", "assignees", "body")}
    )
    asked = [item for item in form["body"] if item["type"] != "markdown"]
    assert asked
    ids = [item["id"] for item in asked]
    assert len(set(ids)) == len(ids)
    for item in form["body"]:
        assert item["type"] in KINDS
        needed = "value" if item["type"] == "markdown" else "label"
        assert item["attributes"][needed]
        assert item.get("validations", {}).keys() <= {"required"}
        if item["type"] == "dropdown":
            options = item["attributes"]["options"]
            assert len(set(options)) == len(options) > 1
    assert any(item.get("validations", {}).get("required") for item in asked)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_begins_with_a_word_on_patient_data(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form["body"][0]["type"] == "markdown"
    text = form["body"][0]["attributes"]["value"]
    assert "no patient data" in " ".join(text.replace("*", "").split())


@pytest.mark.parametrize("name", ["bug", "leak"])
def test_what_went_wrong_comes_with_the_version(name: str) -> None:
    assert "`patientfold --version`" in (ISSUES / f"{name}.yml").read_text(encoding="utf-8")


def test_a_pull_request_is_asked_what_matters() -> None:
    text = read(".github", "pull_request_template.md")
    for word in (
        "make check",
        "CHANGELOG.md",
        "old run folders",
        "docs/privacy.md",
        "patient data",
    ):
        assert word.lower() in text.lower()


# --- CONTRIBUTING.md


def test_every_file_that_contributing_names_exists() -> None:
    text = read("CONTRIBUTING.md")
    named = set(re.findall(r"\b(?:pipeline|conf|tests|docs)/[\w/.-]*\w", text))
    made = set(re.findall(r"^```\w+\n# (\S+)$", text, re.MULTILINE)) | {"conf/split/halves.yaml"}
    assert len(named) > 20
    assert {name for name in named - made if not (ROOT / name).exists()} == set()
    links = re.findall(r"\]\((?!https:)([^)#]+)", text + read("CHANGELOG.md"))
    assert {link for link in links if not (ROOT / link).exists()} == set()
