"""What can be set about finding tissue."""

from __future__ import annotations

from dataclasses import dataclass, fields

from slidecam.errors import UsageError


@dataclass(frozen=True)
class ForegroundSpec:
    """Settings of `find_foreground`.

    Lengths in µm, areas in µm², so that they mean the same on every slide.

    Attributes
    ----------
    resolution_um
        µm per mask pixel aimed at: a tile of 100 µm still spans a dozen mask pixels.
    longest_px
        The mask's longest side at most: beyond it a whole slide costs seconds and no tile changes.
    least_px
        The mask's longest side at least, where the slide has it: a small crop gets a finer mask.
    smoothing_um
        Sigma of the Gaussian before any threshold: nuclei and pale stroma between them become one
        surface.
    floor
        Least chroma (optical density) of tissue: below lie the tints of glass, JPEG and scanner.
    ceiling
        Most chroma asked of tissue: on a slide full of tissue, Otsu would split it in two.
    closing_um
        Gaps up to twice this wide are closed: hairlines, and what removed ink leaves between two
        tissues.
    hole_um2
        Holes up to this area are filled: lumina and fat within tissue belong to it.
    speck_um2
        Pieces smaller than this are dropped: dust and cell debris, a fraction of one tile.
    pen
        Whether to leave out pen marks; switch it off for stains that are blue or green by
        themselves.
    ink_um2
        Least area of an ink-coloured piece that is taken for a pen mark rather than for a cell or a
        fringe.

    Raises
    ------
    UsageError
        If a value is outside its range.
    """

    resolution_um: float = 8.0
    longest_px: int = 2048
    least_px: int = 1024
    smoothing_um: float = 4.0
    floor: float = 0.06
    ceiling: float = 0.14
    closing_um: float = 12.0
    hole_um2: float = 30_000.0
    speck_um2: float = 3_000.0
    pen: bool = True
    ink_um2: float = 500.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < float("inf"):
                raise UsageError(
                    f"ForegroundSpec.{field.name} is {value}.",
                    "Give a finite number of at least 0.",
                )
        if self.resolution_um == 0 or not 1 <= self.least_px <= self.longest_px:
            raise UsageError(
                f"ForegroundSpec has resolution_um {self.resolution_um}, least_px {self.least_px}"
                f" and longest_px {self.longest_px}.",
                "Give a resolution above 0 and 1 <= least_px <= longest_px.",
            )
        if self.floor > self.ceiling:
            raise UsageError(
                f"ForegroundSpec.floor {self.floor} is above ForegroundSpec.ceiling"
                f" {self.ceiling}.",
                "Give floor <= ceiling.",
            )
