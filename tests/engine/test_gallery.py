"""failures/ of a run folder: pictures of the worst mistakes, and what a stranger's may not name."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.config import UserError
from pipeline.engine.gallery import picture, png, read_failures
from pipeline.engine.traces import find_traces, forget
from pipeline.files import refuse_foreign_files, write_json
from pipeline.tracking.result import with_seal
from pipeline.tracking.upload import allowed

CASE = {"level": "patient", "kind": "false positive", "patient_id": "7", "fold": 0}


def write(run_dir: Path, **case: object) -> Path:
    (run_dir / "failures").mkdir(parents=True, exist_ok=True)
    path = run_dir / "failures" / "failures.json"
    write_json(path, with_seal({"cases": [CASE | case]}))
    return path


def test_pictures_show_slices_colours_and_channels() -> None:
    assert picture(np.zeros((1, 8, 9), np.float32)).shape == (8, 9)
    assert picture(np.zeros((3, 8, 9), np.float32)).shape == (8, 9, 3)
    assert picture(np.zeros((2, 8, 9), np.float32), num_images=2).shape == (8, 9 + 2 + 9)
    volume = np.zeros((1, 4, 6, 8), np.float32)
    volume[0, 2] = 1.0  # the middle slice along the first axis is white
    shown = picture(volume)
    assert shown.shape == (6, 8 + 2 + 8 + 2 + 6)
    assert (shown[:, :8] == 255).all()
    with Image.open(io.BytesIO(png(shown))) as image:
        assert min(image.size) >= 96
        assert image.width / image.height == pytest.approx(26 / 6)
    with Image.open(io.BytesIO(png(np.zeros((900, 700), np.uint8)))) as image:
        assert image.size == (256, 329)


def test_a_changed_file_and_pictures_elsewhere_are_refused(tmp_path: Path) -> None:
    assert read_failures(tmp_path) is None
    write(tmp_path, picture="patient_1.png")
    found = read_failures(tmp_path)
    assert found is not None
    assert found["cases"][0]["picture"] == "patient_1.png"
    for elsewhere in ("../../secret.png", "/etc/passwd", 3):
        write(tmp_path, picture=elsewhere)
        with pytest.raises(UserError, match="beside it"):
            read_failures(tmp_path)
    path = write(tmp_path, picture=None)
    path.write_text(path.read_text().replace('"7"', '"8"'))
    with pytest.raises(UserError, match="was changed"):
        read_failures(tmp_path)
    (tmp_path / "failures" / "x.png").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="reaches out of itself"):
        refuse_foreign_files(tmp_path)


def test_who_is_forgotten_loses_the_pictures(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "a"
    path = write(run_dir, picture="patient_1.png")
    (path.parent / "patient_1.png").write_bytes(b"")
    (run_dir / "environment.json").write_text("{}")
    traces = find_traces(tmp_path, ["7"], tmp_path / ".cache")
    assert set(traces.runs[0].files) == {path, path.parent / "patient_1.png"}
    forget(traces)
    assert not list(path.parent.iterdir())
    assert not list(allowed(["failures.json", "explain.json"], "no_patients"))
