"""A first experiment: the data is looked at once, and rules choose the settings."""
