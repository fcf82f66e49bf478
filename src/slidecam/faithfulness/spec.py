"""What is measured, and what a measure is called and means."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from slidecam.errors import UsageError
from slidecam.faithfulness.correlation import CorrelationSpec, LocalisationSpec
from slidecam.faithfulness.removal import BATCH, CurveSpec, RoadSpec
from slidecam.faithfulness.stability import StabilitySpec

if TYPE_CHECKING:
    from collections.abc import Mapping

Good = Literal["high", "low"]

PIXEL_CORRELATION = "correlation-pixel"


@dataclass(frozen=True)
class Measure:
    """What a reader must know of a measure.

    Attributes
    ----------
    name
        As in a spec and a table's rows; behind a colon stands the variant: ``deletion:blur``.
    title
        As people read it.
    good
        Which end of its scale is the good one.
    judged
        Whether a method that is no better than a random map fails by it. Not for stability, at
        which a map that never changes is perfect, and not for single sizes of sensitivity-n.
    needs_mask
        Whether somebody must have drawn where the class is.
    """

    name: str
    title: str
    good: Good = "high"
    judged: bool = True
    needs_mask: bool = False


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        one.name: one
        for one in (
            Measure("deletion", "deletion AUC", good="low"),
            Measure("insertion", "insertion AUC"),
            Measure("correlation", "faithfulness correlation"),
            Measure(PIXEL_CORRELATION, "faithfulness correlation, Quantus' pixels"),
            Measure("sensitivity-n", "sensitivity-n"),
            Measure("road", "ROAD"),
            Measure("max-sensitivity", "max-sensitivity", good="low", judged=False),
            Measure("pointing", "pointing game", needs_mask=True),
            Measure("energy", "energy in the mask", needs_mask=True),
            Measure("dice", "Dice with the mask", needs_mask=True),
        )
    }
)
"""Every measure by its name, in the order of a table's columns."""


def measure_called(name: str) -> Measure:
    """Return what is known of a measure or a variant (``deletion:blur``, ``sensitivity-n:20``)."""
    family, _, variant = name.partition(":")
    known = MEASURES[family]
    if not variant:
        return known
    if family == "sensitivity-n":
        return replace(known, name=name, title=f"{known.title}, n = {variant}", judged=False)
    return replace(known, name=name, title=f"{known.title}, {variant}")


@dataclass(frozen=True)
class FaithfulnessSpec:
    """Settings of a measurement.

    Attributes
    ----------
    measures
        Of `MEASURES`. Where all are named, those that do not apply are left out: without masks
        those that need one, and Quantus' pixels unless ``correlation`` says so. Where some are
        named, each is measured.
    seeds
        Of whatever is drawn by chance: random maps and subsets. Each is measured on its own, so
        that the table can tell how much chance moves a figure. ROAD's noise and max-sensitivity's
        changes are drawn by the first alone.
    batch
        Pictures in one pass, and tiles that are explained together.
    random_grid
        Rows and columns of the random map; None for a random map on the grid of each method, which
        is the fair one: a class-activation map of 7 by 7 takes whole regions away, pixels at random
        leave every region in part.
    curves, correlation, stability, road, localisation
        Settings of each measure.
    """

    measures: tuple[str, ...] = tuple(MEASURES)
    seeds: tuple[int, ...] = (0, 1, 2)
    batch: int = BATCH
    random_grid: tuple[int, int] | None = None
    curves: CurveSpec = field(default_factory=CurveSpec)
    correlation: CorrelationSpec = field(default_factory=CorrelationSpec)
    stability: StabilitySpec = field(default_factory=StabilitySpec)
    road: RoadSpec = field(default_factory=RoadSpec)
    localisation: LocalisationSpec = field(default_factory=LocalisationSpec)

    def __post_init__(self) -> None:
        for name in self.measures:
            if name not in MEASURES:
                remedy = f"Use some of {', '.join(MEASURES)}."
                raise UsageError(f"there is no measure {name!r}.", remedy)
        if not self.seeds or min(self.seeds) < 0 or self.batch < 1:
            raise UsageError(
                f"seeds {self.seeds} with batches of {self.batch} cannot be used.",
                "Name at least one seed, 0 or more, and a batch of 1 or more.",
            )

    @property
    def named(self) -> tuple[str, ...]:
        """Measures that were chosen rather than left as they are.

        Nothing where all of `MEASURES` are named.
        """
        if set(self.measures) == set(MEASURES):
            return ()
        return self.measures

    def wants(self, *measures: str) -> bool:
        """Whether any of some measures is wanted."""
        return not set(measures).isdisjoint(self.measures)
