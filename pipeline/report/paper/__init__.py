"""report.md: a finished run in the words of a paper."""

from pipeline.report.paper.writing import write_paper

__all__ = ["write_paper"]
