"""to=onnx: one graph for the whole ensemble, and a script that uses it without this package."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import torch

from pipeline.config import UserError
from pipeline.export import run_onnx
from pipeline.export.handover import Handover
from pipeline.export.sums import seal
from pipeline.export.tracing import quietly, told, traced

FILE_NAME, SCRIPT = "model.onnx", "run_onnx.py"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
OUTPUTS = ["member_probabilities", "probabilities"]
MOST_INSIDE = 2**30
"""Bytes of weights that are kept within the graph's file; one of 2 GiB cannot be."""


def write(handover: Handover, folder: Path) -> list[str]:
    """Fill the folder, and try what was written with onnxruntime."""
    if lacking := [name for name in NEEDED if find_spec(name) is None]:
        raise UserError(
            f"to=onnx needs {', '.join(lacking)}, not installed here: pip install "
            "'patientfold[onnx]'"
        )
    program = traced(handover)
    handover.lay(folder)
    with quietly(), told(handover, "cannot be written as ONNX"), torch.no_grad():
        made = torch.onnx.export(
            program, input_names=["images"], output_names=OUTPUTS, dynamo=True, verbose=False
        )
        assert made is not None, "no file was named, so that the graph is returned"
        for node in made.model.graph.all_nodes():
            node.metadata_props.clear()  # files and lines of code on this machine
        size = sum(path.stat().st_size for path in (folder / "weights").iterdir())
        made.save(folder / FILE_NAME, external_data=size > MOST_INSIDE)
    shutil.copyfile(run_onnx.__file__, folder / SCRIPT)
    _try(handover, folder / FILE_NAME)
    seal(folder)
    missing = run_onnx.unsupported(handover.contents.plain)
    can = f"python {SCRIPT} IMAGE"
    if missing:
        can += f" takes prepared .npy arrays only: it cannot do {'; '.join(missing)}"
    return [f"without patientfold: {can}"]


def _try(handover: Handover, path: Path) -> None:
    """UserError unless onnxruntime gives the same, for batches of one and of several."""
    with quietly(), told(handover, "is an ONNX file that onnxruntime does not run"):
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for images in (handover.probe(1), handover.probe()):
            members, _ = session.run(OUTPUTS, {"images": images})
            handover.check_same(images, members, "ONNX")
