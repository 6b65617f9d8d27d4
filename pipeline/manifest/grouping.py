"""What the leakage groups of a manifest look like, and which keys made them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.words import counted

SMALL_GROUP = 10
"""A group of at most so many patients never stops a command, whatever its share of a small set."""


@dataclass(frozen=True)
class Grouping:
    """How patients were merged into groups."""

    num_groups: int = 0
    num_patients: int = 0
    joins: Mapping[str, int] = field(default_factory=dict)
    """Key -> by how many that key alone lowers the number of groups; keys may overlap."""
    largest_name: str = ""
    largest_num_patients: int = 0
    largest_sample: tuple[str, ...] = ()
    """Some patients of the largest group."""
    commonest_file: str = ""
    """The file that most rows show, in words; empty when no two rows show the same."""
    largest_share: float = 1.0
    """Share of all patients that one group may hold (`manifest.largest_group`)."""

    def describe(self) -> list[str]:
        """Lines for the console: how many groups, what made them, and the largest."""
        groups = counted(self.num_groups, "leakage group")
        lines = [f"{groups} of {counted(self.num_patients, 'patient')}"]
        if self.num_groups == self.num_patients:
            return lines
        lines[0] += f" (joined by {self.made_by()})"
        sample = " = ".join(self.largest_sample)
        more = " = ..." if self.largest_num_patients > len(self.largest_sample) else ""
        lines.append(
            f"the largest group {self.largest_name!r} holds {self.largest_num_patients} patients: "
            f"{sample}{more}"
        )
        return lines

    def made_by(self) -> str:
        """The keys that joined patients, and how often."""
        return ", ".join(f"{key} {num}" for key, num in self.joins.items() if num)

    def problem(self) -> str:
        """That one group holds more than its share, and more than SMALL_GROUP; else nothing."""
        if self.largest_num_patients <= max(SMALL_GROUP, self.largest_share * self.num_patients):
            return ""
        sample = ", ".join(self.largest_sample)
        share = self.largest_num_patients / self.num_patients
        file = f" ({self.commonest_file})" if self.joins.get("identical files") else ""
        return (
            f"one leakage group holds {self.largest_num_patients} of {self.num_patients} patients "
            f"({share:.1%}; allowed {self.largest_share:.1%}): {sample}, ...; joined by "
            f"{self.made_by()}{file}; look for a key or a file that does not mean the same "
            f"person, or allow it with manifest.largest_group={min(1.0, share + 0.005):.2f}"
        )
