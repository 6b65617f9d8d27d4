"""Leak-free cross-validation experiments for medical imaging."""

__version__ = "0.1.0"
