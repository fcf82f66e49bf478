"""What others reported of a classifier of the same kind, to stand beside our own figures."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  (read_settings reads the types of these dataclasses)
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Le

from slidecam.learning.metrics import DEFINITIONS
from slidecam.settings import Complaints, names_like, read_settings

Reported = Annotated[float, Ge(-1), Le(1)]
"""A figure as it was printed; kappa can be negative."""


@dataclass(frozen=True)
class Published:
    """A recipe's table ``[published]``: figures that are not ours, and what they are of.

    Attributes
    ----------
    source
        The paper or report, and where in it.
    protocol
        How its measurement differs from ours, in a sentence.
    figures
        By the names of `metrics.DEFINITIONS`.
    """

    source: str = ""
    protocol: str = ""
    figures: Mapping[str, Reported] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What a row or a column of them is called."""
        return f"published: {self.source}"

    def shown(self, name: str) -> str:
        """Return a figure in three digits, or nothing where it was not reported."""
        if name not in self.figures:
            return ""
        return f"{self.figures[name]:.3f}"

    def sentence(self, name: str) -> str:
        """Return how the published measurement differs, to be said of a classifier called so."""
        if not self.protocol:
            return ""
        return f"Published beside {name} ({self.source}): {self.protocol}"

    def check(self, complaints: Complaints) -> None:
        """Note figures that are none, and figures that nobody reported."""
        for name in self.figures:
            if name not in DEFINITIONS:
                remedy = names_like(name, [*DEFINITIONS], f"Figures are {', '.join(DEFINITIONS)}.")
                complaints.add("published.figures", f"names {name!r}, which is no figure", remedy)
        if not self.source:
            complaints.add("published.source", "is missing", "Say whose figures they are.")

    def record(self) -> dict[str, Any]:
        """Return it as JSON values, for a card."""
        return {**asdict(self), "figures": dict(self.figures)}


def read_published(table: Mapping[str, Any], complaints: Complaints) -> Published | None:
    """Return what stands under ``published`` in a recipe or a provenance.

    None where nothing does or it cannot be read; what is wrong with it is among the complaints.
    """
    if "published" not in table:
        return None
    published = read_settings(Published, table["published"], "published", complaints)
    if published is not None:
        published.check(complaints)
    return published


def published_of(provenance: Mapping[str, Any]) -> Published | None:
    """Return what a card says was published; None where it says nothing that can be read."""
    return read_published(provenance, Complaints())
