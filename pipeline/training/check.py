"""What one check before a training has found. Imports no torch."""

from dataclasses import dataclass, field

from pipeline.config import PreflightCheck


@dataclass(frozen=True)
class Check:
    name: PreflightCheck
    passed: bool | None
    """None: it does not apply here, or could not be made."""
    found: str
    """The numbers, in words."""
    meaning: str = ""
    """What it usually means when it fails, and what to do."""
    values: dict[str, float] = field(default_factory=dict)
    """The numbers by name."""
