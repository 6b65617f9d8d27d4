"""Classifiers of scikit-learn on features of an image, in the folds of the networks.

Imports neither torch nor monai.
"""

from pipeline.baselines.baseline import Baseline

__all__ = ["Baseline"]
