"""A first experiment from your CSV and images: patientfold configure manifest.path=my.csv

It looks at the CSV, at up to 200 of the images, and at this machine; rules choose the settings, and
conf/experiment/my.yaml is written, which `patientfold cv experiment=my` runs as it is. A reason
stands beside each line. name=other gives it another name.

What a CSV does not show is asked, each question with the setting that answers it. Settings of the
manifest may be given, on the command line or by a file of conf/manifest/ (manifest=mine); all
others are the rules' to choose, and yours to change in the file.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from pipeline.commands.overrides import overrides_of
from pipeline.commands.shipped import shipped
from pipeline.config import ManifestConfig, UserError, defaults, to_config, written
from pipeline.configure.study import study
from pipeline.configure.written import NO_GROUP
from pipeline.console import progress_bar, say, tell, warn
from pipeline.files import write_whole
from pipeline.processes import start_forkserver

FOLDER = Path("conf/experiment")
READ = re.compile(r"\+*(name|manifest(\.[\w.]+)?)=.*", re.DOTALL)
"""Settings that the command reads."""


def main(cfg: DictConfig) -> None:
    """Look, decide, write; nothing of the user's is overwritten."""
    hydra, console = HydraConfig.get(), Console()
    arguments = list(hydra.overrides.task)
    refuse_others(arguments)
    start_forkserver(())  # whose imports go on beside the reading
    OmegaConf.update(cfg, "loss.output", "sigmoid")  # right for every task; rules choose the loss
    config = to_config(cfg)
    group = hydra.runtime.choices["manifest"]
    path = new_file(config.name)
    given = given_settings(written(config)["manifest"], group, arguments)
    with progress_bar("looking at images", console) as progress:
        experiment = study(config.name, config.manifest, group, given, progress)
    write_whole(path, experiment.text())
    say(experiment.seen, console)
    warn(experiment.warnings, console)
    tell(f"made {path}: a reason stands beside each line; change what you know better")
    for line in next_steps(config.name):
        tell(line)


def next_steps(name: str) -> tuple[str, str]:
    """The command lines that check the new experiment and train on it."""
    (named,) = overrides_of({"experiment": name})
    # quotes within quotes, as people write them, if the shell leaves them alone
    typed = shlex.quote(named) if set(named) & set('"$`!\\') or "'" not in named else f'"{named}"'
    return f"next: patientfold check {typed}", f"then: patientfold cv {typed}"


def refuse_others(arguments: Sequence[str]) -> None:
    """UserError for settings that the rules choose."""
    if others := [text for text in arguments if not READ.fullmatch(text)]:
        raise UserError(
            f"{', '.join(others)}: not read here, for configure chooses all but manifest... and "
            "name; change the file that it writes, or give the setting to `patientfold cv`"
        )


def new_file(name: str) -> Path:
    """Where the experiment will be written; UserError where one of that name is there."""
    path = FOLDER / f"{name}.yaml"
    better = f"name={name}2"
    if path.exists() or path.is_symlink():
        raise UserError(
            f"{path} exists, and configure overwrites nothing: move it away, or give the new one "
            f"another name, {better}"
        )
    if (shipped("conf") / "experiment" / path.name).exists():
        raise UserError(
            f"experiment={name} is one that ships, and yours would hide it: give it another name, "
            f"{better}"
        )
    return path


def given_settings(
    manifest: Mapping[str, Any], group: str, arguments: Sequence[str]
) -> dict[str, Any]:
    """Settings of the manifest that the experiment must repeat, `columns.site` -> value.

    Those of a file in conf/manifest/ are found through the file.
    """
    usual = _flat(defaults(ManifestConfig))
    values = _flat(manifest)
    if group == NO_GROUP:
        known = {key: v for key, v in values.items() if key == "path" or v != usual.get(key)}
        return {key: v for key, v in known.items() if key != "name"} | (
            {} if values["name"] == Path(values["path"]).stem else {"name": values["name"]}
        )
    names = [text.lstrip("+").partition("=")[0] for text in arguments]
    keys = [name.removeprefix("manifest.") for name in names if name.startswith("manifest.")]
    return {key: values[key] for key in keys}


def _flat(section: Mapping[str, Any]) -> dict[str, Any]:
    """Settings and those of the columns, as `columns.patient`; tuples as lists."""
    columns = {f"columns.{name}": value for name, value in section["columns"].items()}
    others = {name: value for name, value in section.items() if name != "columns"}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in (others | columns).items()
    }
