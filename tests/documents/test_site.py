"""The site: built with warnings as errors, it loads nothing from elsewhere and fits a phone."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from browser import BROWSERS
from documents import ROOT

pytestmark = pytest.mark.slow
LOADED = re.compile(
    r"""<(?:script|img|iframe|link|source|video|audio|object|embed)\b[^>]*?"""
    r"""\b(?:src|href|data)=["']?((?:https?:)?//[^"'\s>]+)"""
)
WIDTHS = (1280, 400)
MEASURE = """
onload = () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument.documentElement;
    found[frame.dataset.name] = page.scrollWidth - frame.clientWidth;
  }
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
};
"""


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """`make docs` of the pages in `source`, into another folder; --quiet would hide warnings."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=source,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def site(made_once: Callable[..., Path]) -> Path:
    def make(folder: Path) -> None:
        done = build(ROOT, folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in done.stdout + done.stderr

    return made_once("site", make)


def test_every_page_is_built(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 25
    generated = [Path("reference/settings.md"), Path("reference/commands.md")]
    for page in [*pages, *generated]:
        assert (site / page.with_suffix(".html")).is_file()
    assert not (site / "hooks").exists()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """No font, script, style, picture or counter of another host; links may lead there."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert LOADED.findall(text) == [], page.name
        assert "mermaid" not in text, "its script would be loaded from elsewhere"
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text())


def test_what_is_loaded_from_elsewhere_is_found() -> None:
    found = LOADED.findall(
        '<a href="https://x.org">x</a><link rel="stylesheet" href="https://fonts.org/a.css">'
        '<script async src=//b.org/c.js></script><img alt="" src="own.png">'
    )
    assert found == ["https://fonts.org/a.css", "//b.org/c.js"]


def test_the_reference_of_python_knows_types_and_text(site: Path) -> None:
    page = (site / "reference/python.html").read_text(encoding="utf-8")
    for name in ("pipeline.splits.plan_folds", "pipeline.manifest.Manifest"):
        assert f'id="{name}"' in page


def test_pages_fit_a_screen_and_a_phone(site: Path, tmp_path: Path) -> None:
    """Wide tables and code scroll by themselves; the page does not."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("needs Chromium or Chrome")
    pages = [path for path in site.rglob("*.html") if path.name != "404.html"]
    frames = "".join(
        f'<iframe data-name="{page.relative_to(site)} {width}" width="{width}" height="900" '
        f'style="border: 0" src="{page.as_uri()}"></iframe>'
        for page in pages
        for width in WIDTHS
    )
    around = tmp_path / "around.html"
    around.write_text(f'<meta charset="utf-8"><script>{MEASURE}</script>{frames}')
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'browser'}"]
    done = subprocess.run(
        [*command, around.as_uri()], capture_output=True, text=True, timeout=180, check=True
    )
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found is not None, done.stdout[-2000:]
    too_wide = json.loads(unescape(found[1]))
    assert len(too_wide) == len(pages) * len(WIDTHS)
    assert {name: pixels for name, pixels in too_wide.items() if pixels > 0} == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[x](nowhere.md)", "nowhere.md"),
        ("[x](two.md#nothing)", "nothing"),
        ("::: pipeline.splits.no_such_thing", "no_such_thing"),
    ],
)
def test_a_mistake_in_a_page_stops_the_build(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(f"# One\n\n{text}\n\n[two](two.md)\n")
    (tmp_path / "docs/two.md").write_text("# Two\n")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    settings = re.sub(r"^nav:\n(?: .*\n)+", "", settings, flags=re.MULTILINE)
    settings = re.sub(r"^hooks:\n(?: .*\n)+", "", settings, flags=re.MULTILINE)
    (tmp_path / "mkdocs.yml").write_text(settings.replace("paths: [.]", f"paths: [{ROOT}]"))
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert message in done.stdout + done.stderr


def test_make_docs_builds_so() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    (line,) = [line for line in lines if "mkdocs build" in line]
    assert line.endswith("mkdocs build --strict")
    assert "step make docs" in (ROOT / ".ci/run").read_text()
