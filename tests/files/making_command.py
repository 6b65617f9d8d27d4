"""`patientfold make-manifest` without a process of its own."""

import csv
from pathlib import Path

from PIL import Image

from pipeline.commands.door import composed
from pipeline.commands.make_manifest import as_hydra_reads, summary, with_recipe
from pipeline.config import to_settings
from pipeline.config.making import MakeManifestConfig
from pipeline.making import make_manifest, out_path
from pipeline.making.writing import write_texts, written

Row = dict[str, str]


def made(*arguments: str) -> tuple[list[Row], str]:
    """Rows of the CSV that the command writes with these arguments, and what it prints."""
    overrides = as_hydra_reads(list(arguments))
    cfg = composed(overrides, "make_manifest")
    config = to_settings(with_recipe(cfg, overrides), MakeManifestConfig)
    manifest = make_manifest(config)
    write_texts(written(manifest, config), config.overwrite)
    with out_path(config).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file)), summary(manifest, config)


def write_image(path: Path, shade: int = 0) -> None:
    """A 4 x 4 grey image of the type that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), shade % 256).save(path)


def write_table(path: Path, *rows: tuple[object, ...]) -> None:
    """A CSV; the first row is the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
