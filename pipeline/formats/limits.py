"""What decoding a file may cost: its header is compared with its size before it is decoded."""

import math
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.formats.table import Claim, ImageError

MOST_VOXELS = 2**28
"""Values of one image: 1,024 slices of 512 x 512."""
BOMB_VOXELS, BOMB_RATIO = 2**24, 100
"""An image of more values than this, and of more than so many for each byte of its file, is no
picture of anything: the compression of pictures reaches 2 to 50."""
CHUNK = 2**20


def most_values(file_bytes: int) -> int:
    """What a compressed file of this size can hold, if it is a picture."""
    return max(BOMB_VOXELS, BOMB_RATIO * file_bytes)


def check_claim(claim: Claim, file_bytes: int, most_voxels: int) -> None:
    """Refuse a header that the file cannot keep, or that would cost more memory than it may.

    Raises:
        ImageError: with what the header claims and what is allowed.
    """
    size = " x ".join(f"{length:,}" for length in claim.shape)
    if any(length < 0 for length in claim.shape):
        raise ImageError(f"its header claims {size} values")
    if claim.num_bytes > file_bytes:
        raise ImageError(
            f"its header claims {size} values, which need {claim.num_bytes:,} bytes; the file has "
            f"{file_bytes:,}: it is cut short, or its header is wrong"
        )
    num_values = math.prod(claim.shape)
    if num_values > most_voxels:
        raise ImageError(
            f"its header claims {size} values, images.most_voxels allows {most_voxels:,}; raise it "
            "if there is such an image, and memory for it"
        )
    if num_values > most_values(file_bytes):
        raise ImageError(
            f"its header claims {size} values in a file of {file_bytes:,} bytes; more than "
            f"{BOMB_RATIO} for each byte are no picture"
        )


def inflated(file: BinaryIO, wbits: int, most_bytes: int) -> Iterator[bytes]:
    """The rest of a compressed file in pieces, up to and with its checksum.

    Raises:
        ImageError: when it is longer than `most_bytes`.
        zlib.error, EOFError: when it is damaged or cut short.
    """
    length, decompressor = 0, zlib.decompressobj(wbits)
    while data := decompressor.unconsumed_tail or file.read(CHUNK):
        piece = decompressor.decompress(data, CHUNK)
        length += len(piece)
        if length > most_bytes:
            raise ImageError(f"unpacks to more than the {most_bytes:,} bytes that it may have")
        yield piece
        if decompressor.eof:
            rest = decompressor.unused_data.lstrip(b"\0") or file.read(CHUNK).lstrip(b"\0")
            if not (rest and wbits > zlib.MAX_WBITS):
                return
            file.seek(-len(rest), os.SEEK_CUR)  # a gzip file may have several members
            decompressor = zlib.decompressobj(wbits)
    yield decompressor.flush()
    if not decompressor.eof:
        raise EOFError("the compressed data is cut short")


def check_kind(path: Path) -> None:
    """Refuse what is neither a file nor a folder: opening a pipe would wait for ever.

    Raises:
        ImageError: what it is; or when there is no such file.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise ImageError("no such file") from None
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL byte in the name
        raise ImageError(f"cannot be read: {error}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        raise ImageError(f"is {kinds.get(stat.S_IFMT(mode), 'a device')}, not a file")
