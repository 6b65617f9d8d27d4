"""Which network, in which steps, for how long."""

import math

from pipeline.configure.fingerprint import Fingerprint
from pipeline.configure.rules.images import few_aligned_volumes
from pipeline.configure.rules.rule import Choice, Chosen, rule
from pipeline.words import counted

MANY_IMAGES, LARGE_SIDE = 5_000, 96
"""From so many images of so many pixels a side on, a GPU trains the larger network."""
BATCHES = (64, 32, 16, 8)
FEWEST_STEPS = 8
"""Of an epoch."""
BYTES_PER_PIXEL = {"cnn_small": 600, "resnet10": 1_300, "resnet18": 2_000}
"""What a network keeps of an image while it trains, in 2D and 3D; tests/configure/test_memory.py
measures it."""
MEMORY_SHARE = 0.5
"""Of what is free for a fold."""
LEARNING_RATE, RATE_OF_FEW = 3e-3, 1e-3
"""At batches of 64, where it shrinks with the root of their size; and of the network for few."""
STEPS, MOST_EPOCHS, FEWEST_EPOCHS = 1_500, 20, 5
"""Optimizer steps to train for, as long as that takes no more and no fewer epochs."""
TINY_STEPS, MOST_TINY = 150, 60
"""Steps of which even the smallest set gets as many, and the most epochs for that."""
FEW_EPOCHS = 30
"""For few volumes, whose small network takes seconds an epoch."""
FEWEST_AVERAGED = 250
"""Steps below which an average of the weights lags behind the weights themselves."""
AVERAGED = 6
"""The moving average of the weights reaches over a sixth of the training."""


def num_trained(f: Fingerprint, chosen: Chosen) -> int:
    """Images of a train part: all but two of the blocks."""
    num_folds = int(chosen["split.num_folds"])
    return max(1, f.cohort.num_images * (num_folds - 2) // num_folds)


def wanted_batch(f: Fingerprint, chosen: Chosen) -> int:
    """The largest batch that gives an epoch its fewest steps."""
    images = num_trained(f, chosen)
    return next((size for size in BATCHES if images >= FEWEST_STEPS * size), BATCHES[-1])


def fitting_batch(f: Fingerprint, chosen: Chosen) -> int:
    """The most images, as a power of 2, whose training fits in a fold's share of memory."""
    channels = int(chosen.get("images.num_channels", 1))
    bytes_per_image = BYTES_PER_PIXEL[chosen["model"]] * math.prod(chosen["images.size"])
    images = MEMORY_SHARE * f.machine.free_per_fold / (bytes_per_image + 8 * channels)
    return int(2 ** max(0, math.floor(math.log2(max(1.0, images)))))


def num_steps(f: Fingerprint, chosen: Chosen) -> int:
    """Optimizer steps of an epoch."""
    per_step = int(chosen["training.batch_size"]) * int(chosen.get("training.accumulate", 1))
    return math.ceil(num_trained(f, chosen) / per_step)


@rule("model", "cnn_small", "fewer than 500 volumes that lie alike")
def small(f: Fingerprint, _: Chosen) -> Choice | None:
    if not few_aligned_volumes(f):
        return None
    number = counted(f.cohort.num_images, "volume")
    return Choice("cnn_small", f"{number} that lie alike: few weights, and each place has its own")


@rule("model", "resnet18", "5,000 pictures or more of 96 pixels a side or more, on a GPU")
def larger(f: Fingerprint, chosen: Chosen) -> Choice | None:
    few = f.cohort.num_images < MANY_IMAGES or min(chosen["images.size"]) < LARGE_SIDE
    if few or f.pixels.spatial_dims == 3 or not f.machine.gpus:
        return None
    return Choice("resnet18", f"{f.cohort.num_images:,} pictures, and a GPU")


@rule("model", "resnet10", "others")
def usual(f: Fingerprint, _: Chosen) -> Choice | None:
    device = "a GPU" if f.machine.gpus else "a CPU"
    return Choice("resnet10", f"narrow, for {counted(f.cohort.num_images, 'image')} and {device}")


@rule(
    "training.batch_size",
    "the largest power of 2 that fits in half of the memory that is free for a fold",
    "the batch of the next line would not fit",
)
def batch_that_fits(f: Fingerprint, chosen: Chosen) -> Choice | None:
    fits = fitting_batch(f, chosen)
    if fits >= wanted_batch(f, chosen):
        return None
    free = f"{f.machine.free_per_fold / 2**30:.1f} GiB"
    return Choice(fits, f"what fits in half of the {free} that are free for a fold")


@rule(
    "training.batch_size",
    "the largest of 64, 32, 16 and 8 with which an epoch has 8 steps or more",
    "others",
)
def batch(f: Fingerprint, chosen: Chosen) -> Choice | None:
    images = f"{num_trained(f, chosen):,} images of a train part"
    return Choice(wanted_batch(f, chosen), f"of {images}; at least {FEWEST_STEPS} steps an epoch")


@rule(
    "training.accumulate",
    "batches that together have the images of a step",
    "the batch was made smaller because of memory",
)
def accumulated(f: Fingerprint, chosen: Chosen) -> Choice | None:
    wanted, size = wanted_batch(f, chosen), int(chosen["training.batch_size"])
    if size >= wanted:
        return None
    return Choice(wanted // size, f"a step is made of {wanted} images all the same")


@rule("training.epochs", "30", "`model=cnn_small`")
def epochs_of_few(_: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen["model"] != "cnn_small":
        return None
    return Choice(FEW_EPOCHS, "few images and a small network: an epoch takes seconds")


@rule("training.epochs", "so many that there are 150 steps, at most 60", "fewer in 20 epochs")
def epochs_of_tiny(f: Fingerprint, chosen: Chosen) -> Choice | None:
    steps = num_steps(f, chosen)
    if steps * MOST_EPOCHS >= TINY_STEPS:
        return None
    return Choice(min(MOST_TINY, math.ceil(TINY_STEPS / steps)), f"{steps} steps an epoch")


@rule("training.epochs", "so many that there are 1,500 steps, from 5 to 20", "others")
def epochs(f: Fingerprint, chosen: Chosen) -> Choice | None:
    steps = num_steps(f, chosen)
    number = min(MOST_EPOCHS, max(FEWEST_EPOCHS, math.ceil(STEPS / steps)))
    return Choice(number, f"{counted(steps, 'step')} an epoch, {steps * number:,} in all")


@rule("optimizer.lr", "1e-3", "`model=cnn_small`")
def rate_of_few(_: Fingerprint, chosen: Chosen) -> Choice | None:
    if chosen["model"] != "cnn_small":
        return None
    return Choice(RATE_OF_FEW, "its linear layer has most of the weights: small steps")


@rule(
    "optimizer.lr", "3e-3 at steps of 64 images; it shrinks with the root of their number", "others"
)
def rate(f: Fingerprint, chosen: Chosen) -> Choice | None:
    wanted = wanted_batch(f, chosen)
    value = float(f"{LEARNING_RATE * math.sqrt(wanted / BATCHES[0]):.2g}")
    return Choice(value, f"for steps of {wanted} images; `patientfold lr-find` tries others")


@rule("optimizer.weight_decay", "0.05")
def weight_decay(_: Fingerprint, __: Chosen) -> Choice | None:
    return Choice(0.05, "with AdamW and a moving average it costs little and helps small sets")


@rule("scheduler", "one_cycle")
def schedule(_: Fingerprint, __: Chosen) -> Choice | None:
    return Choice("one_cycle", "up and down once: the best use of few epochs")


@rule("training.average", "0: the weights themselves", "fewer than 250 steps in all")
def no_average(f: Fingerprint, chosen: Chosen) -> Choice | None:
    steps = num_steps(f, chosen) * int(chosen["training.epochs"])
    if steps >= FEWEST_AVERAGED:
        return None
    return Choice(0, f"{steps} steps are too few: an average of the weights would lag behind")


@rule(
    "training.average",
    "so that the moving average of the weights reaches over a sixth of the steps, at most 0.99",
    "others",
)
def average(f: Fingerprint, chosen: Chosen) -> Choice | None:
    steps = num_steps(f, chosen) * int(chosen["training.epochs"])
    decay = min(0.99, math.floor(100 * (1 - AVERAGED / steps)) / 100)
    reach = round(1 / (1 - decay))
    return Choice(decay, f"the weights of the last {reach} of {steps:,} steps are averaged")


@rule("training.decay", "weights")
def decay(_: Fingerprint, __: Chosen) -> Choice | None:
    return Choice("weights", "no decay of biases and norms")


RULES = (
    *(small, larger, usual, batch_that_fits, batch, accumulated),
    *(epochs_of_few, epochs_of_tiny, epochs, rate_of_few, rate, weight_decay, schedule),
    *(no_average, average, decay),
)
