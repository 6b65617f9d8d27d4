"""Every block of commands in README and docs is run, or says why it is not."""

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from documents import ROOT, Block, blocks, name_of, pages
from studies import (
    Place,
    as_run,
    begun,
    copied,
    finished,
    first_hour,
    free_port,
    programs,
    run,
    served,
)

PAGES = {name_of(page): page for page in pages()}
RUN = [name for name, page in PAGES.items() if any(of.mark != "not run" for of in blocks(page))]
PLACES: dict[str, Place] = {"README.md": begun, "docs/tutorial.md": first_hour}
"""The folder in which the commands of a page are run; all others: `finished`."""


def test_most_blocks_are_run() -> None:
    found = [block for page in PAGES.values() for block in blocks(page)]
    assert len(found) > 25
    assert sum(block.mark == "not run" for block in found) < len(found) / 2


@pytest.mark.parametrize("name", PAGES)
def test_what_is_not_run_says_why(name: str) -> None:
    """In words, and if it names a test that does it instead, the test is there."""
    for block in blocks(PAGES[name]):
        if block.mark == "not run":
            assert len(block.reason.split()) >= 4, str(block)
            for file in re.findall(r"(?:tests|\.ci|benchmarks)/[\w/.]*\w", block.reason):
                assert (ROOT / file).exists(), f"{block}: {file}"


def test_a_mark_counts_only_right_before_its_block(tmp_path: Path) -> None:
    page = tmp_path / "a.md"
    block = "```bash\npatientfold demo\n```\n"
    page.write_text(
        f"<!-- not run: it takes too long -->\n{block}\n{block}\n"
        f"<!-- not run: it takes too long -->\n\nWords.\n\n{block}\n<!-- not run: -->\n{block}"
    )
    assert [of.mark for of in blocks(page)] == ["not run", "", "", ""]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_the_commands_of_a_page_run(
    name: str, tmp_path: Path, made_once: Callable[..., Path]
) -> None:
    """As they stand, one block after the other, in a folder as their reader has it."""
    make = PLACES.get(name, finished)
    study = tmp_path / "study"
    copied(made_once(f"study_{make.__name__}", make), study)
    bin_dir, port = programs(tmp_path / "bin"), free_port()
    with ExitStack() as serving:
        for block in blocks(PAGES[name]):
            text = as_run(block, study, port)
            if block.mark == "served":
                serving.enter_context(served(text, study, bin_dir, port))
            elif block.mark != "not run":
                output = _run(block, text, study, bin_dir)
                serving.close()
    if name == "docs/tutorial.md":
        _check_first_hour(study, output)


def _run(block: Block, text: str, study: Path, bin_dir: Path) -> str:
    try:
        return run(text, study, bin_dir)
    except AssertionError as error:
        raise AssertionError(f"{block}: {error}") from None


def _check_first_hour(study: Path, answer: str) -> None:
    """Six commands: a report, and an answer with a class and probabilities that sum to 1."""
    commands = re.findall(r"^(?:pip|patientfold|mlflow) ", _texts("docs/tutorial.md"), re.MULTILINE)
    assert len(commands) == 6
    assert (study / "runs/my/first/report.html").stat().st_size > 100_000
    (row,) = json.loads(answer[answer.index("{") :])["predictions"]
    assert row["predicted"] in ("healthy", "lesion")
    assert row["prob_healthy"] + row["prob_lesion"] == pytest.approx(1)
    assert row["error"] is None


def _texts(name: str) -> str:
    return "".join(block.text for block in blocks(PAGES[name]))
