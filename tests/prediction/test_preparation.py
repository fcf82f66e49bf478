"""What is settled for a slide before its first batch."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from slidecam.errors import MaskError, ShownSizeError, SpacingError, UsageError
from slidecam.geometry import Box
from slidecam.prediction import choices
from slidecam.prediction.model import LoadedModel, load_model
from slidecam.prediction.preparation import prepare
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import MakeSource


@pytest.fixture
def model(tiny_bundle: Path) -> LoadedModel:
    return load_model(tiny_bundle, PredictSpec())


def test_a_dry_run_opens_nothing_on_disk(
    tmp_path: Path, model: LoadedModel, write_slide: Callable[..., Path]
) -> None:
    ready = prepare(
        str(write_slide(tmp_path / "a.tif")), tmp_path / "out", model, PredictSpec(dry_run=True)
    )
    assert ready.run is None
    assert len(ready.grid) > 30
    assert not (tmp_path / "out").exists()
    ready.close()


def test_the_plan_changes_with_what_changes_the_result(
    tmp_path: Path, model: LoadedModel, write_slide: Callable[..., Path]
) -> None:
    slide = str(write_slide(tmp_path / "a.tif"))

    def plan(spec: PredictSpec) -> str:
        ready = prepare(slide, tmp_path / "out", model, spec)
        ready.close()
        return json.dumps(ready.plan, sort_keys=True)

    same = plan(PredictSpec(dry_run=True))
    assert plan(PredictSpec(dry_run=True, workers=1, memory_mb=9, ngff="0.5")) == same
    for other in (PredictSpec(dry_run=True, overlap=0.5), PredictSpec(dry_run=True, mpp=0.4)):
        assert plan(other) != same


def test_a_spacing_for_one_slide_wins_over_one_for_all(
    tmp_path: Path, model: LoadedModel, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    for spacings in ({"a": 0.25}, {"a.tif": 0.25}):
        spec = PredictSpec(dry_run=True, mpp=1.0, spacings=spacings)
        ready = prepare(str(slide), tmp_path / "out", model, spec)
        ready.close()
        assert ready.spacing is not None
        assert ready.spacing.spacing.mean == 0.25
        assert "0.25" in ready.warnings[0]


def test_a_folder_of_masks_is_searched_by_stem(
    tmp_path: Path, model: LoadedModel, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    masks = tmp_path / "masks"
    masks.mkdir()
    with pytest.raises(MaskError, match=r"no a\.geojson"):
        prepare(str(slide), tmp_path / "out", model, PredictSpec(mask=masks))
    ring = [[0, 0], [128, 0], [128, 128], [0, 128], [0, 0]]
    (masks / "a.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    ready = prepare(str(slide), tmp_path / "out", model, PredictSpec(mask=masks, dry_run=True))
    ready.close()
    assert ready.grid.boxes[:, :2].tolist() == [[0, 0], [64, 0], [0, 64], [64, 64]]


def test_a_slide_without_spacing_names_the_option(tmp_path: Path, model: LoadedModel) -> None:
    Image.new("RGB", (300, 300), (200, 120, 160)).save(tmp_path / "a.png")
    with pytest.raises(SpacingError, match="--mpp"):
        prepare(str(tmp_path / "a.png"), tmp_path / "out", model, PredictSpec())


def test_a_mask_from_qupath_counts_from_the_corner_of_the_bounds(
    tmp_path: Path, model: LoadedModel, array_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = array_source(np.full((400, 400, 3), 150, np.uint8), bounds=Box(100, 200, 200, 100))
    monkeypatch.setattr(choices, "open_apart", lambda *_arguments: source)
    ring = [[0, 0], [64, 0], [64, 64], [0, 64], [0, 0]]
    (tmp_path / "mask.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    spec = PredictSpec(mask=tmp_path / "mask.geojson", dry_run=True)
    ready = prepare("memory.tif", tmp_path / "out", model, spec)
    assert ready.grid.boxes.tolist() == [[100, 200, 64, 64]]


@pytest.mark.parametrize(
    ("shown", "corner"),
    [
        ({}, [100, 200]),
        ({"*": (200, 100)}, [100, 200]),
        ({"memory": (400, 400), "*": (1, 1)}, [0, 0]),
    ],
)
def test_the_size_that_qupath_shows_says_where_masks_and_results_count_from(
    tmp_path: Path,
    model: LoadedModel,
    array_source: MakeSource,
    monkeypatch: pytest.MonkeyPatch,
    shown: dict[str, tuple[int, int]],
    corner: list[int],
) -> None:
    source = array_source(np.full((400, 400, 3), 150, np.uint8), bounds=Box(100, 200, 200, 100))
    monkeypatch.setattr(choices, "open_apart", lambda *_arguments: source)
    ring = [[100, 0], [164, 0], [164, 64], [100, 64]]
    (tmp_path / "mask.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    spec = PredictSpec(mask=tmp_path / "mask.geojson", dry_run=True, shown=shown, min_tissue=0.01)
    ready = prepare("memory.tif", tmp_path / "out", model, spec)
    assert list(ready.qupath.corner) == corner
    places = np.argwhere(ready.foreground.mask)[0][::-1] * 400 / ready.foreground.mask.shape[0]
    assert places.tolist() == pytest.approx([corner[0] + 100, corner[1]], abs=2)


def test_a_view_of_another_size_is_refused_before_anything_is_written(
    tmp_path: Path, model: LoadedModel, write_slide: Callable[..., Path]
) -> None:
    with pytest.raises(ShownSizeError, match="350 x 250"):
        prepare(
            str(write_slide(tmp_path / "a.tif")),
            tmp_path / "out",
            model,
            PredictSpec(shown={"a": (350, 250)}),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "spec", [{"batch": 0}, {"workers": 0}, {"memory_mb": 0}, {"mpp": math.nan}, {"overlap": -0.1}]
)
def test_a_setting_that_is_out_of_range_is_refused_at_once(spec: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="out of range"):
        PredictSpec(**spec)


def test_a_stored_batch_size_is_kept_when_a_run_is_continued(
    tmp_path: Path, model: LoadedModel, write_slide: Callable[..., Path]
) -> None:
    slide = str(write_slide(tmp_path / "a.tif"))
    prepare(slide, tmp_path / "out", replace(model, batch_size=6), PredictSpec()).close()
    ready = prepare(slide, tmp_path / "out", model, PredictSpec(existing="resume"))
    ready.close()
    assert ready.plan["batch size"] == 6
