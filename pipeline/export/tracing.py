"""The graph of an ensemble, traced by torch.export: what PyTorch and ONNX files are made of."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.export import Dim, ExportedProgram, export

from pipeline.config import UserError
from pipeline.export.handover import Handover
from pipeline.training.torch_file import first_line

EXAMPLES = 2
"""A batch of one would be taken for a batch that is always of one."""
TALKATIVE = ("torch", "onnx", "onnxscript", "onnx_ir")
KEEP = "to=folder and to=mlflow keep the network itself"


def traced(handover: Handover) -> ExportedProgram:
    """For a batch of any size; it remembers neither files nor lines of code.

    Raises:
        UserError: the network's code cannot be traced.
    """
    images = torch.from_numpy(handover.probe(EXAMPLES))
    with quietly(), told(handover, "cannot be traced by torch.export"), torch.no_grad():
        program = export(
            handover.graph, (images,), dynamic_shapes={"images": {0: Dim("batch", min=1)}}
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


@contextmanager
def told(handover: Handover, what: str) -> Iterator[None]:
    """Turn whatever a tracer or converter raises into one message."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  (tracers fail in any way)
        raise UserError(f"{handover.model} {what} ({first_line(error)[:300]}); {KEEP}") from None


@contextmanager
def quietly() -> Iterator[None]:
    """Without the warnings of tracers, which tell users nothing that they can mend."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
