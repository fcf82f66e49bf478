"""What `fine_tune` may be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slidecam.errors import UsageError
from slidecam.foreground import LabelRule
from slidecam.teaching.head_tuning import TuningSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.pixels import RGB


@dataclass(frozen=True)
class FineTuneSpec:
    """How a classifier is taught.

    Attributes
    ----------
    rule, renamed
        As for `label_tiles`.
    new_classes
        Classes that may be added to the classifier's; None for all that were drawn or said.
    colors
        Of new classes, by name.
    name
        Of the new classifier; None for the old one's with the slide's.
    head
        How hard the old head holds.
    rehearsed
        Other tiles of the slide that hold the head where it is, drawn by ``seed``.
    folds, seed
        Parts in which places are left out to measure, and the seed of all chance.
    beside
        Whether corrections beside the run are taken where none are named.
    device
        Where tiles are embedded.
    trust
        Whether a bundle that can run code may be loaded.
    """

    rule: LabelRule = field(default_factory=LabelRule)
    renamed: Mapping[str, str] = field(default_factory=dict)
    new_classes: tuple[str, ...] | None = None
    colors: Mapping[str, RGB] = field(default_factory=dict)
    name: str | None = None
    head: TuningSpec = field(default_factory=TuningSpec)
    rehearsed: int = 256
    folds: int = 5
    seed: int = 0
    beside: bool = True
    device: str = "auto"
    trust: bool = False

    def __post_init__(self) -> None:
        for name, value, low in (
            ("rehearsed", self.rehearsed, 0),
            ("folds", self.folds, 2),
            ("seed", self.seed, 0),
        ):
            if value < low:
                raise UsageError(f"{name} {value} is out of range.", f"Pass {low} or more.")
