"""Processes for heavy work, on machines that are not as usual."""

import os
import subprocess
import sys
from pathlib import Path


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
