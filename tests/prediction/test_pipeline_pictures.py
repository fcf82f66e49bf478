"""Classifiers that see whole pictures: one tile of whatever shape, no spacing, no tissue."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from slidecam.events import Event, Finished, Planned, SlideFailed, SlideFinished, Started, Warned
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.geometry import LevelBox
from slidecam.models import open_bundle, save_bundle
from slidecam.models.architectures import build_network
from slidecam.prediction.pipeline import predict
from slidecam.runs.outputs import OUTPUTS
from slidecam.runs.run import Run
from slidecam.runs.spec import PredictSpec
from slidecam.sources import open_source
from slidecam.store import RunStore, read_run
from slidecam.viewing import VolumeView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

PLAIN = PredictSpec(batch=4, workers=1)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    opened = open_bundle(tiny_bundle)
    card = replace(opened.card, spacing=None)
    return save_bundle(tmp_path_factory.mktemp("pictures") / "bundle", card, opened.network()).path


@pytest.fixture(
    params=[(300, 210), (90, 400), (64, 64), (20, 11)], ids=lambda size: f"{size[0]}x{size[1]}"
)
def picture(
    request: pytest.FixtureRequest, tmp_path: Path, noise: Callable[[int, int], NDArray[np.uint8]]
) -> Path:
    width, height = request.param
    Image.fromarray(noise(width, height)).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def size_of(picture: Path) -> tuple[int, int]:
    with Image.open(picture) as opened:
        return opened.size


def finished(events: list[Event]) -> SlideFinished:
    (found,) = (event for event in events if isinstance(event, SlideFinished))
    return found


def test_a_picture_is_one_tile_and_all_outputs_are_written(
    tmp_path: Path, bundle: Path, picture: Path
) -> None:
    width, height = size_of(picture)
    events = list(
        predict(picture, bundle, tmp_path / "out", replace(PLAIN, heatmap="gradcam++,cam"))
    )
    assert (finished(events).status, finished(events).tiles) == ("done", 1)
    folder = tmp_path / "out" / "scan"
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        "run.json",
        "run.zarr",
        "heatmap-cam.ome.zarr",
        *OUTPUTS,
    }
    with (folder / "tiles.csv").open() as lines:
        (row,) = csv.DictReader(lines)
    assert [int(row[name]) for name in ("minx", "miny", "width", "height")] == [0, 0, width, height]
    (tile,) = json.loads((folder / "tiles.geojson").read_text())["features"]
    assert tile["geometry"]["coordinates"][0][2] == [width, height]
    assert "scan" in (tmp_path / "out" / "report.html").read_text()


def test_its_probabilities_are_those_of_the_picture_resized_by_pillow(
    tmp_path: Path, bundle: Path, picture: Path
) -> None:
    list(predict(picture, bundle, tmp_path / "out", PLAIN))
    with Image.open(picture) as opened:
        resized = np.asarray(opened.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
    network = open_bundle(bundle)
    import torch  # noqa: PLC0415  (beside its only use)

    with torch.no_grad():
        pixels = torch.from_numpy(resized.astype(np.float32)).permute(2, 0, 1)[None] / 255
        expected = network.network()((pixels - 0.5) / 0.25).softmax(1).numpy()
    np.testing.assert_allclose(
        RunStore.open(tmp_path / "out" / "scan").probabilities, expected, atol=1e-5
    )


def test_its_heatmap_covers_it_and_claims_no_micrometres(
    tmp_path: Path, bundle: Path, picture: Path
) -> None:
    width, height = size_of(picture)
    list(predict(picture, bundle, tmp_path / "out", PLAIN))
    folder = tmp_path / "out" / "scan"
    image = read_heatmap_ome_zarr(folder / "heatmap.ome.zarr")
    assert image.spec.spacing is None
    assert (image.spec.size.width, image.spec.size.height) == (
        -(-width // image.spec.pitch),
        -(-height // image.spec.pitch),
    )
    assert not np.isnan(np.asarray(image.levels[0][:])).any()
    axes = json.loads((folder / "heatmap.ome.zarr" / ".zattrs").read_text())["multiscales"][0][
        "axes"
    ]
    assert not any("unit" in axis for axis in axes)


def test_its_record_says_what_it_is(tmp_path: Path, bundle: Path, picture: Path) -> None:
    events = list(predict(picture, bundle, tmp_path / "out", PLAIN))
    (planned,) = (event for event in events if isinstance(event, Planned))
    assert (planned.tiles, planned.spacing, planned.spacing_from) == (1, None, "")
    record = read_run(tmp_path / "out" / "scan") or {}
    assert (record["spacing"], record["plan"]["tile"]) == (None, "the whole picture")
    assert record["foreground"] == {"from": "the whole picture", "share": 1.0}


def test_it_is_resumed_like_any_other(tmp_path: Path, bundle: Path, picture: Path) -> None:
    list(predict(picture, bundle, tmp_path / "out", PLAIN))
    events = list(predict(picture, bundle, tmp_path / "out", replace(PLAIN, existing="resume")))
    assert [type(event) for event in events] == [Started, Planned, SlideFinished, Finished]


def test_a_slide_is_refused_with_a_remedy_and_the_pictures_beside_it_are_done(
    tmp_path: Path,
    bundle: Path,
    write_slide: Callable[..., Path],
    noise: Callable[[int, int], NDArray[np.uint8]],
) -> None:
    Image.fromarray(noise(50, 40)).save(tmp_path / "scan.png")
    slides = [write_slide(tmp_path / "slide.tif"), tmp_path / "scan.png"]
    events = list(predict(slides, bundle, tmp_path / "out", PLAIN))
    (failed,) = (event for event in events if isinstance(event, SlideFailed))
    assert (failed.slide, "3 levels is a slide" in failed.problem) == ("slide", True)
    assert "spacing" in failed.problem
    assert "µm per pixel" in failed.remedy
    assert finished(events).slide == "scan"
    assert isinstance(events[-1], Finished)
    assert events[-1].exit_code == 3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"overlap": 0.5}, "--overlap without effect"),
        ({"grid": "wsinfer", "min_tissue": 0.5}, "--grid, --min-tissue without effect"),
        ({"edge": "drop"}, "--edge without effect"),
    ],
)
def test_options_of_tiling_are_told_to_be_without_effect(
    tmp_path: Path, bundle: Path, picture: Path, options: dict[str, Any], told: str
) -> None:
    events = list(
        predict(picture, bundle, tmp_path / "out", replace(PLAIN, dry_run=True, **options))
    )
    assert any(isinstance(event, Warned) and told in event.message for event in events)
    assert finished(list(predict(picture, bundle, tmp_path / "out", replace(PLAIN, **options))))
    record = read_run(tmp_path / "out" / "scan") or {}
    assert any(reading.endswith(f"{told}.") for reading in record["input"]["readings"])


def test_a_spacing_that_is_given_is_kept(tmp_path: Path, bundle: Path, picture: Path) -> None:
    list(predict(picture, bundle, tmp_path / "out", replace(PLAIN, mpp=2.0)))
    record = read_run(tmp_path / "out" / "scan") or {}
    assert record["spacing"] == {"um_px": [2.0, 2.0], "from": "override"}
    assert (
        read_heatmap_ome_zarr(tmp_path / "out" / "scan" / "heatmap.ome.zarr").spec.spacing
        is not None
    )


def test_a_broken_picture_fails_alone(
    tmp_path: Path, bundle: Path, noise: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in "ab":
        Image.fromarray(noise(200, 150)).save(folder / f"{name}.png")
    content = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(content[: len(content) // 2])
    events = list(predict(folder, bundle, tmp_path / "out", PLAIN))
    assert [event.slide for event in events if isinstance(event, SlideFailed)] == ["a"]
    assert finished(events).slide == "b"


def test_that_a_classifier_sees_grey_is_said_where_it_predicts(
    tmp_path: Path, tiny_bundle: Path, noise: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    args = {"widths": [8, 12], "in_chans": 1}
    network = build_network("slidecam/pocket_resnet", args, 2, tmp_path)
    card = replace(
        open_bundle(tiny_bundle).card,
        architecture="slidecam/pocket_resnet",
        architecture_args=args,
        class_names=("stroma", "tumour"),
        class_colors=((200, 150, 150), (100, 20, 120)),
        spacing=None,
        channels=1,
        mean=(0.5,),
        std=(0.25,),
    )
    grey = save_bundle(tmp_path / "grey", card, network)
    pixels = noise(card.input_px, card.input_px)
    Image.fromarray(pixels).save(tmp_path / "scan.png")
    events = list(predict([tmp_path / "scan.png"], grey.path, tmp_path / "out", PLAIN))
    assert any(isinstance(event, Warned) and "ITU-R 601" in event.message for event in events)
    seen = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)
    with torch.no_grad():
        logits = network(torch.from_numpy((seen / 255 - 0.5) / 0.25)[None, None])
    stored = RunStore.open(tmp_path / "out" / "scan").probabilities[0]
    np.testing.assert_allclose(stored, logits.softmax(1)[0].numpy(), rtol=0, atol=1e-5)


def test_a_window_is_found_once_recorded_and_kept(tmp_path: Path, bundle: Path) -> None:
    path, out = tmp_path / "mr.png", tmp_path / "out"
    samples = np.random.default_rng(2).integers(17, 1733, (90, 133)).astype(np.uint16)
    Image.fromarray(samples).save(path)
    assert finished(list(predict(path, bundle, out, PLAIN)))
    run = Run.open(out / "mr")
    low, high = run.digest["picture window"]
    with open_source(path) as source:
        assert source.facts.window == (low, high)
        whole = LevelBox(0, 0, 133, 90)
        seen = source.read(0, whole)
    record = json.loads((out / "mr" / "run.json").read_text(encoding="utf-8"))
    (said,) = [each for each in record["input"]["readings"] if each.startswith("Window ")]
    assert "of 65,535 is black to white" in said
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "of 65,535 is black to white" in page
    with open_source(path, view=VolumeView(slide=run.seen)) as again:
        np.testing.assert_array_equal(again.read(0, whole), seen)
    assert finished(list(predict(path, bundle, out, replace(PLAIN, existing="resume"))))
    other = replace(PLAIN, existing="resume", window="100,900")
    (failed,) = [
        each for each in predict(path, bundle, out, other) if isinstance(each, SlideFailed)
    ]
    assert "picture window was" in failed.problem
    chosen = replace(PLAIN, window="100,900")
    assert finished(list(predict(path, bundle, tmp_path / "own", chosen)))
    assert Run.open(tmp_path / "own" / "mr").digest["picture window"] == [100.0, 900.0]
