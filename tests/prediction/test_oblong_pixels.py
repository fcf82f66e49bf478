"""A slide of pixels that are not square gives what its twin of square pixels gives, all the way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from scipy.ndimage import zoom

from slidecam.close_up import TileChoice, choose_tiles
from slidecam.events import Planned, SlideFailed, SlideFinished
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.models import open_bundle
from slidecam.prediction.pipeline import predict
from slidecam.runs import Run
from slidecam.runs.legend import legend
from slidecam.runs.spec import PredictSpec
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH, HEIGHT = 733, 541
SPEC = PredictSpec(batch=8, workers=2, overlap=0.25)


def square_pixels() -> NDArray[np.uint8]:
    """Return smooth tissue on glass, of 0.5 µm each way."""
    clouds = np.random.default_rng(4).uniform(-45, 45, (9, 12, 3))
    smooth = zoom(clouds, (HEIGHT / 9, WIDTH / 12, 1), order=1)
    pixels = np.full((HEIGHT, WIDTH, 3), 244.0)
    inside = np.s_[70:450, 90:640]
    pixels[inside] = (np.array([200, 120, 170]) + smooth)[inside]
    rounded: NDArray[np.uint8] = np.rint(pixels).astype(np.uint8)
    return rounded


def as_tiff(path: Path, pixels: NDArray[np.uint8], mpp: tuple[float, float]) -> None:
    with tifffile.TiffWriter(path) as writer:
        for step in (1, 2):
            writer.write(
                pixels[::step, ::step],
                tile=(128, 128),
                photometric="rgb",
                resolution=(1e4 / (mpp[0] * step), 1e4 / (mpp[1] * step)),
                resolutionunit="CENTIMETER",
                subfiletype=step - 1,
                metadata=None,
            )


def as_ome_zarr(path: Path, pixels: NDArray[np.uint8], mpp: tuple[float, float]) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=2)
    array = group.create_array("0", shape=(3, *pixels.shape[:2]), chunks=(3, 128, 128), dtype="u1")
    array[:] = pixels.transpose(2, 0, 1)
    scale = [{"type": "scale", "scale": [1.0, mpp[1], mpp[0]]}]
    axes: list[Any] = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    datasets: list[Any] = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]


def classified(
    slide: Path, bundle: Path, out: Path, scale: tuple[int, int] = (1, 1)
) -> tuple[Run, Planned]:
    # One mask for all: what is compared is not where tissue was found.
    mask = out.parent / "mask.png"
    found = np.zeros((HEIGHT, WIDTH), np.uint8)
    found[70:450, 90:640] = 255
    Image.fromarray(found.repeat(scale[1], 0).repeat(scale[0], 1)).save(mask)
    spec = PredictSpec(batch=8, workers=2, overlap=0.25, mask=mask)
    events = list(predict(slide, bundle, out, spec))
    (planned,) = [event for event in events if isinstance(event, Planned)]
    assert any(isinstance(event, SlideFinished) for event in events), events
    return Run.open(out / slide.name.partition(".")[0]), planned


@pytest.fixture(scope="module")
def twin(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the run of the slide whose pixels are square."""
    folder = tmp_path_factory.mktemp("square")
    as_tiff(folder / "a.tif", square_pixels(), (0.5, 0.5))
    return classified(folder / "a.tif", tiny_bundle, folder / "out")[0]


KINDS: list[tuple[str, Callable[..., None], int]] = [
    ("a.tif", as_tiff, 0),
    ("a.zarr", as_ome_zarr, 0),
    ("a.tif", as_tiff, 1),
]


@pytest.mark.parametrize(("name", "write", "axis"), KINDS)
def test_tiles_classes_heat_and_areas_are_those_of_the_twin(
    tmp_path: Path, tiny_bundle: Path, twin: Run, name: str, write: Any, axis: int
) -> None:
    """The other axis is twice as fine: each pixel is there twice."""
    finer = 1 - axis
    mpp = (0.25, 0.5) if finer == 0 else (0.5, 0.25)
    pixels = np.repeat(square_pixels(), 2, axis=1 - finer)
    write(tmp_path / name, pixels, mpp)
    along_x, along_y = (2, 1) if finer == 0 else (1, 2)
    out = tmp_path / "out"
    run, planned = classified(tmp_path / name, tiny_bundle, out, (along_x, along_y))

    scale = np.array([along_x, along_y])
    np.testing.assert_array_equal(run.tiles.boxes, twin.tiles.boxes * np.tile(scale, 2))
    assert run.steps == tuple((np.array(twin.steps) * scale).tolist())
    difference = np.abs(run.tiles.probabilities - twin.tiles.probabilities)
    assert difference.max() < 0.002
    # They differ far more among themselves.
    assert np.ptp(twin.tiles.probabilities, axis=0).max() > 0.01

    width, height = (64 * scale).tolist()
    said = f"Tiles are {width} x {height} px, which is square in µm: pixels are"
    assert any(reading.startswith(said) for reading in planned.readings)
    assert planned.spacing == pytest.approx(0.375)
    assert any(reading.startswith(said) for reading in run.record.input.readings)

    heat, before = (read_heatmap_ome_zarr(each.heatmaps[0]) for each in (run, twin))
    ours, theirs = np.asarray(heat.levels[0]), np.asarray(before.levels[0])
    assert heat.spec.pitch == before.spec.pitch
    along = tuple(slice(None, None, int(step)) for step in scale[::-1])
    part = ours[:, *along][:, : theirs.shape[1], : theirs.shape[2]]
    both = np.isfinite(part) & np.isfinite(theirs)
    assert both.mean() > 0.9 * np.isfinite(theirs).mean() > 0
    assert np.abs(part - theirs)[both].mean() < 0.03

    for row, other in zip(legend(run).rows, legend(twin).rows, strict=True):
        assert row.area == pytest.approx(other.area, rel=0.02, abs=50)

    drawn = json.loads((run.folder / "tiles.geojson").read_text(encoding="utf-8"))
    rings = [np.array(one["geometry"]["coordinates"][0]) for one in drawn["features"]]
    assert {tuple((ring.max(0) - ring.min(0)).tolist()) for ring in rings} == {(width, height)}


def test_a_close_up_shows_the_tile_that_predict_saw(tmp_path: Path, tiny_bundle: Path) -> None:
    as_tiff(tmp_path / "a.tif", np.repeat(square_pixels(), 2, axis=0), (0.5, 0.25))
    run, _planned = classified(tmp_path / "a.tif", tiny_bundle, tmp_path / "out", (1, 2))
    row = len(run) // 2
    x, y, width, height = run.tiles.boxes[row].tolist()
    choice = TileChoice(at=((x + width / 2, y + height / 2),), mpp=run.spacing)
    classifier = open_bundle(tiny_bundle).classifier()
    seen = result_of(choose_tiles(tmp_path / "a.tif", classifier, choice))
    assert seen.boxes is not None
    assert seen.boxes.tolist() == [[x, y, width, height]]
    expected = square_pixels()[y // 2 : y // 2 + 64, x : x + 64]
    assert np.abs(seen.pixels[0].astype(int) - expected).max() <= 12
    assert any(note.startswith("Tiles are 64 x 128 px") for note in seen.notes)


def test_tissue_is_found_where_the_twin_has_it(tmp_path: Path, tiny_bundle: Path) -> None:
    found = []
    for name, pixels, mpp in (
        ("a", square_pixels(), (0.5, 0.5)),
        ("b", np.repeat(square_pixels(), 2, axis=0), (0.5, 0.25)),
    ):
        as_tiff(tmp_path / f"{name}.tif", pixels, mpp)
        list(predict(tmp_path / f"{name}.tif", tiny_bundle, tmp_path / "out", SPEC))
        run = Run.open(tmp_path / "out" / name)
        assert run.tissue is not None
        found.append((len(run), run.tissue.share))
    assert found[0][0] == found[1][0]
    assert found[0][1] == pytest.approx(found[1][1], rel=0.01)


def test_wsinfers_grid_is_refused_in_words(tmp_path: Path, tiny_bundle: Path) -> None:
    as_tiff(tmp_path / "a.tif", np.repeat(square_pixels(), 2, axis=0), (0.5, 0.25))
    events = list(
        predict(tmp_path / "a.tif", tiny_bundle, tmp_path / "out", PredictSpec(grid="wsinfer"))
    )
    (failed,) = [event for event in events if isinstance(event, SlideFailed)]
    assert "0.5 x 0.25 µm" in failed.problem
    assert "--grid slidecam" in failed.remedy
