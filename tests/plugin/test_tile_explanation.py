"""Tiles and slices are explained by several methods, and their maps lie on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.exchange.volumes import read_volume_ome_zarr
from slidecam.plugin.run_request import Region
from slidecam.plugin.subjects import area_of, slice_of, tile_of
from slidecam.plugin.tasks import now_and_then
from slidecam.plugin.tile_explanation import (
    METHODS,
    TileExplanation,
    TilesSoFar,
    explain,
    explanation_layer,
    slice_layer,
)
from slidecam.runs import Run
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from slidecam.plugin.open_run import ShownRun
    from slidecam.steps import Step


def test_maps_come_as_they_are_done_and_curves_at_the_end(own_run: ShownRun) -> None:
    methods = ("gradcam++", "cam")
    so_far: list[TileExplanation] = []
    tile = tile_of(own_run.stored, 2)
    work = explain(tile, "B", methods, device="cpu")
    (first,) = next(step for step in work if isinstance(step, TilesSoFar)).explanations
    assert [picture.method for picture in first.pictures] == ["gradcam++"]
    assert np.isnan(first.pictures[0].deletion)
    assert not (first.folder / "panel.html").exists(), "nothing is written yet"
    work.close()
    work = explain(tile, "B", methods, device="cpu")

    def watched() -> Generator[Step, None, TileExplanation]:
        while True:
            try:
                step = next(work)
            except StopIteration as end:
                found: TileExplanation = end.value[0]
                return found
            if isinstance(step, TilesSoFar):
                so_far.extend(step.explanations)
            yield step

    found = result_of(now_and_then(watched()))
    assert [len(one.pictures) for one in so_far] == [1, 2]
    for before, after in zip(so_far[-1].pictures, found.pictures, strict=True):
        np.testing.assert_array_equal(before.values, after.values)
        assert 0 <= after.deletion <= 1


def test_a_tile_is_explained_by_all_methods_and_each_map_lies_on_it(own_run: ShownRun) -> None:
    found: TileExplanation
    (found,) = result_of(explain(tile_of(own_run.stored, 2), "B", device="cpu"))
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


def test_each_tile_of_an_area_is_explained_with_scores_of_its_own(own_run: ShownRun) -> None:
    boxes = own_run.table.boxes
    rows = [0, 1]
    rings = []
    for x, y, width, height in boxes[rows].tolist():
        corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
        rings.append((np.array(corners, np.float64),))
    area = area_of(own_run.stored, Region(areas=tuple(rings)), None)
    found = result_of(explain(area, methods=("cam",), device="cpu"))
    names, winners = own_run.table.class_names, own_run.table.winners
    called = {tuple(boxes[row].tolist()): names[winners[row]] for row in rows}
    assert {one.box: one.class_name for one in found} == called
    scores = [one.pictures[0].deletion for one in found]
    assert all(np.isfinite(scores))
    assert scores[0] != scores[1]


def test_a_slice_is_explained_and_its_map_lies_on_it(volume_run: Path) -> None:
    run = Run.open(volume_run)
    table = run.slices
    assert table is not None
    number = int(np.nanargmax(table.probabilities[:, 1]))
    (found,) = result_of(explain(slice_of(run, number), "lesion", methods=("cam",), device="cpu"))
    assert (found.number, found.place) == (number, f"slice {number}")
    assert found.probability == pytest.approx(float(table.probabilities[number, 1]), abs=1e-4)
    voxels, meta, _kind = slice_layer(found, found.pictures[0], run.fingerprint)
    assert meta["translate"][0] == pytest.approx(table.positions[number])
    assert meta["units"] == ("mm",) * 3
    heat = read_volume_ome_zarr(next(volume_run.glob("heatmap.ome.zarr")))
    assert heat.spec.attributes["method"] == "cam"
    painted = np.nan_to_num(np.asarray(heat.array[1, number]))
    assert voxels.shape == (1, *painted.shape)
    assert np.corrcoef(voxels[0].ravel(), painted.ravel())[0, 1] > 0.9, "the right way round"
