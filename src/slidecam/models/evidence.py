"""What was measured of how far a classifier's heatmaps can be trusted, as its card keeps it."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  (read_fields reads the types)
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Count = Annotated[int, Ge(0)]


@dataclass(frozen=True)
class MapJudgement:
    """How one method's maps compare with random maps on the same tiles.

    Attributes
    ----------
    measures
        How many measures were made.
    better, worse
        By how many of them it was better, and worse, than chance would have it.
    """

    measures: Count
    better: Count
    worse: Count

    @property
    def is_faithful(self) -> bool:
        """Whether it was shown to be: better by more than half of the measures, worse by none."""
        return self.worse == 0 and 2 * self.better > self.measures

    @property
    def words(self) -> str:
        """How it compares: ``better than a random map by 6 of 7 measures and worse by 1``."""
        words = f"better than a random map by {self.better} of {self.measures} measures"
        if self.worse:
            words += f" and worse by {self.worse}"
        return words


@dataclass(frozen=True)
class MapEvidence:
    """What a measurement found; ``heatmap_evidence`` on a card.

    Attributes
    ----------
    on
        On what, in words: ``24 validation pictures``.
    explained
        What the pictures were explained for, in words: ``each tile's own class``.
    methods
        By the methods' names, as in ``--heatmap``.
    """

    on: str
    explained: str
    methods: Mapping[str, MapJudgement] = field(default_factory=dict)

    def lead(self, methods: Sequence[str]) -> str | None:
        """Return which of some methods was shown to be faithful, by most measures.

        Of equals the first; None where none was.
        """
        best: str | None = None
        for name in methods:
            found = self.methods.get(name)
            if found is None or not found.is_faithful:
                continue
            if best is None or found.better > self.methods[best].better:
                best = name
        return best

    def said_of(self, methods: Sequence[str], title_of: Callable[[str], str]) -> str:
        """Return in one sentence what was measured of some methods; empty if of none."""
        judged = []
        for name, found in self.methods.items():
            if name in methods:
                judged.append(f"{title_of(name)} is {found.words}")
        if not judged:
            return ""
        return f"Measured on {self.on}, for {self.explained}: {'; '.join(judged)}."

    def to_json(self) -> dict[str, object]:
        """Return it as a card has it."""
        return asdict(self)
