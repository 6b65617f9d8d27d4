"""Every setting: first what differs from the defaults, then all."""

from pipeline.config import distinctive
from pipeline.config.plain import flatten
from pipeline.engine.finished import Finished
from pipeline.report.blocks import Block, Folded, Section, Words, table

HASHES = " hash"


def configuration(run: Finished) -> Section:
    """As config.yaml and environment.json have them."""
    chosen = distinctive(run.environment["identity"])
    settings = {name: value for name, value in chosen.items() if not name.endswith(HASHES)}
    blocks: list[Block] = []
    if settings:
        rows = [[name, value] for name, value in settings.items()]
        blocks.append(table(["differs from the default", "value"], rows, num_words=2))
    else:
        blocks.append(Words("Every setting that the numbers depend on has its default."))
    every = [[name, value] for name, value in flatten(run.settings, "")]
    blocks.append(
        Folded(f"All {len(every)} settings", [table(["setting", "value"], every, num_words=2)])
    )
    return Section("configuration", "Configuration", blocks)
