"""Folders that ship with the package: `conf` and `data_manifests`."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """Inside the package when it was installed from a wheel, beside it in a clone."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name


RECIPES = shipped("data_manifests") / "recipes"
