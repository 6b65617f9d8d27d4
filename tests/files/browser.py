"""A page as a browser lays it out."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
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
