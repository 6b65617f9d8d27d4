"""The cells of a CSV that are of use to a split, each text kept once."""

import csv
import io
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipeline.config import UserError
from pipeline.splits.given.given_split import Numbers
from pipeline.words import counted, listed

_COLUMNS: dict[str, tuple[str, ...]] = {
    "image": ("imagepath", "image", "path", "filepath", "filename", "file", "imageid", "img"),
    "patient": ("patientid", "patient", "pid", "subjectid", "subject", "participantid", "caseid",
                "case", "id"),
    "fold": ("fold", "foldid", "foldnumber", "cvfold", "kfold", "testfold", "block"),
    "part": ("part", "split", "subset", "set", "partition", "phase"),
    "val_fold": ("valfold",),
}  # fmt: skip


class Column:
    """The cells of one column, without the space around them."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self._codes = array("i")

    def append(self, cell: str) -> None:
        self._codes.append(self._number.setdefault(cell.strip(), len(self._number)))

    def __iter__(self) -> Iterator[str]:
        values = self.values
        return (values[code] for code in self._codes)

    @property
    def values(self) -> list[str]:
        """Each text once, in the order of their first occurrence."""
        return list(self._number)

    @property
    def codes(self) -> Numbers:
        """(M,) number in `values` of each record's cell."""
        return np.array(self._codes, np.int64)


Cells = Mapping[str, Column]
"""The columns that we know, by our words for them."""


def read_cells(where: str, text: str) -> Cells:
    """The columns of a CSV with a header and any usual separator.

    Raises:
        UserError: when a column is missing, a line is too short or long, or there are none.
    """
    separator = max(",;\t|", key=text.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    ragged: list[tuple[int, int]] = []
    try:
        header = next(reader, [])
        place = _find_columns(where, header)
        cells = {what: Column() for what in place}
        fields = [(column, place[what]) for what, column in cells.items()]
        for record in reader:
            if len(record) == len(header):
                for column, i in fields:
                    column.append(record[i])
            elif record:
                ragged.append((reader.line_num, len(record)))
    except csv.Error as error:
        raise UserError(f"{where}: line {reader.line_num}: badly quoted ({error}).") from None
    if ragged:
        (line, num_cells), *others = ragged
        num = counted(len(others), "more line")
        more = f"; {num} of a wrong length" if others else ""
        raise UserError(
            f"{where}: line {line} has {num_cells} cells, the header has {len(header)}{more}."
        )
    if not all(column.values for column in cells.values()):
        raise UserError(f"{where}: has no rows below its header.")
    return cells


def _find_columns(where: str, header: Sequence[str]) -> dict[str, int]:
    """Where the file names patients or images, and folds or parts."""
    plain = [re.sub(r"[\W_]+", "", name.casefold()) for name in header]
    found = {
        what: plain.index(name)
        for what, names in _COLUMNS.items()
        for name in [next((n for n in names if n in plain), "")]
        if name
    }
    if not found.keys() & {"image", "patient"} or not found.keys() & {"fold", "part"}:
        raise UserError(
            f"{where}: needs a column patient_id or image_path, and a column fold or part (or "
            f"split); its columns are {listed(header, len(header)) or 'none'}."
        )
    return found
