"""Where another program's view of a slide begins: QuPath counts its pixels from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slidecam.errors import ShownSizeError
from slidecam.geometry import Size

if TYPE_CHECKING:
    from slidecam.geometry import Box

_REMEDY = (
    "Open the slide itself there, neither cropped nor rotated, with the reader that the program"
    " suggests."
)


@dataclass(frozen=True)
class QuPathView:
    """How QuPath shows a slide; the one place that says where its coordinates begin.

    Attributes
    ----------
    corner
        x, y of the level-0 pixel that it calls (0, 0).
    size
        Width and height that it is known to show; None where nobody said.
    """

    corner: tuple[int, int] = (0, 0)
    size: Size | None = None

    def part(self, size: Size | None, bounds: Box | None) -> Box | None:
        """Return the part of a slide that it shows; None for all of it.

        Parameters
        ----------
        size, bounds
            Of the slide's level 0, and the part of it that was scanned.
        """
        if bounds is None or self.corner != (bounds.x, bounds.y):
            return None
        is_whole = self.size is not None and self.size == size
        return None if is_whole else bounds


def shown_corner(
    path: str, size: Size, bounds: Box | None, shown: Size | None = None
) -> tuple[int, int]:
    """Return the level-0 pixel that QuPath calls (0, 0).

    QuPath crops what OpenSlide reads to the scanned bounds, unless it was told ``--no-crop``; other
    readers of it do not crop. The size that it shows tells the two apart, whatever its version
    writes into its paths.

    Parameters
    ----------
    path
        The slide, for the message.
    size, bounds
        Its level 0, and the part of it that was scanned (see `SourceFacts`).
    shown
        Width and height that QuPath shows; None where that is not known: its default, the scanned
        bounds.

    Raises
    ------
    ShownSizeError
        If ``shown`` is neither the size of the slide nor that of its scanned bounds.
    """
    if shown == size:
        return 0, 0
    if shown is None or (bounds is not None and shown == Size(bounds.width, bounds.height)):
        return (0, 0) if bounds is None else (bounds.x, bounds.y)
    scanned = (
        "" if bounds is None else f" and {bounds.width} x {bounds.height} px of it were scanned"
    )
    raise ShownSizeError(
        path,
        f"it is shown as {shown.width} x {shown.height} px, and the slide has "
        f"{size.width} x {size.height} px{scanned}.",
        _REMEDY,
    )
