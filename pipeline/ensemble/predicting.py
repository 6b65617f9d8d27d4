"""Predict new images with the networks of a finished run, into a folder of their own. No torch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console

from pipeline.config import Config, UserError, fingerprint, needs_monai
from pipeline.console import progress_bar
from pipeline.engine.devices import device_slots, one_device
from pipeline.engine.finished import MARKS
from pipeline.ensemble.ensemble import median_decision
from pipeline.ensemble.flags import with_flags
from pipeline.ensemble.kept import Kept
from pipeline.ensemble.progress import Done, Line, stamp_of
from pipeline.ensemble.stream import Answer, Files, Place, Watch, answers
from pipeline.ensemble.tables import as_text, file_name, image_table, level_tables
from pipeline.files import lock, make_private, write_json, write_whole
from pipeline.images.faults import UnusableImagesError
from pipeline.levels import Level
from pipeline.manifest import Manifest, ManifestError, contradictory_labels
from pipeline.manifest.unseen import has_labels
from pipeline.processes import MONAI, call_in_child, num_cores, preload, start_forkserver
from pipeline.tracking.result import with_seal
from pipeline.training.evaluated import EVAL_BATCH, bounds

COMPANION = "predict.json"
UNUSABLE = "unusable.csv"
SLOTS = ".decoded"
IN_USE = "another command predicts into {}"
MOST_PROCESSES = 8
"""On the CPU, unless more are asked for: each holds the networks of all folds."""


@dataclass(frozen=True)
class How:
    """On what new images are predicted, and what becomes of those that cannot be."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int = 0
    """That predict; 0: one for each GPU, or for each core, 8 at most."""
    decoders: int = 0
    """Processes that decode; 0: one for each core."""
    unusable: Literal["error", "leave_out"] = "error"


USUAL = How()
preload(
    "pipeline.training.kept_network", "pipeline.training.checkpoint", "pipeline.ensemble.stream"
)


@dataclass(frozen=True)
class NewImages:
    """Images to predict."""

    name: str
    """Of the folder of their predictions."""
    manifest: Manifest
    levels: Sequence[Level]
    """At which they are predicted, those of the run; images alone where nobody knows the patients.
    """
    known: Mapping[str, str] = field(default_factory=dict)
    """Patient -> why it is one of the plan; "" or missing where it is not."""


@dataclass(frozen=True)
class Predicted:
    """What an ensemble says of new images, as it was written."""

    dir: Path
    kept: Kept
    manifest: Manifest
    """Of the images that were predicted."""
    tables: Mapping[Level, pd.DataFrame]
    """Of each level: prob_<class>, predicted, and lowest_, highest_ and sd_<class>, the spread
    between the networks of the folds."""
    record: Mapping[str, Any]
    """predict.json."""


def predict(
    kept: Kept,
    new: NewImages,
    console: Console,
    out: Path | None = None,
    how: How = USUAL,
    watch: Watch | None = None,
    watching: str = "",
) -> Predicted:
    """Predict images batch by batch, and write the tables; the same call goes on.

    `out` is the folder; default: predictions/<name>-<hash>, by all that the numbers depend on.
    `watch` looks at decoded images beside the networks, and adds columns to the table of images;
    `watching` says in a word what for.

    Raises:
        UserError: an image cannot be used (the others are predicted and kept), the labels of a
            patient contradict each other, or the folder is in use or holds something else.
    """
    manifest = new.manifest
    _check_labels(kept, new)
    start_forkserver(MONAI if needs_monai(kept.config) else ())
    shape, devices = call_in_child(_looked_at, kept, how)
    ends = bounds(len(manifest), EVAL_BATCH[devices[0].partition(":")[0]])
    batches = [manifest.image_sets[begin:end] for begin, end in ends]
    stamps = [stamp_of(files) for files in batches]
    key = _key(kept, manifest, devices[0].partition(":")[0], watching)
    folder = out if out is not None else Path("predictions") / f"{new.name}-{key[:8]}"
    _refuse_run_folders(folder, kept.run.dir)
    make_private(folder)
    with lock(folder / ".lock", IN_USE.format(folder)):
        done = Done.open(folder, key, stamps)
        is_strict = how.unusable == "error"
        todo = [batch for batch in range(len(batches)) if not done.has(batch, is_strict)]
        place = _place(folder / SLOTS, devices, how, [batches[batch] for batch in todo])
        faults: dict[int, str] = {}
        with (
            closing(answers(kept, shape, [batches[i] for i in todo], place, watch)) as found,
            progress_bar("predicting", console) as progress,
        ):
            for batch, answer in zip(todo, found, strict=True):
                bad = {ends[batch][0] + i: why for i, why in enumerate(answer.faults) if why}
                if not bad or how.unusable == "leave_out":
                    done.add(Line.of(batch, stamps[batch], answer))
                else:
                    faults |= bad
                    if len(bad) == len(answer.faults):  # more of the same would follow
                        break
                progress(ends[batch][1], len(manifest))
        if faults:
            raise UnusableImagesError(manifest, faults)
        everything = [done.lines[batch].answer for batch in range(len(batches))]
        return _written(folder, kept, new, everything, devices[0])


def _check_labels(kept: Kept, new: NewImages) -> None:
    """Before an image is decoded: would the label of a patient be known?"""
    is_one = kept.config.evaluation.patient_label == "same" and "patient" in new.levels
    if not (is_one and has_labels(new.manifest)):
        return
    if errors := contradictory_labels(new.manifest):
        hint = "use_labels=false predicts without labels"
        raise ManifestError(new.manifest.path, errors, hint)


def _looked_at(kept: Kept, how: How) -> tuple[tuple[int, ...], list[str]]:
    """What the networks take, all of which are opened to see that they can be, and the devices of
    the processes that predict; in a process of its own, with torch.
    """
    from pipeline.ensemble.ensemble import Ensemble

    return Ensemble.of(kept).shape, _devices(kept.config, how)


def _devices(config: Config, how: How) -> list[str]:
    engine = replace(
        config.engine, kind="local", device=how.device, devices_per_fold=1, folds_at_once=0
    )
    found = [one_device(slot) for slot in device_slots(engine, "auto")]
    if how.processes:
        return [found[i % len(found)] for i in range(how.processes)]
    return found[:MOST_PROCESSES] if found[0] == "cpu" else found


def _place(folder: Path, devices: Sequence[str], how: How, batches: Sequence[Files]) -> Place:
    """As many processes as there is work for."""
    num_images = sum(map(len, batches))
    num_decoders = min(how.decoders or num_cores(), max(1, num_images))
    return Place(devices[: max(1, len(batches))], num_decoders, folder)


def _key(kept: Kept, manifest: Manifest, device: str, watching: str) -> str:
    """Of all that the numbers depend on, beside the files, each of which has a stamp."""
    middle = kept.config.evaluation.middle
    names = ["patient_id", "image_path", "label", *([middle] if middle in manifest.table else [])]
    return fingerprint(
        {
            "run": kept.run.key,
            "network": kept.network,
            "checkpoints": kept.hashes,
            "rows": manifest.table[names].to_numpy().tolist(),
            "root": str(manifest.image_root),
            "device": device,
            "watching": watching,
            "versions": [version("patientfold"), version("torch"), version("monai")],
        }
    )


def _refuse_run_folders(folder: Path, run_dir: Path) -> None:
    inside = folder.resolve().is_relative_to(run_dir.resolve())
    marks = set(MARKS) - {"metrics.json"}  # an external test has one as well
    if inside or any((folder / name).exists() for name in marks):
        raise UserError(
            f"out={folder}: predictions are never written into a run folder; name another folder"
        )


def _written(
    folder: Path, kept: Kept, new: NewImages, everything: Sequence[Answer], device: str
) -> Predicted:
    """All tables, and last predict.json, which says that they are whole."""
    faults = [why for answer in everything for why in answer.faults]
    unusable = {row: why for row, why in enumerate(faults) if why}
    if len(unusable) == len(faults):
        raise UnusableImagesError(new.manifest, unusable)
    manifest = new.manifest.without(unusable.keys())
    members = np.concatenate([a.members for a in everything if a.members.size], axis=1)
    decisions = {
        level: median_decision([kept.decisions(fold) for fold in kept.checkpoints], level)
        for level in new.levels
    }
    config, classes = kept.config, kept.run.classes
    images = image_table(manifest.table, members, classes, config.evaluation.middle)
    tables = level_tables(images, members, classes, kept.run.rules, decisions)
    tables = with_flags(tables, _notes(everything), new.known)
    texts = {file_name(level): as_text(table, classes) for level, table in tables.items()}
    texts |= _unusable_text(new.manifest, unusable)
    if not unusable:
        (folder / UNUSABLE).unlink(missing_ok=True)
    for name, text in texts.items():
        write_whole(folder / name, text)
    record = with_seal(
        {
            "version": version("patientfold"),
            "run": {
                "key": kept.run.key,
                "name": kept.run.settings["name"],
                "plan_hash": kept.run.plan[0]["plan_hash"],
            },
            "network": kept.network,
            "num_networks": len(kept.checkpoints),
            "checkpoints": dict(kept.hashes),
            "num_images": len(manifest),
            "num_patients": len(manifest.patients) if "patient" in tables else None,
            "num_unusable": len(unusable),
            "has_labels": "label" in images,
            "classes": list(classes),
            "thresholds": {level: decision.values for level, decision in decisions.items()},
            "device": device.partition(":")[0],
            "torch": version("torch"),
            "sha256": {name: sha256(text.encode()).hexdigest() for name, text in texts.items()},
        }
    )
    write_json(folder / COMPANION, record)
    return Predicted(folder, kept, manifest, tables, record)


def _notes(everything: Sequence[Answer]) -> Mapping[str, list[str]]:
    """The columns of all batches."""
    names = dict.fromkeys(name for answer in everything for name in answer.notes)
    return {name: [cell for of in everything for cell in of.notes.get(name, ())] for name in names}


def _unusable_text(manifest: Manifest, unusable: Mapping[int, str]) -> dict[str, str]:
    """unusable.csv, where an image was left out."""
    if not unusable:
        return {}
    table = manifest.table.iloc[list(unusable)][["patient_id", "image_path"]]
    text = table.assign(why=list(unusable.values())).to_csv(index=False, lineterminator="\n")
    return {UNUSABLE: text}


def in_words(found: Predicted) -> Iterator[str]:
    """What was predicted, for the console."""
    num = found.record["num_networks"]
    whose = "network" if num == 1 else f"mean of {num} networks"
    yield (
        f"{found.record['num_images']:,} images, predicted by the {whose} of {found.kept.run.dir}; "
        "decisions at the median of the folds' thresholds"
    )
    for level, table in found.tables.items():
        counts = table["predicted"].value_counts(sort=False).sort_index()
        each = ", ".join(f"{number:,} {name}" for name, number in counts.items())
        yield f"  {level}s: {each}" if level != "study" else f"  studies: {each}"
    if num_unusable := found.record["num_unusable"]:
        yield f"  left out: {num_unusable:,} that cannot be used, see {found.dir / UNUSABLE}"
    files = ", ".join(str(found.dir / name) for name in (*found.record["sha256"], COMPANION))
    yield f"written: {files}"
