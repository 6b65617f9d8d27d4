"""Look at run folders: patientfold runs

Lists what lies in runs/: experiment and key, plan, folds done, the headline with its 95 % interval,
size, and when it was last written. Runs of one plan stand together, the newest first; they are
never sorted by their test result, for who takes the best of it chooses by the test.

runs diff A B      in which settings two run folders differ, and in which versions
runs prune         removes what can be made again, after asking: checkpoints of runs of a sweep
                   that are not the best by validation, and caches not opened for `days` days.
                   Predictions, results, journals and the ledger stay, and so do checkpoints of a
                   run in use, of one that was exported, registered or unlocked, that has a final
                   network, or that another run began with.
runs json=true     the same for programs

Removed checkpoints are noted (removed.json); everything that needs none of them still works.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.commands.settings import RunsSettings
from pipeline.commands.trusted import configured_uri
from pipeline.config import UserError
from pipeline.console import agreed, cell, say, screen, tell
from pipeline.engine.differing import Difference, Differences, differences
from pipeline.engine.overview import Overview, find_run_folders, overview
from pipeline.engine.room import (
    Beaten,
    Sought,
    Spared,
    beaten_runs,
    exported_keys,
    remove_checkpoints,
)
from pipeline.engine.unused_caches import UnusedCache, remove_cache, unused_caches
from pipeline.levels import PLURALS
from pipeline.tracking.registered import registered_keys
from pipeline.words import counted, one_line

SHORT = 6
"""Letters of a plan's hash that are shown."""
WIDTH = 80
UNITS = ("B", "kB", "MB", "GB", "TB")
STEPS = ((86400, "d"), (3600, "h"), (60, "min"))


def main(settings: RunsSettings) -> None:
    """List, compare or prune, as asked."""
    if settings.diff and settings.prune:
        raise UserError("runs: diff and prune are two commands; give one of them")
    if settings.diff:
        _diff(settings)
        return
    if not Path(settings.folder).is_dir():
        raise UserError(f"folder {settings.folder}: no such folder (searched from {Path.cwd()})")
    if settings.prune:
        _prune(settings)
    else:
        _list(settings)


# --- the list


def _list(settings: RunsSettings) -> None:
    folder = Path(settings.folder)
    run_dirs, unread = find_run_folders(folder)
    for path in unread:
        tell(one_line(f"{path} cannot be read: no run in it is listed"), sys.stderr)
    found = sorted(map(overview, run_dirs), key=_order(settings.sort))
    if settings.json:
        tell(json.dumps([asdict(run) for run in found], indent=2, ensure_ascii=False))
        return
    console = screen()
    if not found:
        say([f"no run folder lies in {folder}"], console)
        return
    console.print(_table(found, folder))
    say(_notes(found), console)


def _order(sort: str) -> Callable[[Overview], tuple[Any, ...]]:
    """Newest and largest first; by name, runs of one experiment and plan stand together."""

    def key(run: Overview) -> tuple[Any, ...]:
        newest = -_seconds(run.touched)
        if sort == "size":
            return -run.bytes, run.run_dir
        if sort == "touched":
            return newest, run.run_dir
        return str(Path(run.run_dir).parent), run.plan or "", newest, run.run_dir

    return key


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _table(runs: Sequence[Overview], folder: Path) -> Table:
    """At most 80 columns wide."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), width=WIDTH)
    table.add_column("run folder", overflow="fold", ratio=1)
    table.add_column("plan", no_wrap=True)
    table.add_column("folds", no_wrap=True, justify="right")
    table.add_column(runs[0].metric, overflow="fold", max_width=20)
    table.add_column("size", no_wrap=True, justify="right")
    table.add_column("age", no_wrap=True, justify="right")
    now = datetime.now(UTC).timestamp()
    for run in runs:
        path = Path(run.run_dir)
        name = str(path.relative_to(folder)) if path != folder else str(path)
        folds = f"{run.folds_done}/{'?' if run.num_folds is None else run.num_folds}"
        age = in_short(now - _seconds(run.touched))
        plan = (run.plan or "-")[:SHORT]
        table.add_row(cell(name), cell(plan), folds, cell(_headline(run)), in_bytes(run.bytes), age)
    return table


def _headline(run: Overview) -> str:
    """Its value and interval, or what there is instead."""
    if run.state not in ("done", "running") or run.level is None:
        return run.state
    if run.value is None:
        return "not defined"
    bounds = (
        ""
        if run.ci_low is None or run.ci_high is None
        else f" [{run.ci_low:.3f}, {run.ci_high:.3f}]"
    )
    of = "" if run.level == "patient" else f" of {PLURALS[run.level]}"
    again = " (running)" if run.state == "running" else ""
    return f"{run.value:.3f}{bounds}{of}{again}"


def _notes(runs: Sequence[Overview]) -> Iterator[str]:
    yield ""
    size = in_bytes(sum(run.bytes for run in runs))
    what = f"{runs[0].metric} on test, with 95 % intervals over patients"
    yield f"{counted(len(runs), 'run')}, {size}; {what}"
    plans = [run.plan for run in runs if run.value is not None and run.plan]
    if len(set(plans)) < len(plans):
        yield "which run of a plan is better, compare and select say, and not this list"
    if pruned := sum(run.pruned > 0 for run in runs):
        yield f"{counted(pruned, 'run')} without checkpoints, which runs prune removed"
    for run in runs:
        if run.problem:
            yield from (one_line(line) for line in f"{run.run_dir}: {run.problem}".splitlines())


# --- two runs


def _diff(settings: RunsSettings) -> None:
    if len(settings.diff) != 2:
        raise UserError("runs diff A B: name two run folders, e.g. runs/demo/KEY1 runs/demo/KEY2")
    first, second = map(Path, settings.diff)
    found = differences(first, second)
    if settings.json:
        tell(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return
    console = screen()
    say([one_line(f"A  {first}"), one_line(f"B  {second}")], console)
    if found.is_same:
        say(["", "the same cross-validation: nothing differs that numbers depend on"], console)
    for heading, rows in _blocks(found):
        if rows:
            say(["", heading], console, style="bold")
            console.print(_side_by_side(rows))


def _blocks(found: Differences) -> Iterator[tuple[str, Sequence[Difference]]]:
    yield "on which the numbers depend", found.numbers
    yield "other settings", found.other
    yield "software and machine", found.software


def _side_by_side(rows: Sequence[Difference]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 2), width=WIDTH)
    for name in ("setting", "A", "B"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(cell(row.name), cell(row.first), cell(row.second))
    return table


# --- making room


def _prune(settings: RunsSettings) -> None:
    """List with sizes, ask, and remove what may still be removed then."""
    console = screen()
    runs, caches, spared = _removable(settings)
    if settings.json and not settings.yes:
        listed = {
            "runs": [asdict(run) for run in runs],
            "caches": [asdict(cache) for cache in caches],
            "spared": [asdict(one) for one in spared],
        }
        tell(json.dumps(listed, indent=2, ensure_ascii=False, default=str))
        return
    say(_in_words(runs, caches, spared, settings.days), console)
    if not runs and not caches:
        say(["nothing to remove"], console)
        return
    total = in_bytes(sum(run.bytes for run in runs) + sum(cache.bytes for cache in caches))
    if not settings.yes and not agreed(f"remove {total}? [y/N] "):
        say(["nothing was removed; the same command with yes=true removes"], console)
        return
    say(_remove(settings, runs, caches), console)


def _remove(
    settings: RunsSettings, runs: Sequence[Beaten], caches: Sequence[UnusedCache]
) -> Iterator[str]:
    """What was agreed to, as far as it may still go: a question may wait for an hour."""
    runs_now, caches_now, _ = _removable(settings)
    agreed_to = {cache.path for cache in caches}
    removals = [partial(remove_cache, of) for of in caches_now if of.path in agreed_to]
    removals += [partial(remove_checkpoints, run) for run in runs_now if run in runs]
    freed = 0
    for remove in removals:
        try:
            freed += remove()
        except UserError as error:
            yield one_line(str(error))
    yield f"removed: {in_bytes(freed)}"


def _removable(settings: RunsSettings) -> tuple[list[Beaten], list[UnusedCache], list[Spared]]:
    run_dirs, unread = find_run_folders(Path(settings.folder))
    sought = Sought(exported_keys(Path(settings.exports)), _registered_at(settings))
    runs, kept = beaten_runs(run_dirs, sought)
    cache_dir = Path(settings.cache_dir)
    caches, kept_caches = unused_caches(cache_dir, settings.days, run_dirs, unread)
    not_seen = [Spared(path, "cannot be read: no run in it was looked at") for path in unread]
    return runs, caches, [*not_seen, *kept, *kept_caches]


def _registered_at(settings: RunsSettings) -> Callable[[str], Collection[str]]:
    """Asks a server only if the settings here name it, and once."""
    trusted = {configured_uri()} | ({settings.tracking.uri} if settings.tracking.uri else set())

    @cache
    def registered(uri: str) -> Collection[str]:
        if uri in trusted:
            return registered_keys(uri)
        if settings.tracking.uri and "${" in uri:
            return registered_keys(settings.tracking.uri)
        raise UserError(f"it names the server {uri}; if that may be asked: tracking.uri={uri}")

    return registered


def _in_words(
    runs: Sequence[Beaten],
    caches: Sequence[UnusedCache],
    spared: Sequence[Spared],
    days: int,
) -> Iterator[str]:
    if runs:
        yield f"checkpoints of beaten runs, {in_bytes(sum(run.bytes for run in runs))}"
        for run in runs:
            yield one_line(f"  {in_bytes(run.bytes):>7}  {run.run_dir}: {run.why}")
    if caches:
        total = in_bytes(sum(cache.bytes for cache in caches))
        yield f"caches of images not opened for {counted(days, 'day')}, {total}"
        for of in caches:
            yield one_line(f"  {in_bytes(of.bytes):>7}  {of.path}: opened {of.days} days ago")
    if spared:
        yield "kept"
        yield from (one_line(f"  {one.path}: {one.why}") for one in spared)


# --- sizes and ages


def in_bytes(size: float) -> str:
    """Of three digits at most: 999 B, 1.2 MB, 34 GB."""
    for unit in UNITS:
        if size < 999.5 or unit == UNITS[-1]:
            return f"{size:.1f} {unit}" if size < 9.95 and unit != "B" else f"{size:.0f} {unit}"
        size /= 1000
    raise AssertionError


def in_short(seconds: float) -> str:
    """How long ago: 5 d, 3 h, 10 min, now."""
    for step, name in STEPS:
        if seconds >= step:
            return f"{int(seconds // step)} {name}"
    return "now"
