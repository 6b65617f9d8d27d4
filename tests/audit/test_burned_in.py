"""DICOM headers that warn of names in the pixels, and pages that show pixels."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_files import write_dicom, write_series
from PIL import Image

from pipeline.audit.burned_in import burned_in_findings
from pipeline.audit.report import Report, write_report
from pipeline.manifest import Manifest

PIXELS = np.arange(64, dtype=np.uint16).reshape(8, 8)


def manifest_of(folder: Path, *paths: str) -> Manifest:
    table = pd.DataFrame({"image_path": paths, "line": range(2, 2 + len(paths))})
    return Manifest(folder / "my.csv", folder, (), table)


def test_images_with_burned_in_annotations_are_counted(tmp_path: Path) -> None:
    write_dicom(tmp_path / "yes.dcm", PIXELS, BurnedInAnnotation="YES")
    write_dicom(tmp_path / "no.dcm", PIXELS, BurnedInAnnotation="NO")
    write_dicom(tmp_path / "silent.dcm", PIXELS)
    write_series(tmp_path / "series", np.stack([PIXELS] * 3), BurnedInAnnotation="YES")
    Image.fromarray(PIXELS.astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "damaged.dcm").write_bytes((tmp_path / "yes.dcm").read_bytes()[:150])
    names = ["yes.dcm", "no.dcm", "silent.dcm", "series", "a.png", "damaged.dcm", "gone.dcm"]
    (finding,) = burned_in_findings(manifest_of(tmp_path, *names))
    assert (finding.rule, finding.severity) == ("burned_in", "warning")
    assert finding.message.startswith("2 images with BurnedInAnnotation=YES")
    assert finding.message.endswith("line 2: 'yes.dcm', line 5: 'series'")
    assert list(burned_in_findings(manifest_of(tmp_path, *names[1:3]))) == []


@pytest.mark.parametrize("has_pictures", [True, False])
def test_a_page_with_pictures_says_so_at_its_top(tmp_path: Path, has_pictures: bool) -> None:
    sheet = Image.new("RGB", (8, 8)) if has_pictures else None
    write_report(Report("my.csv"), tmp_path / "out", sheet)
    page = (tmp_path / "out" / "check.html").read_text()
    notice = "This page shows images of patients"
    assert (notice in page[: page.index("<h2>")]) is has_pictures
