"""Completion by the TAB key: eval "$(patientfold -sc install=bash)" in a shell of bash.

Hydra answers for the commands that compose an experiment, and their schema for all others. Hydra's
own script calls the program by its first word; ours has a command behind it.
"""

import os
import re
from collections.abc import Sequence

from pipeline.commands import COMMANDS
from pipeline.config.help import setting_names
from pipeline.console import tell
from pipeline.errors import UserError

ASKED = re.compile(r"(install|uninstall|query)=(\w+)")
SCRIPT = """\
_patientfold() {{
    local line=${{COMP_LINE:0:COMP_POINT}} choices
    local word=${{line##* }} words
    read -ra words <<<"$line"
    if [ ${{#words[@]}} -lt 2 ] || {{ [ ${{#words[@]}} -eq 2 ] && [ -n "$word" ]; }}; then
        choices="{commands}"
    else
        choices=$(COMP_LINE=$line "${{words[0]}}" "${{words[1]}}" -sc query=bash 2>/dev/null)
    fi
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
    case $word in *=*) # bash sees a word of its own behind "="
        case $COMP_WORDBREAKS in *=*) COMPREPLY=("${{COMPREPLY[@]#"${{word%=*}}="}}") ;; esac ;;
    esac
}}
complete -o nospace -o default -F _patientfold patientfold"""
REMOVAL = "complete -r patientfold; unset -f _patientfold"


def answer(settings: Sequence[str], schema: type | None) -> bool:
    """Print what a shell asks for; False when Hydra has to answer, with COMP_LINE as it reads it.

    `schema` is that of a command whose settings Hydra does not compose.
    """
    asked = ASKED.fullmatch(" ".join(settings))
    if asked is None or asked[2] != "bash":
        raise UserError(
            "-sc: must be followed by install=bash or uninstall=bash (zsh takes that of bash, see "
            f"docs/completion.md), got {' '.join(settings) or 'nothing'!r}"
        )
    if asked[1] != "query":
        script = SCRIPT.format(commands=" ".join(COMMANDS))
        tell(script if asked[1] == "install" else REMOVAL)
        return True
    program, _, rest = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
    line = rest.lstrip().partition(" ")[2]  # without the command
    os.environ["COMP_LINE"] = f"{os.path.basename(program) or 'patientfold'} {line}"  # noqa: PTH119
    if schema is not None:
        word = line.rpartition(" ")[2]
        tell(" ".join(f"{name}=" for name in setting_names(schema) if name.startswith(word)))
    return schema is not None
