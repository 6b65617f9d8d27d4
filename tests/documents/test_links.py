"""Links of README and docs lead somewhere, on GitHub too; MkDocs checks those of its site again."""

from pathlib import Path

import pytest
from documents import DOCS, ROOT, anchors, links, name_of, pages
from reference_pages import COMMANDS_PAGE, SETTINGS, page_of_commands, page_of_settings

PAGES = pages()
GENERATED = {DOCS / SETTINGS: page_of_settings, DOCS / COMMANDS_PAGE: page_of_commands}


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """The pages that exist only in the site -> where they are here."""
    made = {}
    for path, written in GENERATED.items():
        made[path] = tmp_path_factory.mktemp("generated") / path.name
        made[path].write_text(written())
    return made


def _broken(page: Path, where: Path, generated: dict[Path, Path]) -> list[str]:
    """Links of a page that lies, or would lie, at `where`."""
    wrong = []
    for file, anchor in links(page):
        target = (where.parent / file).resolve() if file else where
        found = generated.get(target, page if target == where else target)
        if not found.exists():
            wrong.append(f"{file}: no such file")
        elif (
            target.is_relative_to(DOCS) != where.is_relative_to(DOCS) and where != ROOT / where.name
        ):
            wrong.append(f"{file}: not part of the site")
        elif anchor and anchor not in anchors(found):
            wrong.append(f"{file}#{anchor}: no such heading")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path, generated: dict[Path, Path]) -> None:
    assert _broken(page, page, generated) == []


def test_links_of_the_generated_pages_lead_somewhere(generated: dict[Path, Path]) -> None:
    for where, page in generated.items():
        assert list(links(page))
        assert _broken(page, where, generated) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    page.write_text("# One\n\n[x](b.md) [y](#two) [z](#one)\n")
    assert _broken(page, page, {}) == ["b.md: no such file", "#two: no such heading"]


def test_the_readme_names_every_page() -> None:
    """Somebody who reads on GitHub finds them all; the front page of the site has the menu."""
    linked = {(ROOT / file).resolve() for file, _ in links(ROOT / "README.md")}
    pages_of_ours = {page for page in DOCS.glob("*.md") if page.name != "index.md"}
    assert pages_of_ours - linked == set()
