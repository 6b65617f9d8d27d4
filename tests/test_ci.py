"""What is installed and run by others' hands is the very thing that was looked at."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_LINES = re.compile(r"^([\w.-]+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M)


def test_every_action_is_pinned_to_a_commit() -> None:
    used = [
        line.split("uses:")[1].split("#")[0].strip()
        for path in sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
        for line in path.read_text().splitlines()
        if "uses:" in line
    ]
    assert used
    assert [name for name in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name)] == []


def test_ci_installs_what_the_constraints_name_by_its_hash() -> None:
    text = "".join(
        line
        for line in (ROOT / ".ci" / "requirements.txt").read_text().splitlines(keepends=True)
        if not line.startswith("#")
    )
    hashed = {name.lower(): version for name, version, _ in _LINES.findall(text)}
    assert _LINES.sub("", text).strip() == "", "a line without a hash"
    constrained = dict(
        line.lower().split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    assert len(hashed) > 100
    assert hashed == {name: of for name, of in constrained.items() if name != "torch"}
    assert "make setup HASHES=.ci/requirements.txt" in (ROOT / ".ci" / "run").read_text()
    assert "--require-hashes --no-deps -r $(HASHES)" in (ROOT / "Makefile").read_text()


def test_who_finds_a_weakness_is_told_where_to_report_it() -> None:
    assert "Report a vulnerability" in (ROOT / "SECURITY.md").read_text()
    privacy = (ROOT / "docs" / "privacy.md").read_text()
    for heading in ("Where data lies", "What leaves the machine"):
        assert f"## {heading}" in privacy
    assert "docs/privacy.md" in (ROOT / "README.md").read_text()
