"""What heatmaps of slides promise, on synthetic slides with planted objects.

The network is a small one that was trained.

The objects are rings among solid discs of the same stain, on tissue whose colour drifts: a tile is
of the class ``planted`` if it holds a ring. The network learns that here, in some seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from sklearn.metrics import average_precision_score
from torch.nn import functional

from slidecam.geometry import Size
from slidecam.heatmap import PaintSpec, paint
from slidecam.models import Card, open_bundle, save_bundle
from slidecam.models.architectures import build_network
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.store import RunStore, StorePlan, TileResults

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

EDGE, TILE, CELL, RADIUS = 768, 64, 48, 8
"""Pixels of a slide, of a tile, of the place that each object has for itself, and of an object."""

WIDTHS, STEPS, BATCH = (8, 16, 64), 100, 32
METHODS = ("gradcam++", "gradcam", "cam")
SIGNED = {"cam"}
PLANTED = 1
RARE, MANY = 4, 60

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Slide:
    """Pixels, and which of them belong to a planted object."""

    pixels: NDArray[np.uint8]
    planted: NDArray[np.bool_]


def draw(seed: int, count: int) -> Slide:
    """Draw a slide with ``count`` rings, and a solid disc in every fourth place."""
    rng, places = np.random.default_rng(seed), EDGE // CELL
    drift = np.kron(
        rng.normal(0, 12, (places // 4, places // 4, 3)), np.ones((4 * CELL, 4 * CELL, 1))
    )
    grain = rng.normal(0, 9, (EDGE, EDGE, 1)) + rng.normal(0, 4, (EDGE, EDGE, 3))
    pixels, planted = np.array([215, 160, 190]) + drift + grain, np.zeros((EDGE, EDGE), np.bool_)
    down, across = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    distance = np.hypot(down, across)
    corners = CELL * np.stack(np.meshgrid(np.arange(places), np.arange(places)), -1).reshape(-1, 2)
    corners = rng.permutation(corners) + rng.integers(0, CELL - 2 * RADIUS - 1, corners.shape)
    for index, (x, y) in enumerate(corners[: count + places**2 // 4]):
        place = slice(y, y + 2 * RADIUS + 1), slice(x, x + 2 * RADIUS + 1)
        ring = index < count
        shape = (distance <= RADIUS) & (distance >= RADIUS - 3) if ring else distance <= RADIUS - 1
        pixels[place][shape] = np.array([95, 60, 140]) + rng.normal(0, 9, (int(shape.sum()), 1))
        planted[place] |= ring & (distance <= RADIUS)
    return Slide(np.clip(pixels, 0, 255).astype(np.uint8), planted)


def batches(slides: list[Slide]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield tiles at random places with their class.

    The first slide, which has most rings, gives half of them.
    """
    rng = np.random.default_rng(0)
    while True:
        tiles: list[NDArray[np.uint8]] = []
        labels: list[int] = []
        while len(tiles) < BATCH:
            slide = slides[0 if len(tiles) < BATCH // 2 else rng.integers(len(slides))]
            x, y = rng.integers(0, EDGE - TILE, 2)
            window = slice(y, y + TILE), slice(x, x + TILE)
            area = int(slide.planted[window].sum())
            if area == 0 or area > 100:  # a sliver of a ring is neither
                tiles.append(slide.pixels[window])
                labels.append(int(area > 0))
        pixels = torch.from_numpy(np.stack(tiles)).permute(0, 3, 1, 2).float()
        yield (pixels / 255 - 0.5) / 0.25, torch.tensor(labels)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = build_network("slidecam/pocket_resnet", {"widths": list(WIDTHS)}, 2, Path("planted"))
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 8e-3, total_steps=STEPS, pct_start=0.2
    )
    training = batches([draw(101, 120), draw(102, 60), draw(103, 0)])
    network.train()
    for _step, (pixels, labels) in zip(range(STEPS), training, strict=False):
        optimiser.zero_grad()
        torch.autograd.backward(functional.cross_entropy(network(pixels), labels))
        optimiser.step()
        schedule.step()
    card = Card(
        name="planted",
        architecture="slidecam/pocket_resnet",
        architecture_args={"widths": list(WIDTHS)},
        class_names=("plain", "planted"),
        activation="softmax",
        tile_px=TILE,
        spacing=0.5,
        input_px=TILE,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    return save_bundle(tmp_path_factory.mktemp("planted") / "bundle", card, network.eval()).path


def run(folder: Path, bundle: Path, slide: Slide, overlap: float) -> RunStore:
    """Return the finished run of a slide that is tissue from edge to edge."""
    folder.mkdir()
    Image.new("L", (8, 8), 255).save(folder / "mask.png")
    per_cm = (20_000, 20_000)
    tifffile.imwrite(
        folder / "one.tif",
        slide.pixels,
        tile=(128, 128),
        photometric="rgb",
        resolution=per_cm,
        resolutionunit="CENTIMETER",
    )
    spec = PredictSpec(
        heatmap=",".join(METHODS), mask=folder / "mask.png", overlap=overlap, batch=16, workers=1
    )
    for _event in predict(folder / "one.tif", bundle, folder / "out", spec):
        pass
    return RunStore.open(folder / "out" / "one")


@pytest.fixture(scope="module")
def rare(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """Return the run of a slide with few planted objects."""
    return run(tmp_path_factory.mktemp("rare") / "run", bundle, draw(11, RARE), 0.0)


@pytest.fixture(scope="module")
def none(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """Return the run of a slide with none."""
    return run(tmp_path_factory.mktemp("none") / "run", bundle, draw(7, 0), 0.0)


@pytest.fixture(scope="module")
def overlapping(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """Return the run of a slide with many, whose tiles overlap by half."""
    return run(tmp_path_factory.mktemp("many") / "run", bundle, draw(12, MANY), 0.5)


def painted(
    store: RunStore, method: str, fixed: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """Return the heatmap of the planted class, (rows, columns)."""
    spec = PaintSpec(METHODS.index(method), (0, 1), "softmax", signed=method in SIGNED, fixed=fixed)
    heatmap = paint(store, Size(EDGE, EDGE), spec)
    assert heatmap is not None
    return np.asarray(np.concatenate(list(heatmap.bands()), axis=1)[PLANTED])


def top_of(store: RunStore, method: str) -> float:
    """Return the raw value that is painted as 1 on a slide's own scale."""
    spec = PaintSpec(METHODS.index(method), (0, 1), "softmax", signed=method in SIGNED)
    heatmap = paint(store, Size(EDGE, EDGE), spec)
    assert heatmap is not None
    return heatmap.scales[PLANTED].high


def precision(heat: NDArray[np.float32], planted: NDArray[np.bool_]) -> float:
    """Return the average precision of a heatmap's pixels."""
    pitch = EDGE // len(heat)
    truth = planted[pitch // 2 :: pitch, pitch // 2 :: pitch]
    return float(average_precision_score(truth.ravel(), heat.ravel()))


def scaled_tile_by_tile(store: RunStore, folder: Path) -> RunStore:
    """Return the same run with every map stretched to its tile's own 0…1, as libraries do."""
    assert store.maps is not None
    maps = np.asarray(store.maps[:]).astype(np.float32)
    low, high = (ends(maps, axis=(3, 4), keepdims=True) for ends in (np.min, np.max))
    shape = maps.shape[1], maps.shape[2], maps.shape[3], maps.shape[4]
    other = RunStore.create(folder, StorePlan(store.boxes, [store.order], store.steps[0], 2, shape))
    logits, probabilities = store.logits[store.order], store.probabilities[store.order]
    other.commit(0, TileResults(logits, probabilities, (maps - low) / (high - low + 1e-7), {}))
    return other


def test_the_network_has_learnt_the_objects(rare: RunStore, none: RunStore) -> None:
    assert RARE <= int((rare.probabilities[:, PLANTED] > 0.5).sum()) <= 4 * RARE
    assert float(none.probabilities[:, PLANTED].max()) < 0.2


@pytest.mark.parametrize("method", ["gradcam++", "cam"])
def test_a_slides_map_finds_objects_three_times_as_well_as_maps_scaled_tile_by_tile(
    rare: RunStore, tmp_path: Path, method: str
) -> None:
    planted = draw(11, RARE).planted
    ours = precision(painted(rare, method), planted)
    theirs = precision(painted(scaled_tile_by_tile(rare, tmp_path), method, (0.0, 1.0)), planted)
    assert ours >= 3 * theirs


@pytest.mark.parametrize("method", METHODS)
def test_a_slide_with_none_of_the_class_shows_none_of_it_on_its_own_scale(
    rare: RunStore, none: RunStore, method: str
) -> None:
    own, best = painted(none, method).max(), none.probabilities[:, PLANTED].max()
    assert painted(rare, method).max() > 0.9
    assert own <= best / (1 - best) + 1e-6
    assert own < 0.2


@pytest.mark.parametrize("method", METHODS)
def test_a_slide_with_none_of_the_class_shows_none_of_it_on_a_fixed_scale(
    rare: RunStore, none: RunStore, method: str, tmp_path: Path
) -> None:
    # Discs look a little like rings here and there, and raw evidence says so; scaled tile by tile
    # it is everywhere.
    fixed = painted(none, method, (0.0, top_of(rare, method)))
    assert np.quantile(fixed, 0.995) < 0.1
    assert fixed.max() < 0.6
    assert (
        np.quantile(painted(scaled_tile_by_tile(none, tmp_path), method, (0.0, 1.0)), 0.995) > 0.3
    )


def jumps(heat: NDArray[np.float32], pitch: int, step: int) -> tuple[float, float]:
    """Return the mean jump from pixel to pixel where a tile begins or ends, and elsewhere."""
    at_edge = np.arange(1, len(heat)) * pitch % step == 0
    both = [np.abs(np.diff(heat, axis=0)), np.abs(np.diff(heat.T, axis=0))]
    return tuple(float(np.mean([each[kind] for each in both])) for kind in (at_edge, ~at_edge))  # type: ignore[return-value]


@pytest.mark.parametrize("method", METHODS)
def test_no_seam_shows_where_tiles_begin_and_end(overlapping: RunStore, method: str) -> None:
    heat = painted(overlapping, method)
    edge, inside = jumps(heat, EDGE // len(heat), overlapping.steps[0])
    assert edge <= 1.5 * inside


@pytest.mark.parametrize("method", METHODS)
def test_two_tiles_over_one_place_say_nearly_the_same(overlapping: RunStore, method: str) -> None:
    assert overlapping.maps is not None
    maps = np.asarray(overlapping.maps[:, METHODS.index(method), PLANTED]).astype(np.float32)
    boxes = overlapping.boxes[overlapping.order]
    at = {(int(x), int(y)): row for row, (x, y, *_size) in enumerate(boxes)}
    half = maps.shape[2] // 2
    pairs = [
        np.abs(maps[row][:, half:] - maps[at[x + TILE // 2, y]][:, :half])
        for (x, y), row in at.items()
        if (x + TILE // 2, y) in at
    ]
    assert len(pairs) > 400
    assert np.mean(pairs) <= 0.02 * np.ptp(maps)


def test_evidence_adds_up_to_every_tiles_logits_and_so_to_the_slides(
    bundle: Path, rare: RunStore
) -> None:
    head = open_bundle(bundle).classifier().linear_head
    assert head is not None
    assert rare.maps is not None
    evidence = np.asarray(rare.maps[:, METHODS.index("cam")]).astype(np.float64)
    logits = evidence.mean((2, 3)) + head.bias.numpy()
    told = rare.logits[rare.order]
    # float16 keeps 11 bits of each cell.
    allowed = np.abs(evidence).mean((2, 3)) * 2.0**-11 + 1e-5
    assert (np.abs(logits - told) <= allowed).all()
    np.testing.assert_allclose(logits.mean(0), told.mean(0), atol=float(allowed.mean()))
    assert float(np.ptp(told[:, PLANTED])) > 1
