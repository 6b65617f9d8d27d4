"""Where folds run: the run folder, devices, processes, live progress, results."""
