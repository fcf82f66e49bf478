"""One tile is explained by several methods, and their maps lie on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.plugin.tile_explanation import (
    METHODS,
    TileExplanation,
    explain_tile,
    explanation_layer,
)
from slidecam.steps import result_of

if TYPE_CHECKING:
    from slidecam.plugin.open_run import ShownRun


def test_a_tile_is_explained_by_all_methods_and_each_map_lies_on_it(own_run: ShownRun) -> None:
    found: TileExplanation = result_of(explain_tile(own_run, 2, "B", device="cpu"))
    usual, *others = METHODS
    assert usual == "usual"
    assert [picture.method for picture in found.pictures] == ["cam", "gradcam++", *others]
    assert [picture.unit for picture in found.pictures[:2]] == ["logits", "no unit"]
    assert found.class_name == "B"
    assert found.probability == pytest.approx(float(own_run.table.probabilities[2, 1]), abs=1e-4)
    for picture in found.pictures:
        assert 0 <= picture.deletion <= 1
        assert 0 <= picture.insertion <= 1
        assert picture.pixels.shape == found.tile.shape
    data, meta, _kind = explanation_layer(found, found.pictures[0], own_run)
    scale, translate = np.array(meta["scale"]), np.array(meta["translate"])
    corners = own_run.placing.to_pixels(
        np.stack([translate - scale / 2, translate + scale * (data.shape[0] - 0.5)])
    )
    x, y, width, height = own_run.table.boxes[2].tolist()
    np.testing.assert_allclose(corners, [[x, y], [x + width, y + height]])
    assert (found.folder / "panel.html").exists()
