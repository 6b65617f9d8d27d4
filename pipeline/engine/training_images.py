"""training_images.json of a run folder: by what its images are known again when the cache is gone.

No picture, no name, and no order that would lead from an entry to a patient: digests and marks are
sorted. So is what new images are compared with to see whether they are like those trained on.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import AnyInts, Floats, Floats32, Ints
from pipeline.audit.marks import Marks, are_flat, descriptors, marks_of, spectra
from pipeline.config import UserError
from pipeline.engine.run_folder import Run
from pipeline.engine.soundness import TRAINING_IMAGES as FILE_NAME
from pipeline.files import write_json
from pipeline.images.packed import PackedImages
from pipeline.manifest import Pseudonyms
from pipeline.tracking.result import read_sealed, with_seal

VERSION = 1
QUANTILE = 0.99
"""Share of the training images that lie within the limit of the others' nearest."""
MOST_REFERENCES = 4000
"""Images whose descriptors are kept: of every patient one, then of every patient another, ..."""
STEPS = 127
"""A descriptor is kept in so many steps from 0 to 1."""
WRITE_AGAIN = "Delete it: the same cv command writes it again."
KEY_CHECK = "patientfold"
Bounds = Sequence[tuple[float, float]]
"""Smallest and largest value, along each axis or of each channel."""


@dataclass(frozen=True)
class TrainingImages:
    """What is kept of the images that a run's plan is of."""

    digests: frozenset[int]
    """64 bits of each image's digest of decoded pixels; keyed where the run has pseudonyms."""
    marks: Marks
    """(M, bytes) perceptual hashes, sorted; images without any contrast have none."""
    num_images: int
    num_patients: int
    key_check: str
    """What the key of the pseudonyms makes of a known word; "" without pseudonyms."""
    references: Floats32
    """(R, D) descriptors of images of the folds; locked patients are none of them."""
    limit: float
    """Distance to the nearest reference within which 99 % of the images lie, each compared with
    other patients' only; every patient counts the same."""
    bounds: Mapping[str, Bounds]
    """Of the images of the folds: `sides` and `spacing` as stored, mean and SD of what the network
    gets (`means`, `sds`); an entry that is not known is empty."""

    @classmethod
    def read(cls, run_dir: Path) -> "TrainingImages | None":
        """None in a run folder of an earlier version.

        Raises:
            UserError: the file is damaged, or was changed.
        """
        path = run_dir / FILE_NAME
        if (content := read_sealed(path, WRITE_AGAIN)) is None:
            return None
        try:
            digests = np.frombuffer(base64.b64decode(content["digests"]), "<u8")
            marks = _array(content["marks"], np.uint8)
            references = _array(content["references"], np.int8)
            return cls(
                frozenset(digests.tolist()),
                marks,
                int(content["num_images"]),
                int(content["num_patients"]),
                str(content["key_check"]),
                references.astype(np.float32) / STEPS,
                float(content["limit"]),
                {
                    name: [(float(low), float(high)) for low, high in of]
                    for name, of in content["bounds"].items()
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path} is damaged: {error!r}. {WRITE_AGAIN}") from None


def write_training_images(run: Run) -> None:
    """Write training_images.json, of the images' cache; nothing where that was deleted."""
    if not (run.images.path / "thumbnails.npy").exists():
        return
    path = run.dir / FILE_NAME
    made_of = [VERSION, run.plan.hash, run.images.key]
    try:
        if (read_sealed(path, WRITE_AGAIN) or {}).get("made_of") == made_of:
            return
    except UserError:  # damaged: it is written anew
        pass
    write_json(path, with_seal({"made_of": made_of, **_content(run)}))


def _content(run: Run) -> dict[str, Any]:
    images, plan = run.images, run.plan
    pseudonyms = None
    if run.config.privacy.pseudonyms:
        pseudonyms = Pseudonyms.open(Path(run.config.privacy.key_file))
    spectrum = spectra(images.thumbnails)
    flat = are_flat(images.thumbnails)
    digests = {
        kept_digest(digest, pseudonyms)
        for fact, is_flat in zip(images.facts, flat, strict=True)
        for digest in fact["pixel_digest"].split(" ")
        if digest != "-" and not is_flat
    }
    rows = run.manifest.of({patient for fold in plan.folds for patient in fold.train | fold.val | fold.test})
    patients = run.manifest.table["patient_id"].to_numpy(object)[rows]
    kept = _references(patients)
    chosen = rows[kept]
    found = as_kept(descriptors(images.thumbnails[chosen], spectrum[chosen]))
    groups = pd.Series(patients[kept]).map(plan.groups)
    limit = _limit(found, pd.factorize(groups)[0], pd.factorize(patients[kept])[0])
    return {
        "num_images": len(run.manifest),
        "num_patients": run.manifest.table["patient_id"].nunique(),
        "key_check": "" if pseudonyms is None else key_check(pseudonyms),
        "digests": _text(np.sort(np.array([*digests], "<u8"))),
        "marks": _rows_text(marks_of(spectrum[~flat])),
        "references": _rows_text(np.round(found * STEPS).astype(np.int8)),
        "limit": limit,
        "bounds": _bounds(images, rows),
    }


def kept_digest(digest: str, pseudonyms: Pseudonyms | None) -> int:
    """64 bits of a hexadecimal digest; with a key, nobody without it can look for an image."""
    kept = digest if pseudonyms is None else pseudonyms.of("pixel_digest", digest).partition("-")[2]
    return int(kept[:16], 16)


def key_check(pseudonyms: Pseudonyms) -> str:
    """By which it is seen that a key is the run's."""
    return pseudonyms.of("key_check", KEY_CHECK)


def as_kept(found: Floats32) -> Floats32:
    """Descriptors in the steps in which they are kept."""
    return np.asarray(np.round(found * STEPS) / STEPS, np.float32)


def nearest(points: Floats32, references: Floats32) -> Floats32:
    """(N,) distance of each of `points` (N, D) to the nearest of `references` (R, D)."""
    return np.sqrt(np.maximum(_squares(points, references).min(axis=1, initial=np.inf), 0))


def _squares(points: Floats32, references: Floats32) -> Floats32:
    own, theirs = ((of**2).sum(axis=1) for of in (points, references))
    return np.asarray(own[:, None] + theirs - 2 * points @ references.T, np.float32)


def _references(patients: NDArray[Any]) -> Ints:
    """Which rows are kept: the first image of each patient, the second, ..., each time in an order
    that is drawn, up to MOST_REFERENCES; ascending."""
    order = np.random.default_rng(0).permutation(len(patients))
    turn = pd.Series(patients[order]).groupby(patients[order]).cumcount().to_numpy()
    found: Ints = np.sort(order[np.argsort(turn, kind="stable")][:MOST_REFERENCES])
    return found


def _limit(found: Floats32, groups: AnyInts, patients: AnyInts) -> float:
    """The distance that a share of QUANTILE lies within, of images to those of other groups.

    As of a conformal prediction the share is a little larger for few patients: one more patient of
    the same kind lies beyond it as seldom as QUANTILE says (Vovk 2005); with fewer than 100 it is
    the largest distance.
    """
    distances = np.empty(len(found))
    for start in range(0, len(found), 512):
        rows = slice(start, start + 512)
        squares = _squares(found[rows], found)
        squares[groups[rows, None] == groups] = np.inf
        distances[rows] = np.sqrt(np.maximum(squares.min(axis=1), 0))
    weights = 1 / np.bincount(patients)[patients]
    order = np.argsort(distances)
    shares = np.cumsum(weights[order]) / weights.sum()
    num = int(patients.max()) + 1
    wanted = min(1.0, QUANTILE * (1 + 1 / num)) - 1e-9
    return float(distances[order][min(np.searchsorted(shares, wanted), len(order) - 1)])


def _bounds(images: PackedImages, rows: Ints) -> dict[str, list[list[float]]]:
    """Smallest and largest value of the images at `rows`, of each axis and channel."""
    facts = [images.facts[row] for row in rows]
    size = float(np.prod(images.spatial_shape))
    means, sds = zip(*(intensities(fact, size) for fact in facts), strict=True)
    spacings = [fact.get("spacing") or "" for fact in facts]
    columns: dict[str, Sequence[Sequence[float] | Floats]] = {
        "sides": [sides_of(fact) for fact in facts],
        "spacing": [] if "" in spacings else [spacing_of(fact) for fact in facts],
        "means": means,
        "sds": sds,
    }
    return {
        name: [[float(low), float(high)] for low, high in _ends(values)]
        for name, values in columns.items()
    }


def _ends(values: Sequence[Sequence[float] | Floats]) -> list[tuple[float, float]]:
    if not len(values) or len({len(value) for value in values}) > 1:
        return []
    table = np.array(values, np.float64)
    return list(zip(table.min(axis=0).tolist(), table.max(axis=0).tolist(), strict=True))


def sides_of(fact: Mapping[str, str]) -> list[float]:
    """Of an image as stored: `224x224` -> 224, 224."""
    return [float(side) for side in fact["original_shape"].split("x")]


def spacing_of(fact: Mapping[str, str]) -> list[float]:
    """In mm along each axis; nothing where it is not known."""
    return [float(size) for size in (fact.get("spacing") or "").split()]


def intensities(fact: Mapping[str, str], size: float) -> tuple[Floats, Floats]:
    """(C,) mean and SD of each channel of what the network gets, of `size` pixels each."""
    sums, squares = (
        np.array([float(of) for of in fact[name].split()]) / size for name in ("sum", "sum_squares")
    )
    sds: Floats = np.sqrt(np.maximum(squares - sums**2, 0))
    return sums, sds


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _rows_text(array: NDArray[Any]) -> dict[str, Any]:
    """Rows of bytes, sorted: their order says nothing."""
    rows = array[np.lexsort(array.T[::-1])] if len(array) else array
    return {"width": int(array.shape[1]), "bytes": _text(np.ascontiguousarray(rows))}


def _array(content: Mapping[str, Any], dtype: Any) -> NDArray[Any]:
    flat = np.frombuffer(base64.b64decode(content["bytes"]), dtype)
    return flat.reshape(-1, int(content["width"]))
