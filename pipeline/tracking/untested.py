"""The final network of a run, trained on everybody: its folder, and what `final.json` says of it.

It was tested on nobody. Nothing that stands here is a metric of its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.config import UserError
from pipeline.files import read_json, sha256
from pipeline.tracking.note import expected_result
from pipeline.tracking.result import HASHED, KEPT, check_seal, with_seal

FINAL, FINAL_JSON = "final", "final.json"
"""In a run folder; in that folder, and written last."""
UNTESTED: Final = "this network itself was tested on nobody"
ADVICE = "Restore it, or delete the folder final/ to train the final network again."
NEEDED: Mapping[str, type | tuple[type, ...]] = {
    "key": str,
    "fold": int,
    "untested": str,
    "num_epochs": int,
    "folds": dict,
    "thresholds": dict,
    "expected": dict,
    "time": (int, float),
}


def seal_untested(result: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What `final.json` says, with the hash of what was trained, and one of itself."""
    there = [name for name in KEPT if (folder / name).exists()]
    return with_seal({**result, **{HASHED[name]: sha256(folder / name) for name in there}})


def read_untested(run_dir: Path) -> dict[str, Any] | None:
    """The content of a run's `final.json`; None where no final network is done.

    Raises:
        UserError: it, or the network that it stands for, is damaged or was changed.
    """
    folder = run_dir / FINAL
    path = folder / FINAL_JSON
    if not path.exists():
        return None
    result = read_json(path, ADVICE)
    if wrong := [name for name, kind in NEEDED.items() if not isinstance(result.get(name), kind)]:
        raise UserError(f"{path}: {', '.join(wrong)}: missing or of a wrong type. {ADVICE}")
    check_seal(result, path, ADVICE)
    for name in KEPT:
        kept = folder / name
        if kept.is_file() and result.get(HASHED[name]) != sha256(kept):
            raise UserError(f"{kept} is not what final.json stands for. {ADVICE}")
    return result


def expected_of(summary: Mapping[str, Any], select_by: str, optimism: str) -> dict[str, Any]:
    """What the cross-validation lets one expect of the final network, in a line and in numbers.

    `summary`: metrics.json; `optimism`: why its numbers may be too good, "" for no reason.
    """
    line, level, entries = expected_result(summary, select_by)
    kept = ("value", "ci_low", "ci_high")
    return {
        "line": f"expected {line}, from cross-validation of the same settings; {UNTESTED}",
        "optimism": optimism,
        "level": level,
        "metrics": {name: {key: of.get(key) for key in kept} for name, of in entries.items()},
    }
