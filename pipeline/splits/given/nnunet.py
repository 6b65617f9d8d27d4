"""Read nnU-Net's splits_final.json, whose folds list the names of cases."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.manifest import Manifest
from pipeline.splits.given.given_split import GivenSplit, PartRows, Round
from pipeline.splits.given.names import NameMatcher
from pipeline.splits.given.words import PARTS


def read_nnunet(manifest: Manifest, name: str, where: str, text: str) -> GivenSplit:
    """The folds in the text of a splits_final.json; they may also list test cases.

    Raises:
        UserError: when it is no list of folds, or has no known names.
    """
    number: dict[str, int] = {}

    def as_numbers(entry: dict[str, Any]) -> dict[str, Any]:
        """A fold's names as numbers, at once, since all folds together may name millions."""
        if not _is_fold(entry):
            return entry
        return {
            part: np.fromiter(
                (number.setdefault(str(case), len(number)) for case in cases), np.int32, len(cases)
            )
            for part, cases in entry.items()
        }

    try:
        entries = json.loads(text, object_hook=as_numbers)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: is not JSON ({error}).") from None
    if isinstance(entries, dict) and "plan_hash" in entries:
        raise UserError(f"{where}: describes a plan of ours; name the .csv file beside it.")
    if not entries or not isinstance(entries, list) or not all(map(_is_numbered, entries)):
        raise UserError(
            f'{where}: needs nnU-Net\'s form, a list of {{"train": [...], "val": [...]}} with the '
            "names of cases."
        )
    matcher = NameMatcher(manifest, list(number))
    matcher.check(where)
    rounds = tuple(
        Round(str(i), _rows(matcher, len(manifest), entry)) for i, entry in enumerate(entries)
    )
    source = f"{name} ({matcher.kind})"
    return GivenSplit(source, rounds, form="nnunet", unknown=matcher.unknown)


def _is_fold(entry: dict[str, Any]) -> bool:
    lists = all(isinstance(cases, list) for cases in entry.values())
    named = lists and all(isinstance(case, str | int) for cases in entry.values() for case in cases)
    return named and {"train", "val"} <= entry.keys() <= set(PARTS)


def _is_numbered(entry: object) -> bool:
    return isinstance(entry, dict) and any(isinstance(e, np.ndarray) for e in entry.values())


def _rows(matcher: NameMatcher, num_rows: int, entry: dict[str, NDArray[np.int32]]) -> PartRows:
    parts = {part: matcher.rows(entry[part].astype(np.int64))[0] for part in PARTS if part in entry}
    return PartRows(num_rows, parts)
