"""The engine of many machines: folds are tasks of Ray Core, on the nodes of one cluster.

Each task trains its fold as on one machine, in a process of its own that ends with the task. Run
folder, cache and the command's folder lie on a file system that all nodes see. Ray is imported
here only, when it is asked for.
"""

import logging
import os
import secrets
import signal
import socket
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.config import Config, EngineConfig, UserError
from pipeline.engine.local import POLL_S, Poll
from pipeline.engine.node import Needed, train
from pipeline.engine.run_folder import Run
from pipeline.engine.share import Node, Share, resource
from pipeline.files import lock
from pipeline.images.seal import FILES, SEAL
from pipeline.processes import num_cores
from pipeline.tracking.journal import Failed, Journal, read_journal
from pipeline.training.job import FoldJob
from pipeline.words import counted, one_line

TRIES = 4
"""How often a fold is begun whose node, or whose task, dies under it; it goes on where it was."""
ANSWER_S = 120.0
"""In which a node must say whether it has what it needs; it may load its packages slowly."""
REACH_S = 5.0
"""In which the head of a cluster must take a connection."""
RETURN_S = 60.0
"""How long a cluster may be without any node for the folds."""
CANCEL_S = 20.0
"""In which a task must have ended its fold's process."""
ORPHAN_S = 10.0
"""A process on a dead node, or one that has lost its cluster, ends within seconds."""
OBJECT_STORE = 80_000_000
"""Bytes that a cluster of this machine keeps of what tasks are sent; its disk has room for more."""


def slots(config: Config) -> list[str]:
    """The cluster's GPUs, or its cores.

    Raises:
        UserError: Ray, a cluster or such a device is not there; a node has other code, or does not
            see the folders that run folder and cache will lie in.
    """
    cluster = _Cluster.of(config)
    if not cluster.share.gpus and config.training.precision == "float16":
        raise UserError("training.precision=float16 needs a GPU; use auto, float32 or bfloat16.")
    if (room := cluster.room()) == 0:
        there = "; ".join(f"{_name(node)} has {_has(node)}" for node in cluster.alive())
        raise UserError(f"engine=ray: a fold needs {cluster.share}, but {there}")
    folders = Path(config.run_dir or "runs"), Path(config.images.cache_dir)
    with _probe(folders[0]) as for_runs, _probe(folders[1]) as for_images:
        cluster.refuse_unless_all_have(Needed.of([for_runs, for_images]))
    return [cluster.share.device] * min(room, config.engine.folds_at_once or room)


def check(run: Run) -> None:
    """Every node that may train a fold sees the run folder and the whole cache."""
    jobs = [run.job(fold) for fold in run.folds]
    with _probe(run.dir) as proof:
        _Cluster.of(run.config).refuse_unless_all_have(_needed(jobs, proof))


def run_folds(jobs: Sequence[FoldJob], slots: Sequence[str], poll: Poll) -> dict[int, str]:
    """Each fold as a task. One whose node dies goes on elsewhere, after its last whole epoch."""
    if not jobs:
        return {}
    cluster = _Cluster.of(jobs[0].config)
    tasks = _Tasks(cluster, jobs)
    tries, failures = Counter[int](), dict[int, str]()
    had_room = time.monotonic()
    try:
        while tasks.waiting or tasks.running:
            room = min(len(slots), cluster.room()) if tasks.waiting else 0
            tasks.begin(room)
            if room or tasks.running:
                had_room = time.monotonic()
            elif time.monotonic() - had_room > RETURN_S:
                lost = f"no node of the cluster is left that has {cluster.share}"
                return failures | {job.fold.index: lost for job in tasks.waiting}
            for job, ended in tasks.ended():
                index = job.fold.index
                tries[index] += 1
                if ended.is_lost and tries[index] < TRIES:
                    _note(job, f"{ended.reason}; the fold goes on elsewhere")
                    tasks.waiting.append(job)
                elif ended.reason:
                    _note(job, ended.reason)
                    failures[index] = ended.reason
            poll([job.fold.index for job in tasks.running.values()])
    finally:
        tasks.cancel()
    return failures


@dataclass(frozen=True)
class Ended:
    """How a task ended."""

    reason: str
    """Why its fold failed, in one line; "" when that is done."""
    is_lost: bool = False
    """The node or the task died, which is not the fold's fault."""


@dataclass(frozen=True)
class _Cluster:
    """A cluster that this process is connected to."""

    ray: Any
    share: Share

    @classmethod
    def of(cls, config: Config) -> "_Cluster":
        ray = _connected(config.engine)
        return cls(ray, Share.of(config.engine, _alive(ray)))

    def alive(self) -> list[Node]:
        return _alive(self.ray)

    def room(self) -> int:
        """How many folds its nodes take together, as they are now."""
        return sum(map(self.share.room, self.alive()))

    def refuse_unless_all_have(self, needed: Needed) -> None:
        """UserError that names each node that could train a fold but lacks something for it."""
        ray, asked = self.ray, {}
        for node in filter(self.share.room, self.alive()):
            pinned = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                node["NodeID"], soft=False
            )
            ask = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=pinned)(Needed.missing)
            asked[ask.remote(needed)] = _name(node)
        answered, silent = _wait(ray, list(asked), ANSWER_S)
        lacks = {ref: self._answer(ref) for ref in answered}
        lacks |= dict.fromkeys(silent, f"does not answer within {ANSWER_S:.0f} s")
        if problems := sorted({f"  {asked[ref]} {lack}" for ref, lack in lacks.items() if lack}):
            nodes = f"{counted(len(problems), 'node')} of the Ray cluster cannot train folds:"
            raise UserError("\n".join([nodes, *problems]))

    def _answer(self, ref: Any) -> str:
        try:
            return str(self.ray.get(ref))
        except self.ray.exceptions.RayError as error:
            return f"cannot run this patientfold, or has none ({_last_line(error)})"

    def outcome(self, ref: Any) -> Ended:
        """Of a task that has ended."""
        errors = self.ray.exceptions
        try:
            return Ended(self.ray.get(ref))
        except errors.OutOfMemoryError:
            return Ended("Ray ended the fold, for its node has too little memory", is_lost=True)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError):
            return Ended("the node that trained the fold, or Ray's process there, died", True)
        except errors.RayError as error:
            return Ended(f"the task of the fold failed: {_last_line(error)}")


class _Tasks:
    """The folds that wait, and the tasks of those that run."""

    def __init__(self, cluster: _Cluster, jobs: Sequence[FoldJob]) -> None:
        self.cluster = cluster
        self.waiting = list(jobs)
        self.running: dict[Any, FoldJob] = {}
        """By what Ray knows the task by."""
        share = cluster.share
        # No retry of Ray's own: it would know neither the lock of the fold nor how often.
        options = {"num_cpus": share.cpus, "num_gpus": share.gpus, "max_retries": 0}
        self._task = cluster.ray.remote(**options)(_train)
        self._sent = cluster.ray.put({job.fold.index: job for job in jobs})  # once for all
        self._needed = _needed(jobs)

    def begin(self, at_once: int) -> None:
        """Hand folds to the cluster until so many run there."""
        while self.waiting and len(self.running) < at_once:
            job = replace(self.waiting.pop(0), device=self.cluster.share.device)
            # In a list Ray leaves it to the task to fetch the jobs, once that has looked round.
            task = self._task.remote([self._sent], job.fold.index, job.device, self._needed)
            self.running[task] = job

    def ended(self) -> Iterator[tuple[FoldJob, Ended]]:
        """Those that have ended, after a moment."""
        time.sleep(POLL_S)
        for ref in _wait(self.cluster.ray, list(self.running))[0]:
            yield self.running.pop(ref), self.cluster.outcome(ref)

    def cancel(self) -> None:
        """End what still runs, on all nodes."""
        ray, left = self.cluster.ray, list(self.running)
        for force in (False, True):  # first like Ctrl-C, which ends the fold's process as well
            for ref in left:
                ray.cancel(ref, force=force)
            left = _wait(ray, left, CANCEL_S)[1]


def _train(sent: Sequence[Any], fold: int, device: str, needed: Needed) -> str:
    """The task, on its node."""
    if missing := needed.missing():
        return f"node {os.uname().nodename} {missing}"
    import ray

    return train(replace(ray.get(sent[0])[fold], device=device), needed.folder)


def _needed(jobs: Sequence[FoldJob], *more: Path) -> Needed:
    """What folds of one run are trained from, and where they write."""
    job = jobs[0]
    files = [job.fold_dir.parent / "plan.csv", *more]
    files += [job.images.path / name for name in (SEAL, *FILES)]
    files += [Path(job.config.init.weights)] if job.config.init.weights else []
    return Needed.of([f for f in files if f.exists()], [job.fold_dir for job in jobs])


def _note(job: FoldJob, reason: str) -> None:
    """Say it in the fold's journal, unless its process did so, or does not end."""
    path, free = job.fold_dir / "journal.jsonl", lock(job.fold_dir / ".lock", "in use", ORPHAN_S)
    with suppress(UserError), free, Journal(path) as journal:
        last = read_journal(path)[-1:]
        if not (last and isinstance(last[0], Failed) and last[0].error == reason):
            journal.append(Failed(error=reason))


@contextmanager
def _probe(folder: Path) -> Iterator[Path]:
    """A file for a moment, in the folder or the nearest one above it that is there."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    path = there / f".node-check.{secrets.token_hex(8)}.tmp"  # of no other file system
    path.write_text(path.name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _connected(config: EngineConfig) -> Any:
    """Ray, connected to the cluster, once for all jobs of a command."""
    try:
        import ray
    except ImportError:
        raise UserError("engine=ray needs Ray: pip install 'patientfold[ray]'") from None
    if ray.is_initialized():
        return ray
    _refuse_unreachable(config.address)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    options: dict[str, Any] = {"address": config.address, "log_to_driver": False}
    if config.address == "local":
        cores = num_cores()
        options |= {"num_cpus": cores, "object_store_memory": OBJECT_STORE}
        options |= {"include_dashboard": False}
    stop = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings(action="ignore"):
            ray.init(logging_level=logging.CRITICAL, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(config.address, _last_line(error)) from None
    finally:
        signal.signal(signal.SIGTERM, stop)  # Ray takes it, and would end us without a word
    return ray


def _refuse_unreachable(address: str) -> None:
    """UserError at once where nobody listens; Ray would try for minutes."""
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host, _, port = named.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(named, str(error)) from None


def _no_cluster(address: str, reason: str) -> UserError:
    return UserError(
        f"engine.address={address}: no Ray cluster answers ({reason}). Start one, `ray start "
        "--head` on one machine and `ray start --address=...` on the others, and give the command "
        "on one of them; or write engine.address=local for this machine alone."
    )


def _wait(ray: Any, refs: Sequence[Any], timeout_s: float = 0.0) -> tuple[list[Any], list[Any]]:
    """The tasks that have ended, and the others; not in Ray, where every signal is a Ctrl-C."""
    deadline = time.monotonic() + timeout_s
    while True:
        ended, others = ray.wait(refs, num_returns=len(refs), timeout=0) if refs else ([], [])
        if not others or time.monotonic() >= deadline:
            return ended, others
        time.sleep(POLL_S)


def _alive(ray: Any) -> list[Node]:
    return [node for node in ray.nodes() if node["Alive"]]


def _name(node: Node) -> str:
    return one_line(f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})")


def _has(node: Node) -> str:
    return f"{resource(node, 'CPU'):g} CPUs and {resource(node, 'GPU'):g} GPUs"


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return one_line(lines[-1].strip() or type(error).__name__)
