"""The benchmarks' modules can be imported, after all others: there is a coverage.py among them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
