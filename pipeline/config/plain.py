"""Plain values: flattened, and hashed."""

import hashlib
import json
from collections.abc import Iterator, Mapping


def fingerprint(value: object) -> str:
    """SHA-256 of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def flatten(value: object, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, tuple | list) and any(isinstance(inner, Mapping) for inner in value):
        for position, inner in enumerate(value):
            yield from flatten(inner, f"{prefix}.{position}")
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value)
