"""A run with networks that nobody has trained, and its bundle."""

from collections.abc import Callable
from pathlib import Path

import pytest
from run_with_networks import bundle_of, run_with_networks

from pipeline.engine.finished import Finished


@pytest.fixture(scope="session")
def run(made_once: Callable[..., Path]) -> Finished:
    """Two classes, grey images of 24 x 24."""
    made = made_once("untrained", lambda folder: run_with_networks(folder / "run"))
    return Finished.read(made / "run")


@pytest.fixture(scope="session")
def bundle(run: Finished, made_once: Callable[..., Path]) -> Path:
    """to=folder."""
    return made_once("bundle", lambda folder: bundle_of(run, "folder", folder / "x")) / "x"
