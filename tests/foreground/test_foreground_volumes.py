"""What of a volume is its foreground."""

from __future__ import annotations

import numpy as np

from slidecam.foreground.volumes import _large_pieces


def test_pieces_stay_down_to_a_tenth_of_the_largest() -> None:
    mask = np.zeros((9, 30, 30), np.bool_)
    mask[1:5, 2:12, 3:13] = True  # 400 voxels
    mask[1:5, 20:25, 20:22] = True  # 40, a tenth
    mask[7, 1:14, 25:28] = True  # 39
    kept = _large_pieces(mask)
    assert kept[:6].sum() == 440
    assert not kept[6:].any()
