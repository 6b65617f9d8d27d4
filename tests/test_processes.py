"""Processes for heavy work, on machines that are not as usual."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import pipeline.commands.cv  # noqa: F401  (it names what the server is to import)
from pipeline.processes import PRELOAD


def test_what_the_fork_server_imports_exists() -> None:
    """It passes over what it does not find, and every process would import that anew."""
    assert {"monai.networks.nets", "pipeline.engine.worker", "pipeline.engine.results"} < {*PRELOAD}
    assert [name for name in PRELOAD if find_spec(name) is None] == []
    assert len(PRELOAD) == len({*PRELOAD})


def test_a_long_name_of_the_temporary_folder_is_told(tmp_path: Path) -> None:
    folder = tmp_path / ("t" * 110)
    folder.mkdir()
    code = """
from pipeline.errors import UserError
from pipeline.processes import start_forkserver
try:
    start_forkserver()
except UserError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"in the folder of temporary files, {folder} (AF_UNIX path too long)" in done.stdout
    assert "Set TMPDIR to one with a short name" in done.stdout
    assert done.stderr == ""


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs another user")
def test_a_user_whom_the_machine_does_not_know_can_import_and_expand_home() -> None:
    """As in a container that is started with a number for a user: no passwd entry, no HOME."""
    nobody = [
        *("setpriv", "--reuid", "45678", "--regid", "45678", "--clear-groups"),
        *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),  # to read Python
    ]
    code = "from pipeline.processes import call_in_child; import getpass, pathlib\n"
    code += "print(call_in_child(getpass.getuser), call_in_child(pathlib.Path.home))"
    environment = {k: v for k, v in os.environ.items() if k not in ("USER", "LOGNAME", "HOME")}
    done = subprocess.run(
        [*nobody, sys.executable, "-B", "-c", code],
        cwd=Path(__file__).parents[1],
        env=environment | {"TMPDIR": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["user-45678", "/tmp"]
