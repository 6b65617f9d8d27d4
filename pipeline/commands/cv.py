"""One leak-free cross-validation, from CSV to MLflow: patientfold cv experiment=demo"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from pipeline.audit.content import Content, link_copies
from pipeline.audit.crossing import crossing_warnings
from pipeline.commands.reporting import REPORT, report_at_end
from pipeline.commands.sweep import (
    current_job,
    end_of_sweep,
    given,
    in_short,
    learning_sweeper,
    look_at,
    outcomes,
    sweep_job,
    typed,
)
from pipeline.config import Config, flat, to_config
from pipeline.config.leaf import is_baseline
from pipeline.console import progress_bar, say, say_once, screen, tell, warn
from pipeline.engine.access import in_turn
from pipeline.engine.cohort import subgroup_columns
from pipeline.engine.counting import count_note
from pipeline.engine.door import slots_here, training_slots
from pipeline.engine.flow import flow_of
from pipeline.engine.preflight import preflight
from pipeline.engine.run_folder import Run, open_run
from pipeline.engine.session import (
    UNNAMED,
    Called,
    Outcome,
    mirrored,
    outcome,
    report,
    train_missing_folds,
    try_out,
)
from pipeline.engine.standby import standing_by
from pipeline.evaluation.own_metrics import try_own_metrics
from pipeline.images.packed import PackedImages
from pipeline.images.packing import pack_images
from pipeline.manifest import read_manifest
from pipeline.processes import call_in_child
from pipeline.splits.describe import describe_plan
from pipeline.targets import check_leaves
from pipeline.tracking.server import check_tracking_uri
from pipeline.training.planning import make_plan, rehearse
from pipeline.training.volumes import check_dimensions
from pipeline.words import one_line


def main(cfg: DictConfig) -> float:
    """One job: returns the mean *validation* metric for a sweeper, never the test's."""
    hydra, config = HydraConfig.get(), to_config(cfg)
    called = Called(in_short(hydra))
    if hydra.mode == RunMode.MULTIRUN:
        job = current_job()
        job.uri, job.ledger = flat(config)["tracking.uri"], config.tracking.ledger
        called = replace(called, sweep=Path(hydra.sweep.dir).name, sweeper=learning_sweeper(hydra))
        job.outcome = cross_validate(config, called, outcomes())
        return job.outcome.objective
    found = cross_validate(config, called)
    tell(next_steps(config, given(hydra)))
    return found.mean


one_of_many, at_end = sweep_job, end_of_sweep
Slots = Callable[[Config], list[str]]


def cross_validate(
    config: Config, called: Called = UNNAMED, before: Sequence[Outcome] = ()
) -> Outcome:
    """The whole flow, each line one step; `called` names the MLflow runs.

    `before`: what the jobs of the same sweep came to, by which hopeless ones are ended.

    Raises:
        UserError: for what a user can mend, and when a fold did not get done.
    """
    console = screen()
    run, slots = ready(config, console)
    if config.training.preflight and not all(run.is_done(fold) for fold in run.folds):
        preflight(run, slots_here(config, slots), console)
    return train(run, slots, called, console, before)


def ready(
    config: Config, console: Console, slots_of: Slots = training_slots
) -> tuple[Run, list[str]]:
    """Everything before a training: the planned run, and the device slots."""
    slots, images, content = decoded(config, console, slots_of)
    planned = make_plan(config, content.manifest)
    say_once(describe_plan(planned.plan, planned.manifest, config.split), console)
    say_once(planned.imbalance, console)
    doubts = crossing_warnings(planned.plan, content)
    warn([*planned.warnings, *doubts], console)
    flow = flow_of(content, planned, config.split, doubts)
    return Run(config, planned.manifest, planned.plan, images, flow), slots


def decoded(
    config: Config, console: Console, slots_of: Slots = training_slots
) -> tuple[list[str], PackedImages, Content]:
    """The device slots, the images, and the sound manifest in which copies of them are linked.

    What can be found wrong without an image comes first: decoding may take long. `slots_of` finds
    the devices that the command needs.
    """
    check_tracking_uri(config.tracking.uri)
    check_dimensions(config)
    manifest = read_manifest(config.manifest, config.privacy)
    rehearse(config, manifest)
    subgroup_columns(manifest, config.evaluation.subgroups)
    call_in_child(check_leaves, config)  # torch and monai take seconds: most mistakes are found
    if config.evaluation.metrics:
        call_in_child(try_own_metrics, config.evaluation, manifest.classes)
    slots = slots_of(config)
    say_once(manifest.describe(), console)
    warn(manifest.warnings, console)
    with progress_bar("decoding images", console) as progress:
        images = pack_images(manifest, config.images, progress)
    content = link_copies(manifest, images, config.audit, config.manifest.accept)
    warn(content.warnings, console)
    if content.manifest.grouping != manifest.grouping:
        say(["copied images join patients:", *content.manifest.grouping.describe()], console)
    content.sound_manifest()
    return slots, images, content


def train(
    run: Run,
    slots: Sequence[str],
    called: Called,
    console: Console,
    before: Sequence[Outcome] = (),
) -> Outcome:
    """Train what is missing, mirror it, report."""
    say(try_out(run), console)  # before there is a run folder, or a run in MLflow
    with open_run(run), standing_by(*REPORT) as standby, mirrored(run, called, console):
        if stopped := train_missing_folds(run, slots, console, before):
            return outcome(run, stopped)
        with in_turn(run.dir):
            found = report(run, standby, console)
            report_at_end(run.dir, console, standby)  # before the mirror ends, which uploads it
    if not called.sweep:  # whose end says it once
        say(count_note(run), console, style="bold")
    return found


def next_steps(config: Config, overrides: Sequence[str]) -> str:
    """The two commands to look further."""
    kept = [o for o in overrides if not o.startswith(("folds=", "run_dir=", "optimizer.lr="))]
    further = "optimizer.lr=1e-3,3e-4"
    if is_baseline(config.model):
        kept = [o for o in kept if not o.startswith("features=")]
        further = "features=pixels,intensity,texture"
    sweep = shlex.join([typed("patientfold"), "cv", "-m", *kept, further])
    lines = (
        f"compare the folds: {look_at(flat(config)['tracking.uri'])}",
        f"sweep settings: {sweep}",
    )
    return "\n".join(["", *map(one_line, lines)])
