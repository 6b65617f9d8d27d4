"""What a CSV shows of itself: what separates its columns, and which of them means what."""

import csv
import re
from pathlib import Path

from pipeline.errors import UserError
from pipeline.label_names import BETWEEN

Columns = dict[str, list[str]]
"""The cells of each column of a CSV."""
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
MOST_CLASSES = 20
IMAGE = re.compile(
    r".+\.(png|jpe?g|tiff?|bmp|dcm|dicom|nii|nii\.gz|npy|mha|mhd|nrrd|nhdr)", re.IGNORECASE
)
DAY = re.compile(r"\d{4}-\d\d-\d\d(T.*)?")
CALLED = {
    "patient": r"(patient|subject|participant|person)(_?(id|no|nr|number|key))?|mrn|pid",
    "image": ".+",
    "label": r"labels?|class(es)?|target|diagnos[ie]s|dx|findings?|outcome|grade",
    "site": r"(site|hospital|cent(er|re)|institution|clinic)(_?(id|name))?",
    "study": r"(study|exam|examination|visit)(_?(instance_?)?(id|uid))",
    "date": r"((study|scan|image|acquisition|exam)_?)?date",
}
"""Setting -> how such columns are called."""
NEGATIVE = {"0", "no", "neg", "negative", "false", "none", "absent"}
NEGATIVE |= {"normal", "healthy", "benign", "control", "controls"}
"""Labels that say that nothing was found."""


def look(path: Path, separator: str | None = None, encoding: str = "utf-8") -> tuple[str, Columns]:
    """What separates the columns of a CSV (None: see its header), and its cells as text."""
    if not path.is_file():
        raise UserError(f"manifest.path {path}: no such file (searched from {Path.cwd()})")
    text = path.read_text(encoding=encoding, errors="replace").removeprefix("\ufeff")
    lines = text.splitlines()
    header = lines[0] if lines else ""
    separator = separator or max(SEPARATORS, key=header.count)
    has_columns = header.count(separator)
    rows = list(csv.DictReader(lines, delimiter=separator, restval="")) if has_columns else []
    if not rows:  # blank lines are none
        raise UserError(f"manifest.path {path}: expected a header and a row with several columns")
    return separator, {name: [row[name] for row in rows] for name in rows[0] if name}


def candidates(table: Columns, meaning: str) -> list[str]:
    """The columns that may be meant, by their name and by what they hold."""
    called = [name for name in table if re.fullmatch(CALLED[meaning], _plain(name))]
    match meaning:
        case "patient":
            return called or [name for name in table if _plain(name) in ("id", "case", "case_id")]
        case "label":
            return [name for name in called if 2 <= len(labels_in(table[name])) <= MOST_CLASSES]
        case "image" | "date":
            pattern = IMAGE if meaning == "image" else DAY
            return [name for name in called if _all(pattern, table[name])]
        case _:
            return called


def labels_in(cells: list[str]) -> list[str]:
    """What occurs, sorted; of cells that name several labels, `edema|effusion`, each of them."""
    if not names_several(cells):
        return sorted(set(cells))
    return sorted({name.strip() for cell in cells for name in cell.split(BETWEEN)} - {""})


def names_several(cells: list[str]) -> bool:
    return any(BETWEEN in cell for cell in cells)


def in_order(classes: list[str]) -> list[str] | None:
    """Two classes, the negative one first; None where their names do not say which one that is."""
    for negative, positive in (classes, classes[::-1]):
        is_denied = re.fullmatch(rf"(non?|not)[\W_]*{re.escape(positive)}", negative, re.IGNORECASE)
        if is_denied or (negative.lower() in NEGATIVE and positive.lower() not in NEGATIVE):
            return [negative, positive]
    return None


def flags(table: Columns) -> list[str]:
    """Columns of 0 and 1 that may be labels; no less than two."""
    ours = {name for meaning in CALLED if meaning != "image" for name in candidates(table, meaning)}
    found = [name for name, cells in table.items() if {c.strip() for c in cells} == {"0", "1"}]
    found = [name for name in found if name not in ours]
    return found if len(found) > 1 else []


def _plain(name: str) -> str:
    """`Patient ID` and `PatientId` -> patient_id."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s.-]+", "_", parted).lower()


def _all(pattern: re.Pattern[str], cells: list[str]) -> bool:
    filled = [cell for cell in cells if cell.strip()]
    return bool(filled) and all(pattern.fullmatch(cell) for cell in filled)
