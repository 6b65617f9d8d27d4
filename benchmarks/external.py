"""Which new images are flagged as unlike training, and which are known again; on real images.

    PATIENTFOLD_DATA=/folder python benchmarks/external.py [--sets idc kermany hippocampus3d]

Of each set a fifth of the patients is new in turn, and the others are those of training.

- False alarms: share of the new patients' images that are flagged as unlike (`unlike`), in all
  and for each reason; and that are taken for a picture of training (`known`), with the highest
  share of equal signs.
- Detection: images of the other sets, and the set's own images changed as by a mistake in the way
  to here (turned, inverted, another window, a mask in the place of the image), read with the
  settings of the set. What cannot even be read with them counts by itself.
- Copies: images of training saved again with loss, scaled, cropped, flipped: how many are known.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from pipeline.audit.marks import SAME_PICTURE, are_flat, marks_of, most_alike, spectra
from pipeline.audit.reach import Reach
from pipeline.commands.door import load_config
from pipeline.config import ImagesConfig
from pipeline.ensemble.look import Looks
from pipeline.ensemble.unlike import unlike
from pipeline.formats import ImageError
from pipeline.images.decoding import DecodedImage, Decoder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "files"))
from planted import CHANGES, VOLUME_CHANGES

SETS = {"idc": "idc_patches", "kermany": "kermany_cxr224", "hippocampus3d": "hippocampus3d"}
OTHERS = ("idc_patches", "kermany_cxr224", "osteosarcoma_tiny")
NUM_FOLDS = 5
Mistake = Callable[[Image.Image], Image.Image]
Volume = NDArray[np.float32]


class Seen(NamedTuple):
    """Images of a set, read with the settings of one."""

    looks: Looks
    files: list[Path]
    patients: list[str]
    size: int
    num_unreadable: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--patients", type=int, default=0, help="of each set; 0: all")
    parser.add_argument("--each", type=int, default=300, help="images of each kind of detection")
    arguments = parser.parse_args()
    data = os.environ.get("PATIENTFOLD_DATA")
    if data is None:
        sys.exit("error: set PATIENTFOLD_DATA to the folder that holds the data sets")
    console = Console(width=100)
    for name in arguments.sets:
        measure(name, Path(data), arguments.patients, arguments.each, console)


def measure(name: str, data: Path, num: int, each: int, console: Console) -> None:
    """Print the tables of one set."""
    folder = data / SETS[name]
    config = load_config([f"experiment={name}", "audit.content=false"]).images
    table = pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)
    table = table[table["label"] != ""]
    if num:
        kept = table["patient_id"].drop_duplicates().sample(frac=1, random_state=0)
        table = table[table["patient_id"].isin(kept.head(num))]
    files = [folder / path for path in table["image_path"]]
    seen = read(files, table["patient_id"].tolist(), config)
    console.print(
        f"\n[bold]{name}[/bold]: {len(seen.patients):,} images, {seen.num_unreadable} not readable"
    )
    patients = pd.factorize(np.array(seen.patients))[0]
    block = np.random.default_rng(0).permutation(patients.max() + 1) % NUM_FOLDS
    fold = block[patients]
    show_false_alarms(seen, fold, console)
    train = fold != 0
    reach = reach_of(seen, train)
    marks = marks_of(seen.looks.spectrum[train & ~seen.looks.flat])
    new, old = (
        [f for f, of in zip(seen.files, train, strict=True) if bool(of) == is_old]
        for is_old in (False, True)
    )
    show_detection(config, reach, kinds(name, data, new, each), console)
    show_copies(old, config, marks, each, console)


def reach_of(seen: Seen, rows: NDArray[np.bool_]) -> Reach:
    at = np.flatnonzero(rows)
    who = [seen.patients[row] for row in at.tolist()]
    facts = [seen.looks.facts[row] for row in at.tolist()]
    return Reach.of(seen.looks.pictures, at, facts, seen.size, who, who)


def part(looks: Looks, rows: NDArray[np.bool_]) -> Looks:
    return Looks(looks.pictures[rows], [looks.facts[row] for row in np.flatnonzero(rows).tolist()])


def show_false_alarms(seen: Seen, fold: NDArray[np.int64], console: Console) -> None:
    reasons: Counter[str] = Counter()
    flagged, known, likeness, of_patients = 0, 0, 0.0, []
    for number in range(NUM_FOLDS):
        new = part(seen.looks, fold == number)
        found = unlike(reach_of(seen, fold != number), new)
        flags = np.array([bool(reason) for reason in found])
        flagged += int(flags.sum())
        who = np.array(seen.patients)[fold == number]
        of_patients.append(pd.Series(flags).groupby(who).mean())
        reasons += counted(found)
        rest = (fold != number) & ~seen.looks.flat
        alike = most_alike(new.spectrum, marks_of(seen.looks.spectrum[rest]))[~new.flat]
        known += int((alike >= SAME_PICTURE).sum())
        likeness = max(likeness, float(alike[alike < SAME_PICTURE].max()))
    num = len(seen.patients)
    each = ", ".join(f"{why} {100 * count / num:.2f} %" for why, count in reasons.most_common())
    share = 100 * float(pd.concat(of_patients).mean())
    console.print(
        f"held out, 5 folds: unlike {100 * flagged / num:.2f} % of images, {share:.2f} % where "
        f"each patient counts the same ({each}); known again {known} "
        f"of {num:,} from {SAME_PICTURE} on, the next at {likeness:.3f}"
    )


def counted(found: Sequence[str]) -> Counter[str]:
    """Reason -> images that it is said of."""
    each = [{of.partition(":")[0] for of in why.split("; ") if of} for why in found]
    return Counter(reason for reasons in each for reason in reasons)


def show_detection(
    config: ImagesConfig, reach: Reach, kinds: Iterator[tuple[str, list[Path]]], console: Console
) -> None:
    table = Table("images", "read", "flagged", "by reason", title="detection")
    for kind, files in kinds:
        seen = read(files, [""] * len(files), config)
        found = unlike(reach, seen.looks) if seen.patients else []
        reasons = counted(found)
        each = ", ".join(f"{why} {100 * n / len(found):.0f} %" for why, n in reasons.most_common())
        share = 100 * sum(map(bool, found)) / max(1, len(found))
        table.add_row(
            kind, f"{len(found)} of {len(files)}", f"{share:.1f} %" if found else "", each
        )
    console.print(table)


def kinds(
    name: str, data: Path, own: Sequence[Path], each: int
) -> Iterator[tuple[str, list[Path]]]:
    """Images that are of another kind than a set's."""
    drawn = np.random.default_rng(0).permutation(len(own))[:each]
    some = [own[i] for i in drawn]
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        if name == "hippocampus3d":
            for kind, change in VOLUME_MISTAKES.items():
                yield (
                    kind,
                    [
                        _changed_volume(path, change, out / f"{i}_{kind}.nii.gz")
                        for i, path in enumerate(some)
                    ],
                )
            yield (
                "mask instead of the image",
                [path.parents[1] / "labels" / path.name for path in some],
            )
            return
        for other in OTHERS:
            if other != SETS[name]:
                table = pd.read_csv(data / other / "manifest.csv", dtype=str)
                paths = table["image_path"].sample(frac=1, random_state=0).head(each)
                yield other, [data / other / path for path in paths]
        for kind, mistake in MISTAKES.items():
            changed = []
            for i, path in enumerate(some):
                with Image.open(path) as image:
                    mistake(image.convert("L" if image.mode == "L" else "RGB")).save(
                        to := out / f"{i}_{kind}.png"
                    )
                changed.append(to)
            yield kind, changed


MISTAKES: dict[str, Mistake] = {
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "upside down": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "flipped": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "inverted": lambda image: image.point(
        [255 - value for value in range(256)] * len(image.getbands())
    ),
    "half as bright": lambda image: image.point(
        [value // 2 for value in range(256)] * len(image.getbands())
    ),
    "middle quarter, enlarged": lambda image: image.crop(
        (image.width // 4, image.height // 4, image.width * 3 // 4, image.height * 3 // 4)
    ).resize(image.size),
    "noise": lambda image: Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (image.height, image.width, 3)).astype(np.uint8)
    ),
}


def _noise(values: Volume) -> Volume:
    return np.random.default_rng(0).normal(size=values.shape).astype(np.float32)


VOLUME_MISTAKES: dict[str, Callable[[Volume], Volume]] = {
    "axes exchanged": lambda values: np.ascontiguousarray(np.swapaxes(values, 0, 1)),
    "upside down": lambda values: np.ascontiguousarray(values[:, :, ::-1]),
    "inverted": lambda values: values.max() - values,
    "half of it": lambda values: np.ascontiguousarray(values[: values.shape[0] // 2]),
    "noise": _noise,
}


def _changed_volume(path: Path, change: Callable[[Volume], Volume], to: Path) -> Path:
    image = nibabel.load(path)
    values = change(np.asarray(image.dataobj, np.float32))
    nibabel.save(nibabel.Nifti1Image(values, image.affine), to)
    return to


def show_copies(
    files: Sequence[Path],
    config: ImagesConfig,
    marks: NDArray[np.uint8],
    each: int,
    console: Console,
) -> None:
    is_volume = files[0].name.endswith(".nii.gz")
    drawn = np.random.default_rng(1).permutation(len(files))[:each]
    table = Table("copies", "known", "lowest tenth of equal signs", title="copies of training")
    decoder = Decoder(config)
    with tempfile.TemporaryDirectory() as temporary:
        for kind, change in (VOLUME_CHANGES if is_volume else CHANGES).items():
            found = []
            for number, i in enumerate(drawn):
                path = _copy(files[i], change, number, Path(temporary))
                images = _decoded_anyhow(decoder, path)
                if images is not None and not are_flat(images)[0]:
                    found.append(float(most_alike(spectra(images), marks)[0]))
            share = 100 * np.mean(np.array(found) >= SAME_PICTURE)
            table.add_row(kind, f"{share:.1f} % of {len(found)}", f"{np.quantile(found, 0.1):.3f}")
    console.print(table)


def _copy(path: Path, change, number: int, folder: Path) -> Path:  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(number)
    if path.name.endswith(".nii.gz"):
        image = nibabel.load(path)
        (values,) = change(np.asarray(image.dataobj, np.float32)[None], generator)
        nibabel.save(nibabel.Nifti1Image(values, image.affine), to := folder / "copy.nii.gz")
        return to
    with Image.open(path) as image:
        change(image.convert("L" if image.mode == "L" else "RGB"), generator).save(
            to := folder / "copy.png"
        )
    return to


def _decoded_anyhow(decoder: Decoder, path: Path) -> NDArray[np.uint8] | None:
    """Thumbnails alone: what the network gets of a copy does not matter here."""
    from pipeline.formats import read_image
    from pipeline.images.decoding import thumbnails

    try:
        image = read_image(path, decoder.config.spatial_dims, decoder.config.num_channels, None)
    except ImageError:
        return None
    return thumbnails(image.pixels)[None]


def read(files: Sequence[Path], patients: Sequence[str], config: ImagesConfig) -> Seen:
    """As `predict` reads them."""
    if not files:
        return Seen(Looks(np.zeros((0, 1, 64, 64), np.uint8), []), [], [], 1, 0)
    shape = (config.num_channels, *_size(config))
    with ProcessPoolExecutor() as pool:
        parts = np.array_split(np.arange(len(files)), min(64, len(files)))
        chunks = [[files[i] for i in some] for some in parts]
        found = [of for some in pool.map(partial(_read, config, shape), chunks) for of in some]
    good = [i for i, of in enumerate(found) if of is not None]
    images = [of for of in found if of is not None]
    if not images:
        return Seen(Looks(np.zeros((0, 1, 64, 64), np.uint8), []), [], [], 1, len(files))
    looks = Looks(np.stack([of.thumbnails for of in images]), [of.facts for of in images])
    size = int(np.prod(shape[1:]))
    kept = [files[i] for i in good]
    return Seen(looks, kept, [patients[i] for i in good], size, len(files) - len(good))


def _size(config: ImagesConfig) -> tuple[int, ...]:
    if config.size is not None:
        return tuple(config.size) * (config.spatial_dims if len(config.size) == 1 else 1)
    (leaf,) = [of for of in config.transforms if "spatial_size" in of]
    return tuple(leaf["spatial_size"])


def _read(
    config: ImagesConfig, shape: tuple[int, ...], files: Sequence[Path]
) -> list[DecodedImage | None]:
    import torch

    torch.set_num_threads(1)
    dtype = "uint8" if config.dtype == "auto" else config.dtype  # what auto takes for these sets
    decoder = Decoder(replace(config, dtype=dtype))
    found: list[DecodedImage | None] = []
    for path in files:
        try:
            found.append(decoder.decoded((path,), shape, dtype))
        except ImageError:
            found.append(None)
    return found


if __name__ == "__main__":
    main()
