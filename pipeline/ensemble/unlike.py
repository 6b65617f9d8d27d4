"""Images unlike anything in training: their predictions are of a kind that nobody has tested.

Three questions, each with a rule that is stated in docs/external.md, with how often it is wrong:
is the image as large, in pixels and in mm; are its values as bright and as spread; and is its
picture as near to one of training as training's are to those of other patients?
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from pipeline.audit.reach import Bounds, Reach, intensities, sides_of, spacing_of
from pipeline.ensemble.look import Looks

SIZE_MARGIN = 0.1
"""A side, or a pixel's size, may be smaller or larger than all of training by this share."""
INTENSITY_MARGIN = 0.25
"""A mean or SD may lie beyond those of training by this share of their range."""
LEAST_MARGIN = 0.02
"""And by this share of the largest SD: of images whose means are all 0, rounding is no difference.
"""


def unlike(reach: Reach, looks: Looks) -> list[str]:
    """(N,) in what each new image is unlike those of training; "" where it is like them."""
    distances = reach.distances(looks.pictures, looks.spectrum)
    return [
        "; ".join(_reasons(reach.bounds, fact, reach.size, float(distance), bool(flat)))
        for fact, distance, flat in zip(looks.facts, distances, looks.flat, strict=True)
    ]


def _reasons(
    bounds: Mapping[str, Bounds], fact: Mapping[str, str], size: int, distance: float, flat: bool
) -> Iterator[str]:
    if _beyond(bounds["sides"], sides_of(fact), _of_size):
        shape = fact["original_shape"]
        yield f"shape: {shape} pixels, in training {_told(bounds['sides'])}"
    spacing = spacing_of(fact)
    if spacing and _beyond(bounds["spacing"], spacing, _of_size):
        size_in_mm = " x ".join(f"{of:g}" for of in spacing)
        yield f"pixel size: {size_in_mm} mm, in training {_told(bounds['spacing'])}"
    means, sds = intensities(fact, size)
    largest = max((high for _, high in bounds["sds"]), default=0.0)
    for name, word, values in (("means", "mean", means), ("sds", "SD", sds)):

        def widened(low: float, high: float) -> tuple[float, float]:
            more = INTENSITY_MARGIN * (high - low) + LEAST_MARGIN * largest
            return low - more, high + more

        if _beyond(bounds[name], values.tolist(), widened):
            told = ", ".join(f"{value:.4g}" for value in values)
            yield f"intensity: {word} {told}, in training {_told(bounds[name])}"
    if flat:
        yield "picture: without any contrast"
    elif distance > 1:
        yield f"picture: {distance:.2f} times as far from training's as 99 % of these"


def _of_size(low: float, high: float) -> tuple[float, float]:
    return low * (1 - SIZE_MARGIN), high * (1 + SIZE_MARGIN)


def _beyond(
    bounds: Bounds,
    values: Sequence[float],
    widened: Callable[[float, float], tuple[float, float]],
) -> bool:
    """Is a value outside its bounds? Where training's are not known, nothing can be said."""
    if not bounds:
        return False
    if len(bounds) != len(values):
        return True
    limits = [widened(low, high) for low, high in bounds]
    return any(not low <= value <= high for (low, high), value in zip(limits, values, strict=True))


def _told(bounds: Bounds) -> str:
    """`224 x 224`, `30 to 47 x 40 to 59`."""
    ends = (f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}" for low, high in bounds)
    return " x ".join(ends)
