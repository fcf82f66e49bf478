"""What heat looks like wherever it is drawn: its colours, and how much of the slide it covers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLORMAP = "YlOrRd"
"""Ever darker from low to high, in grey too and for those who see no red.

Faint where there is little.
"""

SIGNED_COLORMAP = "RdBu_r"
"""Red for a class, blue against it, which colour-blind readers tell apart; the middle is bare."""

FAINTEST, STRONGEST = 0.12, 0.92
"""How much of the slide the heat 0 and the heat 1 cover.

Tissue stays to be seen where the heat is low.
"""


def heat_colors(
    values: NDArray[np.float32], *, signed: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return values' colours, (values, 3), 0 to 255, and covers of the slide, (values, 1), 0 to 1.

    Values run from 0 to 1, or from -1 if they are signed.
    """
    colored = (
        colormaps[SIGNED_COLORMAP]((values + 1) / 2) if signed else colormaps[COLORMAP](values)
    )
    colors = np.asarray(colored[:, :3] * 255, np.float32)
    cover = FAINTEST + (STRONGEST - FAINTEST) * np.sqrt(np.abs(values))[:, None]
    return colors, cover.astype(np.float32)
