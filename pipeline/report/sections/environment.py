"""What the run was made with, and the hashes that say which run it is."""

from datetime import UTC, datetime
from typing import Any

from pipeline.engine.finished import Finished
from pipeline.report.blocks import Section, table
from pipeline.report.sections.configuration import HASHES


def environment(run: Finished) -> Section:
    """As environment.json has it."""
    found = run.environment
    facts: dict[str, Any] = {
        "run": run.name,
        "key": found["key"][:12],
        "finished": _last(run),
        "code": found.get("git_commit") or "not from a git checkout",
        "python": found.get("python", ""),
        "platform": found.get("platform", ""),
        "processor cores": found.get("num_cores", ""),
        "devices": ", ".join(sorted({str(of.get("device", "")) for of in run.results.values()})),
        **(found.get("packages") or {}),
        **{name: value for name, value in found["identity"].items() if name.endswith(HASHES)},
    }
    for name, plugin in (found.get("plugins") or {}).items():
        facts[f"plugin {name}"] = f"{plugin.get('version', '')} SHA-256 {plugin['sha256'][:12]}"
    rows = [[name, str(value)] for name, value in facts.items()]
    return Section("environment", "Environment", [table(["", ""], rows, num_words=2, stays=True)])


def _last(run: Finished) -> str:
    """When the last fold ended; nothing here depends on when the page is made."""
    last = max(float(result["time"]) for result in run.results.values())
    return datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M UTC")
