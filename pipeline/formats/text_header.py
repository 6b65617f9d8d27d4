"""The text at the beginning of MetaImage and NRRD files, which may name another file of pixels."""

import math
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from pipeline.formats.table import Claim, ImageError, format_of_name

MOST_BYTES = 2**16
_BITS = {
    8: "char uchar signed_char unsigned_char int8 int8_t uint8 uint8_t",
    16: "short ushort short_int signed_short signed_short_int unsigned_short unsigned_short_int "
    "int16 int16_t uint16 uint16_t",
    32: "int uint signed_int unsigned_int int32 int32_t uint32 uint32_t long ulong float",
    64: "longlong ulonglong long_long long_long_int signed_long_long signed_long_long_int "
    "unsigned_long_long unsigned_long_long_int int64 int64_t uint64 uint64_t double",
}
BITS = {name: bits for bits, names in _BITS.items() for name in names.split()}
"""Type of one value, as MetaImage (MET_...) and NRRD call it -> its bits."""
_PER_AXIS = ("ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "CenterOfRotation")
_PER_TWO_AXES = ("TransformMatrix", "Rotation", "Orientation")


class TextHeader(NamedTuple):
    """What such a header says."""

    claim: Claim
    bits: int
    raw: Path | None
    """The file that holds the pixels; None when they follow the header."""
    start: int
    """The byte at which the pixels begin."""
    packed: str
    """How they are compressed: "", zlib, gzip, ..."""
    is_nrrd: bool


def read_text_header(path: Path) -> TextHeader | None:
    """The header of a MetaImage or NRRD file; None for a file of another kind.

    Raises:
        ImageError: what is wrong with it; or that its pixels lie outside its folder.
    """
    with path.open("rb") as file:
        head = file.read(16)
        file.seek(0)
        if head.startswith(b"NRRD000"):
            return _nrrd(path, file)
        return _metaimage(path, file)


def raw_file(path: Path) -> Path | None:
    """The file that holds the pixels of a MetaImage or NRRD header, where they lie in another.

    Raises:
        ImageError: see `read_text_header`.
    """
    header = read_text_header(path)
    return None if header is None else header.raw


def _metaimage(path: Path, file: BinaryIO) -> TextHeader | None:
    fields: dict[str, str] = {}
    for line in _lines(file):
        key, mark, value = line.replace(":", "=", 1).partition("=")
        if not mark or not re.fullmatch(r"\s*\w+\s*", key):
            break
        _add(fields, key.strip(), value.strip())
        if key.strip() == "ElementDataFile":
            return _of_metaimage(path, fields, file.tell())
    if "NDims" not in fields:
        return None
    raise ImageError("the header has no end (ElementDataFile)")


def _of_metaimage(path: Path, fields: dict[str, str], start: int) -> TextHeader:
    num_axes = _numbers(fields, "NDims", 1)[0]
    if not 2 <= num_axes <= 4:
        raise ImageError(f"NDims must be 2 to 4, got {num_axes}")
    for keys, count in ((_PER_AXIS, num_axes), (_PER_TWO_AXES, num_axes**2)):
        for key in keys:
            if key in fields and len(fields[key].split()) != count:
                raise ImageError(f"{key} must have {count} values, got {fields[key][:80]!r}")
    shape = _numbers(fields, "DimSize", num_axes)
    if "ElementNumberOfChannels" in fields:
        shape = (*shape, *_numbers(fields, "ElementNumberOfChannels", 1))
    kind = fields.get("ElementType", "").lower().removeprefix("met_").removesuffix("_array")
    packed = "zlib" if fields.get("CompressedData", "").lower() in ("true", "1") else ""
    if fields.get("BinaryData", "True").lower() not in ("true", "1"):
        packed = "text"
    where = fields["ElementDataFile"]
    local = where.upper() == "LOCAL"
    if not local and (where.split()[:1] in (["LIST"], []) or "%" in where):
        raise ImageError(
            f"its pixels lie in several files (ElementDataFile = {where[:80]}), which is not read; "
            "write it as one .mha file"
        )
    return _header(path, shape, kind, packed, (None if local else where, start, False))


def _nrrd(path: Path, file: BinaryIO) -> TextHeader:
    fields: dict[str, str] = {}
    for line in _lines(file):
        if not line:
            break
        if line.startswith(("#", "NRRD000")) or ":=" in line:
            continue
        key, mark, value = line.partition(": ")
        if not mark:
            raise ImageError(f"the header has a line that says nothing: {line[:80]!r}")
        _add(fields, key.strip().lower().replace("datafile", "data file"), value.strip())
    num_axes = _numbers(fields, "dimension", 1)[0]
    if not 2 <= num_axes <= 5:
        raise ImageError(f"dimension must be 2 to 5, got {num_axes}")
    shape = _numbers(fields, "sizes", num_axes)
    packed = {"raw": "", "gz": "gzip", "bz2": "bzip2", "txt": "text", "ascii": "text"}.get(
        fields.get("encoding", "").lower(), fields.get("encoding", "").lower()
    )
    where = fields.get("data file")
    if where is not None and (where.startswith("LIST") or "%" in where):
        raise ImageError(
            f"its pixels lie in several files (data file: {where[:80]}), which is not read; write "
            "it as one .nrrd file"
        )
    if packed and {"byte skip", "line skip"} & fields.keys():
        raise ImageError("skips bytes before compressed data, which is not read")
    place = (where, file.tell(), True)
    return _header(path, shape, fields.get("type", "").lower(), packed, place)


def _header(
    path: Path, shape: tuple[int, ...], kind: str, packed: str, place: tuple[str | None, int, bool]
) -> TextHeader:
    """`place`: the name of the file of pixels, or None; where they begin in this one; is_nrrd."""
    if min(shape) < 1:
        raise ImageError(f"its header claims the shape {shape}")
    bits = BITS.get(kind.replace(" ", "_"))
    if bits is None:
        raise ImageError(
            f"its values are of type {kind[:40]!r}; allowed are whole and real numbers"
        )
    where, start, is_nrrd = place
    raw = None if where is None else _beside(path, where)
    num_bytes = 0 if packed else math.prod(shape) * bits // 8
    return TextHeader(Claim(shape, num_bytes), bits, raw, 0 if raw else start, packed, is_nrrd)


def _beside(path: Path, where: str) -> Path:
    """The file of pixels, in the header's folder or below it."""
    parts = PurePosixPath(where).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in where or "\0" in where:
        raise ImageError(f"its pixels lie outside its folder: {where[:80]!r}")
    named = format_of_name(path)
    if named is None or not named.has_text_header:
        raise ImageError("its pixels lie in another file; give the header its name, .mhd or .nhdr")
    raw = path.parent / where
    if not raw.is_file():
        raise ImageError(f"the file of its pixels is missing: {raw}")
    return raw


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a text, as far as it is one."""
    while file.tell() < MOST_BYTES and (line := file.readline(4096)):
        if not line.endswith(b"\n") and len(line) == 4096:
            return
        yield line.decode("latin-1").rstrip("\r\n")


def _add(fields: dict[str, str], key: str, value: str) -> None:
    if key in fields:
        raise ImageError(f"the header has two lines {key!r}")
    fields[key] = value


def _numbers(fields: dict[str, str], key: str, count: int) -> tuple[int, ...]:
    text = fields.get(key, "")
    if not re.fullmatch(r"-?\d{1,18}(\s+-?\d{1,18})*", text) or len(text.split()) != count:
        raise ImageError(f"{key} must be {count} whole number(s), got {text[:80]!r}")
    return tuple(map(int, text.split()))
