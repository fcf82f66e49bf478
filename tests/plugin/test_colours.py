"""napari shows sRGB; what is classified is what the card, or the run, says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from profiles import bundle_pair, classified, slide_pair
from slidecam.plugin.open_run import read_shown
from slidecam.plugin.slide import BLOCK, slide_layer
from slidecam.plugin.subjects import tile_of
from slidecam.plugin.tile_explanation import explain
from slidecam.sources import open_source
from slidecam.steps import result_of
from slidecam.viewing import PictureView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def bundles(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return bundle_pair(tiny_bundle, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def slides(
    write_slide: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("slides")
    return slide_pair(write_slide(folder / "plain.tif"), folder)


@pytest.mark.parametrize("applied", [True, False])
def test_napari_shows_srgb_and_explains_what_the_run_saw(
    tmp_path: Path, bundles: dict[str, Path], slides: dict[str, Path], *, applied: bool
) -> None:
    """With a card that applies profiles, and a call that takes this back or leaves it."""
    how: dict[str, Any] = {} if applied else {"profile": "ignore"}
    run = classified(slides["stored"], bundles["srgb"], tmp_path / "out", **how)
    shown = read_shown(run.folder)
    row = len(run) // 2
    (found,) = result_of(explain(tile_of(shown.stored, row), "B", methods=("cam",), device="cpu"))
    expected = run.tiles.probabilities[row]
    assert found.probability == pytest.approx(float(expected[1]), abs=1e-5)
    x, y, width, height = run.tiles.boxes[row].tolist()
    pixels = tifffile.imread(slides["shown" if applied else "stored"])
    np.testing.assert_array_equal(found.tile, pixels[y : y + height, x : x + width])

    (levels, _meta, _kind), notes = slide_layer(slides["stored"], seen=run.seen)
    np.testing.assert_array_equal(np.asarray(levels[0]), tifffile.imread(slides["shown"]))
    assert any("classifiers see what their cards say" in note for note in notes)


def test_napari_keeps_blocks_of_two_pictures_and_two_colours_apart(
    tmp_path: Path, slides: dict[str, Path]
) -> None:
    (first, _meta, _kind), _notes = slide_layer(slides["stored"])
    with open_source(slides["stored"]) as plain:
        assert not {level.name for level in first} & {plain.level_array(0, BLOCK).name}
    two = tmp_path / "two.tif"
    pixels = tifffile.imread(slides["shown"])
    with tifffile.TiffWriter(two) as writer:
        for picture in (pixels, 255 - pixels):
            writer.write(picture, tile=(128, 128), photometric="rgb", metadata=None)
    layers = [slide_layer(two, seen=PictureView(plane=number))[0] for number in (1, 2)]
    names = [{level.name for level in levels} for levels, _meta, _kind in layers]
    assert not names[0] & names[1]
