"""Two classic checks of a network before a long training: how it begins, and can it learn at all.

(Karpathy 2019, A recipe for training neural networks.)
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.arrays import Bools, Ints
from pipeline.config import UserError
from pipeline.images.sampler import draw_epoch
from pipeline.training.chance import chance
from pipeline.training.check import Check
from pipeline.training.epoch import DIVERGED, TrainPart
from pipeline.training.job import FoldJob
from pipeline.training.learner import Learner
from pipeline.training.loss import num_right
from pipeline.training.trial import augmented, begin_trial
from pipeline.words import counted

TOLERANCE = 0.05
"""How far the fresh network's loss may be from that of outputs that say nothing, relative."""
NUM_FIRST = 128
"""Images that the fresh network is asked about."""
ENOUGH = 0.01
"""The loss of a handful that counts as learnt by heart."""
HANDFUL = 16
MOST = 32
NUM_STEPS = 400
"""That a handful may take."""
DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)

OPINIONATED = (
    "usually the first weights are too large or the head was not made anew (init=...), the values "
    "that reach the network are not normalised, or the loss has another scale; the first epochs "
    "only unlearn it. Deep networks may begin 5 to 15 % off by the luck of their draw, which is "
    "harmless"
)
KNOWING = (
    "usually the classes differ in something as plain as overall brightness: another scanner, "
    "another export; or the weights have seen these labels"
)
DEAF = (
    "usually the learning rate is far too small or too large (`patientfold lr-find` suggests one), "
    "too much is frozen (training.freeze), the network is too small, it gets images without "
    "contrast (see the sheet), or the same image has two labels"
)


def check_start(job: FoldJob) -> Check:
    """Does the fresh network's loss, and its accuracy, say that it knows nothing yet?"""
    if job.config.init.weights is not None:
        return Check("start", None, "the network is not fresh: init.weights")
    learner, part = begin_trial(job)
    order = draw_epoch(
        job.emphasis.drawing, job.config.sampler.balance, np.random.default_rng(part.seed(1))
    )
    rows = part.rows[order][:NUM_FIRST]
    logits = _first_logits(learner, part, rows)
    at = torch.from_numpy(rows).to(logits.device)
    targets, weights = part.labels[at], part.weights[at]
    loss = float(learner.loss(logits, targets, weights))
    expected = float(learner.loss(torch.zeros_like(logits), targets, weights))
    several = job.manifest.is_multilabel
    decided = (logits > 0 if several else logits.argmax(dim=1)).cpu().numpy()
    labels = job.manifest.labels[rows]
    patients = job.manifest.table["patient_id"].to_numpy()[rows]

    def accuracy(labels: Ints) -> float:
        """Mean over classes: a shuffle by patient does not keep how many images each has. Of
        several labels, the mean over them of that of images with and without.
        """
        pairs = zip(labels.T, decided.T, strict=True) if several else [(labels, decided)]
        return float(np.mean([(d[of == c] == c).mean() for of, d in pairs for c in np.unique(of)]))

    right = accuracy(labels)
    low, high = chance(labels, patients, accuracy, part.seed(1))
    is_near = abs(loss - expected) <= TOLERANCE * abs(expected)  # never of nan
    num_classes = 2 if several else logits.shape[1]  # with and without each label
    is_plain = abs(expected - math.log(num_classes)) < 1e-3
    name = f"ln {num_classes} = " if is_plain else "outputs that say nothing have "
    found = (
        f"loss {loss:.3f}, {name}{expected:.3f} (within {TOLERANCE:.0%}); balanced accuracy "
        f"{right:.2f}, chance gives {low:.2f} to {high:.2f}"
    )
    is_chance = low <= right <= high
    meaning = "; ".join([OPINIONATED] * (not is_near) + [KNOWING] * (not is_chance))
    values = {"loss": loss, "expected": expected, "accuracy": right, "low": low, "high": high}
    return Check("start", is_near and is_chance, found, meaning, values)


def check_overfit(job: FoldJob) -> Check:
    """Can the network learn a handful of images by heart, with the optimizer of the settings?

    Without augmentation, dropout and weight decay, which are there to hinder it.
    """
    learner, part = begin_trial(job)
    rows = torch.from_numpy(handful(job))
    images = part.source.gather(rows)
    at = rows.to(images.device)
    labels, weights = part.labels[at], part.weights[at]
    weights = weights / weights.mean().clamp_min(1e-12)
    chunks = torch.arange(len(rows)).tensor_split(num_chunks(len(rows), job))
    for group in learner.optimizer.param_groups:
        group["weight_decay"] = 0.0
    floor = smallest_loss(learner, labels, weights, job)
    excess, accuracy, step = math.inf, 0.0, 0
    for step in range(NUM_STEPS + 1):
        loss, right = 0.0, 0
        _train_without_dropout(learner)
        for chunk in chunks:
            with learner.autocast():
                logits = learner.network(images[chunk])
                part_loss = learner.loss(logits, labels[chunk], weights[chunk])
            share = len(chunk) / len(rows)
            learner.scaler.scale(part_loss * share).backward()
            loss += float(part_loss.detach()) * share
            adjusted = logits.detach().float() + learner.loss.adjustment
            right += int(num_right(adjusted, labels[chunk]))
        if not math.isfinite(loss):
            raise UserError(f"the loss of a handful is {loss} after {step} steps: {DIVERGED}")
        excess, accuracy = loss - floor, right / labels.numel()
        if (excess < ENOUGH and accuracy == 1) or step == NUM_STEPS:
            break
        learner.step()
    return _learnt(len(rows), excess, floor, accuracy, step)


def _learnt(num: int, excess: float, floor: float, accuracy: float, step: int) -> Check:
    above = f" above the smallest possible, {floor:.3f}," if floor > ENOUGH / 10 else ""
    found = (
        f"{counted(num, 'image')} to loss {excess:.4f}{above} and accuracy {accuracy:.2f} in "
        f"{counted(step, 'step')} (wanted: less than {ENOUGH} and 1.00 within {NUM_STEPS})"
    )
    values = {"loss": excess, "floor": floor, "accuracy": accuracy, "steps": float(step)}
    return Check("overfit", excess < ENOUGH and accuracy == 1, found, DEAF, values)


def handful(job: FoldJob) -> Ints:
    """Rows of the train part: 2 or more of each class, 16 in all if they fit, 32 at most.

    Of several labels: 2 or more with each and without each. Of as many patients as there are;
    images without weight are left out.
    """
    labels, num_classes = job.manifest.labels, len(job.manifest.classes)
    rows = job.rows("train")
    rows = rows[job.emphasis.weights[rows] > 0]
    rows = np.random.default_rng(job.config.training.seed).permutation(rows)
    table = job.manifest.table.iloc[rows]
    nth_of_patient = table.groupby(["patient_id", "label"]).cumcount().to_numpy()
    rows = rows[np.argsort(nth_of_patient, kind="stable")]
    if job.manifest.is_multilabel:
        return np.sort(_of_each_label(rows, job.manifest.has_class[rows]))
    each = max(2, HANDFUL // num_classes)
    picked = [rows[labels[rows] == c][:each] for c in range(num_classes)]
    found: Ints = np.concatenate(picked)[:MOST] if num_classes <= MOST // 2 else rows[:MOST]
    return np.sort(found)


def _of_each_label(rows: Ints, has: Bools) -> Ints:
    """Some of the rows, the first that show each label (N, L), or its absence, where few do yet."""
    picked = np.zeros(len(rows), np.bool_)
    for wanted in (1, 2):
        for shows in (*has.T, *~has.T):
            if shows[picked].sum() < wanted and picked.sum() < MOST:
                picked[np.flatnonzero(shows & ~picked)[:1]] = True
    picked[np.flatnonzero(~picked)[: max(0, HANDFUL - picked.sum())]] = True
    return rows[picked]


def smallest_loss(learner: Learner, labels: Tensor, weights: Tensor, job: FoldJob) -> float:
    """What any network could reach on these labels: label smoothing and the like leave something.

    The logits themselves are what is trained.
    """
    shape = (len(labels), len(job.manifest.classes))
    logits = torch.zeros(shape, device=labels.device, requires_grad=True)
    search = torch.optim.LBFGS([logits], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> float:
        search.zero_grad()
        loss = learner.loss(logits, labels, weights)
        loss.backward()
        return float(loss.detach())

    search.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return float(learner.loss(logits, labels, weights))


@torch.no_grad()
def _first_logits(learner: Learner, part: TrainPart, rows: Ints) -> Tensor:
    """(N, C) of augmented images, in batches as in training: batch norms have no statistics yet."""
    learner.train()
    logits = []
    for chunk in np.array_split(rows, num_chunks(len(rows), part.job)):
        with learner.autocast():
            logits.append(learner.network(augmented(part, chunk, part.seed(1))).float())
    return torch.cat(logits)


def num_chunks(number: int, job: FoldJob) -> int:
    """Of about a batch each; none is of one image, for batch norm needs two."""
    size = job.config.training.batch_size
    return max(1, min(math.ceil(number / size), number // min(size, 2)))


def _train_without_dropout(learner: Learner) -> None:
    learner.train()
    for module in learner.network.modules():
        if isinstance(module, DROPOUTS):
            module.eval()
