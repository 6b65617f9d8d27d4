"""Leakage groups dealt to blocks, so that all blocks are alike in images and in patients."""
