"""How slides become tiles to learn from, and what became of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from slidecam.errors import UsageError
from slidecam.foreground import LabelRule
from slidecam.tiling import TilingSpec
from slidecam.viewing import AS_THE_FILE_SAYS, PictureView

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.models import Card


@dataclass(frozen=True)
class TileSetSpec:
    """How annotated slides become tiles.

    Attributes
    ----------
    tile_px, spacing
        Edge of a tile in pixels at ``spacing`` µm per pixel.
    input_px, interpolation
        Edge of what is written, and how a tile is resized to it; None for ``tile_px``.
    overlap, edge, min_tissue
        See `TilingSpec`. With a ``min_tissue`` of 0 the tissue is not looked for: the annotations
        alone decide.
    rule
        Which class a tile is of.
    classes
        The classes to take; empty for all.
    renamed
        Other names for annotated classes; two that are given one name become one class.
    group_pattern
        Regular expression with ``(?P<group>…)`` that finds the patient in a slide's name; else each
        slide is a group.
    mpp, spacings
        µm per level-0 pixel for every slide, or by file name or stem; they win over what the files
        say.
    workers, memory_mb, reader
        As in `PredictSpec`.
    seen
        Which picture of each file, and whose colours.
    overwrite
        Whether a tile set that lies there already may be replaced.
    """

    tile_px: int = 224
    spacing: float = 0.5
    input_px: int | None = None
    interpolation: str = "bilinear"
    overlap: float = 0.0
    edge: Literal["pad", "drop"] = "pad"
    min_tissue: float = 0.1
    rule: LabelRule = field(default_factory=LabelRule)
    classes: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    group_pattern: str = ""
    mpp: float | None = None
    spacings: Mapping[str, float] = field(default_factory=dict)
    workers: int = 4
    memory_mb: int = 512
    reader: str | None = None
    seen: PictureView = AS_THE_FILE_SAYS
    overwrite: bool = False

    @property
    def tiling(self) -> TilingSpec:
        """How a slide is cut."""
        edges = self.tile_px, self.spacing, self.input_px or self.tile_px
        return TilingSpec(*edges, self.overlap, self.edge, "slidecam", self.min_tissue)

    def like(self, card: Card) -> TileSetSpec:
        """Return the same with the tiles that a classifier sees, to teach it more of its kind."""
        if card.spacing is None:
            raise UsageError(
                f"The bundle {card.name} sees whole pictures, no tiles.",
                "Name a bundle for slides.",
            )
        cut = replace(self, tile_px=card.tile_px, spacing=card.spacing, input_px=card.input_px)
        seen = self.seen
        if seen.profile is None:
            seen = replace(seen, profile=card.color_profile)
        return replace(cut, interpolation=card.interpolation, seen=seen)


@dataclass(frozen=True)
class SlideTiles:
    """What became of one slide.

    Attributes
    ----------
    slide, path
        Its name and where it lies.
    tiles
        How many of each class were written.
    ambiguous, unannotated
        Tiles with tissue that were left out: of two classes, and of none.
    failed
        Why single tiles could not be read, by their place.
    problem
        Why the whole slide gave nothing, or nothing.
    notes
        What a careful user wants to know, as sentences.
    facts
        Fingerprint, spacing and digest of the annotations.
    """

    slide: str
    path: str
    tiles: Mapping[str, int] = field(default_factory=dict)
    ambiguous: int = 0
    unannotated: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TileSet:
    """A finished set: where it lies, and what each slide gave."""

    folder: Path
    slides: tuple[SlideTiles, ...]

    @property
    def tiles(self) -> dict[str, int]:
        """How many tiles each class has."""
        total: Counter[str] = Counter()
        for slide in self.slides:
            total.update(slide.tiles)
        return dict(sorted(total.items()))

    @property
    def is_whole(self) -> bool:
        """Whether every slide and every tile could be read."""
        return not any(slide.problem or slide.failed for slide in self.slides)
