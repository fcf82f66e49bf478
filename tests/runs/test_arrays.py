"""Tiles and results as arrays and tables of other libraries."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

import dask
import numpy as np
import pytest

import slidecam
from slidecam.errors import SlideFailedError, TilingError, UsageError
from slidecam.prediction.pipeline import predict
from slidecam.runs import Run
from slidecam.runs.spec import PredictSpec
from slidecam.store import RunStore
from slidecam.streaming import StreamSpec, stream_tiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from slidecam.tiling import TileGrid


@pytest.fixture
def slide(tmp_path: Path, write_slide: Callable[..., Path]) -> Path:
    return write_slide(tmp_path / "wide.tif", width=900, height=800)


def computed(lazy: Any) -> Any:
    """Return what a Dask array holds; its package has no types."""
    return lazy.compute()


def grid_of(slide: Path, overlap: float = 0.5) -> TileGrid:
    with slidecam.open_source(str(slide)) as source:
        spacing = slidecam.settle_spacing(source.facts).spacing
        found = slidecam.find_foreground(source, spacing)
        tiling = slidecam.TilingSpec(tile_px=64, spacing=0.7, input_px=48, overlap=overlap)
        return slidecam.lay_grid(source.facts, spacing, found, tiling)


def test_a_lazy_array_holds_the_tiles_that_are_classified_in_the_grids_order(slide: Path) -> None:
    grid = grid_of(slide)
    lazy = slidecam.tile_array(slide, grid)
    assert lazy.shape == (len(grid), 48, 48, 3)
    assert lazy.numblocks[0] == -(-len(grid) // 256) >= 2
    expected = np.zeros(lazy.shape, np.uint8)
    with slidecam.open_source(str(slide)) as source:
        for batch in stream_tiles(source, grid, StreamSpec(7)):
            expected[batch.rows] = batch.pixels
        with dask.config.set(scheduler="synchronous"):
            assert np.array_equal(computed(slidecam.tile_array(source, grid)), expected)
    with dask.config.set(scheduler="threads"):
        assert np.array_equal(computed(lazy), expected)
        assert np.array_equal(computed(lazy[3:5]), expected[3:5])
    # Another machine's worker gets paths, no pixels.
    assert len(pickle.dumps(lazy)) < 200_000


def test_a_grid_without_tiles_is_an_empty_array(slide: Path) -> None:
    assert computed(slidecam.tile_array(slide, grid_of(slide).only([]))).shape == (0, 48, 48, 3)


def test_a_grid_of_another_slide_is_refused(
    slide: Path, tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    other = write_slide(tmp_path / "other.tif", width=620, height=810)
    lazy = slidecam.tile_array(other, grid_of(slide))
    with dask.config.set(scheduler="synchronous"), pytest.raises(TilingError, match="another"):
        computed(lazy)


def test_a_slide_and_its_tissue_say_what_they_are(slide: Path) -> None:
    with slidecam.open_source(str(slide)) as source:
        spacing = slidecam.settle_spacing(source.facts).spacing
        found = slidecam.find_foreground(source, spacing)
        assert "wide: 900 x 800 px, 0.5 µm, " in repr(source)
    assert repr(found) == f"<Foreground of 900 x 800 px: {found.share:.1%} tissue, {found.origin}>"


def test_a_tile_that_cannot_be_read_is_not_made_up(slide: Path) -> None:
    grid = grid_of(slide)
    whole = slide.read_bytes()
    middle = len(whole) // 3
    slide.write_bytes(whole[:middle] + bytes(9000) + whole[middle + 9000 :])
    with dask.config.set(scheduler="synchronous"), pytest.raises(SlideFailedError, match="only"):
        computed(slidecam.tile_array(slide, grid))


@pytest.fixture
def run(slide: Path, tiny_bundle: Path, tmp_path: Path) -> Run:
    list(
        predict(slide, tiny_bundle, tmp_path / "out", PredictSpec(batch=8, outputs=("tiles.csv",)))
    )
    return Run.open(tmp_path / "out" / "wide")


def test_a_runs_numbers_are_lazy_arrays_in_the_order_of_its_tiles(run: Run) -> None:
    arrays = run.to_dask()
    assert np.array_equal(computed(arrays["boxes"]), run.tiles.boxes)
    assert np.array_equal(computed(arrays["probabilities"]), run.tiles.probabilities)
    store = RunStore.open(run.folder)
    assert store.maps is not None
    expected = np.empty(store.maps.shape, store.maps.dtype)
    expected[store.order] = np.asarray(store.maps[:])
    assert np.array_equal(computed(arrays["maps"]), expected)


def test_a_frame_has_a_row_a_tile(run: Run) -> None:
    frame = run.to_dataframe()
    assert len(frame) == len(run)
    assert frame[["x", "y", "width", "height"]].to_numpy().tolist() == run.tiles.boxes.tolist()
    assert np.array_equal(frame["prob_B"].to_numpy(), run.tiles.probabilities[:, 1])
    assert set(frame["status"]) == {"done"}
    winners = [run.tiles.class_names[place] for place in run.tiles.winners]
    assert frame["called"].tolist() == winners
    assert frame.attrs["model"] == "tiny"


@pytest.mark.parametrize("name", ["geopandas", "anndata"])
def test_a_library_that_is_not_there_is_named_with_its_remedy(
    run: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=f"`pip install {name}`"):
        getattr(run, f"to_{name}")()


def test_shapes_are_the_boxes(run: Run) -> None:
    pytest.importorskip("geopandas")
    frame = run.to_geopandas()
    assert frame.geometry.area.tolist() == np.prod(run.tiles.boxes[:, 2:], axis=1).tolist()


def test_annotated_data_say_where_tiles_are(run: Run) -> None:
    pytest.importorskip("anndata")
    made = run.to_anndata()
    assert made.shape == (len(run), 3)
    centres = run.tiles.boxes[:, :2] + run.tiles.boxes[:, 2:] / 2
    assert np.allclose(made.obsm["spatial"], centres * 0.5)


def test_a_repr_says_what_a_thing_is(run: Run, slide: Path) -> None:
    assert repr(run).startswith(f"<Run of 'wide' by 'tiny': {len(run)} of {len(run)} tiles done")
    assert "tiles of 90 px at level 0, fed as 48 px" in repr(grid_of(slide))
    assert "0 of" in repr(RunStore.open(run.folder))
