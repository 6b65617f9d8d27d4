"""The reference has every command and every setting, with type, limits, default and meaning."""

import re

from reference_pages import code, page_of_commands, page_of_settings, shown

from pipeline.commands import COMMANDS
from pipeline.commands.door import settings_of
from pipeline.commands.settings import SCHEMAS
from pipeline.config import Config
from pipeline.config.help import setting_names

NO_SETTING = {"from_environment"}


def test_every_setting_of_an_experiment_is_there() -> None:
    page = page_of_settings()
    entries = dict(re.findall(r'^<a id="([^"]+)"></a>(.*\n\n:   .*)$', page, re.MULTILINE))
    owned = {
        name for name in setting_names(Config) if name not in ("model", "optimizer", "scheduler")
    }
    assert owned - entries.keys() - NO_SETTING == set()
    assert len(entries) > 100
    folds = entries["split.num_folds"]
    assert "whole number &gt;= 3" in folds
    assert "default `5`" in folds
    assert "needs a value" in entries["manifest.path"]
    assert not [name for name, text in entries.items() if text.endswith(":   -")], "no meaning"
    for section in ("model", "optimizer", "scheduler"):
        assert f"## {section}\n" in page


def test_every_command_is_there_with_its_own_settings() -> None:
    page = page_of_commands()
    assert re.findall(r"^## (\S+)$", page, re.MULTILINE) == list(COMMANDS)
    for name, command in COMMANDS.items():
        if command.config_name != "cv":
            for setting in setting_names(SCHEMAS[command.config_name or name]):
                assert f'<a id="{name}.{setting}"></a>' in page


def test_it_says_what_the_help_says() -> None:
    """Same defaults, types and meanings: both come from `settings_of`."""
    page = page_of_commands()
    for section in settings_of("report"):
        for setting in section.settings:
            assert shown(setting.kind) in page
            assert shown(setting.meaning.splitlines()[0]) in page


def test_text_of_the_schema_is_not_taken_for_markdown() -> None:
    assert shown("(?P<patient>.+)_(l|r) of `a_b` *") == (
        r"(?P&lt;patient&gt;.+)\_(l\|r) of `a_b` \*"
    )
    assert code("a`b") == "`` a`b ``"
