"""The door of every command: settings in front, one clear message instead of a traceback."""

import ast
import difflib
import io
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import fields
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, OverrideParseException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import RunMode
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.commands import COMMANDS
from pipeline.commands.arguments import COMPLETION, in_order, nested, value_of
from pipeline.commands.completion import answer
from pipeline.commands.launching import sweep_dir_of, with_launcher
from pipeline.commands.overrides import refuse_numbers_as_names
from pipeline.commands.searching import value_of_failure, with_optuna
from pipeline.commands.settings import SCHEMAS, NoSettings
from pipeline.commands.shipped import RECIPES, shipped
from pipeline.commands.stopping import Interrupted, listen
from pipeline.config import (
    Config,
    UserError,
    defaults,
    needs_monai,
    to_config,
    to_settings,
)
from pipeline.config.deprecated import config_today, overrides_today
from pipeline.config.door import suggestion
from pipeline.config.help import Section, described, in_lines
from pipeline.config.hydra_keys import refuse_hydra_keys, refuse_hydra_overrides
from pipeline.console import tell
from pipeline.engine import PRELOADED
from pipeline.files import FULL, full_folders
from pipeline.processes import MONAI, name_the_user, preload, start_forkserver
from pipeline.tracking.server import refuse_password
from pipeline.words import one_line

CONF_DIR = shipped("conf")
PACKAGE = Path(__file__).parents[1]
NO_MANIFEST = (
    "no manifest is named: write manifest.path=my.csv for a CSV, manifest=mine for "
    "conf/manifest/mine.yaml (`patientfold init` makes one), or experiment=demo for the demo"
)
KILLED = (
    "a process of this command was killed: often too little memory. What is written is whole, the "
    "same command continues"
)
QUOTES = (
    "A value with letters outside ASCII, brackets or other signs is put in quotes, within those of "
    "the shell, e.g. \"manifest.path='données.csv'\""
)
HOW_TO_GO_ON = """
      Settings that belong together, over the defaults.

--cfg job       print the settings as composed, and stop
--config-dir X  a folder of further configs; ./conf is searched first, what ships last
-m a=1,2 b=3,4  sweep: run every combination"""


class OwnConfFirst(SearchPathPlugin):  # type: ignore[misc]
    """`./conf` of the current folder is searched before what ships."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        own = Path("conf").resolve()
        if own.is_dir() and own != CONF_DIR:
            search_path.prepend("patientfold", f"file://{own}", anchor="main")


Plugins.instance().register(OwnConfFirst)
OmegaConf.register_new_resolver("stem", lambda path: Path(path).stem, replace=True)


def run(name: str) -> None:
    """Run `main` of a command's module with the settings of the command line, and exit.

    Exit codes: 0 done, 1 the user can mend it or a fold failed, 130 Ctrl-C, 143 SIGTERM,
    138 SIGUSR1, 140 SIGUSR2.
    """
    config_name, arguments = COMMANDS[name].config_name, sys.argv[1:]
    schema = SCHEMAS[config_name or name]
    if config_name == "make_manifest":
        arguments = module_of(name).as_hydra_reads(arguments)
    with one_message(schema):
        if COMPLETION & set(arguments):
            asked = [word for word in arguments if word not in COMPLETION]
            if answer(asked, None if config_name else schema):
                return
        arguments = overrides_today(arguments)
        if config_name is None:
            if arguments and not fields(schema):
                raise UserError(f"{arguments[0]}: this command has no settings")
            values = OmegaConf.create(nested(arguments, COMMANDS[name].words))
            module_of(name).main(to_settings(values, schema))
            return
        flags, settings = in_order(arguments)
        _refuse_passwords(settings)
        settings = with_launcher(flags, with_optuna(flags, settings))
        sys.argv[1:] = [*flags, *settings]  # Hydra's parser wants them in this order
        _prepare(flags, settings, config_name)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed by Hydra
        main = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)
        try:
            main(_job(name, schema, sys.argv[1:]))()
        finally:
            if is_imported(name) or sweep_dir_of(sys.argv[1:]):  # whose jobs ran elsewhere
                getattr(module_of(name), "at_end", lambda: None)()


def complete(arguments: Sequence[str]) -> None:
    """Answer a shell that is set up to complete command lines, before there is a command."""
    with one_message(NoSettings):
        answer(arguments, NoSettings)


def module_of(name: str) -> ModuleType:
    """The module of a command; importing that of `cv` takes a second."""
    return import_module(_module_name(name))


def is_imported(name: str) -> bool:
    return _module_name(name) in sys.modules


def _module_name(name: str) -> str:
    return f"pipeline.commands.{name.replace('-', '_')}"


def begin_imports(cfg: DictConfig, is_single: bool) -> None:
    """Those of the workers, beside the command's own and the reading of the manifest.

    Each job of a sweep, which is not single, may need others, and all share them.
    """
    preload(*PRELOADED)
    with suppress(UserError, OmegaConfBaseException):  # which the command itself will say
        if is_single:
            start_forkserver(MONAI if needs_monai(to_config(cfg)) else ())
        else:
            start_forkserver()


def composed(overrides: Sequence[str], config_name: str = "cv") -> DictConfig:
    """The config of these settings, as Hydra composes it."""
    return _composed(overrides, config_name)[0]


def _composed(overrides: Sequence[str], config_name: str) -> tuple[DictConfig, DictConfig]:
    """The config, and Hydra's own part of it: what was asked for, which files were taken."""
    overrides = overrides_today(overrides)
    with _hydra_apart():
        _prepare([], overrides, config_name)
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
            cfg: DictConfig = hydra.compose(
                config_name, overrides=overrides, return_hydra_config=True
            )
    own: DictConfig = cfg.hydra
    with open_dict(cfg):
        del cfg["hydra"]
    return config_today(cfg, overrides), own


@contextmanager
def _hydra_apart() -> Iterator[None]:
    """Whoever called may use Hydra too: theirs, and what they have stored, is as before."""
    version, store = VersionBase.instance(), ConfigStore.instance()
    before = GlobalHydra.instance().hydra, version.getbase(), dict(store.repo)
    GlobalHydra.instance().clear()
    try:
        yield
    finally:  # Hydra itself puts another instance in its place
        GlobalHydra.instance().hydra, version.version_base, store.repo = before


def load_config(overrides: Sequence[str]) -> Config:
    """The config that a command with these settings has; for tests and benchmarks."""
    return to_config(load_job(overrides)[0])


def load_job(overrides: Sequence[str]) -> tuple[DictConfig, DictConfig]:
    """What a command with these settings is called with: its config, and Hydra's own part of it.

    Raises:
        UserError, HydraException: settings cannot be composed, or a password is among them.
    """
    _refuse_passwords(overrides)
    cfg, own = _composed(overrides, "cv")
    _refuse_no_manifest(cfg)
    return cfg, own


def show_help(name: str, arguments: Sequence[str]) -> None:
    """What a command does, and the settings that it reads, with the values of these arguments."""
    line, config_name = COMMANDS[name].line, COMMANDS[name].config_name
    usage = f"usage: patientfold {name} [name=value ...]"
    more = ""
    with one_message(SCHEMAS[config_name or name]):
        arguments = overrides_today(arguments)
        if config_name == "cv":
            flags, _ = in_order(arguments)
            more = f"\nexperiment={'|'.join(_options(flags)['experiment'])}{HOW_TO_GO_ON}"
        elif config_name == "make_manifest":
            more = f"\nrecipe={'|'.join(sorted(path.stem for path in RECIPES.glob('*.yaml')))}"
        words = "\n".join(in_lines(settings_of(name, arguments)))
        tell(f"{name}: {line}\n\n{about(name)}\n\n{usage}\n\n{words}\n{more}".rstrip())


def about(name: str) -> str:
    """What a command does: the text at the top of its module, whose import would take a second."""
    source = Path(__file__).with_name(f"{name.replace('-', '_')}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


def settings_of(name: str, arguments: Sequence[str] = ()) -> list[Section]:
    """The settings that a command reads, with the values of these arguments."""
    _, config_name, reads, _, own_words = COMMANDS[name]
    flags: Sequence[str] = ()
    if config_name is None:
        values: Any = nested(arguments, own_words)
    else:
        flags, settings = in_order(arguments)
        values = OmegaConf.to_container(composed(settings, config_name))
    options = _options(flags) if config_name == "cv" else {}
    return list(described(SCHEMAS[config_name or name], values, reads.split(), options))


def _options(flags: Sequence[str]) -> dict[str, list[str]]:
    """The files that each section of the settings can be taken from."""
    paths = [path for f in [*own_folders(flags), CONF_DIR] for path in f.glob("*/*.yaml")]
    groups = {path.parent.name for path in paths}
    return {g: sorted({path.stem for path in paths if path.parent.name == g}) for g in groups}


@contextmanager
def one_message(schema: type) -> Iterator[None]:
    """Every error that a user can mend ends the process with one message."""
    listen()
    name_the_user()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an ASCII terminal shows ids all the same
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except KeyboardInterrupt as stop:
        tell("stopped; what is written is whole, the same command continues", sys.stderr)
        sys.exit(stop.exit_code if isinstance(stop, Interrupted) else 130)
    except BrokenPipeError:  # nobody reads on, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        message = in_words(error, schema)
        if message is None:
            raise
        tell(f"error: {message}", sys.stderr)
        sys.exit(1)


def _with_names_on_one_line(message: str) -> str:
    """What was given, and this folder, may hold line feeds: they forge no line of the message."""
    texts = sys.argv[1:]
    if HydraConfig.initialized():  # a job of a sweep has one of the values that were given
        texts = [*texts, *HydraConfig.get().overrides.task]
    given = {text.partition("=")[2].strip("'\"") or text for text in texts}
    for name in sorted({*given, str(Path.cwd())}, key=len, reverse=True):
        message = message.replace(name, one_line(name)) if "\n" in name else message
    return message


def in_words(error: Exception, schema: type) -> str | None:
    """What a user can mend, as one message; None for our own mistake."""
    message = _message(error, schema)
    return message and _with_names_on_one_line(message)


def _message(error: Exception, schema: type) -> str | None:
    match error:
        case UserError():
            return str(error)
        case HydraException() | OmegaConfBaseException():
            return _hydra_message(error, schema)
        case BrokenProcessPool():
            return KILLED
        case YAMLError():
            return f"the YAML of a config cannot be read: {' '.join(str(error).split())}"
        case OSError() if not isinstance(error, BrokenPipeError):
            return _system_message(error)
        case _ if type(error).__module__.startswith("submitit."):  # a job was killed, or cancelled
            return one_line(str(error))
    return None


def own_folders(flags: Sequence[str] = ()) -> list[Path]:
    """Folders of configs that did not ship: `./conf`, and what a flag names."""
    found = [Path("conf")] if Path("conf").is_dir() else []
    for names in (("-cd", "--config-dir"), ("-cp", "--config-path")):
        if given := value_of(flags, names):
            if not Path(given).is_dir():
                raise UserError(f"{names[1]} {given}: no such folder (searched from {Path.cwd()})")
            found.append(Path(given))
    return [folder for folder in found if folder.resolve() != CONF_DIR]


def _prepare(flags: Sequence[str], settings: Sequence[str], config_name: str) -> None:
    """What Hydra must not read, because it could run code, is refused; it gets our defaults."""
    refuse_hydra_keys(own_folders(flags))
    refuse_hydra_overrides(settings)
    refuse_numbers_as_names(settings, {path.name for path in CONF_DIR.iterdir() if path.is_dir()})
    ConfigStore.instance().store("settings", defaults(SCHEMAS[config_name]))


def _refuse_passwords(settings: Sequence[str]) -> None:
    """Before any is shown or written down."""
    for setting in settings:
        name, _, value = setting.lstrip("+").partition("=")
        if name == "tracking.uri":
            refuse_password(value.strip("'\""))


def _refuse_no_manifest(cfg: DictConfig) -> None:
    if "manifest" in cfg and OmegaConf.is_missing(cfg.manifest, "path"):
        raise UserError(NO_MANIFEST)


def _job(name: str, schema: type, arguments: Sequence[str]) -> Callable[[DictConfig], Any]:
    """Show a user's error at once, without Hydra's preface; in a sweep the other jobs go on.

    There `one_of_many` of the command's module decides what becomes of an error. `arguments` are
    of the command line, which a job in another process does not know.
    """

    def job(cfg: DictConfig) -> Any:
        sys.argv[1:] = arguments
        cfg = config_today(cfg, HydraConfig.get().overrides.task)
        if COMMANDS[name].trains:
            begin_imports(cfg, HydraConfig.get().mode == RunMode.RUN)
        command = module_of(name)
        one_of_many: Callable[[Callable[[Exception], str | None]], AbstractContextManager[None]]
        one_of_many = getattr(command, "one_of_many", lambda _: nullcontext())
        is_single = HydraConfig.get().mode == RunMode.RUN
        told = partial(in_words, schema=schema)
        with one_message(schema) if is_single else one_of_many(told):
            _refuse_no_manifest(cfg)
            return command.main(cfg)
        return value_of_failure(HydraConfig.get().runtime.choices["hydra/sweeper"])

    return job


def _system_message(error: OSError) -> str:
    """What the operating system refused: of which file, else in which step of ours."""
    reason = FULL.get(error.errno or 0, error.strerror or str(error) or type(error).__name__)
    if error.filename is not None:
        where = f"{one_line(str(error.filename))}: {reason}"
    else:
        steps = [(Path(f.filename), f.name) for f in traceback.extract_tb(error.__traceback__)]
        ours = [f"{p.parent.name}/{p.name}, {name}" for p, name in steps if PACKAGE in p.parents]
        where = f"{reason} (in {ours[-1] if ours else 'a library'}; no file was named)"
    if error.errno not in FULL:
        return where
    tried = [Path.cwd(), Path.cwd() / "runs", Path(tempfile.gettempdir()), Path("/dev/shm")]
    full = ", ".join(map(str, full_folders(tried)))
    looked = f" Full or nearly so: {full}." if full else ""
    return f"{where}.{looked} What is written is whole: make room, and the same command continues."


def _hydra_message(error: Exception, schema: type) -> str:
    """Hydra's own words without its internals, and what to write instead."""
    text = str(error) if error.__cause__ is None else f"{error}\n{error.__cause__}"
    if unknown := re.search(r"Could not override '([\w.]+)'", text):
        return f"{unknown[1]}: unknown setting; {suggestion(unknown[1], schema)}"
    text = text.split("\nConfig search path")[0]
    if isinstance(error, OverrideParseException):
        return f"{text}\n{QUOTES}"
    missing = re.search(r"Could not find '([\w/]+)/([^'/]+)'\s+Available options in .*:\n", text)
    if missing is None:
        return text
    group, name, options = missing[1], missing[2], text[missing.end() :].split()
    close = difflib.get_close_matches(name, options, n=1)
    advice = f"did you mean {close[0]}? " if close else ""
    return f"{group}={name}: no such file; {advice}there are {', '.join(options)}"
