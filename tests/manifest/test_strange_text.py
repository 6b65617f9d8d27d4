"""Text that a terminal, a page, a folder or a spreadsheet would obey; files that are no CSV."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import called
from PIL import Image

from pipeline.audit.copies import Copy
from pipeline.audit.sheet import copy_sheet
from pipeline.commands.door import load_config
from pipeline.config import ConfigError, ManifestConfig
from pipeline.manifest import ManifestError, read_manifest
from pipeline.words import visible

ESCAPE, OVERRIDE = "\x1b[31mRED\x1b[0m", "\u202e"


def write(folder: Path, *rows: str, header: str = "patient_id,image_path,label") -> ManifestConfig:
    for number in range(8):
        image = Image.fromarray(np.full((4, 4), number, np.uint8))
        image.save(folder / f"{number}.png")
    text = "\n".join([header, *rows]) + "\n"
    (folder / "m.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    return ManifestConfig(name="m", path=str(folder / "m.csv"))


def refused(config: ManifestConfig) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(config)
    assert visible(str(caught.value)).isprintable() or "\n" in str(caught.value)
    return caught.value.problems


@pytest.mark.parametrize(
    ("letter", "shown"),
    [
        ("\x1b", "U+001B"),
        ("\x07", "U+0007"),
        ("\x9b", "U+009B"),
        ("\u202e", "U+202E"),
        ("\u2066", "U+2066"),
        ("\u2028", "U+2028"),
        ("\n", "U+000A"),
    ],
)
def test_control_characters_are_refused_and_shown_escaped(
    tmp_path: Path, letter: str, shown: str
) -> None:
    for row in (f'"P{letter}1",0.png,a', f'P1,"0{letter}.png",a', f'P1,0.png,"a{letter}b"'):
        found = refused(write(tmp_path, row, "P2,1.png,b", "P3,2.png,b"))
        assert any(f"has the control character {shown}" in problem for problem in found)
        assert all(problem.isprintable() or letter == "\n" for problem in found[:1])
        assert letter not in found[0]
    strange = write(tmp_path, "P1,0.png,a,x", header=f'patient_id,image_path,label,"x{letter}y"')
    assert any(f"has the control character {shown} in its name" in p for p in refused(strange))


@pytest.mark.parametrize("raw", ["=1+2", "+3", "-4", "@x", " =1", "\uff1d1"])
def test_an_id_that_a_spreadsheet_calculates_is_warned_of(tmp_path: Path, raw: str) -> None:
    manifest = read_manifest(write(tmp_path, f"{raw},0.png,a", "P2,1.png,b"))
    (found,) = (f for f in manifest.findings if f.rule == "formula")
    assert (found.severity, found.line) == ("warning", 2)
    assert repr(raw) in found.message


@pytest.mark.parametrize("raw", ["P=1", "P-1", "P+", "a@b", "-"])
def test_such_a_sign_within_an_id_is_fine(tmp_path: Path, raw: str) -> None:
    manifest = read_manifest(write(tmp_path, f"{raw},0.png,a", "P2,1.png,b"))
    assert [f.rule for f in manifest.findings] == []


@pytest.mark.parametrize(
    "other",
    ["\u042001", "\u03a101", "\uff3001", "P\u200b01", "P\uff101", "p01"],
)
def test_look_alike_ids_are_one_patient(tmp_path: Path, other: str) -> None:
    found = refused(write(tmp_path, "P01,0.png,a", f"{other},1.png,b"))
    assert "is also written 'P01' (line 2)" in found[0]
    if other[0] in "\u0420\u03a1":
        assert "capital letter" in found[0]
        assert found[0].endswith(("letter er", "letter rho"))


@pytest.mark.parametrize("dash", "\u2010\u2011\u2012\u2013\u2014\u2212\uff0d")
def test_dashes_are_one(tmp_path: Path, dash: str) -> None:
    assert "is also written" in refused(write(tmp_path, "P-1,0.png,a", f"P{dash}1,1.png,b"))[0]


def test_ids_that_are_in_another_alphabet_throughout_are_fine(tmp_path: Path) -> None:
    cyrillic_and_greek = (
        "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420",
        "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c",
        "\u0414\u0411\u0413\u0416\u0417\u0418\u041b\u0424",
        "\u0430\u0431\u0432\u0433\u0434\u0435\u0436\u0437",
    )
    for names in cyrillic_and_greek:
        rows = [f"{name}01,{i}.png,{'ab'[i % 2]}" for i, name in enumerate(names)]
        assert read_manifest(write(tmp_path, *rows)).findings == ()


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"PK\x03\x04\x14\0\x06\0", "an Excel workbook (or another zip file): open it and save it"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (.xls)"),
        (b"\x1f\x8b\x08\0", "compressed with gzip: unpack it"),
        (b"PAR1\x15\0", "a Parquet table"),
        (b"SQLite format 3\0", "a SQLite database"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b'[{"patient_id": "P1"}]', "JSON"),
        (b'{"a": 1}', "JSON"),
    ],
)
def test_a_file_that_is_no_csv_is_named(tmp_path: Path, start: bytes, words: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(start if start[:1] in b"[{" else start + bytes(200))
    (problem,) = refused(ManifestConfig(name="m", path=str(path)))
    assert words in problem
    assert "UTF-16" not in problem


@pytest.mark.parametrize(
    ("label", "classes", "better"),
    [("1.0", ("0", "1"), "1"), ("True", ("false", "true"), "true"), ("ill ", ("ill", "no"), "ill")],
)
def test_a_label_that_is_nearly_a_class(
    tmp_path: Path, label: str, classes: tuple[str, str], better: str
) -> None:
    rows = (f"P1,0.png,{label}", f"P2,1.png,{classes[0]}", f"P3,2.png,{classes[1]}")
    config = write(tmp_path, *rows)
    found = refused(ManifestConfig(name="m", path=config.path, classes=classes))
    assert found[0].endswith(f"; did you mean {better!r}?")


def test_labels_with_and_without_point_zero_are_one_class(tmp_path: Path) -> None:
    rows = ("P1,0.png,1.0", "P2,1.png,1", "P3,2.png,0")
    config = write(tmp_path, *rows)
    (found,) = refused(ManifestConfig(name="m", path=config.path, task="multiclass"))
    assert "differ by case, space or .0 only" in found


def test_a_cell_that_is_too_long_is_one_message(tmp_path: Path) -> None:
    found = refused(write(tmp_path, f'P1,0.png,"{"x" * 200_000}'))
    assert found == ["line 2: a cell has more than 131,072 characters; is a quote never closed?"]


@pytest.mark.slow
@pytest.mark.parametrize("key", ["name", "manifest.name"])
@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "..",
        ".",
        "/tmp/x",
        "a/b",
        "a\\b",
        ".hidden",
        "-x",
        "x.",
        "a\nb",
        "x" * 101,
        "\u75c5" * 70,
        "",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(key: str, name: str) -> None:
    escaped = name.replace("\\", "\\\\")
    with pytest.raises(ConfigError) as caught:
        load_config(["experiment=demo", f"{key}='{escaped}'"])
    assert any(problem.startswith(f"{key}: must be a name") for problem in caught.value.problems)


@pytest.mark.parametrize(
    "name", ["demo", "Köln", "病院", "lr=3e-4, seed 1", "a.b-c (2)", "e\u0301"]
)
def test_a_name_is_free_otherwise(name: str) -> None:
    assert load_config(["experiment=demo", f"name='{name}'"]).name == name


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", f"manifest.path={ESCAPE}.csv"],
        ["check", f"manifest=demo{ESCAPE}"],
        ["check", f"split.scheme={OVERRIDE}"],
        ["plan", f"manifest.path={ESCAPE}.csv"],
        ["cv", f"experiment={ESCAPE}"],
        ["sync", f"run_dir={ESCAPE}"],
        ["make-manifest", "source=tree", f"root={ESCAPE}", "pattern={label}/{patient}.png"],
        [f"x{ESCAPE}"],
    ],
)
def test_what_a_command_says_moves_no_terminal(tmp_path: Path, arguments: list[str]) -> None:
    done = called(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert visible(done.stdout + done.stderr) == done.stdout + done.stderr


def test_a_class_that_is_markup_and_a_strange_id_end_no_check(tmp_path: Path) -> None:
    rows = [f"P{i // 2},{i}.png,{('[/nope]', '[red]')[i // 2 % 2]}" for i in range(8)]
    write(tmp_path, *rows)
    command = ["check", "manifest.path=m.csv", "audit.content=false", "split.num_folds=3"]
    command.append("manifest.largest_group=1")
    done = called(tmp_path, *command)
    assert "Traceback" not in done.stderr
    assert "[/nope]" in done.stdout
    write(tmp_path, *(row.replace("P", f"P{ESCAPE}") for row in rows))
    done = called(tmp_path, *command)
    assert done.returncode == 1
    assert r"P\x1b[31mRED" in done.stderr
    pages = [path.read_text() for path in tmp_path.rglob("check.*")]
    assert len(pages) == 2
    assert all("\x1b" not in text for text in (done.stdout, done.stderr, *pages))


def test_a_name_with_a_line_feed_forges_no_line_of_the_page_or_the_picture(tmp_path: Path) -> None:
    config = write(tmp_path, "P1,0.png,a", "P2,1.png,b", "P3,2.png,a")
    manifest = read_manifest(config)
    strange = manifest.table.assign(patient_id=[f"P{i}\nforged{ESCAPE}" for i in range(3)])
    strange["label"] = strange["label"].replace("a", "a\nforged")
    manifest = replace(manifest, table=strange, classes=("a\nforged", "b"))
    pair = Copy(0, 1, exact=True)
    assert copy_sheet(manifest, [pair], 2, 1).width > 400
    assert not [line for line in manifest.describe() if "\n" in line]


@pytest.mark.parametrize("row", ["P\0001,0.png,a", "P1,0\0.png,a", "P1,0.png,a\0", "\0\0"])
def test_a_zero_byte_is_told_with_its_line_and_not_as_utf_16(tmp_path: Path, row: str) -> None:
    (problem,) = refused(write(tmp_path, "P2,1.png,b", row, "P3,2.png,b"))
    assert problem.startswith("line 3: has a zero byte (NUL), so the file is damaged")


@pytest.mark.parametrize("raw", [b"P\xff1", b"P\xed\xa0\x801", b"P\xc3"])
def test_bytes_that_are_not_utf_8_are_told_with_their_line(tmp_path: Path, raw: bytes) -> None:
    """A byte, half of a surrogate pair, a character that is cut off."""
    config = write(tmp_path, "P2,1.png,b", "P1,0.png,a")
    path = Path(config.path)
    path.write_bytes(path.read_bytes().replace(b"P1", raw).replace(b"label\n", b"label\r"))
    (problem,) = refused(config)
    assert problem.startswith("line 3: is not UTF-8; save the file as UTF-8")


def test_line_ends_may_be_mixed(tmp_path: Path) -> None:
    config = write(tmp_path)
    Path(config.path).write_bytes(
        b'patient_id,image_path,label\r\nP1,0.png,a\rP2,1.png,b\nP3,2.png,"a"\r\n\r\rP4,3.png,b'
    )
    table = read_manifest(config).table
    assert table[["patient_id", "image_path", "label", "line"]].to_numpy().tolist() == [
        ["P1", "0.png", "a", 2],
        ["P2", "1.png", "b", 3],
        ["P3", "2.png", "a", 4],
        ["P4", "3.png", "b", 7],
    ]
