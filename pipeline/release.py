"""Which code this is: its version, and its commit where it runs from a clone."""

import subprocess
from pathlib import Path

from pipeline import __version__

CLONE = Path(__file__).resolve().parents[1]


def release() -> str:
    """`0.1.0`; in a clone `0.1.0 (commit 0123456789ab)`, and whether files differ from it."""
    commit = git_commit()
    if not commit:
        return __version__
    changed = ", with changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{__version__} (commit {commit[:12]}{changed})"


def git_commit() -> str:
    """The commit of the code; "" outside a clone, also in an environment within somebody's own."""
    top, _, commit = _git("rev-parse", "--show-toplevel", "HEAD").partition("\n")
    return commit if top and Path(top).resolve() == CLONE else ""


def _git(*words: str) -> str:
    """What git answers, "" where it fails or is not there."""
    command = ["git", "-C", str(CLONE), *words]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
