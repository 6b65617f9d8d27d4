"""Our commands as a user types them, called in this process.

One of its own would import for 3 s what is here already, and its workers for 10 s more. Tests of
signals, kills and full disks start one all the same.
"""

import signal
import sys
import traceback
import warnings
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from pipeline.__main__ import main
from pipeline.commands import COMMANDS
from pipeline.commands.stopping import STOPS
from pipeline.engine import PRELOADED
from pipeline.processes import preload, start_forkserver

IGNORED = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""As Python does, unless told otherwise."""


def called(cwd: Path, *words: str, **environment: str) -> CompletedProcess[str]:
    """`patientfold` with these words in the folder `cwd`, in a wide terminal without colours."""
    out, err = StringIO(newline=""), StringIO(newline="")
    stops = {number: signal.getsignal(number) for number in STOPS}
    if words and words[0] in COMMANDS and COMMANDS[words[0]].trains:  # all later ones share it
        preload(*PRELOADED)
        start_forkserver()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as warned:
        patch.chdir(cwd)
        for name, value in {"COLUMNS": "200", "NO_COLOR": "1", **environment}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["patientfold", *words])
        warnings.resetwarnings()
        for category in IGNORED:
            warnings.simplefilter("ignore", category)
        with redirect_stdout(out), redirect_stderr(err):
            code = _exit_code()
    for number, handler in stops.items():
        signal.signal(number, handler)
    told = [warnings.formatwarning(w.message, w.category, w.filename, w.lineno) for w in warned]
    return CompletedProcess(words, code, out.getvalue(), err.getvalue() + "".join(told))


def _exit_code() -> int:
    """What the shell would see; a message that ends a process is printed, as Python does."""
    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 (a traceback is what the tests look for)
        traceback.print_exc()
        return 1
    return 0
