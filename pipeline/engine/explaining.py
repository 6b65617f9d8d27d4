"""explain/ of a run folder: where the network looked, for the worst mistakes or named images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from pipeline.config import Config, UserError, recorded_today, to_config
from pipeline.config.leaf import is_baseline
from pipeline.engine.explanation import FILE_NAME, FOLDER, ExplainedImage, Explanation
from pipeline.engine.finished import Finished
from pipeline.engine.heat_map import draw_heat_map
from pipeline.engine.soundness import read_environment
from pipeline.files import make_private, write_json
from pipeline.images.crop import central
from pipeline.images.packed import PackedImages
from pipeline.images.seal import is_sealed
from pipeline.images.trust import check_packed
from pipeline.label_names import LabelNames
from pipeline.processes import call_in_child
from pipeline.tracking.result import with_seal
from pipeline.training.fold_images import Explained, FoldImages
from pipeline.words import listed, one_line

MOST_IMAGES = 50
TOO_ALIKE = 0.5
"""Median rank correlation with maps of random networks from which maps show no learning."""


def explain(run: Finished, named: Sequence[str], layer: str | None) -> Explanation:
    """Grad-CAM for these images, or for those of the worst mistakes; writes the folder anew.

    Raises:
        UserError: the run has no network with a map, an image was not tested, or the checkpoint or
            the cache of images is gone.
    """
    config = to_config(_settings(run.dir))
    if is_baseline(config.model):
        raise UserError(
            f"run folder {run.dir}: a baseline of scikit-learn has no layers; Grad-CAM explains "
            "networks with convolutions"
        )
    packed, row_of = _images(run, config)
    rows = _asked(run, named)
    by_fold = [of_fold for _, of_fold in rows.groupby("fold", sort=True)]
    asked = [_of_fold(run, config, packed, row_of, of_fold, layer) for of_fold in by_fold]
    found = [call_in_child(_explained, one) for one in asked]  # all, before the earlier maps go
    folder = run.dir / FOLDER
    make_private(folder)
    for path in [*folder.glob("*.png"), folder / FILE_NAME]:
        path.unlink(missing_ok=True)
    cases: list[ExplainedImage] = []
    for of_fold, one in zip(by_fold, found, strict=True):
        for (_, row), heat, alike in zip(of_fold.iterrows(), one.maps, one.alikeness, strict=True):
            name = _about(run.classes, row)
            case = _case(row, name, alike, len(cases) + 1)
            image = central(packed.array[[row_of[case["image_path"]]]], config.augment.crop)
            draw_heat_map(
                image[0].astype("float32"),
                heat,
                _title(case),
                f"speaks for {name}",
                folder / case["picture"],
            )
            cases.append(case)
    content = _judged(cases, found[0].layer)
    write_json(folder / FILE_NAME, with_seal({**content}))
    return content


def _of_fold(
    run: Finished,
    config: Config,
    packed: PackedImages,
    row_of: Mapping[str, int],
    rows: pd.DataFrame,
    layer: str | None,
) -> FoldImages:
    """What is asked of the network of one fold."""
    fold = int(rows["fold"].iloc[0])
    names = [_about(run.classes, row) for _, row in rows.iterrows()]
    return FoldImages(
        config,
        run.classes,
        packed,
        read_environment(run.dir)["key"],
        fold,
        run.dir / f"fold_{fold:02d}" / "best.pt",
        tuple(row_of[path] for path in rows["image_path"]),
        tuple(list(run.classes).index(name) for name in names),
        layer,
    )


def _explained(asked: FoldImages) -> Explained:
    """In a worker, with torch."""
    from pipeline.training.explanation import explain_fold

    return explain_fold(asked)


def _settings(run_dir: Path) -> DictConfig:
    found: Any = OmegaConf.to_container(OmegaConf.load(run_dir / "config.yaml"))
    assert isinstance(found, dict), "it was looked at when the folder was read"
    return OmegaConf.create(recorded_today(found))


def _images(run: Finished, config: Config) -> tuple[PackedImages, Mapping[str, int]]:
    """The cache of decoded images that the run was trained on, and the row of each image in it."""
    if run.cohort is None:
        raise UserError(
            f"run folder {run.dir}: an earlier version wrote it, without cohort.csv; the same cv "
            "command adds it, and trains nothing anew"
        )
    pixels = read_environment(run.dir)["identity"].get("pixels hash", "")
    cache_dir = Path(config.images.cache_dir)
    places = sorted(cache_dir.glob(f"{pixels}*/cache.json")) if pixels else []
    if not places:
        raise UserError(
            f"images.cache_dir {cache_dir} has no decoded images of run folder {run.dir}; the same "
            "cv command makes them again, and trains nothing anew"
        )
    place = places[0].parent
    check_packed(place)
    if not is_sealed(place):
        raise UserError(f"{place} is no whole cache of images; the same cv command makes it again")
    packed = PackedImages(place, pixels)
    if len(packed.array) != len(run.cohort):
        raise UserError(
            f"{place} holds {len(packed.array)} images, cohort.csv of {run.dir} {len(run.cohort)}"
        )
    return packed, {path: row for row, path in enumerate(run.cohort["image_path"])}


def _asked(run: Finished, named: Sequence[str]) -> pd.DataFrame:
    """The rows of predictions.csv that are explained, each image once, and which class of each."""
    table = run.images.drop_duplicates("image_path")
    if named:
        if unknown := sorted(set(named) - set(table["image_path"])):
            raise UserError(
                f"images: {listed(unknown)} not among the images that were tested; "
                f"{run.dir / 'predictions.csv'} names them, e.g. {table['image_path'].iloc[0]!r}"
            )
        return table[table["image_path"].isin(named)].head(MOST_IMAGES)
    worst = {(case["fold"], case["image_path"]) for case in run.failures["cases"]}
    if not worst:
        raise UserError(
            f"run folder {run.dir}: no decision was wrong; name images, e.g. "
            f"images=[{table['image_path'].iloc[0]}]"
        )
    keys = zip(run.images["fold"], run.images["image_path"], strict=True)
    return (
        run.images[[key in worst for key in keys]].drop_duplicates("image_path").head(MOST_IMAGES)
    )


def _about(classes: Sequence[str], row: pd.Series) -> str:
    """The class that was called; of labels that do not exclude each other, the most probable."""
    if not isinstance(classes, LabelNames):
        return str(row["predicted"])
    return max(classes, key=lambda name: float(row[f"prob_{name}"]))


def _case(row: pd.Series, about: str, alike: float | None, number: int) -> ExplainedImage:
    return {
        "fold": int(row["fold"]),
        "patient_id": str(row["patient_id"]),
        "image_path": str(row["image_path"]),
        "label": str(row["label"]),
        "predicted": str(row["predicted"]),
        "about": about,
        "probability": float(row[f"prob_{about}"]),
        "picture": f"explained_{number:02d}.png",
        "alikeness": alike,
    }


def _title(case: ExplainedImage) -> str:
    nothing = "" if case["alikeness"] is not None else f"; nothing speaks for {case['about']}"
    return one_line(
        f"{case['patient_id']}: {case['label']}, called {case['predicted']} "
        f"({case['about']} {case['probability']:.2f}), fold {case['fold']}{nothing}"
    )


def _judged(cases: list[ExplainedImage], layer: str) -> Explanation:
    known = [case["alikeness"] for case in cases if case["alikeness"] is not None]
    alike = median(known) if known else None
    shows = alike is not None and alike < TOO_ALIKE
    what = "networks with random weights"
    if alike is None:
        check = f"no map could be compared with those of {what}: they are blank"
    elif shows:
        check = (
            f"the maps change when the weights are random (rank correlation with {what}: median "
            f"{alike:.2f} of {len(known)} images), so that they show something of what was learned"
        )
    else:
        check = (
            f"the maps hardly change when the weights are random (rank correlation with {what}: "
            f"median {alike:.2f} of {len(known)} images): they show the image, not what was "
            "learned. Do not interpret them; try another layer="
        )
    return {
        "method": "Grad-CAM",
        "layer": layer,
        "cases": cases,
        "alikeness": alike,
        "shows_learning": shows,
        "check": check,
    }
