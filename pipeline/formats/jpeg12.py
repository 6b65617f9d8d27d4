"""12-bit lossy JPEG for pydicom, by imagecodecs: none of pydicom's own plug-ins decodes it."""

from importlib.util import find_spec

from pydicom.pixels.decoders.base import DecodeRunner
from pydicom.uid import JPEGExtended12Bit

DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("imagecodecs",)}


def is_available(uid: str) -> bool:
    """pydicom asks whether this plug-in can decode a transfer syntax."""
    return uid == JPEGExtended12Bit and find_spec("imagecodecs") is not None


def decode(source: bytes, runner: DecodeRunner) -> bytes:
    """The pixels of one frame."""
    import imagecodecs

    frame = imagecodecs.jpeg_decode(source)
    if frame.shape[:2] != (runner.rows, runner.columns):
        raise ValueError(f"holds {frame.shape} pixels, its header says {runner.rows} x ...")
    runner.set_option("bits_allocated", 8 * frame.itemsize)
    pixels: bytes = frame.tobytes()
    return pixels
