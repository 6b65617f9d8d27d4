"""What a command starts with: no torch in its own process, and no MONAI where nothing needs it."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

from system_runs import Cohort, make_cohort

from pipeline.engine.standby import standing_by

CODE = """
import sys
from pipeline.__main__ import main
main()
print("has imported", {"torch", "monai", "matplotlib"} & set(sys.modules))
"""
NO_MONAI = """
from pathlib import Path
Path(__file__).with_name("was_imported").touch()
raise ImportError("there is no MONAI here")
"""


def test_a_network_of_ours_and_a_plain_resize_never_import_monai(tmp_path: Path) -> None:
    """Neither the command, nor the process that workers are forked from, nor a worker."""
    cohort, fake = make_cohort(tmp_path / "cohort", num_patients=12), tmp_path / "fake"
    (fake / "monai").mkdir(parents=True)
    (fake / "monai" / "__init__.py").write_text(NO_MONAI)
    done = without_monai(cohort, fake, "images=grey64", "model=lenet5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report: runs/" in done.stdout
    assert done.stdout.splitlines()[-1] == "has imported set()"
    assert not (fake / "monai" / "was_imported").exists()
    (folder,) = (cohort.folder / "runs").glob("*/*")
    assert len([*(folder / "plots").glob("*.png")]) >= 4
    refused = without_monai(cohort, fake, "images=grey64", "model=resnet10")
    assert refused.returncode == 1
    assert "model._target_: monai.networks.nets.ResNet cannot be imported" in refused.stderr
    assert (fake / "monai" / "was_imported").exists()


def without_monai(cohort: Cohort, fake: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    given = [name for name in cohort.overrides if not name.startswith(("images.", "model="))]
    words = ["cv", *given, *overrides, "training.epochs=1"]
    path = os.pathsep.join([str(fake), str(Path(__file__).parents[2])])
    return subprocess.run(
        [sys.executable, "-c", CODE, *words],
        cwd=cohort.folder,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_stands_by_answers_in_order_and_may_be_killed() -> None:
    with standing_by() as standby:
        pid, *numbers = standby.side_by_side(os.getpid, partial(abs, -3), partial(abs, -4))
        assert numbers == [3, 4]
        os.kill(pid, signal.SIGKILL)
        assert standby.side_by_side(partial(abs, -5), partial(abs, -6)) == [5, 6]
