"""The TAB key: what a shell asks, and what bash makes of the answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.commands import COMMANDS

PROGRAMS = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> list[str]:
    """What the query interface answers for a command line up to the cursor."""
    program, command, *_ = line.split(" ")
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr("sys.argv", [program, command, "-sc", "query=bash"])
    main()
    done = capsys.readouterr()
    assert done.err == ""
    return done.out.split()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("patientfold cv experiment=d", ["experiment=demo"]),
        ("/opt/my.env-3/bin/patientfold cv experiment=d", ["experiment=demo"]),
        ("patientfold cv exp", ["experiment="]),
        ("patientfold cv experiment=demo training.epochs=", ["training.epochs=12"]),
        ("patientfold cv training.epochs=", ["training.epochs=20"]),
        ("patientfold cv training.epo", ["training.epochs="]),
        ("patientfold cv -m model=lenet", ["model=lenet5"]),
        ("patientfold check split=k", ["split=kfold"]),
        ("patientfold plan plan.act", ["plan.action="]),
        ("patientfold make-manifest sourc", ["source="]),
        ("patientfold cv experiment=nowhere training.epo", []),
        ("patientfold cv xyz=", []),
        ("patientfold sync ", ["run_dir=", "tracking.upload=", "tracking.uri="]),
        ("patientfold sync run_dir=a tracking.u", ["tracking.upload=", "tracking.uri="]),
        ("patientfold demo ", []),
    ],
)
def test_the_query_interface(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str, found: list[str]
) -> None:
    assert asked(monkeypatch, capsys, line) == found


def test_own_configs_and_files_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("# @package _global_\n")
    (tmp_path / "my.csv").touch()
    experiments = asked(monkeypatch, capsys, "patientfold cv experiment=")
    assert {"experiment=mine", "experiment=demo"} <= set(experiments)
    files = asked(monkeypatch, capsys, "patientfold cv manifest.path=./m")
    assert files == ["manifest.path=./my.csv"]


def test_a_config_that_hydra_must_not_read_gives_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key press may run no code either."""
    evil = tmp_path / "conf" / "experiment" / "evil.yaml"
    evil.parent.mkdir(parents=True)
    evil.write_text("# @package _global_\nhydra:\n  callbacks: {x: {_target_: os.abort}}\n")
    with pytest.raises(SystemExit):
        asked(monkeypatch, capsys, "patientfold cv experiment=")
    done = capsys.readouterr()
    assert "evil.yaml: hydra" in done.err
    assert done.out == ""


@pytest.mark.parametrize("words", [("-sc", "install=bash"), ("cv", "-sc", "install=bash")])
def test_the_script_knows_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.setattr("sys.argv", ["patientfold", *words])
    main()
    script = capsys.readouterr().out
    assert f'choices="{" ".join(COMMANDS)}"' in script


@pytest.mark.parametrize(
    "words", [["install=fish"], ["install"], [], ["install=bash", "a=1"], ["query=fish"]]
)
@pytest.mark.parametrize("command", [[], ["cv"], ["sync"]])
def test_another_shell_gets_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    words: list[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["patientfold", *command, "-sc", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    error = capsys.readouterr().err
    assert stopped.value.code == 1
    assert error.startswith("error: -sc: must be followed by install=bash")
    assert error.count("\n") == 1


def in_bash(cwd: Path, *lines: str, before: str = "") -> list[list[str]]:
    """What bash offers for each line up to the cursor, after the script was installed."""
    press = 'COMP_POINT=${#COMP_LINE}; _patientfold; echo "${COMPREPLY[@]}"'
    script = [before, 'eval "$(patientfold -sc install=bash)"']
    script += [f"COMP_LINE='{line}'; {press}" for line in lines]
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(script)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
    )
    assert done.stderr == ""
    return [line.split() for line in done.stdout.splitlines()]


def test_bash_completes_commands_and_what_follows_the_equals_sign(tmp_path: Path) -> None:
    """By default "=" begins a new word for bash, which then replaces what stands behind it."""
    lines = ("patientfold c", "patientfold ", "patientfold cv experiment=d", "patientfold  sync r")
    commands, every, experiment, name = in_bash(tmp_path, *lines)
    assert commands == [name for name in COMMANDS if name.startswith("c")]
    assert every == list(COMMANDS)
    assert experiment == ["demo"]
    assert name == ["run_dir="]


@pytest.mark.slow
def test_bash_may_be_set_up_otherwise_and_a_mistake_prints_nothing(tmp_path: Path) -> None:
    own = "COMP_WORDBREAKS=${COMP_WORDBREAKS//=}"
    lines = ("patientfold cv experiment=d", "patientfold cv --nothing experi", "patientfold xyz a")
    assert in_bash(tmp_path, *lines, before=own) == [["experiment=demo"], [], []]


@pytest.mark.slow
def test_it_can_be_removed(tmp_path: Path) -> None:
    script = (
        'eval "$(patientfold -sc install=bash)"; complete -p patientfold >/dev/null\n'
        'eval "$(patientfold -sc uninstall=bash)"\n'
        "! complete -p patientfold 2>/dev/null && ! declare -F _patientfold"
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
    )
    assert (done.returncode, done.stderr) == (0, "")
