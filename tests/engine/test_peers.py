"""The workers of one fold: they write what one writes, and end together."""
