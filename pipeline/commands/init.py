"""Begin a study folder here: patientfold init, or patientfold init manifest.path=my.csv

What the CSV shows is filled in, each with the reason. What is not clear stays a comment with a
question: nothing is guessed silently.
"""

import json
import re
from pathlib import Path

from pipeline.commands.settings import InitSettings
from pipeline.configure.columns import (
    CALLED,
    MOST_CLASSES,
    SEPARATORS,
    Columns,
    candidates,
    flags,
    in_order,
    labels_in,
    look,
    names_several,
)
from pipeline.console import tell
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
IGNORED = "runs/\npredictions/\ncomparisons/\nexports/\n.cache/\nmlflow.db*\nmlartifacts/\n*.key\n"
SIGMOID = "loss=binary_cross_entropy"
"""What a network of several labels needs."""
QUESTIONS = {
    "patient": "Which column says whose image a row is?",
    "image": "Which column names the image files?",
    "label": "Which column holds the label?",
    "site": "Is there a column of sites or hospitals?",
    "study": "Rows of one study stay together. Is there a column of studies?",
    "date": "Is there a column of days (YYYY-MM-DD)?",
}
"""What is asked where none or several columns fit."""
OTHER_COLUMNS = """\
  # fold: fold  # for split.scheme=predefined: each patient's block, 0 to k-1
  # part: part  # for split.scheme=predefined: train, val or test"""
OTHER_SETTINGS = """\
# blank_label: leave_out  # rows without a label; by default they are an error
# group_columns: [family]  # further columns whose equal values keep rows together
# hint: ""  # how to get the images; shown when they are missing
"""


def main(settings: InitSettings) -> None:
    """Write the folder, and say what was made and what comes next."""
    if MANIFEST.exists():
        raise UserError(f"{MANIFEST} exists, and init overwrites nothing; edit it, or move it away")
    path = settings.manifest.path
    manifest = _yaml(None if path is None else Path(path))
    several = "task: multilabel" in manifest
    mine = f"manifest=mine {SIGMOID}" if several else "manifest=mine"
    readme = README.replace("manifest=mine", mine)
    files = {MANIFEST: manifest, Path("README.md"): readme, Path(".gitignore"): IGNORED}
    for file, text in files.items():
        if file.exists():
            tell(f"left {file} as it is")
        else:
            write_whole(file, text)
            tell(f"made {file}")
    if num_questions := len(re.findall(r"# .*\?$", manifest, re.MULTILINE)):
        tell(f"{MANIFEST} asks {counted(num_questions, 'question')} that only you can answer")
    tell(f"next: patientfold check {mine} audit.content=false")
    if several:
        tell(f"then: patientfold cv {mine}")


def _yaml(path: Path | None) -> str:
    separator, table = (",", {}) if path is None else look(path)
    found = {meaning: candidates(table, meaning) for meaning in CALLED}
    columns = [line for meaning in CALLED for line in _column(meaning, found[meaning], table)]
    is_empty = all(line.startswith("  #") for line in columns)  # else it would say null
    name = "my.csv  # your CSV, seen from the folder where you run patientfold"
    lines = [
        "# What your CSV holds; `patientfold check --help` explains every setting.",
        "# A line that begins with # is switched off, and its default counts.",
        "name: mine",
        f"path: {name if path is None else _quoted(str(path))}",
        "# separator: semicolon  # by default comma; or tab, pipe"
        if separator == ","
        else f"separator: {SEPARATORS[separator]}  # what stands between the columns",
        *_missing_images(path, found["image"], table),
        "# image_root: images  # folder that paths are relative to; by default the CSV's own",
        "# columns:  # switched on together with a line below" if is_empty else "columns:",
        *columns,
        OTHER_COLUMNS,
        *_classes(found["label"], table),
        OTHER_SETTINGS,
    ]
    return "\n".join(lines)


def _missing_images(path: Path | None, found: list[str], table: Columns) -> list[str]:
    if path is None or len(found) != 1:
        return []
    cells = table[found[0]]
    missing = sum(not (path.parent / cell).is_file() for cell in cells)
    line = (
        f"# {missing:,} of {counted(len(cells), 'image')} do not lie in the CSV's folder, "
        f"e.g. {cells[0]!r}. Which folder are the paths relative to?"
    )
    return [line] if missing else []


def _column(meaning: str, found: list[str], table: Columns) -> list[str]:
    if len(found) != 1:
        more = f" These may be meant: {listed(found)}. Which one?" if found else ""
        default = {"patient": "patient_id", "image": "image_path"}.get(meaning, meaning)
        if meaning == "image" and found:
            more = f" These may be meant: {listed(found)}. Which one, or are all of them channels?"
            default = _quoted(found)
        elif meaning == "label" and not found and (several := flags(table)):
            more = (
                f" {listed(several)} hold 0 and 1. Are they labels of which a row may have several?"
            )
            default = f"{_quoted(several)}  # with task: multilabel, below"
        return [f"  # {QUESTIONS[meaning]}{more}", f"  # {meaning}: {default}"]
    cells = table[found[0]]
    number = counted(len(set(cells)), "value")
    reason = {
        "image": "of image files",
        "patient": f"called like a patient id: {number} in {counted(len(cells), 'row')}",
    }.get(meaning, f"called like a {meaning}: {number}")
    return [f"  {meaning}: {_quoted(found[0])}  # the only column {reason}"]


def _classes(found: list[str], table: Columns) -> list[str]:
    if not found and flags(table):
        return [f"# task: multilabel  # with several columns of labels; train with {SIGMOID}"]
    if len(found) != 1:
        return [
            "# task: binary  # or multiclass, from three classes on",
            "# classes: [healthy, lesion]  # binary: negative, then positive; by default sorted",
        ]
    if names_several(table[found[0]]):
        classes = labels_in(table[found[0]])
        return [
            f"task: multilabel  # a row may have several of {len(classes)} labels, with | between "
            f"them; train with {SIGMOID}",
            "# A blank cell says none of them. Or does one of these words say so: "
            f"{listed(classes, MOST_CLASSES)}?",
            "# no_label: No Finding",
        ]
    classes = sorted({cell for cell in table[found[0]] if cell.strip()})
    task = f"task: {'binary' if len(classes) == 2 else 'multiclass'}  # {len(classes)} labels occur"
    known = in_order(classes) if len(classes) == 2 else classes
    if known is not None:
        return [task, f"classes: {_quoted(known)}  # the labels that occur"]
    question = f"# Negative first, then positive: is the second one, {classes[-1]!r}, positive?"
    return [task, question, f"# classes: {_quoted(classes)}"]


def _quoted(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)
