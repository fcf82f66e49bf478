"""The pipeline against the slowest way.

Each tile read alone by OpenSlide, resized by Pillow, run plainly.

Boxes must be the same, probabilities equal to 1e-5, and maps to 1e-4 of pytorch-grad-cam's, which
scales every tile to 0…1 and enlarges it; the raw maps are scaled and enlarged the same way before
they are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import openslide
import pytest
import torch
from PIL import Image
from pytorch_grad_cam import GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from slidecam.explain.map_request import MapRequest
from slidecam.foreground import ForegroundSpec, find_foreground
from slidecam.geometry import Spacing
from slidecam.inference import classify
from slidecam.models import open_bundle
from slidecam.sources import open_source
from slidecam.streaming import StreamSpec, stream_tiles
from slidecam.tiling import TilingSpec, lay_grid

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.models import Bundle, Card

SPACINGS = {"equal": 0.5, "finer": 0.3, "coarser": 1.7}


def expected_boxes(
    slide: openslide.OpenSlide, card: Card, mpp: float, overlap: float
) -> list[tuple[int, int, int]]:
    width, height = slide.dimensions
    assert card.spacing is not None
    edge = round(card.tile_px * card.spacing / mpp)
    step = round((1 - overlap) * edge)
    repeated = edge - step
    ys = [y for y in range(0, height, step) if y == 0 or y + repeated < height]
    xs = [x for x in range(0, width, step) if x == 0 or x + repeated < width]
    return [(x, y, edge) for y in ys for x in xs]


def read_alone(
    slide: openslide.OpenSlide, box: tuple[int, int, int], card: Card
) -> NDArray[np.uint8]:
    x, y, edge = box
    wanted = edge / card.input_px
    level = max((i for i, d in enumerate(slide.level_downsamples) if d <= wanted * 1.01), default=0)
    down = slide.level_downsamples[level]
    size = max(1, round(edge / down))
    region = slide.read_region(
        (round(x / down) * round(down), round(y / down) * round(down)), level, (size, size)
    )
    tile = Image.new("RGB", (size, size), (255, 255, 255))
    # What lies beyond the slide comes back transparent.
    tile.paste(region.convert("RGB"), mask=region.getchannel("A"))
    resized = tile.resize((card.input_px, card.input_px), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def plain_input(pixels: NDArray[np.uint8], card: Card) -> torch.Tensor:
    scaled = (pixels.astype(np.float32) / 255 - np.array(card.mean, np.float32)) / np.array(
        card.std, np.float32
    )
    return torch.from_numpy(scaled).permute(2, 0, 1)[None].contiguous()


def library_map(
    network: torch.nn.Module, layer: torch.nn.Module, tile: torch.Tensor, index: int
) -> NDArray[np.float32]:
    with GradCAMPlusPlus(model=network, target_layers=[layer]) as cam:
        return np.asarray(cam(input_tensor=tile, targets=[ClassifierOutputTarget(index)])[0])


def scaled_and_enlarged(raw: NDArray[np.float32], edge: int) -> NDArray[np.float32]:
    def stretched(values: NDArray[np.float32]) -> NDArray[np.float32]:
        lifted = values - values.min()
        return np.asarray(lifted / (1e-7 + lifted.max()))

    return stretched(np.maximum(cv2.resize(stretched(raw), (edge, edge)), 0))


def check(slide_path: Path, bundle: Bundle, mpp: float, overlap: float) -> None:
    """Compare every box, and the probabilities and maps of a batch of tiles."""
    network, card = bundle.network(), bundle.card
    assert card.spacing is not None
    slide = openslide.OpenSlide(slide_path)
    with open_source(slide_path) as source:
        spacing = Spacing(mpp, mpp)
        foreground = find_foreground(source, spacing, ForegroundSpec())
        grid = lay_grid(
            source.facts,
            spacing,
            foreground,
            TilingSpec(card.tile_px, card.spacing, card.input_px, overlap),
        )
        batches = stream_tiles(source, grid, StreamSpec(12))
        scored = next(
            classify(
                batches,
                bundle.classifier(),
                MapRequest(("gradcam++",), tuple(range(len(card.class_names)))),
            )
        )
    boxes = [(int(x), int(y), int(edge)) for x, y, edge, _height in grid.boxes]
    every = expected_boxes(slide, card, mpp, overlap)
    tissue = set(boxes)
    assert boxes == [box for box in every if box in tissue]
    assert len(tissue) > 12
    tiles = torch.cat(
        [plain_input(read_alone(slide, boxes[row], card), card) for row in scored.batch.rows]
    )
    with torch.no_grad():
        expected = network(tiles).softmax(1).numpy()
    np.testing.assert_allclose(scored.results.probabilities, expected, atol=1e-5)
    assert scored.results.maps is not None
    check_maps(scored.results.maps[:4, 0], network, tiles)


def check_maps(maps: NDArray[np.float32], network: torch.nn.Module, tiles: torch.Tensor) -> None:
    last_stage = list(network.stages)[-1]  # type: ignore[arg-type]  # pocket_resnet's
    for raw, tile in zip(maps, tiles, strict=False):
        for index, ours in enumerate(raw):
            expected = library_map(network, last_stage, tile[None], index)
            np.testing.assert_allclose(
                scaled_and_enlarged(ours, tile.shape[-1]), expected, atol=1e-4
            )


@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_sample_slide_equals_the_slow_way(
    sample_data: Path, spacing: str, overlap: float
) -> None:
    check(
        sample_data / "slide.tif", open_bundle(sample_data / "bundle"), SPACINGS[spacing], overlap
    )


@pytest.mark.shared_data
@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_real_slide_equals_the_slow_way(
    shared_data: Path, sample_data: Path, spacing: str, overlap: float
) -> None:
    slide = shared_data / "slides" / "CMU-1-Small-Region.svs"
    check(slide, open_bundle(sample_data / "bundle"), SPACINGS[spacing], overlap)
