"""What each way of splitting says of itself."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.arrays import Ints
from pipeline.config import SplitConfig
from pipeline.manifest import Manifest
from pipeline.splits.dealing.balance import Quantities
from pipeline.splits.folds import Fold
from pipeline.splits.given import Words

Rounds = Iterable[tuple[Ints, Ints]]
"""The (test, val) of each fold, as positions of groups; the other groups are trained on."""
Cuts = tuple[str, ...]
"""First days (YYYY-MM-DD) of the test period, or of the validation and the test period."""


@dataclass(frozen=True)
class Groups:
    """The leakage groups of a manifest, which a scheme deals to parts."""

    manifest: Manifest
    names: list[str]
    quantities: Quantities
    free: Ints
    """Positions in `names` of the groups that are not locked."""
    words: Words = field(default_factory=dict)
    """audit.words, for folds that somebody else made."""


@dataclass(frozen=True)
class Scheme:
    """One way of splitting: its rule, its checks and its words."""

    name: str
    """As in split.scheme and in plan.json."""
    words: str
    """What its folds do, for people."""
    rounds: Callable[[Groups, SplitConfig], Rounds]
    """The rule. It raises UserError for settings that this manifest cannot meet."""
    tests_everybody: bool = False
    """Is each patient tested in every repeat? If not: once or never."""
    rotates: bool = False
    """Does fold i validate on what fold i + 1 tests? Only such plans have repeats and can grow; a
    plan proves that it rotates."""
    remedy: str = "use split.scheme=kfold"
    """What to change when a part lacks a class."""
    purge: Callable[[Manifest, SplitConfig], tuple[Manifest, Cuts]] | None = None
    """The images in use, and the days between its periods."""
    lines: Callable[[Sequence[Fold], Manifest, SplitConfig], list[str]] | None = None
    """More words on its folds."""
    check_manifest: Callable[[Sequence[Fold], Cuts, frozenset[str], Manifest], None] | None = None
    """Raises LeakageError for a manifest that a saved plan (its folds, cuts and purged images) no
    longer fits; the manifest's hash is compared before."""
