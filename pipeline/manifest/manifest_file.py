"""The CSV that `make_manifest` writes."""

import csv
import io
from pathlib import Path

from pipeline.config import UserError
from pipeline.config.making import MakeManifestConfig
from pipeline.files import write_whole


def out_path(config: MakeManifestConfig) -> Path:
    """Where the manifest goes."""
    return Path(config.out) if config.out else Path(config.root or ".") / "manifest.csv"


def write_manifest(
    rows: list[dict[str, str]], columns: list[str], path: Path, overwrite: bool
) -> None:
    """Write the CSV whole or not at all.

    Raises:
        UserError: when the file says something else already, or cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    try:
        if path.exists() and not overwrite and path.read_bytes() != data:
            raise UserError(
                f"out: {path} exists and says something else; overwrite=true replaces it, "
                "out=other.csv keeps it"
            )
        write_whole(path, data)
    except OSError as error:
        raise UserError(f"out: {path} cannot be written ({error.strerror}); set out=") from None
