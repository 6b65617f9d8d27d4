"""One network on all patients of a finished run's folds: to be used, and tested on nobody.

Nothing is chosen here. How long it trains, its thresholds and its calibration are what the folds
have chosen on their validation parts; docs/final.md says how and why.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console

from pipeline.config import Config, EngineConfig, UserError
from pipeline.config.leaf import is_baseline
from pipeline.console import progress_bar
from pipeline.engine.access import IN_USE
from pipeline.engine.again import check_same, config_again
from pipeline.engine.door import engine_of
from pipeline.engine.finished import Finished
from pipeline.engine.run_folder import Run
from pipeline.engine.session import try_jobs
from pipeline.engine.stopping import said_when_stopped
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.recalibration import Calibration
from pipeline.files import lock, make_private
from pipeline.processes import call_in_child
from pipeline.splits import NO_FOLD, Everybody
from pipeline.targets import build
from pipeline.tracking.journal import EpochEnded, JournalTail, Started, read_journal
from pipeline.tracking.result import SEAL
from pipeline.tracking.untested import FINAL, expected_of
from pipeline.training.job import FoldJob
from pipeline.training.settled import (
    Settled,
    doubts,
    settled_candidate,
    settled_epochs,
    settled_validation,
    stretched,
)
from pipeline.words import counted


def config_of(
    run: Finished, plugins: Sequence[str], kind: str | None, device: str | None
) -> Config:
    """The settings of a finished run, to train on everybody; engine and device may be others.

    `plugins` are those that may be imported: whoever sent the folder could have named code.

    Raises:
        UserError: the run was split by image: what its folds chose was chosen on patients that
            they had seen.
    """
    if run.is_unsafe:
        raise UserError(
            f"{run.dir} was split by image (UNSAFE): its folds chose their epochs and thresholds "
            "on patients whom they had trained on, and nothing can be expected of a final network"
        )
    config = config_again(run, plugins)
    asked = {"kind": kind, "device": device}
    engine: EngineConfig = replace(config.engine, **{k: v for k, v in asked.items() if v})  # type: ignore[arg-type]
    return replace(config, engine=engine)


class FinalTraining:
    """The training on all patients of the folds of one run."""

    def __init__(self, run: Run, finished: Finished) -> None:
        """UserError unless manifest, images and settings are still those that the run was made of,
        and the folds those that a training that has begun goes by.
        """
        check_same(run, "The final network was not trained.")
        self.run = run
        self.finished = finished
        self.everybody = Everybody(run.plan.folds)
        self.is_network = not is_baseline(run.config.model)
        self.chosen = {fold: int(of["best_epoch"]) for fold, of in finished.results.items()}
        self.job = self._job()
        self._check_begun()

    @property
    def doubts(self) -> list[str]:
        """Why what the folds chose may not be the best for it."""
        return [*doubts(self.chosen, self.run.config.training.epochs)] if self.is_network else []

    @property
    def lines(self) -> Iterator[str]:
        """What will be trained, and by what rule."""
        assert self.job.settled is not None, "it is"
        of = self.job.settled.record
        whom = of["trained_on"]
        line = f"final network: {counted(whom['patients'], 'patient')} of all folds, "
        line += counted(whom["images"], "image")
        if locked := whom["locked_out"]:
            line += f"; {counted(locked, 'locked patient')} stay out"
        yield line
        yield of["rule"]

    def train(self, slots: Sequence[str], console: Console) -> None:
        """Train it to the end, from where an earlier command stopped.

        Raises:
            UserError: it did not get done; the same command goes on.
        """
        job, epochs = self.job, self.job.config.training.epochs
        call_in_child(try_jobs, [job])
        engine = engine_of(self.run.config)
        with self._opened(), progress_bar("training on everybody", console) as show:
            engine.check(self.run)
            tail = JournalTail(job.fold_dir / "journal.jsonl")
            tail.read_new()

            def poll(_running: Collection[int]) -> None:
                for event in tail.read_new():
                    if isinstance(event, EpochEnded):
                        show(event.epoch, epochs)

            with said_when_stopped([job]):
                failures = engine.run_folds([job], slots[:1], poll)
            poll(())
        if failures:
            raise UserError(
                f"the final network is not done: {failures[NO_FOLD]}\nthe same command goes on"
            )

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Its folder is this command's; others may read the run meanwhile, none may change it."""
        folder, in_use = self.job.fold_dir, IN_USE.format(self.run.dir)
        with ExitStack() as held:
            try:
                held.enter_context(lock(self.run.dir / ".lock", in_use, shared=True))
                make_private(folder)
                held.enter_context(lock(folder / ".command.lock", in_use))
            except OSError as error:
                raise UserError(f"folder {folder} cannot be written: {error.strerror}") from None
            yield

    def _job(self) -> FoldJob:
        run = self.run
        select_by, config = run.config.training.select_by, run.config
        histories = self.finished.histories
        if self.is_network:
            num_epochs = settled_epochs(self.chosen)
            validation = settled_validation(histories, select_by, num_epochs)
            config, candidate, rule = stretched(config, num_epochs), {}, _epochs_told(self.chosen)
        else:
            sizes = {fold.index: len(run.manifest.of(fold.train)) for fold in run.plan.folds}
            tried = call_in_child(_candidates, config, sizes)
            is_loss = config.training.select_mode == "min"
            candidate = dict(settled_candidate(tried, histories, select_by, is_loss))
            config, validation = stretched(config, 1), ()
            told = ", ".join(f"{name}={value}" for name, value in candidate.items()) or "as it is"
            rule = f"Candidate: {told}, the best mean {select_by} over the folds."
        settled = Settled(validation, candidate, self._record(rule))
        folder = run.dir / FINAL
        return FoldJob(
            config, run.manifest, self.everybody, run.images, folder, run.key, settled=settled
        )

    def _record(self, rule: str) -> dict[str, Any]:
        """What final.json says that is known before."""
        run, finished = self.run, self.finished
        results, classes, levels = finished.results, run.manifest.classes, finished.levels
        thresholds = {
            level: Decision.median([*finished.decisions(level).values()], NO_FOLD).values
            for level in levels
        }
        fits = [Calibration.read(result, classes) for result in results.values()]
        known = [fit for fit in fits if fit is not None]
        calibration = Calibration.median(known, NO_FOLD).record() if known else None
        by = "thresholds and calibration" if known else "thresholds"
        return {
            "rule": f"{rule} {by.capitalize()}: the median of the folds', of their validation.",
            "trained_on": {
                "patients": len(self.everybody.train),
                "images": len(run.manifest.of(self.everybody.train)),
                "locked_out": len(run.plan.locked),
            },
            "chosen": {str(fold): epoch for fold, epoch in self.chosen.items()},
            "select_by": run.config.training.select_by,
            "folds": {str(fold): result.get(SEAL, "") for fold, result in results.items()},
            "thresholds": {"image": None, "patient": None} | thresholds,
            "calibration": calibration,
            "expected": expected_of(finished.summary, finished.select_by, finished.optimism),
        }

    def _check_begun(self) -> None:
        events = read_journal(self.job.fold_dir / "journal.jsonl")
        begun = {event.epochs for event in events if isinstance(event, Started)}
        if self.is_network and begun - {now := self.job.config.training.epochs}:
            raise UserError(
                f"{self.job.fold_dir} was begun to train for {max(begun)} epochs, and the folds "
                f"that are here now say {now}. Delete that folder to begin anew"
            )


def _epochs_told(chosen: Mapping[int, int]) -> str:
    """The rule for people."""
    low, high = min(chosen.values()), max(chosen.values())
    each = f"{low}" if low == high else f"{low} to {high}"
    num = settled_epochs(chosen)
    whose = "the epoch that the fold chose" if len(chosen) == 1 else "the median of the folds'"
    return f"{counted(num, 'epoch')}, {whose} ({each}), and warm-up and schedule in that time."


def _candidates(config: Config, sizes: Mapping[int, int]) -> dict[int, list[dict[str, Any]]]:
    """Fold -> what a baseline tries with so many images to train on; in a process of its own."""
    baseline = build("model", config.model)
    return {fold: list(baseline.candidates(size)) for fold, size in sizes.items()}
