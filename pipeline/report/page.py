"""report.html: the sections as one page that needs no network."""

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from pipeline.engine.finished import Finished
from pipeline.files import write_whole
from pipeline.report.blocks import Block, Charts, Folded, Section
from pipeline.report.charts import Chart
from pipeline.report.moving import as_plotly
from pipeline.report.sections import SECTIONS
from pipeline.report.still import as_svg
from pipeline.words import counted, visible

REPORT = "report.html"
LIBRARY = "/* plotly.js */"
"""Where it comes in the template."""


def write_report(run: Finished) -> Path:
    """Write report.html into the run folder; the same folder gives the same bytes.

    Raises:
        UserError: a file that a section reads is damaged or was changed.
    """
    path = run.dir / REPORT
    write_whole(path, page_of(run))
    return path


def page_of(run: Finished) -> str:
    """The whole page."""
    sections = [section for make in SECTIONS if (section := make(run)) is not None]
    return rendered(f"Report: {run.name}", _under_title(run), sections)


def rendered(title: str, under_title: str, sections: Sequence[Section]) -> str:
    """Sections as one page of HTML, which needs no network."""
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    charts = charts_of(sections)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["base64"] = _base64
    template = files("pipeline.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(template).render(
        title=title,
        under_title=under_title,
        sections=sections,
        stills=[_base64(as_svg(chart)) for chart in charts],
        charts=[as_plotly(chart) for chart in charts],
    )
    # The library comes last: it is no text of a stranger's, and `visible` would change it.
    return visible(page).replace(LIBRARY, get_plotlyjs(), 1)


def _under_title(run: Finished) -> str:
    manifest = run.settings.get("manifest", {}).get("name", "")
    plan, key = run.folds, run.environment["key"]
    folds = counted(plan.num_folds, "fold")
    return f"Cross-validation of {manifest}, {plan.scheme}, {folds}. Run {key[:12]}."


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def charts_of(sections: Sequence[Section]) -> list[Chart]:
    """All charts, in the order of the page."""
    return [chart for section in sections for block in section.blocks for chart in _charts(block)]


def _charts(block: Block) -> list[Chart]:
    if isinstance(block, Charts):
        return list(block.charts)
    if isinstance(block, Folded):
        return [chart for inner in block.blocks for chart in _charts(inner)]
    return []
