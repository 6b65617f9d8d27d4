"""Plain values: checked, flattened, and hashed."""

import datetime
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping


def fingerprint(value: object) -> str:
    """SHA-256 of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def is_day(text: str) -> bool:
    """Is it a day of the calendar, as YYYY-MM-DD? Text of other ISO forms sorts elsewhere."""
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is not None


MOST_LETTERS, MOST_BYTES = 100, 200
"""Of a name; a file system allows 255 bytes, and a suffix follows."""


def checked_name(name: str) -> str:
    """A name that may become a folder or a file, in any script.

    Raises:
        ValueError: when it could lead elsewhere, or is too long.
    """
    begins = name[:1].isalnum() or name[:1] == "_"
    letters = all(
        letter.isalnum() or letter in " ._-+=,()" or unicodedata.category(letter)[0] == "M"
        for letter in name
    )
    is_short = len(name) <= MOST_LETTERS and len(name.encode(errors="replace")) <= MOST_BYTES
    if not (begins and letters and is_short) or name[-1] in " .":
        raise ValueError(
            "must be a name: letters, digits, blanks and ._-+=,() only, beginning with a letter, "
            f"digit or _, ending with no blank or dot, of at most {MOST_LETTERS} characters"
        )
    return name


def flatten(value: object, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, tuple | list) and any(isinstance(inner, Mapping) for inner in value):
        for position, inner in enumerate(value):
            yield from flatten(inner, f"{prefix}.{position}")
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)


def known_aggregate(rule: str) -> str:
    """ValueError for a rule that does not exist."""
    if rule in ("mean", "max", "majority", "noisy_or"):
        return rule
    if re.fullmatch(r"top[1-9][0-9]{0,3}|q([1-9]?[0-9]|100)", rule):
        return rule
    raise ValueError("must be mean, max, top3 (or any number), q75 (or any), majority or noisy_or")


def known_threshold(rule: str) -> str:
    """ValueError for a rule that does not exist, or a share that is none."""
    if rule in ("youden", "fixed"):
        return rule
    found = re.fullmatch(r"(sensitivity|specificity|cost)([0-9]+(\.[0-9]+)?)", rule)
    if found and 0 < float(found[2]) <= (math.inf if found[1] == "cost" else 1):
        return rule
    raise ValueError(
        "must be youden, fixed, sensitivity0.9, specificity0.9 (or another share) or cost5 (or "
        "another number of false alarms that a missed one is worth)"
    )
