"""The example of docs/extending.md does what the page says."""

import json
import re
import sys
from pathlib import Path

import pytest
from system_runs import make_cohort

from pipeline.commands.cv import cross_validate
from pipeline.commands.door import load_config

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.mark.slow
def test_the_plugin_of_the_page_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)
    page = PAGE.read_text(encoding="utf-8")
    files = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", page, re.DOTALL)
    assert len(files) == 6
    for name, text in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (command,) = re.findall(r"patientfold cv manifest=mine (.*)", page)
    cohort = make_cohort(tmp_path / "cohort")
    common = [o for o in cohort.overrides if not o.startswith(("images.", "model="))]
    config = load_config([*common, *command.split(), "training.epochs=1", "folds=[0]"])
    cross_validate(config)
    (environment,) = tmp_path.glob("runs/*/*/environment.json")
    assert json.loads(environment.read_text())["plugins"]["my_lab"]["file"].endswith("my_lab.py")
    (result,) = tmp_path.glob("runs/*/*/fold_00/result.json")
    written = json.loads(result.read_text())
    assert written["num_parameters"] == 4096 * 16 + 16 + 16 * 2 + 2
    for part in ("val", "test"):
        assert 0 <= written[part]["patient"]["f2"] <= 1
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)
