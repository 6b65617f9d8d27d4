"""A user's regular expression ends, whatever it is and whatever it is matched with."""

import re
import signal
import threading
import time

import pytest

from pipeline import regex
from pipeline.errors import UserError
from pipeline.making.patterns import Pattern, name_rule

ENDLESS = r"(?P<patient>(a+)+)b"
WORST = "a" * 60
"""It would take some 2^60 steps."""


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regex, "LIMIT_S", 0.3)


def test_a_pattern_that_backtracks_for_ever_is_stopped_and_names_the_text() -> None:
    before, start = signal.getsignal(signal.SIGALRM), time.monotonic()
    with pytest.raises(UserError, match=rf"^pattern .* takes too long: .* it was at '{WORST}'"):
        Pattern(ENDLESS).parts_of(["aab", WORST, "ab"])
    assert time.monotonic() - start < 10
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize(
    ("rule", "text"),
    [(r"((?:\w|\d)+)+-x", "1" * 60), ("".join(f"{{p{i}}}-" for i in range(30)), "-a" * 200)],
)
def test_so_is_a_rule_for_names_and_a_pattern_of_many_parts(rule: str, text: str) -> None:
    pattern = Pattern(rule) if "{" in rule else Pattern(rule.replace("(", "(?P<patient>", 1))
    with pytest.raises(UserError, match="takes too long"):
        pattern.parts_of([text + "\n"])


def test_an_honest_pattern_sees_every_text() -> None:
    texts = [f"P{i}_1.png" for i in range(20_000)]
    found = name_rule(r"^(\w+?)_").parts_of(texts)
    assert [parts["patient"] for parts in found if parts] == [f"P{i}" for i in range(20_000)]


@pytest.mark.parametrize("text", ["(", "a{99999999999999999999}", "(" * 20_000 + ")" * 20_000])
def test_what_cannot_be_compiled_is_named(text: str) -> None:
    with pytest.raises(UserError, match=r"^where\.view is not a regular expression: "):
        regex.compiled(text, "where.view")


def test_another_thread_may_match_too() -> None:
    found: list[re.Match[str] | None] = []
    pattern = re.compile("a+")
    thread = threading.Thread(
        target=lambda: found.extend(regex.for_each(pattern.fullmatch, ["aa", "b"], "x"))
    )
    thread.start()
    thread.join()
    assert [match is not None for match in found] == [True, False]
