"""A run is read as it lies on disk, finished or not, and what is missing is told."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from slidecam.cli.output import legend_facts
from slidecam.errors import StoreError, UsageError
from slidecam.events import BatchDone
from slidecam.models import open_bundle
from slidecam.prediction.pipeline import predict
from slidecam.reports.run_figure import write_figure
from slidecam.runs import Run, legend
from slidecam.runs.record_parts import RecordedVolume
from slidecam.runs.slices import SliceTable, write_slices_csv
from slidecam.runs.spec import PredictSpec
from slidecam.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEC = PredictSpec(batch=8, overlap=0.25)


@pytest.fixture(scope="module")
def finished(
    tiny_bundle: Path, write_slide: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    list(predict(write_slide(folder / "a.tif"), tiny_bundle, folder / "out", SPEC))
    return folder / "out" / "a"


def edited(folder: Path, to: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    shutil.copytree(folder, to)
    record = json.loads((to / "run.json").read_text(encoding="utf-8"))
    change(record)
    (to / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return to


def as_before(folder: Path, to: Path) -> Path:
    """Return a copy of a run whose store keeps no tissue, as those of before."""
    copy = edited(folder, to, lambda _record: None)
    shutil.rmtree(copy / "run.zarr" / "tissue")
    return copy


def test_a_run_is_read_as_its_store_has_it(finished: Path, tiny_bundle: Path) -> None:
    run, store, card = (
        Run.open(finished),
        RunStore.open(finished),
        open_bundle(tiny_bundle).card,
    )
    np.testing.assert_array_equal(run.tiles.boxes, store.boxes)
    np.testing.assert_array_equal(run.logits, store.logits)
    assert (run.tiles.class_names, run.tiles.class_colors) == (card.class_names, card.class_colors)
    assert (run.slide, run.size.width, run.size.height, run.step) == ("a", 700, 500, 48)
    assert run.spacing is not None
    assert run.spacing.x == pytest.approx(0.5)
    assert run.tissue is not None
    assert run.calibration == "not calibrated"
    assert run.notes == ()


def test_a_run_that_was_stopped_is_read_too(
    tiny_bundle: Path, write_slide: Callable[..., Path], tmp_path: Path
) -> None:
    with closing(
        predict(write_slide(tmp_path / "a.tif"), tiny_bundle, tmp_path / "out", SPEC)
    ) as events:
        next(event for event in events if isinstance(event, BatchDone))
    run = Run.open(tmp_path / "out" / "a")
    assert 0 < run.tiles.done.sum() < len(run)
    assert run.tissue is not None
    assert run.notes == ()


def test_a_run_that_does_not_name_its_classes_asks_the_bundle(
    finished: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    def forget(record: dict[str, Any]) -> None:
        for key in ("class_names", "class_colors", "activation"):
            del record["bundle"][key]
        del record["input"]["bounds_px"]
        del record["version"]

    old = edited(finished, tmp_path / "old", forget)
    assert Run.open(old).tiles.class_names == open_bundle(tiny_bundle).card.class_names


def test_another_bundle_than_the_runs_is_refused(finished: Path, sample_data: Path) -> None:
    with pytest.raises(StoreError, match="another bundle"):
        Run.open(finished, bundle=sample_data / "bundle")


def test_an_edited_mask_is_not_taken_for_the_tissue(finished: Path, tmp_path: Path) -> None:
    copy = as_before(finished, tmp_path / "edited")
    pixels = ~np.asarray(Image.open(copy / "mask.png"))
    Image.fromarray(pixels).save(copy / "mask.png")
    run = Run.open(copy)
    assert run.tissue is None
    assert "not the mask" in run.notes[0]


def test_a_run_keeps_its_tissue_whatever_becomes_of_the_mask(
    finished: Path, tmp_path: Path
) -> None:
    kept = edited(finished, tmp_path / "kept", lambda _record: None)
    (kept / "mask.png").unlink()
    run, whole = Run.open(kept), Run.open(finished)
    assert run.tissue is not None
    with Image.open(finished / "mask.png") as mask:
        np.testing.assert_array_equal(run.tissue.mask, np.asarray(mask) != 0)
    assert legend(run) == legend(whole)
    assert run.notes == ()


def test_an_older_run_without_a_mask_says_that_its_tissue_is_not_known(
    finished: Path, tmp_path: Path
) -> None:
    old = as_before(finished, tmp_path / "old")
    assert legend(Run.open(old)) == legend(Run.open(finished))
    (old / "mask.png").unlink()
    run = Run.open(old)
    found = legend(run)
    assert (run.tissue, found.tissue) == (None, None)
    assert "is not known (there is no mask.png" in run.notes[0]
    facts = legend_facts(found)
    assert facts["tissue"] == "not known"
    assert facts["note"].startswith(run.notes[0])
    assert "of the tissue" not in str(facts)


def test_where_there_is_no_run_one_is_told_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--out of slidecam predict"):
        Run.open(tmp_path)


def test_the_identity_is_the_slides_and_the_grids(
    finished: Path, tiny_bundle: Path, write_slide: Callable[..., Path], tmp_path: Path
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    list(
        predict(
            slide,
            tiny_bundle,
            tmp_path / "same",
            PredictSpec(batch=5, overlap=0.25, heatmap="none"),
        )
    )
    list(predict(slide, tiny_bundle, tmp_path / "other", PredictSpec(heatmap="none")))
    identity = Run.open(finished).identity
    assert Run.open(tmp_path / "same" / "a").identity == identity
    assert Run.open(tmp_path / "other" / "a").identity != identity


def test_the_slices_of_a_volume_lie_along_the_axis_of_its_record(
    finished: Path, tmp_path: Path
) -> None:
    table = SliceTable(
        "coronal",
        np.array([1.5, 4.0]),
        np.array([1, 0]),
        ("done", "done"),
        np.array([[0.3], [0.7]], np.float32),
        ("a",),
    )
    write_slices_csv(table, tmp_path / "slices.csv")
    slide = Run.open(finished)
    cut = replace(slide.record.input, volume=RecordedVolume("coronal", 2))
    volume = replace(slide, folder=tmp_path, record=replace(slide.record, input=cut))
    assert volume.slices is not None
    assert volume.slices.axis == "coronal"


def test_a_volumes_tiles_lie_on_planes_and_have_no_areas(finished: Path, tmp_path: Path) -> None:
    slide = Run.open(finished)
    planes = np.arange(len(slide), dtype=np.int64)
    volume = replace(slide, planes=planes)
    np.testing.assert_array_equal(volume.plane_numbers, planes)
    np.testing.assert_array_equal(slide.plane_numbers, 0 * planes)
    assert volume.identity != slide.identity
    with pytest.raises(UsageError, match="run of a volume"):
        legend(volume)
    with pytest.raises(UsageError, match="run of a volume"):
        write_figure(tmp_path / "a.png", volume)
