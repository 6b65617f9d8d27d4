"""In which batches images are predicted, in training and afterwards alike. Imports no torch."""

EVAL_BATCH = {"cpu": 64, "cuda": 256}
"""Images a forward pass takes at once: what fits a CPU's cache, what fills a GPU."""


def bounds(number: int, size: int) -> list[tuple[int, int]]:
    """Where each batch of `number` images begins and ends.

    A last batch of one joins its neighbour, for batch norm needs two.
    """
    found = [(begin, min(begin + size, number)) for begin in range(0, number, size)]
    if len(found) > 1 and found[-1][1] - found[-1][0] == 1:
        found[-2:] = [(found[-2][0], number)]
    return found
