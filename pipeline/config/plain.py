"""Plain values: flattened, and hashed."""

import datetime
import hashlib
import json
import re
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


def flatten(value: object, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, tuple | list) and any(isinstance(inner, Mapping) for inner in value):
        for position, inner in enumerate(value):
            yield from flatten(inner, f"{prefix}.{position}")
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)
