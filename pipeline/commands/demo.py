"""Make the demo here, demo/manifest.csv and the images that it lists: patientfold demo

Drawn, not scanned. Every patient has an anatomy of their own (outline, texture, brightness), so
that a split by image would cheat as it does on real data. A lesion is a bright core in a fainter
ring, and some are too faint to see.
"""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.commands.settings import NoSettings
from pipeline.console import tell
from pipeline.errors import UserError
from pipeline.files import write_whole
from pipeline.words import counted

DEMO = Path("demo")
"""In the current folder; conf/manifest/demo.yaml finds it there."""
HEADER = "patient_id,image_path,label,site"
SEED = 2024
SIZE = 64  # pixels a side
SITES = {"north": (34, 11), "south": (25, 7), "west": (19, 6)}  # patients, of them with a lesion
SCANNERS = {"north": (1.0, 0.0, 0.030), "south": (0.95, 0.5, 0.022), "west": (1.05, 0.25, 0.036)}
"""Gain, blur and noise."""

Pixels = NDArray[np.float64]  # (SIZE, SIZE) unless said otherwise; 0 is black and 1 is white
X: Pixels = np.linspace(-1, 1, SIZE)[None, :]
Y: Pixels = np.linspace(-1, 1, SIZE)[:, None]


@dataclass(frozen=True, slots=True)
class Patient:
    """One drawn patient; all images of a patient carry the patient's label."""

    number: int  # from 1
    site: str
    label: str
    num_images: int

    @property
    def patient_id(self) -> str:
        return f"P{self.number:03d}"

    def image_path(self, image: int) -> str:
        """Path of image 1..num_images, relative to the image root."""
        return f"images/{self.patient_id}/{image:02d}.png"


class Draws:
    """Random numbers of one patient (image 0) or of one image, independent of all others.

    Only PCG64's uniform numbers are used: unlike `normal`, their stream does not change with numpy.
    """

    def __init__(self, patient: int, image: int = 0) -> None:
        self._generator = np.random.Generator(np.random.PCG64([SEED, patient, image]))

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._generator.random())

    def uniform(self, count: int) -> Pixels:
        """(count,) numbers from 0 to 1."""
        return self._generator.random(count)

    def normal(self) -> Pixels:
        """Nearly normal noise, mean 0 and SD 1: a sum of uniform numbers."""
        total: Pixels = self._generator.random((4, SIZE, SIZE)).sum(axis=0)
        return (total - 2) * math.sqrt(3)


def demo_patients() -> list[Patient]:
    """All patients, by number; sites and labels are mixed."""
    kinds = [
        (site, "lesion" if i < num_lesion else "healthy")
        for site, (num_patients, num_lesion) in SITES.items()
        for i in range(num_patients)
    ]
    draws = Draws(patient=0)
    order: list[int] = np.argsort(draws.uniform(len(kinds)), kind="stable").tolist()
    return [
        Patient(number, *kinds[kind], num_images=1 + int(9 * draws.between(0, 1) ** 0.6))
        for number, kind in enumerate(order, start=1)
    ]


def demo_images() -> Iterator[tuple[Patient, int]]:
    """Every image: its patient, and its number from 1."""
    for patient in demo_patients():
        for image in range(1, patient.num_images + 1):
            yield patient, image


def manifest_text() -> str:
    """The whole manifest, one row per image; `data_manifests/demo.csv` shows it."""
    rows = [
        f"{patient.patient_id},{patient.image_path(image)},{patient.label},{patient.site}"
        for patient, image in demo_images()
    ]
    return "\n".join([HEADER, *rows, ""])


def draw_image(patient: Patient, image: int) -> NDArray[np.uint8]:
    """Pixels (SIZE, SIZE) of one image; needs no other image."""
    own, shot = Draws(patient.number), Draws(patient.number, image)
    pixels, outline = _anatomy(own, shot)
    pixels += outline * _marks(shot, patient.label)
    pixels = _scan(pixels, patient.site, shot)
    levels: NDArray[np.uint8] = np.rint(255 * pixels.clip(0, 1)).astype(np.uint8)
    return levels


def _anatomy(own: Draws, shot: Draws) -> tuple[Pixels, Pixels]:
    """The patient's organ in this slice, and its soft outline (1 inside, 0 outside)."""
    tilt, wide, high = own.between(-0.5, 0.5), own.between(0.66, 0.86), own.between(0.76, 0.94)
    x = X - own.between(-0.06, 0.06) - shot.between(-0.02, 0.02)
    y = Y - own.between(-0.06, 0.06) - shot.between(-0.02, 0.02)
    slice_size = shot.between(0.95, 1.02)
    across = (x * np.cos(tilt) + y * np.sin(tilt)) / (wide * slice_size)
    along = (y * np.cos(tilt) - x * np.sin(tilt)) / (high * slice_size)
    radius = np.hypot(across, along)
    outline = ((1 - radius) / 0.10).clip(0, 1)
    rim = _bump((radius - 0.95) / own.between(0.03, 0.06)) * own.between(0.06, 0.16)
    tissue = own.between(0.27, 0.35) + own.between(0.03, 0.06) * _waves(own, 24, 3.5)
    tissue += own.between(0.01, 0.04) * _waves(own, 6, 8.0)
    return outline * (tissue + 0.015 * _waves(shot, 12, 3.0)) + rim, outline


def _waves(draws: Draws, count: int, most_cycles: float) -> Pixels:
    """A smooth random field with SD 1: `count` waves of up to `most_cycles` cycles a picture."""
    angle, phase = np.pi * draws.uniform(count), 2 * np.pi * draws.uniform(count)
    turns = np.pi * (0.5 + (most_cycles - 0.5) * draws.uniform(count))
    # cos(a + b) = cos a cos b - sin a sin b: two products instead of a cosine a pixel and wave.
    across = (turns * np.cos(angle) * X.T + phase).T  # (count, SIZE)
    along = turns * np.sin(angle) * Y  # (SIZE, count)
    field = np.cos(along) @ np.cos(across) - np.sin(along) @ np.sin(across)
    return np.asarray(field / math.sqrt(count / 2))


def _marks(shot: Draws, label: str) -> Pixels:
    """Vessels and cysts, which everybody may have, and the lesion of those who have one."""
    marks = np.zeros((SIZE, SIZE))
    for _ in range(int(shot.between(1, 4))):  # vessels: thin bright streaks
        across, along = _place(shot)
        marks += shot.between(0.05, 0.12) * _bump(across / 0.035) * _bump(along / 0.16)
    for _ in range(int(shot.between(0, 3 if label == "healthy" else 2.6))):  # cysts: dark, soft
        across, along = _place(shot)
        marks -= shot.between(0.08, 0.16) * _bump(np.hypot(across, along) / 0.11)
    if label == "lesion":  # a bright core in a fainter ring
        across, along = _place(shot)
        size = shot.between(0.09, 0.15)
        distance = np.hypot(across, along * shot.between(0.8, 1.25)) / size
        marks += shot.between(0.11, 0.62) * (_bump(distance) + 0.4 * _bump((distance - 2.2) / 0.4))
    return marks


def _place(shot: Draws) -> tuple[Pixels, Pixels]:
    """Coordinates around a random point inside the organ, turned by a random angle."""
    turn, angle = shot.between(0, 2 * np.pi), shot.between(0, 2 * np.pi)
    reach = 0.55 * math.sqrt(shot.between(0, 1))  # the root spreads the points evenly over the disc
    x, y = X - reach * np.cos(turn), Y - reach * np.sin(turn)
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _bump(distance: Pixels) -> Pixels:
    """1 at distance 0, falling off smoothly."""
    return np.asarray(np.exp(-0.5 * distance**2))


def _scan(pixels: Pixels, site: str, shot: Draws) -> Pixels:
    """What the site's scanner makes of it: gain, blur, noise."""
    gain, blur, noise = SCANNERS[site]
    for axis in (0, 1):
        around = (np.roll(pixels, 1, axis) + np.roll(pixels, -1, axis)) / 2
        pixels = (1 - blur) * pixels + blur * around
    return gain * pixels + 0.03 + noise * shot.normal()


def make_images(image_root: Path) -> int:
    """Write every image that is missing or differs; return how many were written."""
    num_written = 0
    for patient, image in demo_images():
        path, png = image_root / patient.image_path(image), io.BytesIO()
        Image.fromarray(draw_image(patient, image)).save(png, format="PNG")
        if not path.is_file() or path.read_bytes() != png.getvalue():
            write_whole(path, png.getvalue())
            num_written += 1
    return num_written


def write_manifest(path: Path) -> None:
    """Write the manifest, unless it is there; another file in its place is an error."""
    text = manifest_text()
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        raise UserError(f"{path} exists and is not the demo's; move it, or work in another folder")
    write_whole(path, text)


def main(_: NoSettings) -> None:
    """Make the demo in the current folder, and say what comes next."""
    write_manifest(DEMO / "manifest.csv")
    num_written = make_images(DEMO)
    num_there = sum(1 for _ in demo_images()) - num_written
    tell(
        f"{DEMO}/: {counted(num_written, 'image')} written"
        + f", {num_there} were there" * (num_there > 0)
    )
    tell("next: patientfold cv experiment=demo")
