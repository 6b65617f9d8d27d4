"""What is said of new images beside their probabilities: are they of the plan, are they unlike it?

Asked while they stream by: before the first is decoded by their ids, then batch after batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.engine.finished import Finished
from pipeline.ensemble.known import PlanImages, PlanPatients
from pipeline.ensemble.look import Looks
from pipeline.ensemble.unlike import unlike


@dataclass(frozen=True)
class Flags:
    """Of N images; each is "" where there is nothing to say."""

    known: list[str]
    unlike: list[str]


@dataclass(frozen=True)
class Flagger:
    """Looks at new images."""

    patients: PlanPatients
    images: PlanImages

    @classmethod
    def of(cls, run: Finished, key_file: Path, ids: Sequence[str]) -> "Flagger":
        """Of a run, for the new patients `ids`; `key_file` of its pseudonyms, which may be missing.

        Raises:
            UserError: the key is another than the run's, or what the run keeps is damaged.
        """
        patients = PlanPatients.of(run, key_file, ids)
        return cls(patients, PlanImages.of(run, patients.pseudonyms))

    @property
    def problems(self) -> list[str]:
        """Why something cannot be compared, so that nothing may be evaluated."""
        return [text for text in (self.patients.problem, self.images.problem) if text]

    @property
    def is_compared(self) -> bool:
        """Whether it can be said that an image is unlike training's."""
        return self.images.kept is not None

    def flags(self, ids: Sequence[str], looks: Looks) -> Flags:
        """Of N images of the patients `ids` (N,)."""
        by_id, by_image = self.patients.reasons(ids), self.images.reasons(looks)
        known = [one or other for one, other in zip(by_id, by_image, strict=True)]
        kept = self.images.kept
        return Flags(known, [""] * len(ids) if kept is None else unlike(kept.reach, looks))
