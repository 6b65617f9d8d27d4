"""Whole commands on disks that are really full: one message, and the same command continues."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from system_runs import Cohort, cv_command, make_cohort, only_run_dir, run_cv

pytestmark = pytest.mark.slow
SAME = ("predictions.csv", "metrics.json", "plan.csv")
ROOM = "64m"


class Disk:
    """A tmpfs of its own at `place`, which only the commands that are run here see."""

    def __init__(self, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.place = place
        self._holder = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", 'mount -t tmpfs none "$0" && echo && cat', str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._holder.stdout is not None
        if not self._holder.stdout.readline():
            pytest.skip("mounts need a user namespace")

    @property
    def seen(self) -> Path:
        """The disk as it is seen from outside."""
        return Path(f"/proc/{self._holder.pid}/root{self.place}")

    def resize(self, options: str) -> None:
        assert self.run(["mount", "-o", f"remount,{options}", str(self.place)]).returncode == 0

    def leave(self, num_bytes: int) -> None:
        """Shrink it to what is used and so much more."""
        used = shutil.disk_usage(self.seen).used
        self.resize(f"size={used + num_bytes}")

    def run(
        self, command: list[str], cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        here = [
            "sh",
            "-c",
            'cd "$0" && exec "$@"',
            str(cwd or Path.cwd()),
        ]  # within: `--wd` is without
        inside = ["nsenter", "-t", str(self._holder.pid), "-U", "-m", "--preserve-credentials"]
        return subprocess.run(
            [*inside, *here, *command],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "200", **environment},
        )

    def close(self) -> None:
        self._holder.terminate()
        self._holder.wait()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The settings, and the run folder of a run that nothing disturbed."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("mounts need unshare and nsenter")
    folder = tmp_path_factory.mktemp("whole")
    cohort: Cohort = make_cohort(folder / "cohort")
    overrides = [*cohort.overrides, "name=demo", "split.num_folds=3", "training.epochs=2"]
    done = run_cv(folder, *overrides)
    assert done.returncode == 0, done.stderr
    return overrides, only_run_dir(folder, "demo")


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Disk]:
    disk = Disk(tmp_path / getattr(request, "param", "runs"))
    yield disk
    disk.close()


def told(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It ended with one message that says these words, and with no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("error: ") == 1
    assert done.stdout.count("no room left") <= 1, "once for all folds"
    message = done.stderr[done.stderr.index("error: ") :]
    for word in words:
        assert word in message, message


def same(run_dir: Path, whole_dir: Path) -> None:
    assert run_dir.name == whole_dir.name
    for name in SAME:
        assert (run_dir / name).read_bytes() == (whole_dir / name).read_bytes(), name


def test_a_run_folder_on_a_full_disk(
    tmp_path: Path, disk: Disk, whole: tuple[list[str], Path]
) -> None:
    """Each attempt has a little more room, and fails a step later."""
    overrides, whole_dir = whole
    command = cv_command(*overrides)
    disk.resize("size=4k")
    told(disk.run(command, tmp_path), "no room left", "same command continues")
    disk.resize("size=300k")
    told(disk.run(command, tmp_path), "no room left", "last.pt", "same command continues")
    disk.resize(f"size={ROOM}")
    done = disk.run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    run_dir = only_run_dir(disk.seen.parent, "demo")
    same(run_dir, whole_dir)

    for room in (0, 8192):  # for the end of a fold that was trained, and for the report
        for path in [run_dir / "metrics.json", *run_dir.glob("fold_02/*.csv")]:
            path.unlink(missing_ok=True)
        (run_dir / "fold_02" / "result.json").unlink(missing_ok=True)
        disk.leave(room)
        told(disk.run(command, tmp_path), "no room left", "same command continues")
        disk.resize(f"size={ROOM}")
    done = disk.run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    same(run_dir, whole_dir)


@pytest.mark.parametrize("disk", [".cache"], indirect=True)
def test_a_cache_on_a_full_disk(tmp_path: Path, disk: Disk, whole: tuple[list[str], Path]) -> None:
    overrides, whole_dir = whole
    command = cv_command(*overrides)
    disk.resize("size=4k")
    told(disk.run(command, tmp_path), ".cache/images", "no room left", "digests.json", "MB")
    disk.resize("size=128k")
    told(disk.run(command, tmp_path), ".cache/images", "no room on the disk", "GB")
    disk.resize("size=272k")
    told(disk.run(command, tmp_path), ".cache/images", "no room", "same command")
    disk.resize(f"size={ROOM}")
    done = disk.run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    same(only_run_dir(tmp_path, "demo"), whole_dir)


@pytest.mark.parametrize("disk", ["store"], indirect=True)
def test_a_database_on_a_full_disk_is_behind_until_sync(
    tmp_path: Path, disk: Disk, whole: tuple[list[str], Path]
) -> None:
    overrides, whole_dir = whole
    uri = "tracking.uri=sqlite:///store/mlflow.db"
    disk.resize("size=600k")
    done = disk.run(cv_command(*overrides, uri), tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert "MLflow is behind the run folder, nothing is lost" in said
    run_dir = only_run_dir(tmp_path, "demo")
    same(run_dir, whole_dir)
    disk.resize(f"size={ROOM}")
    sync = [sys.executable, "-m", "pipeline", "sync", f"run_dir={run_dir}", uri]
    later = disk.run(sync, tmp_path)
    assert later.returncode == 0
    assert "FINISHED; folds: 3 FINISHED" in later.stdout


def test_a_full_folder_for_temporary_files_is_passed_over(
    tmp_path: Path, whole: tuple[list[str], Path]
) -> None:
    """The system has others."""
    overrides, whole_dir = whole
    with TemporaryDirectory(prefix="pf") as short:  # sockets have short names only
        disk = Disk(Path(short) / "t")
        disk.resize("size=4k")
        (disk.seen / "filler").write_bytes(bytes(4096))
        done = disk.run(cv_command(*overrides), tmp_path, TMPDIR=str(disk.place))
        disk.close()
    assert done.returncode == 0, done.stderr
    assert "room" not in done.stdout + done.stderr
    same(only_run_dir(tmp_path, "demo"), whole_dir)
