"""The networks of a finished run's folds as they predict, together; importing it loads no torch."""

from pipeline.ensemble.ensemble import Ensemble, Member

__all__ = ["Ensemble", "Member"]
