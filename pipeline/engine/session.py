"""One command's work on a run folder: train what is missing, mirror it, report."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console

from pipeline.config import UserError, compared, flat
from pipeline.config.leaf import is_baseline
from pipeline.console import say, warn
from pipeline.engine.access import in_turn
from pipeline.engine.counting import Counted
from pipeline.engine.door import engine_of
from pipeline.engine.local import cause_of
from pipeline.engine.progress import FoldProgress
from pipeline.engine.pruning import Pruned, Validation, first_folds, pruned
from pipeline.engine.results import evaluate_folds, plot_training, seal_summary, write_judged
from pipeline.engine.run_folder import UNSAFE_SUFFIX, Run
from pipeline.engine.standby import Standby
from pipeline.engine.stopping import said_when_stopped
from pipeline.evaluation.console import print_summary
from pipeline.evaluation.summary import levels_of
from pipeline.files import write_json
from pipeline.processes import call_in_child
from pipeline.release import git_commit
from pipeline.splits.describe import promise
from pipeline.splits.quality import count_parts
from pipeline.targets import build, check_leaves
from pipeline.tracking.background import BackgroundMirror
from pipeline.tracking.destination import destination, is_here, plain_http_warnings
from pipeline.tracking.mirror import PRUNED
from pipeline.tracking.record import SWEEPER_TAG, DatasetRecord, RunRecord
from pipeline.tracking.server import absolute_tracking_uri
from pipeline.training.imbalance import emphasis
from pipeline.training.job import FoldJob
from pipeline.words import SHOWN, and_more, counted, one_line


@dataclass(frozen=True)
class Called:
    """What people call one command's run, in MLflow."""

    settings: str = ""
    """What was asked for beside the experiment: `resnet10 lr=3e-4`; "" for the run's own name."""
    sweep: str = ""
    """Of a multirun: tags the runs that belong together."""
    sweeper: str = ""
    """Of a multirun whose settings are drawn by what came of those before: the sweeper's name."""


UNNAMED = Called()


@dataclass(frozen=True)
class Outcome:
    """What a cross-validation comes to, as far as settings may be chosen by it."""

    run_dir: Path
    select_by: str
    values: tuple[float, ...]
    """Of the chosen epochs' validation metric, one per fold."""
    folds: tuple[int, ...] = ()
    """That the values are of."""
    plan: str = ""
    """Hash of the plan."""
    pruned: Pruned | None = None
    """Why not all folds were trained, in a sweep."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def objective(self) -> float:
        """What a sweeper is given."""
        return self.mean if self.pruned is None else self.pruned.objective


def try_out(run: Run) -> tuple[str, ...]:
    """Build the network once and send images through, unless every fold is done already.

    Returns what is to be said about the weights to begin with. ConfigError for what cannot be
    built or does not fit, UserError for weights that have seen a fold's test part; no run folder
    exists by then.
    """
    todo = [fold for fold in run.folds if not run.is_done(fold)]
    return call_in_child(try_jobs, [run.job(fold) for fold in todo]) if todo else ()


def try_jobs(jobs: Sequence[FoldJob]) -> tuple[str, ...]:
    """`try_out`, in a process of its own."""
    if is_baseline(jobs[0].config.model):
        check_leaves(jobs[0].config)
        build("model", jobs[0].config.model)
        return ()
    from pipeline.training.frozen import told  # with torch: only in the child
    from pipeline.training.learner import try_out
    from pipeline.training.start import check_start

    for job in jobs:
        check_start(job)
    return (*try_out(jobs[0]), *told(jobs[0]))


def train_missing_folds(
    run: Run, slots: Sequence[str], console: Console, before: Sequence[Outcome] = ()
) -> Pruned | None:
    """Train the folds without a result, as many at once as there are slots.

    UserError when a fold did not get done, the others were trained all the same; or when a machine
    that is to train does not see the run folder or the cache. `before`: what the jobs of this sweep
    came to; with engine.prune_after the folds after the first ones are left out where these fall
    behind, which is returned.
    """
    counted_once = Counted(run, console)
    counted_once.look()  # folds may be done of a command that was killed, or knew no ledger
    todo = [fold for fold in run.folds if not run.is_done(fold)]
    say([one_line(f"run folder {run.dir}")], console)
    _warn_if_unsafe(run, console)
    (run.dir / PRUNED).unlink(missing_ok=True)
    if not todo:
        say(["all folds are done already"], console)
        return None
    engine = engine_of(run.config)
    engine.check(run)
    peers = _peers(run, before)
    first = first_folds(run.folds, run.config.engine.prune_after, len(peers))
    progress = FoldProgress(run, run.folds, len(slots), console)

    def poll(running: Collection[int]) -> None:
        progress.poll(running)
        counted_once.look()

    failures: dict[int, str] = {}
    stopped: Pruned | None = None
    with progress.showing():
        for folds in (first, [fold for fold in run.folds if fold not in first]):
            if stopped := _falls_behind(run, first, peers) if folds is not first else None:
                break
            jobs = [run.job(fold) for fold in folds if fold in todo]
            with said_when_stopped(jobs):
                failures |= engine.run_folds(jobs, slots, poll)
            poll(())
    if failures:
        done = sum(run.is_done(fold) for fold in run.folds)
        reasons = "\n".join(_reasons(run, failures))
        raise UserError(
            f"{counted(len(failures), 'fold')} failed:\n{reasons}\n"
            f"{done} of {len(run.folds)} folds are done and kept; the same command continues"
        )
    if stopped:
        write_json(run.dir / PRUNED, asdict(stopped))
        say([stopped.note], console)
    return stopped


def _peers(run: Run, before: Sequence[Outcome]) -> list[Validation]:
    """The validation of those that are done on all folds of the run's plan, each once."""
    asked = run.plan.hash, run.config.training.select_by
    done = [job for job in before if job.pruned is None and (job.plan, job.select_by) == asked]
    validation = {job.run_dir: dict(zip(job.folds, job.values, strict=True)) for job in done}
    return list(validation.values())


def _falls_behind(run: Run, first: Sequence[int], peers: Sequence[Validation]) -> Pruned | None:
    """By the validation of the run's first folds, none of which has failed."""
    if not first or not all(map(run.is_done, first)):
        return None
    return pruned(_validation(run, first), peers, run.config.training.select_mode == "min")


def _validation(run: Run, folds: Sequence[int]) -> Validation:
    return {fold: float(run.result(fold)["select_value"]) for fold in folds}


def outcome(run: Run, stopped: Pruned | None = None) -> Outcome:
    """What a run comes to, whose folds are done, or the first of them."""
    values = _validation(run, run.folds if stopped is None else stopped.folds)
    select_by = run.config.training.select_by
    return Outcome(
        run.dir, select_by, tuple(values.values()), tuple(values), run.plan.hash, stopped
    )


def _reasons(run: Run, failures: Mapping[int, str]) -> list[str]:
    """A line for each cause: a full disk, or a mistake of all folds, is told once."""
    causes: dict[str, list[int]] = {}
    for fold, reason in failures.items():
        causes.setdefault(cause_of(reason, run.fold_dir(fold)), []).append(fold)
    return [
        f"  fold{'s' * (len(folds) > 1)} {and_more(list(map(str, folds[:SHOWN])), len(folds))}: "
        f"{failures[folds[0]]}"
        for folds in causes.values()
    ]


def report(run: Run, standby: Standby, console: Console) -> Outcome:
    """Print the folds' test metrics; returns the chosen epochs' validation metric.

    Results over all folds are written only when all folds of the plan are done.
    """
    if all(run.is_done(fold) for fold in range(run.plan.num_folds)):
        judged, trained = partial(write_judged, run), partial(plot_training, run)
        summary, _ = standby.side_by_side(judged, trained)
        seal_summary(run, summary)
    else:
        (summary,) = standby.side_by_side(partial(evaluate_folds, run, run.folds))
        line = (
            f"{len(run.folds)} of {run.plan.num_folds} folds: predictions.csv and metrics.json "
            "follow when all are done (folds=all)"
        )
        say([line], console)
    levels = levels_of(summary)
    for level in levels[:-1] or levels:  # of images in metrics.json, where there are patients
        print_summary(summary, level, console)
    _warn_if_unsafe(run, console)
    return outcome(run)


def _warn_if_unsafe(run: Run, console: Console) -> None:
    if run.plan.unsafe:
        line = (
            "UNSAFE: split by image, patients are on both sides; the metrics show what that leak "
            "costs and nothing else"
        )
        say([line], console, style="bold red")


def mirrored(run: Run, called: Called, console: Console) -> BackgroundMirror:
    """Mirrors the run folder to MLflow while a `with` block runs."""
    with in_turn(run.dir):
        _record(run, called).save(run.dir)
    timeout_s = run.config.tracking.timeout_s
    uri, upload = run.config.tracking.uri, run.config.tracking.upload
    if not is_here(uri):
        say([destination(uri, upload)], console)
        warn(plain_http_warnings(uri), console)
    return BackgroundMirror(
        run.dir, lambda message: warn([message], console), timeout_s, uri=uri, folds=run.folds
    )


def _record(run: Run, called: Called) -> RunRecord:
    """What MLflow shows of this run beside the journals."""
    hidden, whole = run.config.from_environment, replace(run.config, folds="all")
    tags = {
        "patientfold.key": run.key,
        "patientfold.plan_hash": run.plan.hash,
        "patientfold.manifest_hash": run.manifest.hash,
        "patientfold.run_dir": str(run.dir.absolute()),
        "patientfold.sweep": called.sweep,
        SWEEPER_TAG: called.sweeper,
        "patientfold.unsafe": "true" if run.plan.unsafe else "",
        "mlflow.source.name": "patientfold cv",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git_commit(),
    }
    for name, facts in run.plugins.items():
        described = f"{facts.get('version', '')} sha256:{facts['sha256'][:12]}"
        tags[f"patientfold.plugin.{name}"] = described.strip()
    return RunRecord(
        uri=hidden.get(("tracking", "uri")) or absolute_tracking_uri(run.config.tracking.uri),
        experiment=run.config.name,
        run_name=(called.settings or run.config.name) + run.plan.unsafe * UNSAFE_SUFFIX,
        started=time.time(),
        tags={name: value for name, value in tags.items() if value},
        params=compared(run.config),
        fold_params=_fold_params(run),
        upload=run.config.tracking.upload,
        ledger=hidden.get(("tracking", "ledger")) or run.config.tracking.ledger or "",
        dataset=DatasetRecord(
            name=run.config.manifest.name,
            path=hidden.get(("manifest", "path")) or str(run.manifest.path.absolute()),
            digest=run.manifest.hash,
            num_rows=len(run.manifest),
        ),
        select_by=run.config.training.select_by,
        note=_note(run, called),
        settings="\n".join(f"{name}={text}" for name, text in flat(whole).items()),
    )


def _note(run: Run, called: Called) -> str:
    """What the parent run is; the mirror adds what came of it."""
    manifest, chosen_by = run.manifest, run.config.training.select_by
    size = f"{counted(len(manifest), 'image')} of {counted(len(manifest.patients), 'patient')}"
    classes = one_line(and_more([*manifest.classes[:SHOWN]], len(manifest.classes)))
    sweep = f", one of the sweep {called.sweep}" if called.sweep else ""
    lines = [
        f"Cross-validation of {called.settings or run.config.name} on "
        f"{run.config.manifest.name}{sweep}: {size}; classes {classes}.",
        f"Split: {run.plan.scheme}, {counted(run.plan.num_folds, 'fold')}; {promise(run.plan)}. "
        f"In each fold, the epoch with the best {chosen_by} on the val part was kept.",
        f"Choose settings by best/{chosen_by} (the mean over folds; val/..._min and _max are the "
        "extremes). test/... is for the report, once the settings are chosen.",
        f"Run folder {run.dir.absolute()}; plan {run.plan.hash[:12]}, manifest "
        f"{manifest.hash[:12]}, key {run.key[:12]}. Every setting: tag patientfold.settings.",
    ]
    return "\n\n".join(lines)


def _fold_params(run: Run) -> list[dict[str, str]]:
    classes = run.manifest.classes
    params: list[dict[str, str]] = [{} for _ in range(run.plan.num_folds)]
    for counts in count_parts(run.plan, run.manifest):
        params[int(counts.fold)][f"num_patients/{counts.part}"] = str(counts.num_patients)
        params[int(counts.fold)][f"num_images/{counts.part}"] = str(counts.num_images)
    for fold, shown in zip(run.plan.folds, params, strict=True):
        found = emphasis(run.config, run.manifest, run.manifest.of(fold.train))
        prior = (f"{name} {share:.4f}" for name, share in zip(classes, found.prior, strict=True))
        shown["train/effective_prior"] = ", ".join(prior)
        shown["train/effective_patients"] = f"{found.num_effective:.1f}"
        shown["train/repeats_of_the_rarest"] = f"{found.repeats[found.shares.argmin()]:.2f}"
    return params
