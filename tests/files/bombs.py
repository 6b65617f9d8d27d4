"""Small files that ask for more memory than a machine has."""

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from dicom_files import write_dicom
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

BLOCK = bytes(2**20)


def png(path: Path, side: int = 17_000) -> None:
    """Black, of 8 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    path.write_bytes(start + chunk(b"IDAT", rows) + chunk(b"IEND", b""))


def jpeg(path: Path) -> None:
    """A sound header of 65,500 x 65,500 pixels, and the data of a few."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 65_500, 65_500)
    path.write_bytes(data)


def tiff(path: Path, num_pages: int = 20, side: int = 8_192) -> None:
    """Black pages, each a single strip of packed bits, all of them the same bytes."""
    strip = zlib.compress(bytes(side * side // 8), 9)
    data, offset = bytearray(b"II*\0" + bytes(4) + strip), 8 + len(strip)
    offset += offset % 2
    data += bytes(offset - len(data))
    struct.pack_into("<L", data, 4, offset)
    for number in range(num_pages):
        tags = [
            *((256, side), (257, side), (258, 1), (259, 8), (262, 1), (273, 8), (277, 1)),
            *((278, side), (279, len(strip))),
        ]
        data += struct.pack("<H", len(tags))
        data += b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags)
        following = len(data) + 4 if number + 1 < num_pages else 0
        data += struct.pack("<L", following)
    path.write_bytes(data)


def tiff_circle(path: Path) -> None:
    """Its second page is followed by the first."""
    tiff(path, 2, 8)
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<L", data, 4)
    struct.pack_into("<L", data, len(data) - 4, first)
    path.write_bytes(data)


def nifti_header(shape: tuple[int, ...]) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.int16)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    return bytes(header.binaryblock) + bytes(4)


def nifti(path: Path) -> None:
    """1 kB whose header claims 8 GB."""
    path.write_bytes(nifti_header((1600, 1600, 1600)) + bytes(700))


def nifti_packed(path: Path) -> None:
    """A header that tells the truth: 500 MB of zeros."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(nifti_header((1024, 1024, 260)))
        for _ in range(520):
            file.write(BLOCK)


def nifti_tail(path: Path) -> None:
    """A small volume, and 300 MB behind it."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(nifti_header((8, 8, 8)))
        for _ in range(300):
            file.write(BLOCK)


def npy(path: Path) -> None:
    """A header of 64 TB."""
    with path.open("wb") as file:
        facts = {"descr": "<f8", "fortran_order": False, "shape": (200_000, 200_000, 200)}
        np.lib.format.write_array_header_1_0(file, facts)
        file.write(bytes(500))


def sparse(path: Path) -> None:
    """A header that tells the truth, of a file of 1 TB without a block on the disk."""
    with path.open("wb") as file:
        facts = {"descr": "<f4", "fortran_order": False, "shape": (1000, 1000, 250_000)}
        np.lib.format.write_array_header_1_0(file, facts)
        file.truncate(file.tell() + 10**12)


def dicom(path: Path) -> None:
    """60,000 x 60,000 pixels in the header, a few behind it."""
    write_dicom(path, np.zeros((4, 4), np.uint16), Rows=60_000, Columns=60_000)


def dicom_deflated(path: Path) -> None:
    """300 MB of zeros, deflated to less than 2 MB."""
    write_dicom(
        path,
        np.zeros((4, 4), np.uint16),
        TransferSyntaxUID=DeflatedExplicitVRLittleEndian,
        PixelData=b"",
    )
    start = path.read_bytes()
    meta = 144 + int.from_bytes(start[140:144], "little")
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    head = zlib.decompress(start[meta:], -15)[:-12]
    size = 300 * 2**20
    parts = [packer.compress(head + b"\xe0\x7f\x10\0OW\0\0" + struct.pack("<L", size))]
    parts += [packer.compress(BLOCK) for _ in range(300)]
    path.write_bytes(start[:meta] + b"".join(parts) + packer.flush())


def dicom_elements(path: Path) -> None:
    """Half a million empty elements, deflated."""
    write_dicom(path, np.zeros((4, 4), np.uint16), TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    start = path.read_bytes()
    meta = 144 + int.from_bytes(start[140:144], "little")
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    parts = [packer.compress(zlib.decompress(start[meta:], -15)[:-44])]
    for group in range(0x0029, 0x0039, 2):
        heads = (struct.pack("<HH2sH", group, number, b"LO", 0) for number in range(65_536))
        parts.append(packer.compress(b"".join(heads)))
    path.write_bytes(start[:meta] + b"".join(parts) + packer.flush())


def metaimage(path: Path) -> None:
    """A header of 8 GB, and as few bytes as zlib makes of 300 MB."""
    packed = zlib.compress(bytes(300 * 2**20), 1)
    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = True\nCompressedDataSize = {len(packed)}\nDimSize = 2000 2000 1000\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(head.encode() + packed)


def nrrd(path: Path) -> None:
    """A small volume, packed into what unpacks to 300 MB."""
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 8 8 8\nendian: little\nencoding: gzip\n\n"
    path.write_bytes(head.encode() + gzip.compress(bytes(300 * 2**20), 1))


def blank_png(path: Path) -> None:
    """As many black pixels as a file of few bytes may hold."""
    png(path, 4096)


def blank_nifti(path: Path) -> None:
    """The same as a volume."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(nifti_header((256, 256, 256)) + bytes(2 * 256**3))


def blank_tiff(path: Path) -> None:
    """The same in pages."""
    tiff(path, 4, 2048)


BOMBS: dict[str, Callable[[Path], None]] = {
    "png.png": png,
    "jpeg.jpg": jpeg,
    "pages.tif": tiff,
    "circle.tif": tiff_circle,
    "claims.nii": nifti,
    "packed.nii.gz": nifti_packed,
    "tail.nii.gz": nifti_tail,
    "claims.npy": npy,
    "sparse.npy": sparse,
    "claims.dcm": dicom,
    "deflated.dcm": dicom_deflated,
    "elements.dcm": dicom_elements,
    "packed.mha": metaimage,
    "packed.nrrd": nrrd,
}
"""Name -> what writes such a file."""
LARGEST: dict[str, Callable[[Path], None]] = {
    "blank.png": blank_png,
    "blank.nii.gz": blank_nifti,
    "blank.tif": blank_tiff,
}
"""Not refused: the most that a small file may ask for."""
