"""Where QuPath's pixel 0, 0 lies on a slide, told from the size that it shows."""

from __future__ import annotations

import pytest

from slidecam.errors import ShownSizeError
from slidecam.geometry import Box, Size
from slidecam.sources import shown_corner

WHOLE = Size(700, 500)
SCANNED = Box(100, 60, 500, 400)


@pytest.mark.parametrize(
    ("bounds", "shown", "corner"),
    [
        (None, None, (0, 0)),
        (None, WHOLE, (0, 0)),
        (SCANNED, None, (100, 60)),
        (SCANNED, Size(500, 400), (100, 60)),
        (SCANNED, WHOLE, (0, 0)),
        # QuPath names its crop in the path only where both sides differ, and crops all the same.
        (Box(0, 60, 700, 400), Size(700, 400), (0, 60)),
    ],
)
def test_the_size_tells_a_crop_to_the_bounds_from_the_whole_slide(
    bounds: Box | None, shown: Size | None, corner: tuple[int, int]
) -> None:
    assert shown_corner("a.mrxs", WHOLE, bounds, shown) == corner


@pytest.mark.parametrize(
    ("bounds", "told"), [(None, "700 x 500"), (SCANNED, "500 x 400 px of it were scanned")]
)
def test_any_other_size_is_refused(bounds: Box | None, told: str) -> None:
    with pytest.raises(ShownSizeError, match=told):
        shown_corner("a.mrxs", WHOLE, bounds, Size(350, 250))
