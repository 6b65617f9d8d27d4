import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import UserError
from pipeline.evaluation.decision import Decision, Threshold
from pipeline.evaluation.predictions import (
    PredictionError,
    prediction_table,
    read_predictions,
    with_decisions,
    write_predictions,
)

CLASSES = ["NA", "1"]
TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=8)


def table_of(patients, scores):
    scores = np.asarray(scores, dtype=np.float32)
    samples = pd.DataFrame(
        {
            "patient_id": patients,
            "image_path": [f"{row}.png" for row in range(len(patients))],
            "label": [CLASSES[row % 2] for row in range(len(patients))],
        }
    )
    probabilities = np.column_stack([1 - scores, scores])
    table = prediction_table(samples, probabilities, np.arange(len(patients)), CLASSES, fold=2)
    half = Threshold(0.5, "fixed", "none", None)
    return with_decisions(table, CLASSES, Decision(2, CLASSES, {"1": half}))


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(TEXT, st.floats(0, 1, width=32)), min_size=1, max_size=10))
def test_a_table_reads_back_bit_for_bit(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv"
    patients, scores = zip(*rows, strict=True)
    table = table_of(list(patients), scores)
    write_predictions(table, path)
    pd.testing.assert_frame_equal(read_predictions(path, CLASSES), table, check_exact=True)


def test_text_stays_text(tmp_path):
    patients = ["007", "1e5", "NA", "nan", " x ", 'a "b", c', "null", "Ä"]
    table = table_of(patients, np.full(len(patients), 0.25))
    write_predictions(table, tmp_path / "p.csv")
    found = read_predictions(tmp_path / "p.csv", CLASSES)
    assert found["patient_id"].tolist() == sorted(patients)
    assert set(found["label"]) == {"NA", "1"}


def test_the_bytes_are_fixed(tmp_path):
    table = table_of(["b", "007"], [0.1, 1 / 3])
    write_predictions(table, tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_bytes() == (
        b"fold,patient_id,image_path,label,prob_NA,prob_1,predicted\n"
        b"2,007,1.png,1,0.666666627,0.333333343,NA\n"
        b"2,b,0.png,NA,0.899999976,0.100000001,NA\n"
    )


def test_rewriting_gives_the_same_bytes_even_for_numbers_finer_than_float32(tmp_path):
    table = table_of(["a", "b"], [0.1, 0.2])
    table["prob_1"] = [0.123456789012, 1e-9 / 3]
    table["prob_NA"] = 1 - table["prob_1"]
    write_predictions(table, tmp_path / "first.csv")
    write_predictions(read_predictions(tmp_path / "first.csv", CLASSES), tmp_path / "second.csv")
    assert (tmp_path / "first.csv").read_bytes() == (tmp_path / "second.csv").read_bytes()


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "p.csv"
    write_predictions(table_of(["a"], [0.5]), path)
    before = path.read_bytes()

    def no_space(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_predictions(table_of(["a", "b"], [0.5, 0.5]), path)
    assert path.read_bytes() == before


def test_writing_leaves_no_temporary_file(tmp_path):
    write_predictions(table_of(["a"], [0.5]), tmp_path / "new" / "p.csv")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["p.csv"]


@pytest.mark.parametrize("name", ["fold", "label", "predicted"])
def test_a_table_without_a_column_is_not_written(tmp_path, name):
    table = table_of(["a"], [0.5])
    for incomplete in (table.drop(columns=name), table.rename(columns={name: "other"})):
        with pytest.raises(RuntimeError, match="Expected a prediction table with decisions"):
            write_predictions(incomplete, tmp_path / "p.csv")
    assert not list(tmp_path.iterdir())


HEADER = "fold,patient_id,image_path,label,prob_NA,prob_1,predicted"
GOOD = "0,p,a.png,NA,0.25,0.75,1"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", r"p\.csv: expected the columns \['fold'.*got \[\]"),
        ("fold,patient_id\n0,p", r"expected the columns .* got \['fold', 'patient_id'\]"),
        (f"{HEADER.replace('prob_NA,prob_1', 'prob_1,prob_NA')}\n{GOOD}", "expected the columns"),
        (f"{HEADER},extra\n{GOOD},1", "expected the columns"),
        (HEADER, "holds no predictions"),
        (
            f"{HEADER}\n{GOOD}\n0,p,b.png,N",
            "7 values in each row, not so in 1 row, e.g. row 3",
        ),
        (f"{HEADER}\n{GOOD},9\n", "7 values in each row, not so in 1 row, e.g. row 2"),
        (f"{HEADER}\nx,p,a.png,NA,0.25,0.75,1", "expected numbers in fold and prob.*'x'"),
        (f"{HEADER}\n0,p,a.png,NA,,0.75,1", "expected numbers in fold and prob"),
        (f"{HEADER}\n0,p,a.png,NA,nan,nan,1", "sum to 1, not so in 1 of 1 rows"),
        (f"{HEADER}\n0,p,a.png,NA,0.5,0.75,1", "sum to 1, not so in 1 of 1 rows"),
        (f"{HEADER}\n0,p,a.png,?,0.25,0.75,1", r"label must be among .* got \['\?'\]"),
        (f"{HEADER}\n0,p,a.png,NA,0.25,0.75,", r"predicted must be among .* got \[''\]"),
        (f'{HEADER}\n0,"p,a.png,NA,0.25,0.75,1', "cannot be read"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_refused(tmp_path, text, match):
    path = tmp_path / "p.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PredictionError, match=match):
        read_predictions(path, CLASSES)


def test_a_missing_file_is_one_clear_message(tmp_path):
    with pytest.raises(PredictionError, match=r"none\.csv: cannot be read: .*No such file"):
        read_predictions(tmp_path / "none.csv", CLASSES)
    assert issubclass(PredictionError, UserError)
