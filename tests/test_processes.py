"""Processes for heavy work, on machines that are not as usual."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

import pipeline.commands.cv  # noqa: F401  (it names what the server is to import)
from pipeline.processes import MONAI, PLOTS, PRELOAD


def test_what_the_fork_server_imports_exists() -> None:
    """It passes over what it does not find, and every process would import that anew."""
    named = [*PRELOAD, *MONAI, *PLOTS]
    assert {"monai.networks.nets", "pipeline.engine.worker", "pipeline.engine.results"} < {*named}
    assert [name for name in named if find_spec(name) is None] == []
    assert len(named) == len({*named})


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


@pytest.mark.slow
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


SCRIPT = """
import os
from pipeline.processes import call_in_child
print("before")

def main():
    print("answered", call_in_child(os.getppid) > 0)

{}main()
"""
ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


@pytest.mark.parametrize("as_module", [False, True])
@pytest.mark.parametrize("guard", ["", "if os.sep: ", "print(__name__); "])
def test_a_script_without_a_guard_gets_one_line(
    tmp_path: Path, guard: str, as_module: bool
) -> None:
    done = run_script(tmp_path, guard, as_module)
    assert done.returncode == 1
    assert done.stdout.count("before") == 1
    assert "answered" not in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "mine.py, line 9: this starts processes, each of which imports mine.py" in line
    assert line.endswith('Put it under `if __name__ == "__main__":`')


@pytest.mark.slow
@pytest.mark.parametrize("as_module", [False, True])
def test_a_script_with_a_guard_works(tmp_path: Path, as_module: bool) -> None:
    done = run_script(tmp_path, 'if __name__ == "__main__": ', as_module)
    assert done.returncode == 0, done.stderr
    assert "answered True" in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
def test_code_without_a_file_needs_no_guard_and_code_of_a_pipe_is_refused(tmp_path: Path) -> None:
    code = SCRIPT.format("")
    inline, piped = (
        subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            input=code,
            env=ENV,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        for arguments in (["-c", code], ["-"])
    )
    assert (inline.returncode, inline.stderr) == (0, "")
    assert "answered True" in inline.stdout
    assert piped.returncode == 1
    assert piped.stderr == (
        "error: <stdin>: this starts processes, which import the script, and it is no file. "
        "Save it as one, and run that\n"
    )


def run_script(folder: Path, guard: str, as_module: bool) -> subprocess.CompletedProcess[str]:
    """A script that asks a child something, run by its name or with `-m`."""
    script = folder / "mine.py"
    script.write_text(SCRIPT.format(guard))
    command = ["-m", "mine"] if as_module else [str(script)]
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=ENV,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("ends", ["by itself", "Ctrl-C", "killed"])
def test_a_fork_server_that_still_imports_ends_quietly_with_its_command(
    tmp_path: Path, ends: str
) -> None:
    """Its folder is deleted meanwhile, as temporary folders are."""
    folder, server = tmp_path / "gone", tmp_path / "server"
    folder.mkdir()
    code = (
        "import os, pathlib, shutil, sys, time\n"
        "from multiprocessing import forkserver\n"
        "from pipeline.processes import start_forkserver\n"
        "start_forkserver()\n"
        "shutil.rmtree(os.getcwd())\n"
        f"pathlib.Path({str(server)!r}).write_text(str(forkserver._forkserver._forkserver_pid))\n"
        f"time.sleep({0 if ends == 'by itself' else 60})\n"
    )
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=folder,
            env=ENV,
            stderr=errors,
            start_new_session=True,
            # A test run in the background ignores Ctrl-C, and so would its children.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )
        while not (server.exists() and server.read_text()):
            assert process.poll() is None or server.exists()
            time.sleep(0.01)
        if ends == "Ctrl-C":
            time.sleep(0.3)
            os.killpg(process.pid, signal.SIGINT)
        elif ends == "killed":
            process.kill()
        process.wait()
    pid, deadline, went_on = server.read_text(), time.monotonic() + 60, False
    while is_running(pid) and time.monotonic() < deadline:
        with suppress(OSError):
            went_on |= "/matplotlib/" in Path(f"/proc/{pid}/maps").read_text()  # seconds later
        time.sleep(0.02)
    assert not is_running(pid)
    assert not went_on, "it went on without a command"
    told = (tmp_path / "errors").read_text()
    if ends == "Ctrl-C":
        assert told.count("Traceback") == 1, told  # of the code above
        assert told.rstrip().endswith("KeyboardInterrupt")
    else:
        assert told == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (pickle.dumps({"name": "worker"})[:-5], ""),  # Ctrl-C, or the command was killed
        (b"", ""),
        (b"cno_such_plugin\nNetwork\n.", "No module named 'no_such_plugin'"),
    ],
    ids=["cut short", "nothing", "not to be imported"],
)
def test_a_worker_that_cannot_begin_says_why_unless_its_command_stopped(
    sent: bytes, said: str
) -> None:
    code = (
        "import os\n"
        "from multiprocessing import forkserver\n"
        "from pipeline.processes import PRELOAD, start_forkserver\n"
        "del PRELOAD[1:]\n"
        "start_forkserver()\n"
        "answer, order = forkserver.connect_to_new_process([])\n"
        f"os.write(order, {sent!r})\n"
        "os.close(order)\n"
        "forkserver.read_signed(answer)\n"  # its process id
        "print(forkserver.read_signed(answer))\n"  # its exit code, when it has ended
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENV, capture_output=True, text=True, check=False
    )
    assert done.stdout == "1\n"
    assert said in done.stderr
    assert ("Traceback" in done.stderr) is bool(said)


def is_running(pid: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
