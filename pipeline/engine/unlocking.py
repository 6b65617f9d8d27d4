"""The locked patients, opened for one finished run: predicted by all of its folds' models at once.

No fold has trained on them, chosen by them or been normalised by them (`Plan` proves it), so that
what they say of one setting is no product of having tried many.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import Floats, Ints
from pipeline.config import Config, UserError
from pipeline.config.leaf import is_baseline
from pipeline.engine.again import check_same, config_again
from pipeline.engine.counting import entry_of
from pipeline.engine.devices import one_device
from pipeline.engine.finished import LOCKED, Finished
from pipeline.engine.run_folder import Run
from pipeline.evaluation.decision import Decision
from pipeline.evaluation.patients import Rules, by_level
from pipeline.evaluation.predictions import prediction_table, with_decisions, write_predictions
from pipeline.evaluation.summary import Summary, summarise
from pipeline.files import make_private, write_json
from pipeline.levels import Level
from pipeline.processes import process_pool
from pipeline.splits import NO_FOLD
from pipeline.tracking.ledger import Entry, note_opening
from pipeline.tracking.result import with_seal
from pipeline.training.job import FoldJob


def config_of(run: Finished, plugins: Sequence[str]) -> Config:
    """The settings of a finished run with its own plan, to open its locked patients.

    `plugins` are those that may be imported: whoever sent the folder could have named code.

    Raises:
        UserError: the run tests what it trained on, has nobody locked, or was opened.
    """
    run_dir = run.dir
    if run.is_unsafe:
        raise UserError(f"{run_dir} was split by image (UNSAFE): its numbers are no results")
    _, rows = run.plan_rows
    if not any(row[2] == "locked" for row in rows):
        raise UserError(
            f"{run_dir}: its plan has no locked patients. A new plan can have some, from the "
            "beginning: split.locked_fraction=0.2"
        )
    if run.locked is not None:
        raise UserError(
            f"{run_dir}: its locked patients were opened before; what they said stands in "
            f"{run_dir / LOCKED / 'metrics.json'}"
        )
    return config_again(run, plugins)


def check_same_run(run: Run) -> None:
    """UserError unless manifest, images and settings are still those that the run was made of."""
    check_same(run, "The locked patients were not opened.")


class LockedPart:
    """The locked patients of a run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rows: Ints = run.manifest.of(run.plan.locked)
        self.dir = run.dir / LOCKED

    def probabilities(self, slots: Sequence[str]) -> Floats:
        """(N, C) mean over the folds' models, with the normalisation and calibration of each."""
        run = self.run
        devices = [one_device(slot) for slot in slots]
        jobs = [
            replace(run.job(fold), device=devices[i % len(devices)])
            for i, fold in enumerate(run.folds)
        ]
        threads = run.config.engine.threads_per_fold
        with process_pool(min(len(slots), len(jobs))) as pool:
            pending = [pool.submit(_predicted, job, self.rows, threads) for job in jobs]
            found = [future.result() for future in pending]
        mean: Floats = np.mean(found, axis=0)
        return mean

    def decision(self, level: Level) -> Decision:
        """The median of the thresholds that the folds have chosen on their validation parts."""
        results = [self.run.result(fold) for fold in self.run.folds]
        classes = self.run.manifest.classes
        return Decision.median([Decision.read(of, level, classes) for of in results], NO_FOLD)

    def record(self, ledger: Path, again: bool) -> tuple[Entry, ...]:
        """Write into the ledger that they are opened; all openings of the plan.

        Raises:
            UserError: they were opened for another run and `again` is not given, or the ledger
                cannot be written: what is not on record is not opened.
        """
        entry = replace(entry_of(self.run), event="opened", time=time.time())
        try:
            return note_opening(ledger, entry, again)
        except OSError as error:
            raise UserError(
                f"ledger {ledger} cannot be written ({error.strerror}), and what is not on record "
                "is not opened. ledger=FILE names another"
            ) from None

    def write(self, probabilities: Floats, opened: Sequence[Entry]) -> Summary:
        """Write locked/predictions.csv and then locked/metrics.json, which says that it is done."""
        run, classes = self.run, self.run.manifest.classes
        samples = run.manifest.table.iloc[self.rows].reset_index(drop=True)
        order = np.arange(len(self.rows))
        table = prediction_table(samples, probabilities, order, classes, NO_FOLD)
        undecided = by_level(table, classes, Rules.of(asdict(run.config.evaluation)))
        decisions = {
            level: self.decision(level) for level, of in undecided.items() if of is not None
        }
        tables = {
            level: None if of is None else with_decisions(of, classes, decisions[level])
            for level, of in undecided.items()
        }
        summary = summarise(tables, classes, run.plan.groups)
        make_private(self.dir)
        assert tables["image"] is not None
        write_predictions(tables["image"], self.dir / "predictions.csv")
        facts = {
            "thresholds": {"image": None, "patient": None}
            | {level: decision.values for level, decision in decisions.items()},
            "num_models": len(run.folds),
            "opened": [_fact(entry) for entry in opened],
        }
        write_json(self.dir / "metrics.json", with_seal({**summary, **facts}))
        return summary


def _fact(entry: Entry) -> Mapping[str, Any]:
    kept = ("key", "name", "run_dir", "time")
    return {name: value for name, value in asdict(entry).items() if name in kept}


def _predicted(job: FoldJob, rows: Ints, num_threads: int) -> Floats:
    """In a worker."""
    if not is_baseline(job.config.model):
        from pipeline.training.device import prepare

        prepare(job.config.training, job.device, num_threads)
    from pipeline.training.kept import outputs_of_kept

    return outputs_of_kept(job, rows).astype(np.float64)
