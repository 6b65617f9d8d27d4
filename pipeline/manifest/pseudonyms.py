"""Keyed pseudonyms: everything after `read_manifest` knows patients and images by these only."""

import hmac
import os
import re
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import UserError
from pipeline.manifest.findings import Finding
from pipeline.manifest.manifest import Manifest

PSEUDONYM = re.compile(r"[pik]-[0-9a-f]{16}")
KINDS = {"patient_id": "p", "image_path": "i"}
"""Column -> how its pseudonyms begin; those of other keys that join rows (study, family) with k."""


@dataclass(frozen=True)
class Pseudonyms:
    """Names by HMAC-SHA256: the same key gives the same name, and nobody without it can tell whose.

    64 bits of the code are kept: among a million patients two share a name once in 37 million.
    """

    key: bytes
    is_new: bool = False
    """The key was made now."""

    @classmethod
    def open(cls, path: Path) -> "Pseudonyms":
        """The key in this file, which is made when there is none, for its owner's eyes only.

        Raises:
            UserError: the file is no key, or others may read it.
        """
        is_new = not path.exists() and _make(path)
        try:
            text, mode = path.read_text(encoding="ascii"), path.stat().st_mode
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"privacy.key_file {path}: cannot be read as a key: {error}.") from None
        if stat.S_IMODE(mode) & 0o077:
            raise UserError(
                f"privacy.key_file {path}: others may read it (mode {stat.S_IMODE(mode):04o}), and "
                f"with it find out who is who; chmod 600 {path}"
            )
        if not re.fullmatch(r"[0-9a-f]{64}\n?", text):
            raise UserError(
                f"privacy.key_file {path}: expected 64 hexadecimal digits, as they are made on the "
                "first use; restore the file."
            )
        return cls(bytes.fromhex(text.strip()), is_new)

    def of(self, column: str, value: str) -> str:
        """The pseudonym of a cell of a column; a blank cell stays blank."""
        if not value.strip():
            return value
        code = hmac.digest(self.key, f"{column}\0{value}".encode(), "sha256")
        return f"{KINDS.get(column, 'k')}-{code[:8].hex()}"

    def applied(self, manifest: Manifest, keys: Sequence[str]) -> Manifest:
        """The manifest with pseudonyms in place of patients, images and the columns `keys`.

        Its lint was made of the names in the CSV: the findings are marked as private.
        """
        columns = [*KINDS, *(key for key in keys if key not in KINDS)]
        true_names: dict[str, str] = {}
        tables = []
        for table in (manifest.table, manifest.left_out):
            shown = table.copy()
            for column in [column for column in columns if column in table]:
                names = {value: self.of(column, value) for value in table[column].unique()}
                assert len(set(names.values())) == len(names), "two names have one pseudonym"
                shown[column] = table[column].map(names)
                if column in KINDS:
                    true_names |= {name: value for value, name in names.items()}
            tables.append(shown)
        findings = tuple(replace(finding, private=True) for finding in manifest.findings)
        return replace(
            manifest,
            table=tables[0],
            left_out=tables[1],
            findings=findings,
            true_names=true_names,
        )


def key_findings(pseudonyms: Pseudonyms, path: Path) -> list[Finding]:
    """A warning when the key was made now: it has to be kept."""
    text = (
        f"made the key of the pseudonyms, {path}: keep it, and keep it secret; plans and runs that "
        "were made with it need it again, and with it pseudonyms can be traced to patients"
    )
    return [Finding("pseudonyms", "warning", text)] if pseudonyms.is_new else []


def _make(path: Path) -> bool:
    """Write a new key in one step; False when another process was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "w") as text:
            text.write(f"{secrets.token_hex(32)}\n")
        with suppress(FileExistsError):
            path.hardlink_to(temporary)  # unlike a rename it replaces nothing
            return True
    finally:
        temporary.unlink()
    return False
