"""A figure shows the requested place, with the classes, the bar and the words that belong to it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from slidecam.errors import UsageError
from slidecam.geometry import Box
from slidecam.prediction.pipeline import predict
from slidecam.reports import run_figure as figure
from slidecam.reports.run_figure import FigureSpec, write_figure
from slidecam.runs import Run
from slidecam.runs.spec import PredictSpec
from slidecam.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.reports.picture import FigureFacts


@pytest.fixture(scope="module")
def run(
    tiny_bundle: Path, write_slide: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Return a run whose tiles are of classes A, B and C by columns."""
    folder = tmp_path_factory.mktemp("run")
    list(
        predict(
            write_slide(folder / "a.tif"),
            tiny_bundle,
            folder / "out",
            PredictSpec(heatmap="cam,gradcam++"),
        )
    )
    read = Run.open(folder / "out" / "a")
    column = read.tiles.boxes[:, 0] // 64 % 3
    sure = (np.eye(3)[column] * 0.8 + 0.1).astype(np.float32)
    return replace(read, tiles=replace(read.tiles, probabilities=sure))


def drawn(
    run: Run, spec: FigureSpec, monkeypatch: pytest.MonkeyPatch
) -> tuple[NDArray[np.uint8], FigureFacts]:
    """Return what is handed to the pen."""
    kept = []
    monkeypatch.setattr(
        figure, "write_figure_png", lambda _path, pixels, facts: kept.append((pixels, facts))
    )
    write_figure(run.folder / "x.png", run, spec)
    return kept[0]


def test_each_place_has_the_colour_of_its_class(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    region = Box(200, 100, 280, 140)
    pixels, facts = drawn(run, FigureSpec(region=region, longest=280), monkeypatch)
    assert pixels.shape == (140, 280, 3)
    assert facts.um_per_px == pytest.approx(0.5)
    colors = np.array(run.tiles.class_colors)
    for x in range(205, 475, 9):
        here = pixels[60, x - 200].astype(float)
        if x % 64 not in {0, 62, 63}:
            assert np.abs(colors - here).sum(axis=1).argmin() == x // 64 % 3


def test_the_slide_is_shown_as_it_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    region = Box(101, 53, 400, 300)
    pixels, _facts = drawn(run, FigureSpec("slide", region=region, longest=200), monkeypatch)
    with open_source(run.slide_path) as source:
        level = source.thumbnail(350)[26:176, 50:250].astype(float)
    assert pixels.shape == (150, 200, 3)
    assert np.abs(pixels.astype(float).mean(axis=(0, 1)) - level.mean(axis=(0, 1))).max() < 2


def test_the_legend_is_of_the_region(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _pixels, facts = drawn(run, FigureSpec(region=Box(192, 64, 64, 256)), monkeypatch)
    told = {each.name: each.said for each in facts.legend}
    assert told["A"] == "100 %"
    assert told["B"] == told["C"] == "0 %"


def test_tiles_below_a_threshold_stay_bare(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    bare, _facts = drawn(run, FigureSpec(threshold=0.95), monkeypatch)
    shown, facts = drawn(run, FigureSpec("probability", "B", threshold=0.5), monkeypatch)
    assert (bare.max(axis=2).astype(int) - bare.min(axis=2) == 0).all()
    colored = shown.max(axis=2).astype(int) - shown.min(axis=2) > 20
    assert set((np.flatnonzero(colored[200]) * 700 // shown.shape[1] // 64 % 3).tolist()) == {1}
    assert facts.heat is not None
    assert facts.subtitle.endswith("probability of B, from 0.5")


@pytest.mark.parametrize("method", ["cam", "gradcam++"])
def test_a_heatmap_of_a_region_is_a_part_of_the_whole_ones(
    run: Run, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    whole, _facts = drawn(run, FigureSpec("heatmap", "B", method, longest=700), monkeypatch)
    part, facts = drawn(
        run, FigureSpec("heatmap", "B", method, Box(200, 100, 300, 200), longest=300), monkeypatch
    )
    assert np.abs(whole[100:300, 200:500].astype(int) - part).mean() < 1
    assert facts.heat is not None
    assert facts.heat.signed == (method == "cam")


def test_the_file_is_a_picture_with_room_for_all_words(run: Run, tmp_path: Path) -> None:
    write_figure(tmp_path / "a.png", run, FigureSpec(title="x" * 300))
    with Image.open(tmp_path / "a.png") as image:
        width, height = image.size
        edge = np.asarray(image.convert("L"))[:, -20:]
    assert width > height > 500
    assert (edge == 255).all()


def test_what_cannot_be_shown_is_refused(run: Run, tmp_path: Path) -> None:
    for spec, told in (
        (FigureSpec(region=Box(5000, 0, 10, 10)), "off the slide"),
        (FigureSpec("probability", "Z"), "no class 'Z'"),
        (FigureSpec("heatmap", "Z"), "no class 'Z'"),
        (FigureSpec("heatmap", method="lime"), "no heatmap by lime but by cam, gradcam"),
    ):
        with pytest.raises(UsageError, match=told):
            write_figure(tmp_path / "a.png", run, spec)
    assert list(tmp_path.iterdir()) == []
