"""200 bad manifests and images: one clear message each, no traceback, no hang, below 1 GiB."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bad_inputs import bad_images, bad_manifests, write_good_images

from pipeline.formats import ImageError
from pipeline.formats.files import checked_format

ROOT = Path(__file__).resolve().parents[2]
SEED = 12
INNARDS = r"MemoryError|IndexError|KeyError|0x[0-9a-f]{8}|\.py"
LOOK = """
import json, signal, sys, warnings
from pathlib import Path
from pipeline.config import ManifestConfig
from pipeline.formats import ImageError, read_image
from pipeline.formats.files import checked_format
from pipeline.manifest import ManifestError, read_manifest

def image(path, spatial_dims):
    checked_format(path)
    read_image(path, spatial_dims, 1)

def manifest(path, _):
    read_manifest(ManifestConfig(name="x", path=str(path)))

look = {"images": image, "manifests": manifest}[sys.argv[1]]
warnings.simplefilter("ignore")
for name in json.load(sys.stdin):
    refusals = []
    for spatial_dims in (2, 3):
        signal.alarm(20)
        try:
            look(Path(name), spatial_dims)
        except (ImageError, ManifestError) as error:
            refusals.append(str(error))
    status = Path("/proc/self/status").read_text()  # ru_maxrss begins at that of the parent
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps([name, refusals, peak]), flush=True)
"""


def look_at(kind: str, paths: list[Path]) -> dict[str, list[str]]:
    """What a process of its own says of each file; a hang ends it, and it stays below 1 GiB."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, kind],
        input=json.dumps([str(path) for path in paths]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    at = paths[len(lines)] if len(lines) < len(paths) else "the end"
    assert done.returncode == 0, f"at {at}: {done.stderr[-3000:]}"
    assert max(peak for _, _, peak in lines) < 2**30
    assert "Traceback" not in done.stderr
    return {Path(name).name: refusals for name, refusals, _ in lines}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(bad_images(tmp_path_factory.mktemp("images"), SEED))


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("manifests")
    write_good_images(folder)
    return list(bad_manifests(folder, SEED))


def test_there_are_200_of_them(images: list[Path], manifests: list[Path]) -> None:
    assert len({*images, *manifests}) == len(images) + len(manifests) >= 200


def test_every_bad_image_is_refused_with_one_line(images: list[Path]) -> None:
    said = look_at("images", images)
    assert len(said) == len(images) > 120
    for name, refusals in said.items():
        # Noise may happen to be pixels; whatever else is refused, as 2D and as 3D.
        assert len(refusals) == 2 or name.startswith("noise_"), name
        for refusal in refusals:
            assert re.fullmatch(r"[^\n]{5,700}", refusal), (name, refusal)
            assert not re.search(r"MemoryError|IndexError|KeyError|0x[0-9a-f]{8}|\.py", refusal), (
                name
            )


def test_every_bad_manifest_is_refused_and_named(manifests: list[Path]) -> None:
    said = look_at("manifests", manifests)
    assert len(said) == len(manifests) > 60
    for name, refusals in said.items():
        assert len(refusals) == 2, name
        assert name in refusals[0]
        assert len(refusals[0]) < 20_000, name
        assert max(map(len, refusals[0].splitlines())) < 6000, name


def is_known(path: Path) -> bool:
    try:
        return checked_format(path) is not None
    except ImageError:
        return False


def test_check_and_make_manifest_end_with_all_of_them_at_once(
    tmp_path: Path, images: list[Path]
) -> None:
    folder = images[0].parent
    write_good_images(tmp_path)
    good = [f"good{path.name}" for path in sorted(tmp_path.glob("*.png"))]
    for name in good:
        (folder / name).write_bytes((tmp_path / name.removeprefix("good")).read_bytes())
    (folder / "manifest.csv").unlink(missing_ok=True)
    everything = [path.name for path in images if "\0" not in path.name]
    of_known_format = [name for name in everything if is_known(folder / name)]
    shorter = [name for name in of_known_format if "sparse" not in name]
    assert len(shorter) > 50

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "pipeline", *arguments]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, timeout=250, env=environment
        )
        said = done.stdout + done.stderr
        assert done.returncode == 1, said
        assert "Traceback" not in said
        return said

    for names, expected in (
        (everything, r"is a pipe, not a file|and \d+ more"),
        (of_known_format, r"has 1,000,000,000,128 bytes"),
        (
            [n for n in of_known_format if "sparse" not in n],
            r"cannot be decoded: its header claims|and \d+ more",
        ),
    ):
        with (tmp_path / "m.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["patient_id", "image_path", "label"])
            for row, name in enumerate([*good, *names]):
                writer.writerow([f"P{row // 2:03d}", name, "ab"[row // 2 % 2]])
        arguments = ("manifest.name=x", "manifest.path=m.csv", f"manifest.image_root={folder}")
        assert re.search(expected, run("check", *arguments, "split.num_folds=3"))
    said = run("make-manifest", "source=dicom", f"root={folder}")
    assert re.search(r"\d+ damaged files; restore from the archive", said)
