"""The process that forks workers: it imports the heavy packages once for all of them."""

import os
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerContext

PRELOAD = [
    "pipeline.engine.worker",
    "pipeline.images.packing",
    "monai.networks.nets",
    "sklearn.metrics",
]


def start_forkserver() -> ForkServerContext:
    """Start it, if it does not run yet; its imports go on beside whatever the caller does next.

    It must never touch CUDA: a forked process cannot use a CUDA context of its parent.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()
    return context
