"""Read nnU-Net's splits_final.json, whose folds list the names of cases."""

import json
import re
from array import array
from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import UserError
from pipeline.manifest import Manifest
from pipeline.splits.given.given_split import PLACES, GivenSplit, long_table
from pipeline.splits.given.names import match_names
from pipeline.splits.given.words import PARTS


def read_nnunet(manifest: Manifest, name: str, where: str, text: str) -> GivenSplit:
    """The folds in the text of a splits_final.json; they may also list test cases."""
    number: dict[str, int] = {}

    def as_numbers(entry: dict[str, Any]) -> dict[str, Any]:
        """A fold's names as numbers, at once, since all folds together may name millions."""
        if not _is_fold(entry):
            return entry
        return {
            part: array("i", (number.setdefault(str(case), len(number)) for case in cases))
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
    if broken := [case for case in number if re.search("[\ud800-\udfff]", case)]:
        raise UserError(f"{where}: {broken[0]!a} is half of a character; write it whole.")
    names = match_names(manifest, list(number))
    names.check(where, manifest)
    folds = {str(i): tuple(p for p in PARTS if p in fold) for i, fold in enumerate(entries)}
    lists = [(str(i), part, fold[part]) for i, fold in enumerate(entries) for part in fold]
    fold = pd.Categorical([fold for fold, _, _ in lists], categories=list(folds))
    part = pd.Categorical([part for _, part, _ in lists], dtype=PLACES)
    lengths = [len(cases) for *_, cases in lists]
    records = pd.DataFrame({"name": np.concatenate([cases for *_, cases in lists])})
    records = records.assign(fold=fold.repeat(lengths), part=part.repeat(lengths))
    table = long_table(names.with_rows(records))
    return GivenSplit(f"{name} ({names.kind})", table, folds, "nnunet", unknown=names.unknown)


def _is_fold(entry: dict[str, Any]) -> bool:
    lists = all(isinstance(cases, list) for cases in entry.values())
    named = lists and all(isinstance(case, str | int) for cases in entry.values() for case in cases)
    return named and {"train", "val"} <= entry.keys() <= set(PARTS)


def _is_numbered(entry: object) -> bool:
    return isinstance(entry, dict) and any(isinstance(cases, array) for cases in entry.values())
