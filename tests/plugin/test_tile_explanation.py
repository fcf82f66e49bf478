"""One tile is explained by several methods, and their maps lie on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.plugin.tasks import now_and_then
from slidecam.plugin.tile_explanation import (
    METHODS,
    TileExplanation,
    TileSoFar,
    explain_tile,
    explanation_layer,
)
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from slidecam.plugin.open_run import ShownRun
    from slidecam.steps import Step


def test_maps_come_as_they_are_done_and_curves_at_the_end(own_run: ShownRun) -> None:
    methods = ("gradcam++", "cam")
    so_far: list[TileExplanation] = []
    work = explain_tile(own_run, 2, "B", methods, device="cpu")
    first = next(step for step in work if isinstance(step, TileSoFar))
    assert first.explanation is not None
    assert [picture.method for picture in first.explanation.pictures] == ["gradcam++"]
    assert np.isnan(first.explanation.pictures[0].deletion)
    assert not (first.explanation.folder / "panel.html").exists(), "nothing is written yet"
    work.close()
    work = explain_tile(own_run, 2, "B", methods, device="cpu")

    def watched() -> Generator[Step, None, TileExplanation]:
        while True:
            try:
                step = next(work)
            except StopIteration as end:
                found: TileExplanation = end.value
                return found
            if isinstance(step, TileSoFar) and step.explanation is not None:
                so_far.append(step.explanation)
            yield step

    found = result_of(now_and_then(watched()))
    assert [len(one.pictures) for one in so_far] == [1, 2]
    for before, after in zip(so_far[-1].pictures, found.pictures, strict=True):
        np.testing.assert_array_equal(before.values, after.values)
        assert 0 <= after.deletion <= 1


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
