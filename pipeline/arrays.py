"""Names for the arrays of numbers that pass between modules."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
AnyFloats = NDArray[np.floating[Any]]
AnyInts = NDArray[np.integer[Any]]
