"""An HTML page as its parts: what a browser takes for elements, and what for text."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from plotly.offline import get_plotlyjs

VOID = {"meta", "img", "br", "link", "input", "hr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list["Element"] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def all(self, tag: str, name: str = "") -> list["Element"]:
        """Those of a tag, at any depth; with a name, those of that class."""
        found = [of for child in self.children for of in child.all(tag, name)]
        mine = self.tag == tag and (not name or name in self.attributes.get("class", "").split())
        return [self, *found] if mine else found

    @property
    def text(self) -> str:
        return " ".join(" ".join([*self.words, *(child.text for child in self.children)]).split())

    @property
    def rows(self) -> list[list[str]]:
        """Of a table, the texts of its cells; the header first."""
        return [[cell.text for cell in row.children] for row in self.all("tr")]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.path = [Element("page", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.path[-1].children.append(element)
        if tag not in VOID:
            self.path.append(element)

    def handle_endtag(self, tag: str) -> None:
        closed = self.path.pop()
        assert closed.tag == tag, f"<{closed.tag}> is closed by </{tag}>"

    def handle_data(self, data: str) -> None:
        self.path[-1].words.append(data)


def parsed(path: Path) -> Element:
    """The page; AssertionError where an element is not closed."""
    parser = _Parser()
    parser.feed(path.read_text(encoding="utf-8").replace(get_plotlyjs(), ""))  # 5 MB
    parser.close()
    (page,) = parser.path
    return page
