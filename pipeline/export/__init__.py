"""A trained model handed over: bundles in several formats, and how they are opened again.

    from pipeline.export import load_bundle

Importing this loads no torch; `load_bundle` does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.export.bundle import Bundle


def load_bundle(folder: Path | str, plugins: Sequence[str] = ()) -> "Bundle":
    """Open what `patientfold export` has written, whatever its format, to predict on the CPU.

    `plugins`: the user's own packages in it whose code may run.

    Raises:
        UserError: it is no bundle, a file of it was changed, or it needs code that nobody named.
    """
    from pipeline.export.bundle import Bundle

    return Bundle.read(Path(folder), plugins)


__all__ = ["load_bundle"]
