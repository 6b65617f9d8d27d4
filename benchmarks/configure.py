"""Is what `patientfold configure` writes as good as what a person wrote, in at most twice the time?

    python benchmarks/configure.py [--sets demo hippocampus3d idc kermany] [--rounds 1]
        [--patients N] [--folds 0 1] [--out FILE.json] [--docs docs/configure.md]

For each set, `configure` sees its CSV and images, and no result. Then both experiments are
cross-validated as a user does it, each as a whole process with caches of its own, in turn, with
another training.seed in each round. Compared are the validation AUROC of images in the chosen
epochs, mean of the folds, and the time. `--patients` takes so many patients at random, for a busy
machine. Needs PATIENTFOLD_DATA, but for the demo.
"""

import argparse
import csv
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from speed.machine import machine
from speed.page import put
from speed.process import Ran, run

PATIENTFOLD = [sys.executable, "-m", "pipeline"]
CSVS = {"hippocampus3d": "hippocampus3d", "idc": "idc_patches", "kermany": "kermany_cxr224"}
"""Experiment -> its folder in PATIENTFOLD_DATA."""
SETS = ("demo", *CSVS)
LOSS, TIMES = 0.01, 2.0
"""What the configured experiment may lack of AUROC, and how many times as long it may take."""


@dataclass(frozen=True)
class Trained:
    """One cross-validation."""

    auroc: float
    whole: float
    """Seconds until the prompt was back."""
    processor: float
    """Seconds of all its processes."""


def main() -> None:
    options = _options()
    if set(options.sets) & CSVS.keys() and "PATIENTFOLD_DATA" not in os.environ:
        sys.exit("PATIENTFOLD_DATA must name the folder of the data sets; nothing measured")
    lines = _head(options)
    found = {}
    with tempfile.TemporaryDirectory(prefix="configure_") as folder:
        for name in options.sets:
            place = Path(folder) / name
            place.mkdir()
            found[name] = _compared(name, place, options)
            lines.append(_row(name, found[name]))
            print(lines[-1], flush=True)
    if options.out:
        values = {n: {k: [asdict(t) for t in ts] for k, ts in f.items()} for n, f in found.items()}
        options.out.write_text(json.dumps(values, indent=2) + "\n")
    print("\n".join(lines))
    if options.docs:
        put([*lines, ""], "configured", options.docs)


def _compared(name: str, folder: Path, options: argparse.Namespace) -> dict[str, list[Trained]]:
    """Both experiments, round by round; the configured one is `mine`."""
    data = _data(name, folder, options.patients)
    ran = run([*PATIENTFOLD, "configure", *data, "name=mine"], folder)
    print(f"{name}: configured in {ran.whole:.0f} s ({ran.processor:.0f} s of processor time)")
    print((folder / "conf" / "experiment" / "mine.yaml").read_text(), flush=True)
    found: dict[str, list[Trained]] = {name: [], "mine": []}
    for number in range(options.rounds):
        for experiment in (name, "mine") if number % 2 == 0 else ("mine", name):
            given = data if experiment == name else []
            found[experiment].append(_trained(experiment, given, folder, number, options))
            print(f"  round {number + 1}, {experiment}: {found[experiment][-1]}", flush=True)
    return found


def _data(name: str, folder: Path, num_patients: int | None) -> list[str]:
    """The settings that say where a set's CSV lies; of some patients, a CSV of theirs."""
    if name == "demo":
        run([*PATIENTFOLD, "demo"], folder)
        path = folder / "demo" / "manifest.csv"
    else:
        path = Path(os.environ["PATIENTFOLD_DATA"]).resolve() / CSVS[name] / "manifest.csv"
    if num_patients is None:
        return [f"manifest.path={path}"]
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    at = header.index("patient_id")
    patients = sorted({row[at] for row in rows})
    kept = set(random.Random(0).sample(patients, min(num_patients, len(patients))))
    few = folder / "few.csv"
    with few.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *(row for row in rows if row[at] in kept)])
    return [f"manifest.path={few}", f"manifest.image_root={path.parent}"]


def _trained(
    experiment: str, data: Sequence[str], folder: Path, seed: int, options: argparse.Namespace
) -> Trained:
    run_dir = folder / f"{experiment}_{seed}"
    folds = "all" if options.folds is None else f"[{','.join(map(str, options.folds))}]"
    own = [f"run_dir={run_dir}", f"images.cache_dir={folder}/cache_{experiment}_{seed}"]
    settings = [f"experiment={experiment}", *data, f"training.seed={seed}", f"folds={folds}"]
    ran: Ran = run([*PATIENTFOLD, "cv", *settings, *own], folder)
    return Trained(_auroc(run_dir), ran.whole, ran.processor)


def _auroc(run_dir: Path) -> float:
    """Of the validation images in the chosen epochs, mean of the folds."""
    results = [json.loads(path.read_text()) for path in sorted(run_dir.glob("fold_*/result.json"))]
    return statistics.mean(float(result["val"]["image"]["auroc"]) for result in results)


def _row(name: str, found: dict[str, list[Trained]]) -> str:
    ours, theirs = found["mine"], found[name]
    pairs = list(zip(ours, theirs, strict=True))
    aurocs = [statistics.mean(t.auroc for t in trained) for trained in (theirs, ours)]
    processor = statistics.median(mine.processor / hand.processor for mine, hand in pairs)
    whole = statistics.median(mine.whole / hand.whole for mine, hand in pairs)
    holds = aurocs[1] >= aurocs[0] - LOSS and processor <= TIMES
    difference = f"{aurocs[1] - aurocs[0]:+.3f}"
    return (
        f"| `{name}` | {aurocs[0]:.3f} | {aurocs[1]:.3f} | {difference} | {processor:.2f} "
        f"| {whole:.2f} | {'yes' if holds else 'no'} |"
    )


def _head(options: argparse.Namespace) -> list[str]:
    here = machine(len(os.sched_getaffinity(0)), "cpu")
    arguments = " ".join(word for word in sys.argv[1:] if not word.endswith(".json"))
    arguments = arguments.replace("--out", "").replace("  ", " ").strip()
    return [
        "",
        f"`python benchmarks/configure.py {arguments}`, {here['date']}, {here['processor']};",
        f"{here['packages']}. Rounds: {options.rounds}.",
        "",
        "| set | by hand: AUROC | configured: AUROC | difference | processor time, times | "
        "wall time, times | holds |",
        "|---|---|---|---|---|---|---|",
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--patients", type=int)
    parser.add_argument("--folds", type=int, nargs="+")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--docs", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
