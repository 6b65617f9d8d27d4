"""Every command, make target and setting that a page names is there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import ROOT, commands, name_of, pages, prose

from pipeline.commands import COMMANDS
from pipeline.commands.settings import SCHEMAS
from pipeline.commands.shipped import shipped
from pipeline.config import Config
from pipeline.config.help import setting_names

PAGES = pages()
FLAGS = {"--help", "--version", "-h", "-sc", "<command>"}
HISTORY = {"CHANGELOG.md"}
"""Names of earlier versions may stand there."""
FILES = (".py", ".md", ".csv", ".json", ".yaml", ".png")
GROUPS = {path.name for path in shipped("conf").iterdir() if path.is_dir()}
LEAVES = ("model", "optimizer", "scheduler", "loss.function", "hydra")
"""Whose settings are the arguments of a class that we do not own."""
SECTIONS = {name.split(".")[0] for name in setting_names(Config) if "." in name}


def _known(command: str) -> set[str]:
    config_name = COMMANDS[command].config_name
    own = set(setting_names(SCHEMAS[config_name or command]))
    return own | GROUPS if config_name else own


def _unknown(command: str, words: list[str]) -> Iterator[str]:
    """Settings among the words that the command does not have."""
    known = _known(command)
    for word in words:
        name, sign, _ = word.partition("=")
        name = name.lstrip("+~")
        if not sign or not re.fullmatch(r"[a-z_]+([./][\w/]+)*", name):
            continue
        sections = {setting.split(".")[0] for setting in known if "." in setting}
        is_part = any(setting.startswith(f"{name}.") for setting in known)
        is_within = any(name.startswith(f"{s}.") and s not in sections for s in known)
        is_leaf = name.startswith(tuple(f"{leaf}." for leaf in LEAVES)) or "/" in name
        if name not in known and not is_part and not is_within and not is_leaf:
            yield f"{command} {name}"


def test_there_are_pages_with_commands() -> None:
    assert len(PAGES) > 25
    assert sum(1 for page in PAGES for _ in commands(page)) > 80


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_a_page_names_is_there(page: Path) -> None:
    if page.name in HISTORY:
        return
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for line in commands(page):
        try:
            words = shlex.split(line)
        except ValueError:  # a sentence with an apostrophe
            words = line.split()
        program, name = words[0], words[1]
        if program == "make":
            wrong += [] if name in targets or "=" in name else [line]
        elif name not in COMMANDS:
            wrong += [] if name in FLAGS or len(name) == 1 else [line]  # to be completed
        else:
            wrong += _unknown(name, words[2:])
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_setting_that_a_page_names_is_there(page: Path) -> None:
    """`training.epochs`, `split.num_folds=5`: what begins with a section must be a setting."""
    if page.name in HISTORY:
        return
    known = set(setting_names(Config))
    wrong = []
    for code in re.findall(r"`([a-z_]+\.[a-z_.]+)(?:=[^`]*)?`", prose(page)):
        is_ours = code.split(".")[0] in SECTIONS and not code.endswith(FILES)
        is_part = any(name.startswith(f"{code.rstrip('.')}.") for name in known)
        if is_ours and not (code in known or is_part or code.startswith(LEAVES)):
            wrong.append(code)
    assert wrong == []


def test_a_name_that_is_not_there_is_found(tmp_path: Path) -> None:
    assert list(_unknown("cv", ["trianing.epochs=2"])) == ["cv trianing.epochs"]
    assert list(_unknown("cv", ["training.epoch=2"])) == ["cv training.epoch"]
    assert list(_unknown("cv", ["training.epochs=2", "model.dropout=0", "model=lenet5"])) == []
    assert list(_unknown("forget", ["patient=7", "name=x"])) == ["forget name"]
    page = tmp_path / "page.md"
    page.write_text("Say `patientfold predikt x=1`.\n\n```bash\nmake tea   # now\n```\n")
    assert list(commands(page)) == ["make tea", "patientfold predikt x=1"]
