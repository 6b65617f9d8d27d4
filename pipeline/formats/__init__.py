"""Image files: what they are, by their content, and how each format is read."""

from pipeline.formats.files import (
    checked_format,
    file_digest,
    file_size,
    file_stamp,
    format_of,
    series_parts,
)
from pipeline.formats.reading import read_image
from pipeline.formats.table import (
    DICOM,
    FORMATS,
    Format,
    ImageError,
    StoredImage,
    format_of_name,
    image_suffix,
)

__all__ = [
    "DICOM",
    "FORMATS",
    "Format",
    "ImageError",
    "StoredImage",
    "checked_format",
    "file_digest",
    "file_size",
    "file_stamp",
    "format_of",
    "format_of_name",
    "image_suffix",
    "read_image",
    "series_parts",
]
