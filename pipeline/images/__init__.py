"""Pixels: decoded once into a packed cache, gathered in batches, augmented on the device."""
