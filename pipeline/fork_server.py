"""The first import of the process that workers are forked from; nothing else may import it.

What is left to import may take seconds, in which the command may end and its folder be deleted.
"""

import ctypes
import os
import pickle
import signal
import sys
from types import TracebackType

PR_SET_PDEATHSIG = 1  # of Linux's prctl
COMMAND_PID = "PATIENTFOLD_COMMAND_PID"  # set by `processes`

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the command's
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # it ends with the command
command = os.environ.pop(COMMAND_PID, "")  # not there when Python starts a server anew
if command and os.getppid() != int(command):  # it ended before that
    os._exit(0)


def say_why(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say why a worker does not begin, unless the command ended while it sent what to do."""
    if not issubclass(kind, EOFError | pickle.UnpicklingError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = say_why
os.chdir("/")  # workers go to the command's folder themselves
