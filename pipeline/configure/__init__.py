"""A first experiment without a manual: the data is looked at once, and rules choose the settings."""
