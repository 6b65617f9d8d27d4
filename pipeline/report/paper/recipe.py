"""The model, how it was trained, and which epoch of it was kept."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pipeline.report.paper.facts import Facts
from pipeline.report.paper.markdown import (
    escaped,
    joined,
    leaf,
    named,
    number,
    over_folds,
    percent,
    span,
)
from pipeline.report.paper.preprocessing import features
from pipeline.words import counted

PLACEHOLDERS = {
    "@num_classes": "number of classes",
    "@num_channels": "number of channels",
    "@spatial_dims": "number of spatial dimensions",
    "@spatial_size": "size of the image",
    "@num_epochs": "number of epochs",
    "@num_steps": "number of optimizer steps",
    "@select_mode": "min or max, as the selecting metric asks",
}
TRAINING = (
    *("epochs", "batch_size", "accumulate", "clip_norm", "decay", "average", "warmup_epochs"),
    *("seed", "select_by", "patience", "preflight", "freeze", "precision"),
)
PRECISIONS = {"float16": "float16 with loss scaling"}
AUGMENT = {
    "rotate_degrees": "rotation by up to {:g} degrees",
    "zoom": "zoom by up to {:.0%}",
    "shift": "shift by up to {:.0%} of the size",
    "contrast": "contrast changed by up to {:.0%}",
    "brightness": "brightness changed by up to {:g} SD",
    "noise": "Gaussian noise of {:g} SD",
    "cutout": "a box of {:.0%} of each side set to the mean (cutout)",
    "mixup": "images and labels mixed in pairs (mixup, alpha {:g})",
}


def filled_in(facts: Facts, target: object) -> Any:
    """A leaf whose placeholders are what the run filled in, as far as its settings say."""
    known: Mapping[str, object] = {
        **PLACEHOLDERS,
        "@num_classes": len(facts.classes),
        "@num_channels": facts.get("images.num_channels"),
        "@spatial_dims": facts.get("images.spatial_dims"),
        "@num_epochs": facts.get("training.epochs"),
    }
    if isinstance(target, dict):
        return {name: filled_in(facts, value) for name, value in target.items()}
    if isinstance(target, list):
        return [filled_in(facts, value) for value in target]
    return known.get(target, target) if isinstance(target, str) else target


def technology(facts: Facts) -> str:
    """The kind of method and its name."""
    if facts.is_baseline:
        name = str(facts.get("model.estimator._target_")).rsplit(".", 1)[-1]
        return f"classical machine learning ({escaped(name)} on image features)"
    name = str(facts.get("model._target_")).rsplit(".", 1)[-1]
    return f"deep learning ({escaped(name)})"


def model(facts: Facts) -> str:
    """Class, arguments, and number of parameters."""
    if not facts.is_baseline:
        numbers = [r["num_parameters"] for r in facts.results if "num_parameters" in r]
        size = f", with {span(numbers)} trainable parameters" if numbers else ""
        named = leaf(filled_in(facts, facts.settings["model"]))
        return f"The model is {named}{size}. It gives {output(facts)}."
    estimator = leaf(filled_in(facts, facts.get("model.estimator")))
    candidates = [
        f"{escaped(name)} {', '.join(f'{v:g}' if isinstance(v, float) else str(v) for v in of)}"
        for name, of in (facts.get("model.chosen") or {}).items()
    ]
    tried = f" Values tried: {joined(candidates)}." if candidates else ""
    return (
        f"The model is {estimator}, on image features: {features(facts)}. It gives "
        f"{output(facts)}.{tried}"
    )


def output(facts: Facts) -> str:
    """What the model gives for an image."""
    names = joined([escaped(name) for name in facts.classes])
    if facts.is_multilabel:
        return f"a probability for each of the labels {names}"
    if not facts.is_baseline and facts.get("loss.output") == "sigmoid":
        return f"a sigmoid output for each class ({names}), scaled to sum to 1"
    return f"probabilities of the classes {names} that sum to 1"


def initialisation(facts: Facts) -> str:
    """How weights began; where they came from is for the author to say."""
    seed = facts.get("training.seed")
    if facts.is_baseline:
        return f"Random states were set from the seed {seed} and the number of the fold."
    scheme = facts.get("init.scheme")
    drawn = (
        "as the network's own code draws them"
        if scheme == "default"
        else f"by the scheme {escaped(str(scheme))}, biases 0"
    )
    if not (start := facts.get("init.weights")):
        return f"Weights were drawn {drawn} (seed {seed}), not pretrained."
    file = escaped(PurePath(str(start).replace("\\", "/")).name)
    digest = facts.environment["identity"].get("weights hash", "unknown")
    return (
        f"All weights but those of the head began with a file of weights ({file}, SHA-256 "
        f"{digest}). TODO(author): on which data they were trained, and whether any patient of "
        "this study was among them."
    )


def loss(facts: Facts) -> str:
    """What training makes small."""
    if facts.is_baseline:
        return f"The estimator was fitted by its own criterion.{imbalance(facts)}"
    text = f"The loss was {leaf(filled_in(facts, facts.get('loss.function')))}."
    known = ("function", "output", "class_weights", "counted_in", "logit_adjustment")
    return f"{text}{imbalance(facts)}{facts.others('loss', known)}"


def imbalance(facts: Facts) -> str:
    """Sampler, class weights, and the class shares that they make a network train under."""
    weighs = facts.get("model.weighs") is not False
    balance, weights = facts.get("sampler.balance"), facts.get("loss.class_weights")
    done = []
    if weighs and balance not in (None, "none"):
        drawn = {
            "class": "classes count equally",
            "patient": "patients count equally",
            "class_patient": "classes count equally, and patients within a class",
        }.get(balance, str(balance))
        how = "training images were weighted" if facts.is_baseline else "training images were drawn"
        done.append(f"{how} so that {drawn}")
    if weighs and isinstance(weights, dict):
        listed = [f"{escaped(str(name))} {value:g}" for name, value in weights.items()]
        done.append(f"classes were weighted in the loss ({', '.join(listed)})")
    elif weighs and weights not in (None, "none"):
        counted_in = facts.get("loss.counted_in") or (
            "images" if weights == "inverse" else "patients"
        )
        name = {"inverse": "the inverse", "effective_number": "the effective number"}[weights]
        done.append(f"classes were weighted in the loss by {name} of their {counted_in}")
    if (tau := facts.get("loss.logit_adjustment")) and not facts.is_baseline:
        done.append(f"logits were adjusted by {tau:g} times the log class shares in the loss")
    if facts.get("manifest.columns.weight"):
        done.append("images had weights of their own in the loss, from the manifest")
    if not done:
        return " Nothing was done about class imbalance."
    text = joined(done)
    return f" {text[0].upper()}{text[1:]}.{_prior(facts)}"


def _prior(facts: Facts) -> str:
    """The shares trained under, and what probabilities were corrected to."""
    priors = [result["trained_under"] for result in facts.results if "trained_under" in result]
    if not priors:
        return ""
    shares = [
        f"{escaped(name)} {span([prior[c] for prior in priors], percent)}"
        for c, name in enumerate(facts.classes)
    ]
    text = f" Models were thus trained as if the class shares were {', '.join(shares)}"
    shifts = [abs(shift) for result in facts.results for shift in result.get("logit_shift", [0.0])]
    if not any(shifts):
        return f"{text}; probabilities were not corrected for it."
    prior = facts.get("evaluation.prior")
    to = "the shares of the training part of the fold"
    if isinstance(prior, dict):
        listed = [f"{escaped(str(name))} {percent(share)}" for name, share in prior.items()]
        to = f"shares of {', '.join(listed)}"
    shift = f"logits are shifted by up to {max(shifts):.2f}"
    return f"{text}; reported probabilities are corrected to {to} ({shift})."


def optimisation(facts: Facts) -> str:
    """Optimizer, schedule, epochs, batches and what else bears on the weights."""
    if facts.is_baseline:
        return f"Each setting tried was fitted on the training part of each fold{_tried(facts)}."
    get = facts.get
    text = (
        f"The optimizer was {leaf(filled_in(facts, get('optimizer')))}, the schedule of the "
        f"learning rate {leaf(filled_in(facts, get('scheduler')))}. Batches had "
        f"{get('training.batch_size')} images; training took at most "
        f"{counted(get('training.epochs'), 'epoch')}"
    )
    text += (
        f", and stopped after {p} without improvement" if (p := get("training.patience")) else ""
    )
    more = []
    if get("training.accumulate") not in (None, 1):
        more.append(f"gradients of {get('training.accumulate')} batches were summed for a step")
    if norm := get("training.clip_norm"):
        more.append(f"gradients were clipped to the norm {norm:g}")
    if get("training.decay") == "weights":
        more.append("weight decay spared biases and norms")
    if average := get("training.average"):
        more.append(f"an exponential moving average of the weights (decay {average:g}) was used")
    if warmup := get("training.warmup_epochs"):
        more.append(f"the learning rate rose over the first {warmup:g} epochs")
    if frozen := get("training.freeze"):
        more.append(
            f"parameters that begin with {joined([escaped(f) for f in frozen])} were frozen"
        )
    more.append(f"the precision was {_precision(facts)}")
    named = "; ".join(more)
    return f"{text}; {named}.{facts.others('training', TRAINING)}"


def _precision(facts: Facts) -> str:
    """What `auto` came to on the device."""
    asked = facts.get("training.precision")
    if asked != "auto":
        return str(asked)
    if used := {str(result["precision"]) for result in facts.results if "precision" in result}:
        return joined([PRECISIONS.get(name, name) for name in sorted(used)])
    on_gpu = str(facts.results[0].get("device", "cpu")).startswith("cuda")
    return "bfloat16 (float16 on a GPU without it)" if on_gpu else "float32"


def _tried(facts: Facts) -> str:
    numbers = [result["num_epochs"] for result in facts.results]
    return f" ({counted(max(numbers), 'setting')})"


def augmentation(facts: Facts) -> str:
    """Random changes of training images."""
    if facts.is_baseline:
        return "Training images were not augmented."
    found = facts.get("augment") or {}
    done = []
    if axes := found.get("flip_axes"):
        listed = joined([str(axis) for axis in axes])
        done.append(f"flips along the spatial {'axes' if len(axes) > 1 else 'axis'} {listed}")
    if found.get("rotate90"):
        done.append("turns by multiples of 90 degrees")
    done += [
        words.format(value).replace("%", " %")
        for name, words in AUGMENT.items()
        if (value := found.get(name))
    ]
    if sides := found.get("crop"):
        size = " x ".join(str(side) for side in sides)
        done.append(f"crops of {size} pixels at random places (in the middle when evaluated)")
    done += [leaf(target) for target in found.get("transforms") or ()]
    known = ("flip_axes", "rotate90", "crop", *AUGMENT, "transforms")
    how = f"augmented at random: {', '.join(done)}" if done else "not augmented"
    return f"Training images were {how}.{facts.others('augment', known)}"


def selection(facts: Facts) -> str:
    """The rule by which an epoch was kept, on validation, and which it was in each fold."""
    name = facts.results[0]["select_by"]
    best = "smallest" if name == "val/loss" else "largest"
    level, _, metric = str(name).removeprefix("val/").rpartition("/")
    what = f"{level}-level {named(metric)}" if level else "loss"
    chosen = [result["best_epoch"] for result in facts.results]
    values = span([result["select_value"] for result in facts.results], number)
    if facts.is_baseline:
        return (
            f"In each fold the setting with the {best} {what} on the validation part was kept "
            f"({_candidates(facts)}; its {what}: {values})."
        )
    return (
        f"After each epoch the validation part was predicted, and the epoch with the {best} "
        f"{what} on it was kept (epoch {over_folds(chosen)}; its {what}: {values})."
    )


def _candidates(facts: Facts) -> str:
    """The settings that each fold's validation part chose."""
    chosen = [result.get("candidate") or {} for result in facts.results]
    if not any(chosen):
        return "there was one"
    texts = []
    for name in chosen[0]:
        values = [candidate[name] for candidate in chosen]
        if all(isinstance(value, int | float) for value in values):
            texts.append(f"{escaped(name)} {over_folds(values, '{:g}'.format)}")
        else:
            texts.append(f"{escaped(name)} {joined([escaped(str(v)) for v in values])}")
    return ", ".join(texts)


def ensembling(facts: Facts) -> str:
    """Which models speak for a patient."""
    num = len(facts.results)
    once = "the one model" if num == 1 else "the one model of the fold that tests it"
    if (repeats := facts.plan.repeats) > 1:
        once += f", in each of {repeats} repeats"
    return (
        f"{counted(num, 'model')} {'was' if num == 1 else 'were'} trained. Each test image was "
        f"predicted by {once}; models were not combined."
    )
