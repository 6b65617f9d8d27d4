import subprocess
import sys


def test_importing_the_room_loads_nothing_slow():
    code = "import sys, pipeline.evaluation; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "pandas" in loaded
    slow = {"torch", "monai", "mlflow", "sklearn", "scipy", "matplotlib", "rich"}
    assert not slow & set(loaded)
