"""Splits that somebody else made, read in any of the usual forms; unlike a `Plan` they may leak."""
