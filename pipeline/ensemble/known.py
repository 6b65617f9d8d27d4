"""Which new images are of patients of the plan: each of them trained k - 2 of the k networks.

They are known by their id, by their pixels, and by a picture that is nearly the same. A prediction
of such a patient is no test: the ensemble is not evaluated on it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.audit.marks import SAME_PICTURE, most_alike
from pipeline.config import UserError
from pipeline.engine.finished import Finished
from pipeline.engine.training_images import TrainingImages, kept_digest, key_check
from pipeline.ensemble.look import Looks
from pipeline.manifest import Pseudonyms
from pipeline.manifest.ids import canonical_id
from pipeline.manifest.pseudonyms import PSEUDONYM
from pipeline.words import SHOWN, and_more, counted

PATIENT = "patient of the plan"
LOCKED = "locked patient of the plan"
SPELLED, LOCKED_SPELLED = (f"{who}, spelled in another way" for who in (PATIENT, LOCKED))
PIXELS = "same pixels as an image of the plan"
PICTURE = "nearly the same picture as one of the plan"
NEVER = ""
NO_KEY = (
    "the {} pseudonyms in the place of ids, and ids are compared through their key: "
    "{} is no such file. Without the key nobody can tell whether new patients are "
    "patients of the plan."
)
OTHER_KEY = (
    "{}: this is not the key of the run's pseudonyms; with it no patient of the plan "
    "would be known again."
)
NO_PIXELS = (
    "{}: an earlier version made this run and kept nothing by which its images are known again, "
    "so that new images cannot be compared with those that trained it. The same cv command, where "
    "the images are, adds training_images.json; nothing is trained again."
)


def open_key(key_file: Path) -> Pseudonyms | None:
    """The key of pseudonyms, None where there is none: a new one could not be that of a run."""
    return Pseudonyms.open(key_file) if key_file.exists() else None


@dataclass(frozen=True)
class PlanPatients:
    """The patients of a run's plan, by all names that new rows could have for them."""

    names: Mapping[str, str]
    """Id or pseudonym -> why it is no new patient."""
    spellings: Mapping[str, str]
    """Canonical form of an id -> why one that is spelled otherwise is none either; of no
    pseudonyms."""
    pseudonyms: Pseudonyms | None
    problem: str
    """Why ids cannot be compared; "" where they can."""

    @classmethod
    def of(
        cls, run: Finished, key: Pseudonyms | None, key_file: Path, ids: Iterable[str] = ()
    ) -> "PlanPatients":
        """Of a run, to compare new `ids` with; the key is needed where either are pseudonyms."""
        plan = run.folds
        everyone = {id_: _patient(id_) for id_ in plan.groups}
        names = {who: LOCKED if id_ in plan.locked else PATIENT for id_, who in everyone.items()}
        are_coded = _are_pseudonyms(names)
        pseudonyms, problem = key, ""
        if pseudonyms is None and (are_coded or any(map(PSEUDONYM.fullmatch, ids))):
            problem = NO_KEY.format("run has" if are_coded else "new patients have", key_file)
        elif are_coded and pseudonyms is not None and not _is_key_of(run, pseudonyms):
            problem, pseudonyms = OTHER_KEY.format(key_file), None
        if not are_coded and pseudonyms is not None:
            coded = {pseudonyms.of("patient_id", who): why for who, why in names.items()}
            names = {**coded, **names}
        spelled = {PATIENT: SPELLED, LOCKED: LOCKED_SPELLED}
        spellings = {canonical_id(id_): spelled[why] for id_, why in names.items() if not are_coded}
        return cls(names, spellings, pseudonyms, problem)

    def reasons(self, ids: Sequence[str]) -> list[str]:
        """(N,) why each id is that of a patient of the plan; "" where it is not."""
        found = {id_: self._reason(id_) for id_ in set(ids)}
        return [found[id_] for id_ in ids]

    def _reason(self, id_: str) -> str:
        if (why := self.names.get(id_)) is not None:
            return why
        if self.pseudonyms is not None and not PSEUDONYM.fullmatch(id_):
            why = self.names.get(self.pseudonyms.of("patient_id", id_))
            if why is not None:
                return why
        return self.spellings.get(canonical_id(id_), NEVER)


@dataclass(frozen=True)
class PlanImages:
    """The images of a run's plan, by what its folder keeps of them."""

    kept: TrainingImages | None
    pseudonyms: Pseudonyms | None
    problem: str
    """Why images cannot be compared; "" where they can."""

    @classmethod
    def of(cls, run: Finished, pseudonyms: Pseudonyms | None) -> "PlanImages":
        """UserError where what the folder keeps is damaged."""
        kept = TrainingImages.read(run.dir)
        problem = NO_PIXELS.format(run.dir) if kept is None else ""
        return cls(kept, pseudonyms, problem)

    def reasons(self, looks: Looks) -> list[str]:
        """(N,) why each image is one of the plan; "" where it is not, or cannot be told."""
        if self.kept is None:
            return [NEVER] * len(looks.facts)
        keyed = self.pseudonyms if self.kept.key_check else None
        is_comparable = not self.kept.key_check or self.pseudonyms is not None
        alike = most_alike(looks.spectrum, self.kept.marks)
        found = []
        for fact, flat, likeness in zip(looks.facts, looks.flat, alike, strict=True):
            digests = [d for d in fact["pixel_digest"].split(" ") if d != "-"]
            if flat:
                found.append(NEVER)
            elif is_comparable and any(
                kept_digest(digest, keyed) in self.kept.digests for digest in digests
            ):
                found.append(PIXELS)
            else:
                found.append(PICTURE if likeness >= SAME_PICTURE else NEVER)
        return found


def refuse(
    run: Finished,
    patients: Sequence[str],
    images: Sequence[str],
    reasons: Sequence[str],
    problems: Iterable[str] = (),
) -> None:
    """Raise unless an ensemble may be evaluated on these rows.

    `patients`, `images` and `reasons` are (N,); `problems` say what could not be compared.

    Raises:
        UserError: who is known, why, and where the out-of-fold predictions are.
    """
    known = [
        (patient, image, why)
        for patient, image, why in zip(patients, images, reasons, strict=True)
        if why
    ]
    lines = [f"  {text}" for text in dict.fromkeys(filter(None, problems))]
    if known:
        lines += [f"  {line}" for line in _in_words(known)]
    if not lines:
        return
    text = "\n".join([f"the ensemble of {run.dir} is not evaluated on these data:", *lines])
    if known:
        text += f"\n{_offer(run, {why for _, _, why in known})}"
    raise UserError(text)


def warning(reasons: Sequence[str]) -> str:
    """What is said of predictions without an evaluation; "" where nobody is known."""
    counts = Counter(filter(None, reasons))
    if not counts:
        return ""
    each = ", ".join(f"{num:,} {why}" for why, num in counts.most_common())
    return (
        f"{sum(counts.values()):,} of {counted(len(reasons), 'image')} may have trained these "
        f"networks ({each}; column `known`): their predictions look better than those of new "
        "patients. The out-of-fold predictions in the run folder are honest"
    )


def _in_words(known: Sequence[tuple[str, str, str]]) -> Iterable[str]:
    """A line for each reason, with examples."""
    for why in dict.fromkeys(why for _, _, why in known):
        rows = [(patient, image) for patient, image, of in known if of == why]
        who = list(dict.fromkeys(patient for patient, _ in rows))
        if why in (PIXELS, PICTURE):
            shown = [f"{image!r} of {patient!r}" for patient, image in rows[:SHOWN]]
            yield f"{why} ({counted(len(rows), 'image')}): {and_more(shown, len(rows))}"
        else:
            shown = [repr(patient) for patient in who[:SHOWN]]
            yield f"{why} ({counted(len(who), 'patient')}): {and_more(shown, len(who))}"


def _offer(run: Finished, reasons: set[str]) -> str:
    """What can be done instead."""
    text = (
        "Patients of the plan trained these networks: what the networks say of them is no test. "
        "Out-of-fold predictions, each by a network that had not seen the "
        f"patient, are in {run.dir / 'predictions.csv'}, and their metrics in "
        f"{run.dir / 'metrics.json'}. Leave these rows out to evaluate the ensemble on the others, "
        "or predict without evaluating: use_labels=false."
    )
    if reasons & {LOCKED, LOCKED_SPELLED}:
        text += f" Locked patients are opened by patientfold unlock run_dir={run.dir}, once."
    if reasons & {PATIENT, SPELLED, LOCKED_SPELLED}:
        text += (
            " If other people happen to have the same ids, give them ids of their own in the CSV, "
            "as with the name of the hospital in front."
        )
    return text


def _patient(id_: str) -> str:
    """Of a plan by image the patient: UNSAFE|<patient>|<image>."""
    parts = id_.split("|")
    return parts[1] if len(parts) == 3 and parts[0] == "UNSAFE" else id_


def _are_pseudonyms(names: Iterable[str]) -> bool:
    return all(map(PSEUDONYM.fullmatch, names))


def _is_key_of(run: Finished, pseudonyms: Pseudonyms) -> bool:
    """As far as the run folder can tell."""
    kept = TrainingImages.read(run.dir)
    return kept is None or kept.key_check in ("", key_check(pseudonyms))
