"""README and docs as a reader meets them: their blocks of commands, links, headings and names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"<!-- (not run|served): (\S.*?) -->\n+\Z")


@dataclass(frozen=True)
class Block:
    """Commands in a page."""

    page: Path
    line: int
    text: str
    mark: str = ""
    """`not run`, or `served`: it serves until the next block is done."""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}, line {self.line}"


def pages() -> list[Path]:
    """All that people read: at the top of the repository, and everything in docs/."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The blocks of bash in a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCED.finditer(text):
        if match[1] not in ("bash", "sh", "shell", "console"):
            continue
        mark = MARK.search(text, 0, match.start())
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, match[2], *(mark.groups() if mark else ())))
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[tuple[str, str]]:
    """File and anchor of each link within the repository, as they are written."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield file, anchor


def anchors(page: Path) -> set[str]:
    """Of each heading, as GitHub makes them, and those that a page sets itself."""
    text = prose(page)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}
    return made | set(re.findall(r'<a id="([^"]+)"', text))


def commands(page: Path) -> Iterator[str]:
    """Every command line in a page that calls ours or make: in blocks and in `code`."""
    text = page.read_text(encoding="utf-8")
    fenced = "\n".join(match[2] for match in FENCED.finditer(text))
    lines = fenced.replace("\\\n", " ").splitlines()
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))]
    for called in (
        part.strip() for line in lines for part in re.split(r"  +#.*| && |; | \| ", line)
    ):
        if re.match(r"(\$ )?(patientfold|make) [\w<-]", called):
            yield called.removeprefix("$ ")
