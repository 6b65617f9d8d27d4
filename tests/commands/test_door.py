"""The one door: what it lists, what it refuses, and in which folders it looks."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

import pipeline
from pipeline.__main__ import main
from pipeline.commands import COMMANDS
from pipeline.commands.arguments import in_order, nested
from pipeline.commands.door import composed, in_words, load_config, one_message, own_folders
from pipeline.commands.settings import NoSettings
from pipeline.config import Config, UserError
from pipeline.files import FULL, full_folders
from pipeline.processes import call_in_child
from pipeline.release import release

ROOMS = Path(pipeline.__file__).parent / "commands"
NO_COMMANDS = {
    "trusted",
    "__init__",
    "arguments",
    "completion",
    "door",
    "evaluating",
    "settings",
    "searching",
    "gathering",
    "jobs",
    "launching",
    "overrides",
    "reporting",
    "stopping",
    "shipped",
    "sweep",
}


def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[str, str]:
    """What `patientfold <words>` prints, and its error."""
    monkeypatch.setattr("sys.argv", ["patientfold", *words])
    error = ""
    try:
        main()
    except SystemExit as stopped:
        error = str(stopped.code) if isinstance(stopped.code, str) else ""
    done = capsys.readouterr()
    return done.out, error + done.err


# --- what it lists


def test_every_command_has_a_module_and_a_line() -> None:
    modules = {path.stem for path in ROOMS.glob("*.py")} - NO_COMMANDS
    assert {name.replace("-", "_") for name in COMMANDS} == modules
    assert len(modules) == 22


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_commands_are_listed_in_the_order_of_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    text, error = said(monkeypatch, capsys, *words)
    assert error == ""
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ")]
    assert listed == list(COMMANDS)
    assert listed.index("init") < listed.index("check") < listed.index("plan") < listed.index("cv")


def test_the_list_needs_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['patientfold']\n"
        "from pipeline.__main__ import main; main()\n"
        "print('loaded', *{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "pipeline" in loaded
    assert not loaded & {"torch", "monai", "mlflow", "pandas", "numpy", "hydra", "pydantic"}


@pytest.mark.parametrize("words", [("--version",), ("cv", "--version")])
def test_its_own_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert said(monkeypatch, capsys, *words)[0] == f"patientfold {release()}\n"


# --- help of a command


@pytest.mark.parametrize(
    ("name", "shown", "hidden"),
    [
        (
            "cv",
            ["training.epochs = 20", "optimizer.lr = 0.001", "experiment=demo|", "-m a=1,2"],
            ["plan.action", "audit.part_file"],
        ),
        (
            "check",
            ["audit.part_file = null", "training.select_by"],
            ["optimizer", "training.epochs"],
        ),
        ("plan", ["plan.action = make", "make|grow|repair"], ["engine", "tracking"]),
        (
            "make-manifest",
            ["source = null", "tree|dicom|classes|table", "recipe=breakhis|"],
            ["training", "--cfg"],
        ),
        ("sync", ["run_dir (needs a value)", "tracking.uri = null"], ["training", "manifest"]),
        ("init", ["manifest.path = null"], ["training", "split"]),
        (
            "configure",
            ["manifest.blank_label", "conf/experiment/my.yaml"],
            ["training.ep", "engine."],
        ),
        ("demo", ["demo/manifest.csv"], [" = "]),
        ("runs", ["runs diff A B", "days = 30", "sort = name", "name|touched|size"], ["epochs"]),
        ("canary", ["Would a leak show?", "seed = 0", "whole number >= 0"], ["epochs", "split."]),
    ],
)
def test_help_shows_what_the_command_reads(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    shown: list[str],
    hidden: list[str],
) -> None:
    text, error = said(monkeypatch, capsys, name, "--help")
    assert error == ""
    assert COMMANDS[name].line in text
    assert [word for word in shown if word not in text] == []
    assert [word for word in hidden if word in text] == []


def test_help_says_type_limit_value_and_meaning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The value is that of the experiment, where one is named."""
    lines = said(monkeypatch, capsys, "cv", "experiment=demo", "-h")[0].splitlines()
    (place,) = [i for i, line in enumerate(lines) if line.startswith("  training.epochs ")]
    assert lines[place].split() == ["training.epochs", "=", "12", "whole", "number", ">=", "1"]
    (place,) = [i for i, line in enumerate(lines) if line.startswith("  training.batch_size ")]
    assert lines[place + 1].startswith("      Images that pass through the network at once")


def test_help_names_a_misspelt_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, error = said(monkeypatch, capsys, "cv", "split.num_fold=3", "--help")
    assert "did you mean 'split.num_folds'?" in error
    assert "Traceback" not in error


# --- one line of advice


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (("chek",), "chek: unknown command; did you mean check?"),
        (("make_manifest",), "make_manifest: unknown command; did you mean make-manifest?"),
        (("xyzzy",), "xyzzy: unknown command; there are init, demo, "),
        (("experiment=demo",), "the command comes first, e.g. patientfold cv experiment=demo"),
        (("--experiment", "demo"), "the command comes first"),
        (("sync",), "run_dir: missing; it needs a value"),
        (("sync", "training.epochs=3"), "training: unknown setting"),
        (("sync", "run_dir=nowhere"), "run_dir nowhere: no such folder"),
        (("sync", "--cfg", "job"), "--cfg: this command takes settings only"),
        (("demo", "x=1"), "x=1: this command has no settings"),
        (("canary", "--seed", "1"), "settings have no dashes; write seed=1"),
        (("canary", "seed=x"), "seed: input should be a valid integer"),
        (("cv",), "no manifest is named: write manifest.path=my.csv"),
        (
            ("cv", "experiment=demmo"),
            "experiment=demmo: no such file; did you mean demo? there are ",
        ),
        (("cv", "--experiment", "demo"), "settings have no dashes; write experiment=demo"),
        (("cv", "hydra.verbose=true"), "hydra.verbose=true: of Hydra's own settings only"),
        (("cv", "manifest.path=données.csv"), "put in quotes, within those of the shell"),
        (
            ("cv", "experiment=2024"),
            "a name that is a number is put in quotes",
        ),
        (("cv", "-m", "model=lenet5,1e3"), """the shell: "model=lenet5,'1e3'\""""),
        (("cv", "manifest.path=data (1).csv"), """e.g. "manifest.path='données.csv'\""""),
    ],
)
def test_a_mistake_gets_one_line_of_advice(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    advice: str,
) -> None:
    out, error = said(monkeypatch, capsys, *words)
    assert (out, error.count("error: ")) == ("", 1)
    assert advice in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--manifest", "x"], "write manifest=x"),
        (["--experiment=demo"], "write experiment=demo"),
        (["-experiment", "demo"], "write experiment=demo"),
        (["--num-folds", "a=1"], "write num_folds=..."),
        (["--exp", "demo"], "write exp=demo"),  # Hydra would take it for --experimental-rerun
        (["--experimental-rerun", "x"], "settings have no dashes"),  # it unpickles a file
        (["--multi-run"], "did you mean --multirun?"),
        (["demo"], "demo: settings are written name=value"),
        (["--cfg"], "--cfg: needs a value"),
        (["--cfg", "jobs"], "must be one of job, hydra, all, got 'jobs'"),
        (["-m", "--cfg", "job"], "-m and --cfg: give one of them"),
        (["--resolve", "a=1"], "--resolve: works together with --cfg job"),
    ],
)
def test_words_that_are_no_setting(arguments: list[str], advice: str) -> None:
    with pytest.raises(UserError) as caught:
        in_order(arguments)
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


def test_flags_come_first_whatever_the_order() -> None:
    arguments = ["a=1", "--cfg", "job", "~b", "--config-dir=x", "+c=-2"]
    flags = ["--cfg", "job", "--config-dir", "x"]
    assert in_order(arguments) == (flags, ["a=1", "~b", "+c=-2"])


def test_nested_settings() -> None:
    assert nested(["run_dir=a=b", "tracking.uri=x"]) == {"run_dir": "a=b", "tracking": {"uri": "x"}}
    with pytest.raises(UserError, match=r"a\.b: a has a value of its own"):
        nested(["a=1", "a.b=2"])


# --- folders


def test_the_own_conf_comes_before_what_ships_and_config_dir_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, name in (("conf", "own"), ("more", "more")):
        (tmp_path / folder / "manifest").mkdir(parents=True)
        for file in ("mine", "demo"):
            text = f"name: {name}\npath: {name}.csv\n"
            (tmp_path / folder / "manifest" / f"{file}.yaml").write_text(text)
    (tmp_path / "more" / "manifest" / "third.yaml").write_text("name: third\npath: third.csv\n")
    assert load_config(["manifest=mine"]).manifest.path == "own.csv"
    assert load_config(["experiment=demo"]).manifest.path == "own.csv"
    words = ("cv", "--config-dir", "more", "manifest=mine", "--cfg", "job")
    assert "path: own.csv" in said(monkeypatch, capsys, *words)[0]
    words = ("cv", "manifest=third", "--cfg", "job", "-cd", "more")
    assert "path: third.csv" in said(monkeypatch, capsys, *words)[0]
    (tmp_path / "conf" / "manifest" / "demo.yaml").unlink()
    assert load_config(["experiment=demo"]).manifest.path == "demo/manifest.csv"


def test_a_config_that_sets_something_of_hydra_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("conf", "more"):
        path = tmp_path / folder / "experiment" / "evil.yaml"
        path.parent.mkdir(parents=True)
        path.write_text("# @package _global_\nhydra:\n  callbacks: {x: {_target_: os.abort}}\n")
    with pytest.raises(UserError, match=r"evil\.yaml: hydra"):
        composed(["manifest=demo"])
    (tmp_path / "conf" / "experiment" / "evil.yaml").unlink()
    words = ("cv", "--config-dir", "more", "experiment=evil", "manifest=demo")
    assert "evil.yaml: hydra" in said(monkeypatch, capsys, *words)[1]


def test_a_folder_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, error = said(monkeypatch, capsys, "cv", "-cd", "nowhere", "experiment=demo")
    assert error.startswith("error: --config-dir nowhere: no such folder (searched from ")


# --- the default manifest


def test_a_path_alone_is_enough() -> None:
    """Nothing of the demo's: no folder, class, site or hint."""
    manifest = load_config(["manifest.path=ward/my.set.csv"]).manifest
    assert (manifest.name, manifest.path) == ("my.set", "ward/my.set.csv")
    assert (manifest.image_root, manifest.classes, manifest.columns.site) == (None, None, None)
    assert manifest.hint == ""


def test_the_demo_that_is_not_made_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, error = said(monkeypatch, capsys, "cv", "experiment=demo")
    assert "manifest demo/manifest.csv: 1 problem" in error
    assert "hint: `patientfold demo` makes" in error
    assert list(tmp_path.iterdir()) == []


# --- what the operating system refuses


@pytest.mark.parametrize(
    ("code", "file", "words"),
    [
        (errno.ENOSPC, None, ["the disk has no room left (in commands/door.py, ", "make room"]),
        (errno.EDQUOT, None, ["your quota is used up (in ", "the same command continues"]),
        (errno.ENOSPC, "/a/b", ["/a/b: the disk has no room left.", "make room"]),
        (errno.EMFILE, None, ["Too many open files (in commands/door.py, own_folders; no file"]),
        (errno.EACCES, "/a/b", ["/a/b: Permission denied"]),
    ],
)
def test_an_error_of_the_system_is_one_message_with_or_without_a_file(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    file: str | None,
    words: list[str],
) -> None:
    def refuses(*_: object) -> bool:
        raise OSError(code, os.strerror(code), *([file] if file else []))

    monkeypatch.setattr(Path, "is_dir", refuses)
    with pytest.raises(SystemExit) as stopped, one_message(Config):
        own_folders()
    error = capsys.readouterr().err
    assert stopped.value.code == 1
    assert error.startswith("error: ")
    for word in words:
        assert word in error
    assert ("make room" in error) == (code in FULL)


def test_a_full_folder_is_named_where_the_system_names_none(tmp_path: Path) -> None:
    assert full_folders([tmp_path / "none", Path("/proc")]) == [Path("/proc")]


@pytest.mark.parametrize("command", ["check", "cv"])
def test_a_line_feed_in_what_was_given_forges_no_line_of_the_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    folder = tmp_path / "here\nerror: forged"
    folder.mkdir()
    monkeypatch.chdir(folder)
    named = "manifest.path='my\nerror: set.csv'", "manifest.name=set"
    _, error = said(monkeypatch, capsys, command, *named)
    assert r"my\nerror: set.csv" in error
    assert not [line for line in error.splitlines()[1:] if line.startswith(("error", "forged"))]
    monkeypatch.setattr("sys.argv", ["patientfold"])
    with pytest.raises(SystemExit), one_message(Config):
        raise UserError(f"{folder}: no such folder")
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit), one_message(Config):
        Path("a\nb").read_bytes()
    assert capsys.readouterr().err == "error: a\\nb: No such file or directory\n"


def test_a_process_that_was_killed_is_one_message() -> None:
    """It ends no sweep: the other jobs go on."""
    with pytest.raises(BrokenProcessPool) as caught:
        call_in_child(signal.raise_signal, signal.SIGKILL)
    message = in_words(caught.value, NoSettings)
    assert message is not None
    assert message.startswith("a process of this command was killed: often too little memory")
