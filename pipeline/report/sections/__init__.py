"""The sections of a report, in the order of the page.

To add one: a module with a function Finished -> Section, or None where the run has nothing to show,
and its line here.
"""

from collections.abc import Callable

from pipeline.engine.finished import Finished
from pipeline.report.blocks import Section
from pipeline.report.sections.answer import answer
from pipeline.report.sections.audit import audit
from pipeline.report.sections.configuration import configuration
from pipeline.report.sections.confusion import confusion
from pipeline.report.sections.environment import environment
from pipeline.report.sections.failures import failures
from pipeline.report.sections.flow import flow
from pipeline.report.sections.learning import learning
from pipeline.report.sections.operating import operating
from pipeline.report.sections.performance import performance
from pipeline.report.sections.ranking import ranking
from pipeline.report.sections.reliability import reliability_section
from pipeline.report.sections.subgroups import subgroups_section
from pipeline.report.sections.table_one import table_one
from pipeline.report.sections.utility import utility

SECTIONS: tuple[Callable[[Finished], Section | None], ...] = (
    answer,
    flow,
    table_one,
    audit,
    learning,
    performance,
    ranking,
    confusion,
    operating,
    reliability_section,
    utility,
    subgroups_section,
    failures,
    configuration,
    environment,
)
