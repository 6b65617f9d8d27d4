"""Does a run take the champion's place? Only where a paired comparison shows it to be better."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import UserError
from pipeline.engine.comparing import compare_runs
from pipeline.engine.finished import Finished
from pipeline.tracking.registry import Version

REPLACE = "replace=true gives it the alias all the same, and is recorded"


@dataclass(frozen=True)
class Judgement:
    """Whether the alias moves, and why."""

    moves: bool
    why: str
    is_forced: bool = False
    """It moves by `replace=true` alone."""


def judge(
    run: Finished, champion: Version | None, metric: str, replace: bool, plugins: Sequence[str] = ()
) -> Judgement:
    """Compare a run with that of the champion, over the patients that both have tested.

    It must be better with its whole 95 % interval: "no difference is shown" is no reason to change
    what others use. What cannot be compared (another plan, a run folder that is not here) is not
    better.
    """
    if champion is None:
        return Judgement(True, "the first champion of this name")
    if champion.key == run.key:
        same = f"version {champion.number}, the champion before, is of the same cross-validation"
        return Judgement(True, f"{same}: there is nothing to compare")
    is_better, why = _compared(run, champion, metric, plugins)
    if is_better:
        return Judgement(True, f"better than version {champion.number}: {why}")
    if replace:
        words = f"replace=true: version {champion.number} was the champion, and it is not shown to"
        return Judgement(True, f"{words} be worse. {why}", is_forced=True)
    kept = f"version {champion.number} stays the champion: this run is not shown to be better"
    return Judgement(False, f"{kept}. {why} {REPLACE}")


def _compared(
    run: Finished, champion: Version, metric: str, plugins: Sequence[str]
) -> tuple[bool, str]:
    """Is the run better, and in which words."""
    try:
        found = compare_runs([_run_of(champion), run], metric, None, plugins)
    except UserError as error:
        return False, f"They cannot be compared: {' '.join(str(error).split())}."
    (one,) = found.compared
    bounds = one.difference.interval
    is_better = bounds.low > 0 if found.higher_is_better else bounds.high < 0
    return is_better, one.verdict


def _run_of(champion: Version) -> Finished:
    """The champion's run. UserError where its folder is not here, or holds another."""
    if not champion.run_dir:
        raise UserError(
            f"version {champion.number} does not say of which run it is; patientfold did not "
            "register it"
        )
    found = Finished.read(Path(champion.run_dir))
    if found.key != champion.key:
        raise UserError(
            f"{champion.run_dir} holds run {found.key[:12]}, not {champion.key[:12]}, of which "
            f"version {champion.number} is"
        )
    return found
