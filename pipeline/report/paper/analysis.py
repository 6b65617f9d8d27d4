"""From predictions to numbers: patients, thresholds, metrics, intervals."""

import re
from collections.abc import Mapping

from pipeline.evaluation.auroc import FEW
from pipeline.evaluation.calibration import LogOddsLine
from pipeline.evaluation.intervals import MANY
from pipeline.evaluation.metrics import NUM_DRAWS, Metric, named_metrics
from pipeline.evaluation.scores import MeanOfShares
from pipeline.evaluation.summary import IMPRECISE_ABOVE, UNSTABLE_BELOW
from pipeline.report.paper.facts import Facts
from pipeline.report.paper.markdown import escaped, joined, named, number, over_folds
from pipeline.report.paper.patients import subgroups_of
from pipeline.splits.describe import accuracy_half_width, auroc_half_width
from pipeline.words import counted

KNOWN = (
    *("aggregate", "patient_label", "threshold", "prior", "subgroups"),
    *("middle", "middle_aggregate", "calibration"),
)
DRAWN = f"the standard error of a bootstrap of {NUM_DRAWS} draws over patients within their class"
"""And within their fold, where a metric is averaged over folds."""
RULES = {
    "mean": "the mean of those of the patient's images",
    "max": "the largest of those of the patient's images",
    "majority": "the share of the patient's images that vote for it",
    "noisy_or": "1 - product of (1 - p) over the patient's images",
}
LABELS = {
    "same": "the images of a patient have one label, which is the patient's",
    "worst": "a patient has the latest class of any image, in the order {}",
    "majority": "a patient has the most frequent label of its images (of equals the later of {})",
}


def aggregation(facts: Facts) -> str:
    """How images become a patient, with its label."""
    rule, label = facts.get("evaluation.aggregate"), facts.get("evaluation.patient_label")
    if facts.level == "image":
        return (
            "There is no patient level (evaluation.patient_label=none): metrics are those of "
            "images. Intervals are over patients all the same."
        )
    order = ", ".join(escaped(name) for name in facts.classes)
    of_label = LABELS.get(str(label), escaped(str(label))).format(order)
    if facts.is_multilabel and label in ("worst", "majority"):
        share = "any image" if label == "worst" else "half of its images or more"
        of_label = f"a patient has the labels of {share}"
    middle, first = facts.get("evaluation.middle"), ""
    if middle:
        by = facts.get("evaluation.middle_aggregate")
        first = f"Images first make a {middle} (evaluation.middle_aggregate={by}), which then "
        first += "stands for them. "
    return (
        f"{first}A patient's probability of a class is {_rule(str(rule))} "
        f"(evaluation.aggregate={rule}); {of_label}. The patient level is the primary one, the "
        "image level secondary."
    )


def _rule(rule: str) -> str:
    if rule.startswith("top"):
        return f"the mean of the {rule[3:]} highest of those of the patient's images"
    if rule.startswith("q") and rule[1:].isdigit():
        return f"the percentile {rule[1:]} of those of the patient's images"
    return RULES.get(rule, escaped(rule))


def decision(facts: Facts) -> str:
    """The threshold rule, and the values that the validation parts gave."""
    if not facts.is_multilabel and facts.positive is None:
        return (
            f"The decision is the class, of {len(facts.classes)}, with the highest probability; no "
            "threshold is used."
        )
    rule = str(facts.get("evaluation.threshold"))
    if rule == "fixed":
        return f"{_positive(facts)} at a fixed threshold of 0.5."
    return (
        f"{_positive(facts)} at or above a threshold. On the validation part of each fold, never "
        f"on its test part, the threshold was chosen {_threshold(rule)}{_values(facts)}."
        f"{_one_class(facts, rule)}"
    )


def _one_class(facts: Facts, rule: str) -> str:
    """The folds whose validation part left nothing to choose from, where results say so."""
    folds: dict[str, list[str]] = {}
    for result in facts.results:
        points = (result.get("operating_points") or {}).get(facts.level, {})
        for name in (name for name, point in points.items() if point["rule"] != rule):
            folds.setdefault(name, []).append(str(result["fold"]))
    if not folds:
        return ""
    if not facts.is_multilabel:
        listed = joined(next(iter(folds.values())))
        where = f"In fold {listed} the validation part had one class alone"
        return f" {where}: the threshold is 0.5 there."
    each = joined([f"{escaped(name)} (fold {joined(of)})" for name, of in folds.items()])
    return f" Where all or none of the validation part had a label, its threshold is 0.5: {each}."


def _positive(facts: Facts) -> str:
    if facts.positive is None:
        return "Each label is decided by itself"
    what = "An image" if facts.level == "image" else "An image or patient"
    return f"{what} is called {escaped(facts.positive)}"


def _threshold(rule: str) -> str:
    """The rule in words."""
    if found := re.fullmatch(r"(sensitivity|specificity)([0-9.]+)", rule):
        word, share = found[1], float(found[2])
        side = "highest" if word == "sensitivity" else "lowest"
        return f"by the rule: the {side} with a {word} of {share:g} or more"
    if found := re.fullmatch(r"cost([0-9.]+)", rule):
        return (
            f"by the rule: least cost, where a missed positive costs as much as "
            f"{float(found[1]):g} false alarms"
        )
    return "by the rule: largest balanced accuracy (Youden)" if rule == "youden" else escaped(rule)


def _values(facts: Facts) -> str:
    found = [result["thresholds"].get(facts.level) for result in facts.results]
    values = [value for value in found if isinstance(value, int | float)]
    if len(values) == len(found):
        return f" ({facts.level} level: {over_folds(values, number)})"
    if not all(isinstance(value, Mapping) for value in found):
        return ""
    each = [
        f"{escaped(name)} {over_folds([of[name] for of in found], number)}"
        for name in facts.classes
    ]
    return f" ({facts.level} level: {'; '.join(each)})"


def calibration(facts: Facts) -> str:
    """What was fitted on validation to make probabilities right."""
    how = facts.get("evaluation.calibration")
    if how in (None, "none"):
        return ""
    what = {
        "temperature": "by a temperature",
        "temperature_bias": "by a temperature and a bias of each class",
    }.get(str(how), escaped(str(how)))
    fitted = [(result.get("calibration") or {}).get("temperature") for result in facts.results]
    values = [value for value in fitted if isinstance(value, int | float)]
    shown = f" (temperature {over_folds(values, number)})" if len(values) == len(fitted) else ""
    return (
        f"Probabilities of images were calibrated {what}, fitted on the validation part of each "
        f"fold before thresholds were chosen{shown}."
    )


def tested_last(facts: Facts) -> str:
    """When the test part was seen."""
    num = counted(len(facts.results), "fold")
    return (
        f"In each of the {num} the test part was predicted once, when weights, selection and "
        "threshold were fixed."
    )


def metrics(facts: Facts) -> str:
    """Which metrics, and what each is over folds."""
    entries = facts.entries(facts.level)
    by_how: dict[str, list[str]] = {}
    for name, entry in entries.items():
        shown = base(facts, name)
        listed = by_how.setdefault(entry["how"], [])
        if shown not in listed:
            listed.append(shown)
    words = {
        "mean over folds": "computed in each fold and averaged, because the models of the folds "
        "have scores of their own scale",
        "pooled decisions": "computed from the decisions of all folds together, each made by the "
        "model of its own fold",
        "pooled probabilities": "computed from the probabilities of all folds together",
    }
    single = len(facts.results) == 1
    texts = [
        f"{joined([named(m) for m in listed])} {'was' if len(listed) == 1 else 'were'} "
        f"{'computed on the test part' if single else words.get(how, escaped(how))}"
        for how, listed in by_how.items()
    ]
    several = ""
    if len(facts.classes) > 2 or facts.is_multilabel:
        noun = "labels" if facts.is_multilabel else "classes"
        several = (
            f" Values of all {len(facts.classes)} {noun} together are means over them unless the "
            "metric is defined for several; values of one are of that one against the rest."
        )
    return f"{'. '.join(text[0].upper() + text[1:] for text in texts)}.{several}"


def base(facts: Facts, name: str) -> str:
    """The metric itself: `sensitivity` of `sensitivity_virus`."""
    found = named_metrics(facts.classes, facts.level).get(name)
    if found is None or found[1] is None:
        return name
    return found[0].name


def intervals(facts: Facts) -> str:
    """How the interval of each metric came about."""
    entries = facts.entries(facts.level)
    if all(entry.get("ci_low") is None for entry in entries.values()):
        return "No interval could be computed (a fold lacks a class)."
    by_method: dict[str, list[str]] = {}
    for name, entry in entries.items():
        if entry.get("ci_low") is None:
            continue
        names = by_method.setdefault(method_of(facts, name), [])
        if (shown := named(base(facts, name))) not in names:
            names.append(shown)
    listed = "; ".join(f"for {joined(names)}, {method}" for method, names in by_method.items())
    return (
        f"All intervals are two-sided 95 % confidence intervals over {units(facts)}, also at image "
        f"level: {listed}. They say how much a value would vary with other tested patients, not "
        "with other training patients. The standard deviation over folds is not used as an "
        f"interval. Values are marked *unstable* where fewer than {UNSTABLE_BELOW} patients have, "
        "or do not have, the class, and *imprecise* where the interval is wider than "
        f"{2 * IMPRECISE_ABOVE:.2f}. {tests_of_significance(facts)}"
    )


def tests_of_significance(facts: Facts) -> str:
    """What is compared in a single run."""
    found = subgroups_of(facts)
    if found is None or not found["num_comparisons"]:
        return "P values are not given: nothing is compared."
    num = counted(found["num_comparisons"], "comparison")
    return f"P values are given for subgroups only, {num} together (Holm)."


def units(facts: Facts) -> str:
    """What intervals are over."""
    groups: Mapping[str, str] = facts.plan.groups
    return "leakage groups" if len(set(groups.values())) < len(groups) else "patients"


def method_of(facts: Facts, name: str) -> str:
    """What gives the interval of the metric `name`."""
    found = named_metrics(facts.classes, facts.level).get(name)
    if found is None:
        return DRAWN
    metric, target = found
    return _method(metric, facts.rarest(target, in_groups=True))


def _method(metric: Metric, rarest: int) -> str:
    """What gives the interval of a metric, with `rarest` units of the rarest side of a class."""
    if metric.name == "auroc":
        if rarest >= MANY:
            return (
                "the variance of DeLong (of Obuchowski where a patient has several images) on the "
                "logit scale"
            )
        newcombe = "method 5 of Newcombe, with a variance from the AUROC itself"
        if rarest >= FEW:
            return newcombe
        return f"the wider of {newcombe}, and the variance of DeLong on the logit scale"
    if isinstance(metric.function, LogOddsLine):
        return "logistic regression with patients as clusters"
    if isinstance(metric.function, MeanOfShares):
        if metric.name == "balanced_accuracy":
            return "the Wilson intervals of the classes, combined by the method of Zou and Donner"
        return "Wilson's method, with the effective number of cases"
    straight_from = getattr(metric.function, "straight_from", None)
    if straight_from is not None and rarest >= straight_from:
        return "the standard error of how each patient pulls the value (infinitesimal jackknife)"
    return DRAWN


def width(facts: Facts) -> str:
    """How precise the test can be, with so many patients."""
    tested = facts.tested_patients
    if tested is None or facts.plan.unsafe:
        return f"{counted(len(facts.tested_images), 'image')} were tested."
    text = (
        f"{counted(len(tested), 'patient')} were tested. With so many the 95 % interval of an "
        f"accuracy of 0.80 is about +-{accuracy_half_width(len(tested)):.2f}"
    )
    if facts.positive is None:
        return f"{text}."
    without, having = (facts.num_per_class["patient"][name] for name in facts.classes)
    if not (without and having):
        return f"{text}."
    half = auroc_half_width(having, without)
    return (
        f"{text}, that of an AUROC of 0.80 with {having:,} {escaped(facts.positive)} and "
        f"{without:,} others about +-{half:.2f}."
    )


def evaluation_settings(facts: Facts) -> str:
    return facts.others("evaluation", KNOWN)
