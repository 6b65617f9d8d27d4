"""The one door: `patientfold <command>`, or `python -m pipeline <command>`."""

import ast
import difflib
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from pipeline import __version__

HELP = ("-h", "--help")
PLANNED = ("plugins", "manifest", "split", "audit.content", "audit.near", "images", "sampler",
           "loss", "training.select_by", "evaluation.patient_label")  # fmt: skip
"""What is read to make a plan and to judge it."""
TRAINED = ("name", "folds", "run_dir", *PLANNED, "augment", "model", "init", "optimizer",
           "scheduler", "training", "evaluation", "tracking", "engine")  # fmt: skip


@dataclass(frozen=True)
class Command:
    """One line on a command, and which settings it reads: of a schema, composed from a YAML."""

    line: str
    reads: tuple[str, ...] = ()
    schema: str = "pipeline.config:Config"
    config_name: str | None = None


COMMANDS = {
    "init": Command(
        "begin a study folder here, with the settings of your own CSV",
        schema="pipeline.commands.settings:InitSettings",
    ),
    "demo": Command(
        "make the demo's images here (demo/, 2 MB)",
        schema="pipeline.commands.settings:NoSettings",
    ),
    "make-manifest": Command(
        "write a manifest from folders, DICOM files or a table",
        schema="pipeline.config.making:MakeManifestConfig",
        config_name="make_manifest",
    ),
    "check": Command(
        "is this manifest fit for a cross-validation, and its plan?",
        (*PLANNED, "audit"),
        config_name="cv",
    ),
    "plan": Command(
        "make a plan to keep, let it grow, or repair it", (*PLANNED, "plan"), config_name="cv"
    ),
    "cv": Command("cross-validate: from the CSV to MLflow", TRAINED, config_name="cv"),
    "leakage-cost": Command(
        "train split by image and by patient: what does the leak pretend?",
        TRAINED,
        config_name="cv",
    ),
    "canary": Command("random labels through the whole pipeline: would a leak show?"),
    "sync": Command(
        "complete the MLflow runs of a run folder",
        schema="pipeline.commands.settings:SyncSettings",
    ),
}
"""In the order of use."""


def main() -> None:
    """Run the command that the first argument names."""
    name, *arguments = sys.argv[1:] or HELP
    if name in HELP:
        print(overview())
    elif "--version" in (name, *arguments):
        print(f"patientfold {__version__}")
    elif name not in COMMANDS:
        sys.exit(f"error: {_unknown(name)}")
    else:
        sys.argv = [f"patientfold {name}", *arguments]
        if set(HELP) & set(arguments) and name != "canary":  # whose parser has its own
            show_help(name, [a for a in arguments if a not in HELP])
        else:
            import_module(f"pipeline.commands.{name.replace('-', '_')}").run()


def overview() -> str:
    """Every command with a line, in the order of use."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.line}" for name, command in COMMANDS.items()]
    return "\n".join([
        "Leak-free cross-validation experiments for medical imaging.",
        "",
        "usage: patientfold <command> [name=value ...]",
        "",
        *lines,
        "",
        "patientfold <command> --help lists the settings that a command reads.",
        "To begin: patientfold demo, then patientfold cv experiment=demo.",
    ])  # fmt: skip


def show_help(name: str, arguments: list[str]) -> None:
    """What a command does, and every setting that it reads with its value, type and meaning."""
    door = import_module("pipeline.commands.door")
    command = COMMANDS[name]
    module, _, schema_name = command.schema.partition(":")
    schema = getattr(import_module(module), schema_name)
    source = Path(__file__).with_name("commands") / f"{name.replace('-', '_')}.py"
    about = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    with door.one_message(schema):
        lines = door.help_lines(arguments, command.config_name, schema, command.reads)
        usage = f"usage: patientfold {name} [name=value ...]"
        print("\n".join([f"{name}: {command.line}", "", about, "", usage, "", *lines]))


def _unknown(name: str) -> str:
    """The nearest command, or what to write in place of a setting."""
    if name.startswith("-") or "=" in name:
        return f"{name}: the command comes first, e.g. patientfold cv experiment=demo"
    spelt = name.replace("_", "-")
    close = difflib.get_close_matches(spelt, COMMANDS, n=1, cutoff=0.5)
    advice = f"did you mean {close[0]}?" if close else f"there are {', '.join(COMMANDS)}"
    return f"{name}: unknown command; {advice}"


if __name__ == "__main__":
    main()
