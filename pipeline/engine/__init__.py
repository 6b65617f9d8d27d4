"""Where folds run: the run folder, devices, processes, live progress, results."""

PRELOADED = ("pipeline.engine.worker", "pipeline.training.fold", "pipeline.engine.results")
"""What those processes use of ours: imported once, in the process that they are forked from."""
