"""removed.json: what it explains, and that its damage hurts nobody."""

from pathlib import Path

from pipeline.tracking.removed import FILE_NAME, gone, is_removed, note_removed


def test_what_was_removed_at_two_times_is_known(tmp_path: Path) -> None:
    first, second = (tmp_path / "fold_00" / name for name in ("best.pt", "last.pt"))
    assert not is_removed(first)
    note_removed(tmp_path, {"fold_00/best.pt": 10})
    assert is_removed(first)
    assert not is_removed(second)
    note_removed(tmp_path, {"fold_00/last.pt": 20})
    assert is_removed(first)
    assert is_removed(second)
    assert "train the fold" not in gone(tmp_path / "fold_01" / "best.pt")


def test_a_note_that_was_changed_says_nothing(tmp_path: Path) -> None:
    note_removed(tmp_path, {"fold_00/best.pt": 10})
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace("fold_00", "fold_01"))
    assert not is_removed(tmp_path / "fold_01" / "best.pt")
    note_removed(tmp_path, {"fold_02/best.pt": 10})
    assert is_removed(tmp_path / "fold_02" / "best.pt")
