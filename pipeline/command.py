"""The door of every command: Hydra in front, one clear message instead of a traceback."""

import functools
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.config import Config, UserError, defaults, suggestion, to_config

CONF_DIR = Path(__file__).resolve().parent.parent / "conf"


class Interrupted(KeyboardInterrupt):
    """SIGTERM: the machine or the scheduler wants us to stop, like Ctrl-C."""


def run_command(
    story: Callable[[DictConfig], Any], config_name: str = "cv", schema: type = Config
) -> None:
    """Compose the config, run `story` with it (once a job in a sweep), and exit.

    `schema` is the dataclass of the command's settings, for their defaults and for advice.

    Exit codes: 0 done, 1 the user can mend it or a fold failed, 130 Ctrl-C, 143 SIGTERM.
    """
    ConfigStore.instance().store("settings", defaults(schema))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed by Hydra
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an ASCII terminal shows ids all the same
            stream.reconfigure(errors="backslashreplace")
    main = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=config_name)
    try:
        if {"-h", "--help"} & set(sys.argv[1:]):
            print((sys.modules[story.__module__].__doc__ or "").strip(), end="\n\n")
        main(_shown_in_a_single_run(story))()
    except Interrupted:
        sys.exit(143)
    except KeyboardInterrupt:
        sys.exit(130)
    except UserError as error:
        _fail(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _fail(_hydra_message(error, schema))
    except YAMLError as error:
        _fail(f"the YAML of a config cannot be read: {' '.join(str(error).split())}")
    except BrokenPipeError:  # nobody reads on, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(_file_message(error))


def _shown_in_a_single_run(story: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Show a user's error at once, without Hydra's preface; in a sweep the other jobs go on."""

    @functools.wraps(story)
    def shown(cfg: DictConfig) -> Any:
        try:
            return story(cfg)
        except (UserError, OSError) as error:
            if HydraConfig.get().mode == RunMode.RUN:
                _fail(str(error) if isinstance(error, UserError) else _file_message(error))
            raise

    return shown


def load_config(overrides: Sequence[str]) -> Config:
    """The config that a command with these overrides has; for notebooks, tests and benchmarks."""
    ConfigStore.instance().store("settings", defaults())
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        return to_config(compose("cv", overrides=list(overrides)))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def _file_message(error: OSError) -> str:
    """A file that cannot be read or written; anything else is our own mistake."""
    if error.filename is None:
        raise error
    return f"{error.filename}: {error.strerror}"


def _hydra_message(error: Exception, schema: type) -> str:
    """Hydra's own words without its internals, and what to write instead."""
    text = str(error) if error.__cause__ is None else f"{error}\n{error.__cause__}"
    unknown = re.search(r"Could not override '([\w.]+)'", text)
    if unknown:
        return f"{unknown[1]}: unknown setting; {suggestion(unknown[1], schema)}"
    return text.split("\nConfig search path")[0]
