"""Begin a study folder here: patientfold init, or patientfold init manifest.path=my.csv

What the CSV shows is filled in, each with the reason. What is not clear stays a comment with a
question: nothing is guessed silently.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.commands.settings import InitSettings
from pipeline.errors import UserError
from pipeline.files import write_whole
from pipeline.words import counted, listed

MANIFEST = Path("conf/manifest/mine.yaml")
README = """\
# A study with patientfold
1. `conf/manifest/mine.yaml` says what your CSV holds; answer the questions in it.
2. `patientfold check manifest=mine audit.content=false` reads the CSV; without the last word also
   the images.
3. `patientfold cv manifest=mine` cross-validates; the same command again continues.
4. Results are in `runs/`; `patientfold cv --help` lists every setting.
"""
IGNORED = "runs/\n.cache/\nmlflow.db*\nmlartifacts/\n"
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
MOST_CLASSES = 20
IMAGE = re.compile(r".+\.(png|jpe?g|tiff?|bmp|dcm|nii|nii\.gz|npy)", re.IGNORECASE)
DAY = re.compile(r"\d{4}-\d\d-\d\d(T.*)?")
MEANINGS = {
    "patient": (
        r"(patient|subject|participant|person)(_?(id|no|nr|number|key))?|mrn|pid",
        "Which column says whose image a row is?",
    ),
    "image": (r".+", "Which column names the image files?"),
    "label": (
        r"label|class|target|diagnosis|dx|finding|outcome|grade",
        "Which column holds the label?",
    ),
    "site": (
        r"(site|hospital|cent(er|re)|institution|clinic)(_?(id|name))?",
        "Is there a column of sites or hospitals?",
    ),
    "study": (
        r"(study|exam|examination|visit)(_?(instance_?)?(id|uid))",
        "Rows of one study stay together. Is there a column of studies?",
    ),
    "date": (
        r"((study|scan|image|acquisition|exam)_?)?date",
        "Is there a column of days (YYYY-MM-DD)?",
    ),
}
"""Setting -> how such columns are called, and what is asked where none or several fit."""
WORDS = {("0", "1"), ("neg", "pos"), ("negative", "positive"), ("no", "yes"), ("false", "true"),
         ("benign", "malignant"), ("normal", "abnormal"), ("healthy", "diseased")}  # fmt: skip
"""Pairs of labels whose order, negative first, needs no question."""
OTHER_COLUMNS = (
    "  # fold: fold  # for split.scheme=predefined: each patient's block, 0 to k-1",
    "  # part: part  # for split.scheme=predefined: train, val or test",
)
OTHER_SETTINGS = (
    "# blank_label: leave_out  # rows without a label; by default they are an error",
    "# group_columns: [family]  # further columns whose equal values keep rows together",
    '# hint: ""  # how to get the images; shown when they are missing',
)


@dataclass(frozen=True)
class Seen:
    """What a CSV shows."""

    path: Path
    separator: str
    columns: dict[str, list[str]]  # each with its cells, in the order of the file


def main(settings: InitSettings) -> None:
    """Write the folder, and say what was made and what comes next.

    Raises:
        UserError: a file is there already, or the CSV cannot be read.
    """
    if MANIFEST.exists():
        raise UserError(f"{MANIFEST} exists, and init overwrites nothing; edit it, or move it away")
    path = settings.manifest.path
    manifest = _yaml(None if path is None else look(Path(path)))
    files = {MANIFEST: manifest, Path("README.md"): README, Path(".gitignore"): IGNORED}
    for file, text in files.items():
        if file.exists():
            print(f"left {file} as it is")
        else:
            write_whole(file, text)
            print(f"made {file}")
    if num_questions := len(re.findall(r"# .*\?$", manifest, re.MULTILINE)):
        print(f"{MANIFEST} asks {counted(num_questions, 'question')} that only you can answer")
    print("next: patientfold check manifest=mine audit.content=false")


def look(path: Path) -> Seen:
    """Read the header and the cells of a CSV, whatever separates them.

    Raises:
        UserError: there is no such file, or it is no table.
    """
    if not path.is_file():
        raise UserError(f"manifest.path {path}: no such file (searched from {Path.cwd()})")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    header = lines[0] if lines else ""
    separator = max(SEPARATORS, key=header.count)
    if not header.count(separator) or len(lines) < 2:
        raise UserError(f"manifest.path {path}: expected a header and a row with several columns")
    rows = list(csv.DictReader(lines, delimiter=separator, restval=""))
    names = [name for name in rows[0] if name]
    return Seen(path, separator, {name: [row[name] for row in rows] for name in names})


def candidates(seen: Seen, meaning: str) -> list[str]:
    """The columns that may be meant, by their name and by what they hold."""
    called = [c for c in seen.columns if re.fullmatch(MEANINGS[meaning][0], _plain(c))]
    match meaning:
        case "patient":
            return called or [c for c in seen.columns if _plain(c) in ("id", "case", "case_id")]
        case "image":
            return [c for c, cells in seen.columns.items() if _all(IMAGE, cells)]
        case "label":
            return [c for c in called if 2 <= len(set(seen.columns[c])) <= MOST_CLASSES]
        case "date":
            return [c for c in called if _all(DAY, seen.columns[c])]
        case _:
            return called


def _yaml(seen: Seen | None) -> str:
    lines = [
        "# What your CSV holds; `patientfold check --help` explains every setting.",
        "# A line that begins with # is switched off, and its default counts.",
        "name: mine",
    ]
    if seen is None:
        lines.append("path: my.csv  # your CSV, seen from the folder where you run patientfold")
    else:
        lines.append(f"path: {json.dumps(str(seen.path), ensure_ascii=False)}")
    found = {} if seen is None else {name: candidates(seen, name) for name in MEANINGS}
    lines += _separator(seen)
    lines += _image_root(seen, found)
    columns = [f"  {c}" for name in MEANINGS for c in _column(name, found.get(name, []), seen)]
    is_empty = all(line.startswith("  #") for line in columns)  # else it would say null
    lines += ["# columns:  # switched on together with a line below" if is_empty else "columns:"]
    lines += columns
    lines += OTHER_COLUMNS
    lines += _classes(seen, found.get("label", []))
    lines += OTHER_SETTINGS
    return "\n".join(lines) + "\n"


def _separator(seen: Seen | None) -> Iterator[str]:
    if seen is None or seen.separator == ",":
        yield "# separator: semicolon  # by default comma; or tab, pipe"
    else:
        yield f"separator: {SEPARATORS[seen.separator]}  # what stands between the columns"


def _image_root(seen: Seen | None, found: dict[str, list[str]]) -> Iterator[str]:
    comment = "# image_root: images  # folder that paths are relative to; by default the CSV's own"
    if seen is not None and len(found["image"]) == 1:
        cells = seen.columns[found["image"][0]]
        missing = sum(not (seen.path.parent / cell).is_file() for cell in cells)
        if missing:
            yield (
                f"# {missing:,} of {counted(len(cells), 'image')} do not lie in the CSV's folder, "
                f"e.g. {cells[0]!r}. Which folder are the paths relative to?"
            )
    yield comment


def _column(meaning: str, found: Sequence[str], seen: Seen | None) -> Iterator[str]:
    default = {"patient": "patient_id", "image": "image_path"}.get(meaning, meaning)
    question = MEANINGS[meaning][1]
    if len(found) == 1 and seen is not None:
        name = json.dumps(found[0], ensure_ascii=False)
        yield f"{meaning}: {name}  # {_reason(meaning, found[0], seen)}"
        return
    if found:
        question += f" These may be meant: {listed(found)}. Which one?"
    yield f"# {question}"
    yield f"# {meaning}: {default}"


def _reason(meaning: str, name: str, seen: Seen) -> str:
    cells = seen.columns[name]
    number = counted(len(set(cells)), "value")
    if meaning == "image":
        return "the only column of image files"
    if meaning == "patient":
        return f"the only column called like a patient id: {number} in {counted(len(cells), 'row')}"
    return f"the only column called like a {meaning}: {number}"


def _classes(seen: Seen | None, found: Sequence[str]) -> Iterator[str]:
    if seen is None or len(found) != 1:
        yield "# task: binary  # or multiclass, from three classes on"
        yield "# classes: [healthy, lesion]  # binary: negative, then positive; by default sorted"
        return
    classes = sorted({cell for cell in seen.columns[found[0]] if cell.strip()})
    shown = json.dumps(classes, ensure_ascii=False)
    yield f"task: {'binary' if len(classes) == 2 else 'multiclass'}  # {len(classes)} labels occur"
    if len(classes) > 2 or tuple(name.lower() for name in classes) in WORDS:
        yield f"classes: {shown}  # the labels that occur"
    else:
        yield f"# Negative first, then positive: is the second one, {classes[-1]!r}, positive?"
        yield f"# classes: {shown}"


def _plain(name: str) -> str:
    """`Patient ID` and `PatientId` -> patient_id."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[\s.-]+", "_", parted).lower()


def _all(pattern: re.Pattern[str], cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell.strip()]
    return bool(filled) and all(pattern.fullmatch(cell) for cell in filled)
