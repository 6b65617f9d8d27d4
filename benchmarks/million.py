"""What `check` and `plan` cost for a million images of 100,000 patients, pixels not looked at.

    python benchmarks/million.py [--rows 1000000] [--keep FOLDER]

Makes a manifest with site, study, date and age, and an image file for each row: a real PNG of one
pixel, no two of them alike, so that nobody is joined by a copy. Each command is a process of its
own; its seconds, its processor time and the peak of its memory (its own processes together count
as many times as they are) are printed. Files of one size make the search for identical files work
hardest: each is read. A folder that is kept is used again.
"""

import argparse
import csv
import os
import struct
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

IMAGES_PER_PATIENT = 10
FILES_PER_FOLDER = 10_000
SITES = ("Aachen", "Basel", "Cork", "Delft", "Essen")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="where the manifest and its images stay")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        manifest = folder / f"rows_{args.rows}.csv"
        if not manifest.exists():
            make(manifest, args.rows)
        print(f"{args.rows:,} images of {args.rows // IMAGES_PER_PATIENT:,} patients")
        columns = "{patient: patient, image: image, label: finding, site: site, study: study, "
        shared = [
            f"manifest.path={manifest}",
            "manifest.name=million",
            f"manifest.columns={columns}date: date}}",
            "audit.content=false",
        ]
        for command, own in (
            ("check", [f"audit.out_dir={folder / 'check'}"]),
            ("plan", [f"plan.out={folder / 'plan.csv'}", "split.stratify=[age,site]"]),
        ):
            run(command, [*shared, *own], folder)


def run(command: str, overrides: list[str], folder: Path) -> None:
    """Print what it takes; the output of one that fails is shown."""
    log = folder / f"{command}.log"
    started = time.monotonic()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "pipeline", command, *overrides],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    _, status, used = os.wait4(pid, 0)
    seconds, code = time.monotonic() - started, os.waitstatus_to_exitcode(status)
    print(
        f"{command:6} {seconds:6.1f} s, processor {used.ru_utime + used.ru_stime:6.1f} s, "
        f"memory {used.ru_maxrss / 1e6:5.2f} GB, exit code {code}"
    )
    if code:
        print(log.read_text()[-4000:])


def make(manifest: Path, num_rows: int) -> None:
    """A manifest as a hospital exports it, and its images."""
    rng, root = np.random.default_rng(0), manifest.parent
    num_patients = max(1, num_rows // IMAGES_PER_PATIENT)
    patient = np.sort(rng.integers(0, num_patients, num_rows))
    site = rng.integers(0, len(SITES), num_patients)
    ill = rng.random(num_patients) < 0.2 + 0.05 * site
    age = rng.integers(18, 95, num_patients)
    visit, day = rng.integers(1, 4, num_rows), rng.integers(0, 3650, num_rows)
    days = np.datetime_as_string(np.datetime64("2014-01-01") + day)
    with manifest.with_suffix(".part").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient", "image", "finding", "site", "study", "date", "age"])
        for row, who in enumerate(patient.tolist()):
            folder = root / "images" / f"{row // FILES_PER_FOLDER:03d}"
            if row % FILES_PER_FOLDER == 0:
                folder.mkdir(parents=True, exist_ok=True)
            image = folder / f"{row:07d}.png"
            image.write_bytes(picture(row))
            writer.writerow(
                [
                    f"P{who:06d}",
                    image.relative_to(root),
                    "ill" if ill[who] else "healthy",
                    SITES[site[who]],
                    f"P{who:06d}/{visit[row]}",
                    days[row],
                    age[who],
                ]
            )
    manifest.with_suffix(".part").rename(manifest)


def picture(number: int) -> bytes:
    """A grey PNG of one pixel, with a number in its text."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    pixel = zlib.compress(bytes([0, number % 256]))
    text = b"Comment\0%08d" % number
    parts = ((b"IHDR", header), (b"tEXt", text), (b"IDAT", pixel), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


if __name__ == "__main__":
    main()
