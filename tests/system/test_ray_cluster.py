"""A cross-validation on a real Ray cluster: nodes on this machine, killed, blind, and stopped."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from system_runs import Cohort, make_cohort, mlflow_client, mlflow_runs, run_cv, start_cv

from pipeline.tracking.journal import EpochEnded, Failed, Started, read_journal

cluster_utils = pytest.importorskip("ray.cluster_utils")
ROOT = Path(__file__).resolve().parents[2]
SMALL = {"object_store_memory": 80_000_000}
FILES = ("predictions.csv", "fold_*/predictions_*.csv", "fold_*/best.pt")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that trains nothing, and two nodes for a fold each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 0, "include_dashboard": False, **SMALL}
    found = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        found.add_node(num_cpus=1, **SMALL)
    yield found
    found.shutdown()


@pytest.fixture
def cohort(tmp_path: Path) -> Cohort:
    return make_cohort(tmp_path / "cohort")


def on(cluster: Any, cohort: Cohort, *more: str) -> list[str]:
    ray = ["engine=ray", f"engine.address={cluster.address}", "run_dir=run"]
    return [*cohort.overrides, *ray, *more]


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    return process.communicate(timeout=300)


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def epochs(folder: Path, fold: int) -> int:
    events = read_journal(folder / f"run/fold_{fold:02d}/journal.jsonl")
    return sum(isinstance(event, EpochEnded) for event in events)


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes whose folder it is: a fold's process, or a task of Ray."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            where, what = (process / "cwd").readlink(), (process / "cmdline").read_bytes()
        except OSError:
            continue
        if where == folder:
            found.append(what.replace(b"\0", b" ").decode())
    return found


def num_nodes(cluster: Any) -> int:
    return sum(node["Alive"] for node in cluster.global_state.node_table())


def contents(run_dir: Path) -> dict[str, bytes]:
    paths = sorted(path for pattern in FILES for path in run_dir.glob(pattern))
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in paths}


def test_a_node_dies_and_its_fold_ends_elsewhere_like_an_undisturbed_one(
    cluster: Any, cohort: Cohort, tmp_path: Path
) -> None:
    long = "training.epochs=60"
    here = run_cv(tmp_path, *cohort.overrides, long, "run_dir=here", "engine.folds_at_once=2")
    assert here.returncode == 0, here.stderr

    process = start_cv(tmp_path, *on(cluster, cohort, long))
    wait_until(lambda: min(epochs(tmp_path, 0), epochs(tmp_path, 1)) > 3, process)
    victim = next(iter(cluster.worker_nodes))
    try:
        cluster.remove_node(victim, allow_graceful=False)  # kill -9
        out, err = ended(process)
    finally:
        cluster.add_node(num_cpus=1, **SMALL)
    assert process.returncode == 0, out + err
    assert err == ""
    assert "the fold goes on elsewhere" in out
    begun = {}
    for fold in range(3):
        events = read_journal(tmp_path / f"run/fold_{fold:02d}/journal.jsonl")
        begun[fold] = [event.epochs_done for event in events if isinstance(event, Started)]
    again = [done for done in begun.values() if len(done) > 1]
    assert [done[0] for done in begun.values()] == [0, 0, 0]
    assert len(again) == 1, "one node of two was killed"
    assert again[0][1] >= 3, "it did not go on where it was"
    undisturbed = contents(tmp_path / "here")
    assert len(undisturbed) == 1 + 3 * 3
    assert contents(tmp_path / "run") == undisturbed
    parents, children = mlflow_runs(mlflow_client(tmp_path), "manifest")
    assert len(parents) == 2
    assert {run.info.status for run in parents + children} == {"FINISHED"}


def test_a_fold_that_fails_by_itself_is_not_begun_again(
    cluster: Any, cohort: Cohort, tmp_path: Path
) -> None:
    (tmp_path / "run/fold_01").mkdir(parents=True)
    (tmp_path / "run/fold_01/last.pt").write_bytes(b"half a checkpoint")
    process = start_cv(tmp_path, *on(cluster, cohort, "training.epochs=2"))
    _, err = ended(process)
    assert process.returncode == 1
    assert "1 fold failed:\n  fold 1: run/fold_01/last.pt is damaged" in err
    assert "2 of 3 folds are done and kept; the same command continues" in err
    assert "Traceback" not in err
    events = read_journal(tmp_path / "run/fold_01/journal.jsonl")
    assert sum(isinstance(event, Failed) for event in events) == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_no_process_stays_on_any_node_when_the_command_ends(
    cluster: Any, cohort: Cohort, tmp_path: Path, number: int, code: int
) -> None:
    process = start_cv(tmp_path, *on(cluster, cohort, "training.epochs=100000"))
    wait_until(lambda: min(epochs(tmp_path, 0), epochs(tmp_path, 1)) >= 1, process)
    assert len(processes_of(tmp_path)) >= 5  # the command; two tasks, a process of a fold each
    process.send_signal(number)
    _, err = ended(process)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert err == "stopped; what is written is whole, the same command continues\n"
        parents, children = mlflow_runs(mlflow_client(tmp_path), "manifest")
        assert {run.info.status for run in parents + children} == {"KILLED"}
    wait_until(lambda: not processes_of(tmp_path))


def test_nodes_that_see_other_files_or_have_other_code_are_refused(
    cluster: Any, cohort: Cohort, tmp_path: Path
) -> None:
    if subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("no file system of its own can be made for a process here")
    start = [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "start",
        f"--address={cluster.address}",
        "--num-cpus=1",
        "--block",
    ]
    start += ["--object-store-memory=80000000", "--disable-usage-stats"]
    hidden = tmp_path / "shared"
    hidden.mkdir()
    mount = f"mount -t tmpfs tmpfs {hidden} && exec {' '.join(start)}"
    (tmp_path / "other").mkdir()
    shutil.copytree(ROOT / "pipeline", tmp_path / "other/pipeline")
    with (tmp_path / "other/pipeline/words.py").open("a") as file:
        file.write("# changed\n")
    nodes = {
        f"does not see {hidden}/cache/.node-check.": (["unshare", "-rm", "sh", "-c", mount], {}),
        "has other code of patientfold": (start, {"PYTHONPATH": str(tmp_path / "other")}),
    }
    (hidden / "cache").mkdir()
    for problem, (command, environment) in nodes.items():
        node = subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            wait_until(lambda: num_nodes(cluster) == 1 + 2 + 1)
            process = start_cv(
                tmp_path, *on(cluster, cohort, f"images.cache_dir={hidden}/cache", "folds=[0]")
            )
            out, err = ended(process)
        finally:
            os.killpg(node.pid, signal.SIGTERM)
            node.wait()
            wait_until(lambda: num_nodes(cluster) == 1 + 2)
        assert process.returncode == 1
        assert "error: 1 node of the Ray cluster cannot train folds:\n  node " in err
        assert problem in err
        assert "decoding images" not in out, "it was said too late"
