"""The page of a check, as a browser lays it out on a phone."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.audit.report import Report, split_of, write_report
from pipeline.audit.shortcuts import Shortcut
from pipeline.config import ManifestConfig, SplitConfig
from pipeline.manifest import Finding, read_manifest
from pipeline.splits import plan_folds

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CLASSES = ("well", "pneumonia_of_both_lower_lobes", "effusion", "unclear", "z_the_last_of_all")
MEASURE = """
onload = () => {
  const page = document.getElementById("page").contentDocument;
  const cells = [...page.querySelectorAll("td, p, h1, h2")].map((cell) => {
    const range = page.createRange();
    range.selectNodeContents(cell);
    const text = range.getBoundingClientRect();
    return [cell.dataset.name || "", text.width, Math.max(text.right, cell.scrollWidth)];
  });
  const found = { width: page.documentElement.scrollWidth, cells };
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
};
"""


def laid_out(page: Path, width: int) -> dict[str, Any]:
    """How wide the page is, and of each cell: its name, the width of its text and where it ends."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("needs Chromium or Chrome")
    frame = f'<iframe id="page" width="{width}" height="900" style="border: 0" srcdoc="'
    frame += html.escape(page.read_text()) + '"></iframe>'
    around = page.with_name("around.html")
    around.write_text(f'<meta charset="utf-8"><script>{MEASURE}</script>{frame}')
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={page.parent / 'browser'}", around.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stdout[-2000:] + done.stderr[-2000:]
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    return measured


@pytest.mark.parametrize("width", [400, 320, 1000])
def test_a_narrow_page_shows_every_column_within_its_width(
    tmp_path: Path, make_cohort: Callable[..., ManifestConfig], width: int
) -> None:
    labels = {f"P{i:02d}": [CLASSES[i % len(CLASSES)]] * 2 for i in range(30)}
    manifest = read_manifest(make_cohort(labels))
    split = SplitConfig(num_folds=3)
    long = Finding("image_file", "error", f"no such file: {tmp_path}/{'a_long_name_' * 12}.png", 7)
    shortcut = Shortcut("file metadata", 30, 0.912, 0.871, 0.944)
    planned = split_of(plan_folds(manifest, split), manifest, split)
    report = Report(f"{'study_' * 20}.csv").read(manifest).measured([shortcut])
    page = write_report(report.divided(manifest, planned, [long]), tmp_path / "out")
    found = laid_out(page, width)
    assert found["width"] <= width
    shown = [(name, end) for name, wide, end in found["cells"] if wide]
    assert len(shown) > 100
    assert max(end for _, end in shown) <= width
    last = [name for name, _ in shown if name == CLASSES[-1]]
    assert len(last) == 9  # three parts of three folds
