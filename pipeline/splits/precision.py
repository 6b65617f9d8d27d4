"""How wide the test result's interval will be, told before days of training."""

from math import sqrt

Z = 1.959964


def accuracy_half_width(num_patients: int, accuracy: float = 0.8) -> float:
    """Half of the 95 % interval of an accuracy, normal approximation (20 patients: 0.18)."""
    return Z * sqrt(accuracy * (1 - accuracy) / num_patients)


def auroc_half_width(num_positive: int, num_negative: int, auroc: float = 0.8) -> float:
    """Half of the 95 % interval of an AUROC (Hanley and McNeil 1982, Radiology 143:29)."""
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = (
        auroc * (1 - auroc)
        + (num_positive - 1) * (q1 - auroc**2)
        + (num_negative - 1) * (q2 - auroc**2)
    ) / (num_positive * num_negative)
    return Z * sqrt(variance)
