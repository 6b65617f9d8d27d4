"""The floors of the house: who may import whom, how long a module may be, where names may stand."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = ROOT / "pipeline"

FLOORS: tuple[frozenset[str], ...] = tuple(
    map(
        frozenset,
        (
            ["errors", "arrays", "words", "fork_server", "lean_monai", "release"],
            ["console", "files", "label_names", "levels", "processes", "regex"],
            ["config", "formats"],
            ["manifest", "targets"],
            [
                "baselines",
                "images",
                "losses",
                "making",
                "models",
                "splits",
                "evaluation",
                "tracking",
            ],
            ["training", "audit"],
            ["engine", "configure"],
            ["ensemble", "report"],
            ["export"],
            ["commands"],
        ),
    )
)
"""From the lowest up; imports only go down. Rooms of one floor do not import each other.

Two modules at the top of the package are no commands but may be used by rooms above config:
`targets` instantiates what a config names, `processes` starts the process that forks workers.
"""
GROUND = (
    *("errors", "arrays", "words", "fork_server", "lean_monai", "release"),
    *("console", "files", "label_names", "levels", "processes", "regex", "targets"),
)
"""Modules at the top of the package that are no commands."""
LIGHT = (
    *("config", "formats", "manifest", "making", "splits", "evaluation", "tracking", "audit"),
    "report",
)
HOMELESS = ("utils", "util", "helpers", "helper", "common", "misc")
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 60


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PIPELINE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()
each_module = pytest.mark.parametrize("name", MODULES)


def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def room_of(name: str) -> str:
    """The room of a module: `pipeline.splits.folds` -> splits, `pipeline.__main__` -> commands.

    The package itself gives the commands to Python.
    """
    if name == "pipeline":
        return "commands"
    first = name.split(".")[1]
    if (PIPELINE / first).is_dir() or first in GROUND:
        return first
    return "commands"


def imports_of(name: str) -> set[str]:
    """Every module imported anywhere in it, also inside functions and under TYPE_CHECKING."""
    found: set[str] = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            assert node.module is not None
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {member for member in members if member in MODULES} or {node.module}
    return found


def named_in_texts(name: str) -> set[str]:
    """Modules whose names are texts in it, as in a list to preload, or "module:function"."""
    texts = [node.value for node in ast.walk(tree_of(name)) if isinstance(node, ast.Constant)]
    found = {text.partition(":")[0] for text in texts if isinstance(text, str)}
    return {text for text in found & MODULES.keys() if MODULES[text].name != "__init__.py"}


def packages_of(name: str) -> set[str]:
    return {imported.split(".")[0] for imported in imports_of(name)}


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def may_import(room: str, other: str) -> bool:
    return room == other or floor_of(other) < floor_of(room)


# --- floors


def test_every_module_has_a_floor_and_every_room_a_module() -> None:
    assert len(MODULES) > 40
    rooms = {room_of(name) for name in MODULES if name != "pipeline"}
    assert rooms == set().union(*FLOORS)


def test_the_package_itself_imports_nothing_until_it_is_asked() -> None:
    """`import pipeline` runs whenever anything of it is imported."""
    at_once = [
        node for node in tree_of("pipeline").body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert [ast.unparse(node) for node in at_once] == ["from typing import TYPE_CHECKING, Any"]
    assert imports_of("pipeline") == {"typing", "pipeline.python"}


def test_imports_only_go_down() -> None:
    pairs = [
        (name, imported)
        for name in MODULES
        for imported in imports_of(name) | named_in_texts(name)
        if imported.startswith("pipeline.")
    ]
    assert len(pairs) > 100
    wrong = [
        f"{name} imports {imported}"
        for name, imported in pairs
        if not may_import(room_of(name), room_of(imported))
    ]
    assert wrong == []


def test_a_module_that_is_named_in_a_text_counts() -> None:
    assert "pipeline.formats.dicom" in named_in_texts("pipeline.formats.table")


@pytest.mark.parametrize(
    ("room", "other", "allowed"),
    [
        ("commands", "engine", True),
        ("engine", "training", True),
        ("training", "images", True),
        ("splits", "manifest", True),
        ("manifest", "config", True),
        ("images", "targets", True),
        ("config", "manifest", False),
        ("manifest", "splits", False),
        ("splits", "evaluation", False),
        ("evaluation", "tracking", False),
        ("images", "models", False),
        ("training", "engine", False),
        ("tracking", "training", False),
        ("engine", "commands", False),
        ("targets", "manifest", False),
        ("images", "processes", True),
        ("processes", "engine", False),
    ],
)
def test_the_rule_itself(room: str, other: str, allowed: bool) -> None:
    assert may_import(room, other) is allowed


def test_no_imports_in_a_circle() -> None:
    graph = {name: {i for i in imports_of(name) if i in MODULES} - {name} for name in MODULES}
    graph["pipeline"] = set()  # it waits until it is asked
    assert sum(map(len, graph.values())) > 100
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("pipeline.config") < order.index("pipeline.commands.cv")


# --- who may know what


@pytest.mark.parametrize("room", LIGHT)
def test_light_rooms_import_neither_torch_nor_monai(room: str) -> None:
    names = [name for name in MODULES if name != "pipeline" and room_of(name) == room]
    assert names
    heavy = {name: packages_of(name) & {"torch", "monai", "torchvision"} for name in names}
    assert {name: found for name, found in heavy.items() if found} == {}


def test_mlflow_is_imported_in_tracking_only() -> None:
    users = {room_of(name) for name in MODULES if "mlflow" in packages_of(name)}
    assert users == {"tracking"}


def test_ray_is_imported_in_one_module_by_the_functions_that_use_it() -> None:
    """It takes a second, and is an extra."""
    assert [name for name in MODULES if "ray" in packages_of(name)] == [
        "pipeline.engine.ray_cluster"
    ]
    at_once = [ast.unparse(node) for node in tree_of("pipeline.engine.ray_cluster").body]
    assert "import logging" in at_once
    assert "import ray" not in at_once


def test_nobody_instantiates_past_the_check_of_targets() -> None:
    """No module names Hydra's `instantiate` or imports from `hydra.utils`: `targets.build` does."""
    users = []
    for name in MODULES:
        named = {node.attr for node in ast.walk(tree_of(name)) if isinstance(node, ast.Attribute)}
        named |= {
            alias.name
            for node in ast.walk(tree_of(name))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        if "hydra.utils" in imports_of(name) or named & {"instantiate", "_instantiate2"}:
            users.append(name)
    assert users == []


@pytest.mark.parametrize(
    "room", ["formats", "manifest", "making", "splits", "evaluation", "tracking", "audit"]
)
def test_importing_a_light_room_loads_nothing_slow(room: str) -> None:
    code = f"import sys, pipeline.{room}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = done.stdout.split()
    assert f"pipeline.{room}" in loaded
    assert not {"torch", "monai", "mlflow"} & set(loaded)


# --- sizes and names


def lines_of_code(node: ast.AST, source: str) -> int:
    """Lines that hold code: neither blank, nor a comment, nor a docstring."""
    first, last = getattr(node, "lineno", 1), getattr(node, "end_lineno", source.count("\n") + 1)
    docs = {line for doc in docstrings(node) for line in range(doc.lineno, doc.end_lineno + 1)}  # type: ignore[operator]
    return sum(
        1
        for number, text in enumerate(source.splitlines(), start=1)
        if first <= number <= last
        and number not in docs
        and text.strip()
        and not text.strip().startswith("#")
    )


def docstrings(tree: ast.AST) -> Iterator[ast.Expr]:
    """Texts that stand alone as a statement: of modules, classes, functions and settings."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            yield node


def test_lines_of_code_are_counted_rightly() -> None:
    source = (
        '"""Doc\n\nstring."""\n\n# why\nx = 1  # here\n\n\ndef f():\n    """Doc."""\n    return 2\n'
    )
    tree = ast.parse(source)
    assert lines_of_code(tree, source) == 3
    assert lines_of_code(tree.body[-1], source) == 2


@each_module
def test_a_module_is_short(name: str) -> None:
    source = MODULES[name].read_text(encoding="utf-8")
    assert lines_of_code(ast.parse(source), source) <= MOST_LINES


def test_nothing_is_squeezed_past_the_formatter() -> None:
    files = [*PIPELINE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    squeezed = "fmt: " + "skip"
    assert [path.name for path in files if squeezed in path.read_text(encoding="utf-8")] == []


def test_a_function_is_one_screen() -> None:
    lengths = {}
    for name, path in MODULES.items():
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{name}.{node.name}"] = lines_of_code(node, source)
    assert len(lengths) > 200
    assert {name: n for name, n in lengths.items() if n > MOST_LINES_OF_A_FUNCTION} == {}


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    stems = {path.stem for path in MODULES.values()} | {
        path.name for path in PIPELINE.rglob("*") if path.is_dir()
    }
    assert {"config", "splits"} <= stems
    assert not stems & set(HOMELESS)


def tracked_texts() -> list[Path]:
    """Every text file of ours that ships."""
    suffixes = {".py", ".yaml", ".yml", ".md", ".toml", ".csv", ".cff", ".txt"}
    folders = ("pipeline", "conf", "tests", "benchmarks", "data_manifests", ".github", ".ci")
    found = [p for p in ROOT.iterdir() if p.suffix in suffixes or p.name == "Makefile"]
    for folder in folders:
        found += [p for p in (ROOT / folder).rglob("*") if p.suffix in suffixes or not p.suffix]
    return [p for p in found if p.is_file()]


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    texts = tracked_texts()
    assert {"config.py", "cv.yaml", "demo.csv", "Makefile"} <= {path.name for path in texts}
    private = re.compile(r"(?<![\w.}*-])/(?:work|home|root|Users|mnt|scratch)/[\w.]")
    assert private.search("see " + "/work" + "/x") is not None
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in texts
        if (match := private.search(path.read_text(encoding="utf-8", errors="replace")))
    ]
    assert wrong == []


# --- the documents


def test_the_architecture_page_knows_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture = page[page.index("## The rooms") : page.index("## Where is what")]
    rooms = set().union(*FLOORS)
    assert {room for room in rooms if not re.search(rf"\b{room}\b", picture)} == set()


def test_contributing_shows_every_room_on_its_floor() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    house = page[page.index("## The house") : page.index("## Rules that")]
    lines = [line.split("   ")[0].split() for line in house.splitlines()]
    shown = {room: number for number, line in enumerate(lines) for room in line}
    floors = [[shown.get(room) for room in floor] for floor in FLOORS[2:]]
    assert all(len(set(floor)) == 1 and floor[0] is not None for floor in floors), floors
    assert sorted(floors, reverse=True) == floors


def test_every_file_that_a_document_names_exists() -> None:
    named = {
        match
        for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        for match in re.findall(
            r"\b(?:pipeline|conf|tests|benchmarks|docs|data_manifests)/[\w/.-]*\w",
            page.read_text(encoding="utf-8"),
        )
    }
    assert len(named) > 15
    shown = (
        "conf/experiment/mine.yaml",
        "conf/experiment/my.yaml",
        "conf/experiment/other.yaml",
        "conf/manifest/lung.yaml",
        "conf/manifest/mine.yaml",
        "conf/model/two_layers.yaml",
        "conf/loss/confident.yaml",
        "conf/images/halved.yaml",
        "conf/images/raw.yaml",
        "conf/evaluation/with_f2.yaml",
    )
    missing = {name for name in named if not (ROOT / name).exists() and name not in shown}
    assert missing == set()


@each_module
def test_only_the_console_prints(name: str) -> None:
    """Ids, paths and classes of strangers may hold what a terminal obeys; it writes them out."""
    if name in ("pipeline.console", "pipeline.__main__"):  # the latter prints our own words
        return
    calls = [node.func for node in ast.walk(tree_of(name)) if isinstance(node, ast.Call)]
    assert not [func for func in calls if isinstance(func, ast.Name) and func.id == "print"]
