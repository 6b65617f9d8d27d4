import pkgutil
import subprocess
import sys

from pipeline import evaluation


def test_importing_the_room_loads_nothing_slow():
    names = [
        found.name for found in pkgutil.iter_modules(evaluation.__path__, "pipeline.evaluation.")
    ]
    assert len(names) >= 8
    code = f"import sys, {', '.join(names)}; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "pandas" in loaded
    slow = {"torch", "monai", "mlflow", "sklearn", "scipy", "matplotlib", "rich"}
    assert not slow & set(loaded)
