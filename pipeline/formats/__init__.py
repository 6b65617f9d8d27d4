"""Image files: what they are, by their content, and how each format is read."""

from pipeline.formats.reading import read_as_stored, read_image
from pipeline.formats.table import DICOM, FORMATS, ImageError, StoredImage, format_of_name

__all__ = [
    "DICOM",
    "FORMATS",
    "ImageError",
    "StoredImage",
    "format_of_name",
    "read_as_stored",
    "read_image",
]
