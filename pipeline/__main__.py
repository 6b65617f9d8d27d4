"""The one door: `patientfold <command>`, or `python -m pipeline <command>`."""

import atexit
import difflib
import gc
import sys
from importlib import import_module

from pipeline.commands import COMMANDS
from pipeline.words import visible

HELP = ("-h", "--help")
COMPLETION = ("-sc", "--shell-completion")
OVERVIEW = """\
Leak-free cross-validation experiments for medical imaging.

usage: patientfold <command> [name=value ...]

{}

patientfold <command> --help lists the settings that a command reads.
To begin: patientfold demo, then patientfold cv experiment=demo."""


def main() -> None:
    """Run the command that the first argument names."""
    gc.set_threshold(100_000, 50, 100)  # else it is looked for in tables of a million rows
    atexit.register(gc.freeze)  # else Python looks for garbage in all that was imported: 0.5 s
    name, *arguments = sys.argv[1:] or HELP
    if name in HELP:
        print(overview())
    elif "--version" in (name, *arguments):
        print(f"patientfold {import_module('pipeline.release').release()}")
    elif name in COMPLETION:
        door = import_module("pipeline.commands.door")
        door.complete(arguments)
    elif name not in COMMANDS:
        sys.exit(visible(f"error: {_unknown(name)}"))
    else:
        sys.argv = [f"patientfold {name}", *arguments]
        door = import_module("pipeline.commands.door")
        if set(HELP) & set(arguments):
            door.show_help(name, [word for word in arguments if word not in HELP])
        else:
            door.run(name)


def overview() -> str:
    """Every command with a line, in the order of use."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.line}" for name, command in COMMANDS.items()]
    return OVERVIEW.format("\n".join(lines))


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
