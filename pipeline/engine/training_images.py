"""training_images.json of a run folder: by what its images are known again when the cache is gone.

No picture, no name, and no order that would lead from an entry to a patient: digests and marks are
sorted. So is what new images are compared with to see whether they are like those trained on.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.marks import Marks, are_flat, marks_of, spectra
from pipeline.audit.reach import STEPS, Reach
from pipeline.config import UserError
from pipeline.engine.run_folder import Run
from pipeline.engine.soundness import TRAINING_IMAGES, WRITE_AGAIN
from pipeline.files import write_json
from pipeline.manifest import Pseudonyms
from pipeline.tracking.result import read_sealed, with_seal

FILE_NAME = TRAINING_IMAGES
VERSION = 1
KEY_CHECK = "patientfold"


@dataclass(frozen=True)
class TrainingImages:
    """What is kept of the images that a run's plan is of."""

    digests: frozenset[int]
    """64 bits of each image's digest of decoded pixels, also of locked patients; keyed where the
    run has pseudonyms."""
    marks: Marks
    """(M, bytes) perceptual hashes, sorted; images without any contrast have none."""
    key_check: str
    """What the key of the pseudonyms makes of a known word; "" without pseudonyms."""
    reach: Reach
    """Of the images of the folds."""

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
            steps = _array(content["references"], np.int8)
            references = np.asarray(steps / np.float32(STEPS), np.float32)
            bounds = {
                str(name): [(float(low), float(high)) for low, high in of]
                for name, of in content["bounds"].items()
            }
            reach = Reach(references, float(content["limit"]), bounds, int(content["size"]))
            marks = _array(content["marks"], np.uint8)
            return cls(frozenset(digests.tolist()), marks, str(content["key_check"]), reach)
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
    flat = are_flat(images.thumbnails)
    digests = {
        kept_digest(digest, pseudonyms)
        for fact, is_flat in zip(images.facts, flat, strict=True)
        for digest in fact["pixel_digest"].split(" ")
        if digest != "-" and not is_flat
    }
    inside = {patient for fold in plan.folds for patient in fold.train | fold.val | fold.test}
    rows = run.manifest.of(inside)
    patients = run.manifest.table["patient_id"].iloc[rows].tolist()
    reach = Reach.of(
        images.thumbnails,
        rows,
        [images.facts[row] for row in rows],
        int(np.prod(images.spatial_shape)),
        patients,
        [plan.groups[patient] for patient in patients],
    )
    return {
        "key_check": "" if pseudonyms is None else key_check(pseudonyms),
        "digests": _text(np.sort(np.array([*digests], "<u8"))),
        "marks": _sorted_rows(marks_of(spectra(images.thumbnails)[~flat])),
        "references": _sorted_rows(np.round(reach.references * STEPS).astype(np.int8)),
        "limit": reach.limit,
        "size": reach.size,
        "bounds": {name: [[*ends] for ends in of] for name, of in reach.bounds.items()},
    }


def kept_digest(digest: str, pseudonyms: Pseudonyms | None) -> int:
    """64 bits of a hexadecimal digest; with a key, nobody without it can look for an image."""
    kept = digest if pseudonyms is None else pseudonyms.of("pixel_digest", digest).partition("-")[2]
    return int(kept.removeprefix("8:")[:16], 16)


def key_check(pseudonyms: Pseudonyms) -> str:
    """By which it is seen that a key is the run's."""
    return pseudonyms.of("key_check", KEY_CHECK)


def _text(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _sorted_rows(array: NDArray[Any]) -> dict[str, Any]:
    """Rows of bytes, sorted: their order says nothing."""
    rows = np.ascontiguousarray(array[np.lexsort(array.T[::-1])])
    return {"width": int(array.shape[1]), "bytes": _text(rows)}


def _array(content: Mapping[str, Any], dtype: Any) -> NDArray[Any]:
    flat = np.frombuffer(base64.b64decode(content["bytes"]), dtype)
    return flat.reshape(-1, int(content["width"]))
