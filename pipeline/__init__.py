"""Leak-free cross-validation experiments for medical imaging.

In a notebook or a script, the same as the commands (docs/python.md):

    from pipeline import cross_validate, load_run, predict
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.python import cross_validate, load_run, predict

__version__ = "0.1.0"
__all__ = ["cross_validate", "load_run", "predict"]


def __getattr__(name: str) -> Any:
    """One of the three when it is first asked for: importing the package itself loads nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    from pipeline import python

    return getattr(python, name)
