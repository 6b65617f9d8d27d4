"""What does the network look at? patientfold explain run_dir=runs/demo/...

Grad-CAM for the images of the worst mistakes, or for images=[a.png,b.png], as predictions.csv names
them. Each image is explained by the network of the fold that tested its patient, never by one that
was trained on him. Needs the run folder and the cache of decoded images.

Writes explain/*.png and explain.json into the run folder. The check against networks with random
weights says whether the maps show what was learned.
"""

from pathlib import Path

from rich.console import Console

from pipeline.commands.settings import ExplainSettings
from pipeline.console import say
from pipeline.engine.access import IN_USE
from pipeline.engine.explaining import explain
from pipeline.engine.finished import Finished
from pipeline.files import lock
from pipeline.words import counted, one_line


def main(settings: ExplainSettings) -> None:
    """Explain, and tell what the check found."""
    run, console = Finished.read(Path(settings.run_dir)), Console()
    with lock(run.dir / ".lock", IN_USE.format(run.dir)):
        found = explain(run, settings.images, settings.layer)
    say([f"Grad-CAM of {counted(len(found['cases']), 'image')}, layer {found['layer']}"], console)
    say([found["check"]], console, style=None if found["shows_learning"] else "bold red")
    say([one_line(f"written: {run.dir}/explain/explain.json and pictures")], console)
