"""The pages on commands and settings, written from the schema whenever the site is built.

What they say is what `patientfold <command> --help` says, from the same code.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cache

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from pipeline.commands import COMMANDS
from pipeline.commands.door import about, settings_of
from pipeline.config import Config
from pipeline.config.help import MISSING_VALUE, Section, Setting

SETTINGS, COMMANDS_PAGE = "reference/settings.md", "reference/commands.md"
HEAD_OF_COMMANDS = """\
# Commands

In the order of use. `patientfold <command> --help` says the same on the terminal, with the values
that your own files and arguments give. How settings are written: [settings](../settings.md).

| exit code | means |
|---|---|
| 0 | done |
| 1 | something is wrong that you can mend, or a fold failed; the message says what |
| 130 | stopped by Ctrl-C |
| 143, 138, 140 | stopped by SIGTERM, SIGUSR1, SIGUSR2: see [clusters][cluster] |

[cluster]: ../cluster.md#time-limits-and-preemption
"""
HEAD_OF_SETTINGS = """\
# Settings

Every setting of the commands that work on an experiment, with its type, its limits and its default.
The commands that take a finished run have few settings of their own: they stand with the
[commands](commands.md). How settings are written, and which matter first:
[settings](../settings.md).
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by MkDocs once it knows the pages on disk."""
    files.append(File.generated(config, COMMANDS_PAGE, content=page_of_commands()))
    files.append(File.generated(config, SETTINGS, content=page_of_settings()))
    return files


def page_of_commands() -> str:
    """Every command: what it does, and the settings that it reads."""
    parts = [HEAD_OF_COMMANDS]
    for name, command in COMMANDS.items():
        parts += [f"## {name}", *_paragraphs(about(name))]
        if command.config_name == "cv":
            parts.append(f"Settings: {', '.join(_read(command.reads))}.")
            continue
        sections = settings_of(name)
        if not any(section.settings for section in sections):
            parts.append("It has no settings.")
        for section in sections:
            parts += [_entry(setting, f"{name}.{setting.name}") for setting in section.settings]
    return "\n\n".join(parts) + "\n"


def page_of_settings() -> str:
    """Every setting of an experiment, section by section in the order of the schema."""
    parts = [HEAD_OF_SETTINGS]
    for section in experiment_sections():
        parts.append(f"## {section.name or 'The experiment'}")
        if section.meaning:
            parts.append(shown(section.meaning))
        if section.files:
            files = ", ".join(code(f"{section.name}={file}") for file in section.files)
            parts.append(f"Values that belong together: {files}.")
        parts += [_entry(setting, setting.name) for setting in section.settings]
        if section.leaf is not None:
            lines = "\n".join(f"{key} = {text}" for key, text in section.leaf)
            parts.append("`_target_` names the class; all else are its arguments. The default:")
            parts.append(f"```text\n{lines}\n```")
    return "\n\n".join(parts) + "\n"


@cache
def experiment_sections() -> Sequence[Section]:
    """Each section as the command has it that reads the most of it, in the order of the schema."""
    found: dict[str, Section] = {}
    for name, command in COMMANDS.items():
        for section in settings_of(name) if command.config_name == "cv" else ():
            known = found.setdefault(section.name, section)
            if len(section.settings) > len(known.settings):
                found[section.name] = section
    order = ["", *(of.name for of in fields(Config))]
    return sorted(found.values(), key=lambda section: order.index(section.name))


def _entry(setting: Setting, anchor: str) -> str:
    """A line with name, type and default; its meaning below."""
    needed = setting.default == MISSING_VALUE
    value = "needs a value" if needed else f"default {code(setting.default)}"
    kind = shown(setting.kind)
    line = f'<a id="{html.escape(anchor)}"></a>**{code(setting.name)}** · {kind} · {value}'
    meaning = shown(setting.meaning or "-").replace("\n", "\n    ")
    return f"{line}\n\n:   {meaning}"


def _read(reads: str) -> Iterator[str]:
    """Links to the sections and single settings that a command reads; none named: to all."""
    for name in reads.split():
        yield f"[{code(name)}](settings.md#{name})"
    if not reads:
        yield "[all](settings.md)"


def _paragraphs(text: str) -> Iterator[str]:
    """Of a docstring: what is set in columns stays so, all else flows."""
    for paragraph in text.split("\n\n"):
        is_set = any(line.startswith(" ") or "  " in line for line in paragraph.splitlines())
        if is_set:
            yield f"```text\n{paragraph}\n```"
            continue
        words, _, example = paragraph.partition(": patientfold ")
        if example:
            yield f"{shown(words)}: {code('patientfold ' + ' '.join(example.split()))}"
        else:
            yield shown(paragraph)


def code(text: str) -> str:
    """As code, whatever signs it has."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}" if fence == "`" else f"{fence} {text} {fence}"


def shown(text: str) -> str:
    """Plain text with `code` in it: nothing else in it is taken for Markdown or HTML."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(p if i % 2 else _escaped(p) for i, p in enumerate(parts))


def _escaped(text: str) -> str:
    return re.sub(r"([\\*_\[\]{}#|])", r"\\\1", html.escape(text, quote=False))
