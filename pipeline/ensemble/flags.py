"""What is said of new images beside their probabilities: are they of the plan, are they unlike it?

Patients are asked for before the first image is decoded, images while they stream by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.config import fingerprint
from pipeline.engine.finished import Finished
from pipeline.engine.soundness import TRAINING_IMAGES
from pipeline.ensemble.known import PlanImages, PlanPatients, warning
from pipeline.ensemble.look import Looks
from pipeline.ensemble.unlike import unlike
from pipeline.files import sha256
from pipeline.levels import COLUMNS, Level
from pipeline.manifest import Pseudonyms
from pipeline.words import counted

KNOWN, UNLIKE = "known", "unlike"
"""Columns; blank where there is nothing to say."""


@dataclass(frozen=True)
class Flagger:
    """Compares new patients and images with those of a run."""

    run: Finished
    ids: Sequence[str]
    """Of the new patients, each once."""
    patients: PlanPatients
    images: PlanImages

    @classmethod
    def of(
        cls, run: Finished, key: Pseudonyms | None, key_file: Path, ids: Sequence[str]
    ) -> "Flagger":
        """`key` is that of the run's pseudonyms, as `known.open_key` found it.

        Raises:
            UserError: what the run keeps of its images is damaged.
        """
        patients = PlanPatients.of(run, key, key_file, ids)
        return cls(run, ids, patients, PlanImages.of(run, patients.pseudonyms))

    @property
    def problems(self) -> list[str]:
        """Why something cannot be compared, so that nothing may be evaluated."""
        return [text for text in (self.patients.problem, self.images.problem) if text]

    @property
    def is_compared(self) -> bool:
        """Whether it can be said that an image is unlike training's."""
        return self.images.kept is not None

    def warnings(self, images: pd.DataFrame) -> list[str]:
        """What is said of predictions (N,) without an evaluation, of their columns."""
        texts = [*self.problems, warning(images[KNOWN].tolist())]
        if num := int((images[UNLIKE] != "").sum()):
            texts.append(
                f"{num:,} of {counted(len(images), 'image')} unlike anything in training (column "
                "`unlike`): no test of these networks was about such images"
            )
        return [text for text in texts if text]

    @cached_property
    def of_patients(self) -> Mapping[str, str]:
        """New patient -> why it is one of the plan, "" where it is not."""
        return dict(zip(self.ids, self.patients.reasons(self.ids), strict=True))

    @property
    def name(self) -> str:
        """Changes whenever an image could be flagged otherwise."""
        path = self.run.dir / TRAINING_IMAGES
        has_key = self.patients.pseudonyms is not None
        return fingerprint([sha256(path) if path.exists() else "", has_key])

    def watch(
        self, pictures: NDArray[np.uint8], facts: Sequence[Mapping[str, str]]
    ) -> Mapping[str, Sequence[str]]:
        """Columns about (B, P, 64, 64) pictures and the facts of B images."""
        kept, looks = self.images.kept, Looks(pictures, facts)
        if kept is None or not len(facts):
            return {KNOWN: [""] * len(facts), UNLIKE: [""] * len(facts)}
        return {KNOWN: self.images.reasons(looks), UNLIKE: unlike(kept.reach, looks)}


def with_flags(
    tables: Mapping[Level, pd.DataFrame],
    notes: Mapping[str, Sequence[str]],
    of_patients: Mapping[str, str],
) -> dict[Level, pd.DataFrame]:
    """The tables of all levels with columns about images, (N,) cells each, as of `Flagger.watch`.

    An image is known by its patient or by itself. Above images a case is known by any of its own,
    and unlike where some are, which are counted.
    """
    if KNOWN not in notes:  # what somebody else looked at
        return {**tables, "image": tables["image"].assign(**notes)}
    images = tables["image"]
    by_id = images["patient_id"].map(of_patients).fillna("")
    known = by_id.where(by_id != "", pd.Series(notes[KNOWN], images.index))
    flags = pd.DataFrame({KNOWN: known, UNLIKE: notes[UNLIKE]}, images.index)
    found: dict[Level, pd.DataFrame] = {}
    for level, table in tables.items():
        if level == "image":
            found[level] = pd.concat([table, flags], axis=1)
        else:
            # a slide is of one patient: patients and slides together name it
            keys = [*dict.fromkeys(["patient_id", COLUMNS[level]])]
            above = flags.groupby([images[key] for key in keys]).agg({KNOWN: _first, UNLIKE: _many})
            found[level] = table.join(above, on=keys)
    return found


def _first(cells: pd.Series) -> str:
    return next((str(cell) for cell in cells if cell), "")


def _many(cells: pd.Series) -> str:
    number = int((cells != "").sum())
    return f"{number} of {len(cells)} images" if number else ""
