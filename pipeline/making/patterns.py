"""Patterns with named parts: taken apart, and filled."""

import re
from collections.abc import Mapping, Sequence

from pipeline.config.making import FIELD, brace_problem
from pipeline.errors import UserError
from pipeline.regex import compiled, for_each

_PIECES = re.compile(r"(\{\w+\}|\*\*/|\*)")


class Pattern:
    """A path or name with parts: `{label}/{patient}_x{x}.png`, or a regex with (?P<name>...).

    A part holds at least one character and no slash; `*` is any text without a slash, `**/` any
    number of folders, and a part that occurs twice must be the same text both times.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        if "(?P<" not in text and (problem := brace_problem(text)):
            raise UserError(f"pattern {text!r}: {problem}")
        forms = [text, text] if "(?P<" in text else [_regex(text, "+?"), _regex(text, "+")]
        what = f"pattern {text!r}"
        self._shortest, self._longest = (compiled(form, what) for form in forms)
        self.names = tuple(self._shortest.groupindex)
        if not self.names:
            raise UserError(f"pattern {text!r} has no named part such as {{patient}}")
        if "image_path" in self.names:
            raise UserError(
                f"pattern {text!r}: image_path is the path of the file itself; give the part "
                "another name, e.g. {image}"
            )

    def parts_of(self, texts: Sequence[str]) -> list[dict[str, str] | None]:
        """The named parts of each text, None when it does not fit; two ways to fit are refused."""
        return for_each(self._parts, texts, f"pattern {self.text!r}")

    def _parts(self, text: str) -> dict[str, str] | None:
        match = self._shortest.fullmatch(text)
        if match is None:
            return None
        found = {name: value or "" for name, value in match.groupdict().items()}
        other = self._longest.fullmatch(text)
        for name, value in other.groupdict().items() if other else ():
            if (value or "") != found[name]:
                raise UserError(
                    f"pattern {self.text!r} fits {text!r} in two ways: {name} could be "
                    f"{found[name]!r} or {value!r}; use a regular expression, e.g. "
                    f"'(?P<{name}>[^_]+)_(?P<rest>.*)'"
                )
        return found


def name_rule(text: str) -> Pattern:
    r"""A rule for file names: with {patient}, or a regular expression with one group, `^(\w+)_`."""
    if "{patient}" in text:
        return Pattern(f"{text}.*" if "." not in text.rsplit("}")[-1] else text)
    if "(?P<patient>" in text:
        return Pattern(text)
    if text.count("(") - text.count("(?") - text.count(r"\(") != 1:
        raise UserError(
            f"patient: {text!r} must have one group for the patient, e.g. '^([^_]+)_', or be a "
            "pattern with {patient}, e.g. '{patient}_{image}.png'"
        )
    prefix = "" if text.startswith("^") else ".*?"
    suffix = "" if text.endswith("$") else ".*"
    return Pattern(prefix + text.replace("(", "(?P<patient>", 1).removesuffix("$") + suffix)


def fill(template: str, cells: Mapping[str, str], setting: str) -> str:
    """Replace each `{column}` by the row's cell."""
    for name in FIELD.findall(template):
        if name not in cells:
            raise UserError(
                f"{setting}={template!r}: there is no column {name!r}; the columns are "
                f"{', '.join(map(repr, cells))}"
            )
    return FIELD.sub(lambda match: cells[match[1]].strip(), template)


def _regex(text: str, quantifier: str) -> str:
    pieces, seen = [], set()
    for place, piece in enumerate(_PIECES.split(text)):
        name = piece[1:-1]
        if place % 2 == 0:  # what stands between two pieces
            pieces.append(re.escape(piece))
        elif piece.startswith("*"):
            pieces.append("(?:.*/)?" if piece == "**/" else "[^/]*")
        else:
            pieces.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^/]{quantifier})")
            seen.add(name)
    return "".join(pieces)
