"""DICOM images that say of themselves that a name may be written into their pixels."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.formats import DICOM
from pipeline.formats.files import format_of, series_files
from pipeline.manifest import Finding, Manifest
from pipeline.words import SHOWN, and_more, counted

TAG = "BurnedInAnnotation"


def burned_in_findings(manifest: Manifest) -> Iterator[Finding]:
    """A warning that counts the images whose header has BurnedInAnnotation=YES."""
    looks = manifest.looks.at(manifest.table["line"].to_numpy())
    asked = manifest.table[looks.is_dicom | (looks.size < 0)]
    sets = [manifest.files_of(path) for path in asked["image_path"].tolist()]
    with ThreadPoolExecutor() as pool:
        marked = pool.map(lambda files: any(map(is_burned_in, files)), sets)
        table = asked[list(marked)]
    if len(table):
        named = [f"line {row.line}: {row.image_path!r}" for row in table[:SHOWN].itertuples()]
        text = (
            f"{counted(len(table), 'image')} with BurnedInAnnotation=YES: names or dates may be "
            f"written into the pixels, where no pseudonym reaches: {and_more(named, len(table))}"
        )
        yield Finding("burned_in", "warning", text)


def is_burned_in(path: Path) -> bool:
    """Whether the header of a DICOM file, or of one of a series, says so."""
    from pydicom import dcmread

    try:
        if format_of(path) is not DICOM:
            return False
        headers = [
            dcmread(file, stop_before_pixels=True, force=True, specific_tags=[TAG])
            for file in series_files(path) or [path]
        ]
    except Exception:  # noqa: BLE001 (pydicom raises almost anything; decoding reports it)
        return False
    return any(str(header.get(TAG, "")).strip().upper() == "YES" for header in headers)
