"""QuPath projects and views through the whole way, and what a command-line call makes of them."""

from __future__ import annotations

import gzip
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.events import Planned, SlideFailed, Warned
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.store import RunStore, read_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = PredictSpec(batch=64, heatmap="none", existing="resume")


@pytest.fixture
def project(tmp_path: Path, write_slide: Callable[..., Path]) -> Path:
    """Return a project of two slides and a third that is rotated.

    One of the two has a pixel size mended by hand.
    """

    def image(path: Path, um: float, width: int) -> dict[str, Any]:
        side = {"value": um, "unit": "µm"}
        metadata = {
            "width": width,
            "height": 300,
            "pixelCalibration": {"pixelWidth": side, "pixelHeight": side},
        }
        builder = {"builderType": "uri", "uri": path.as_uri(), "metadata": metadata}
        return {"serverBuilder": builder, "imageName": path.name}

    one, two = (
        write_slide(tmp_path / f"{name}.tif", 400, 300, seed)
        for seed, name in enumerate(("one", "two"))
    )
    turned = {
        "serverBuilder": {"builderType": "rotated", "builder": image(one, 1, 1)["serverBuilder"]}
    }
    images = [image(one, 0.5, 400), image(two, 1.0, 401), {**turned, "imageName": "turned"}]
    path = tmp_path / "project.qpproj"
    path.write_text(
        json.dumps({"version": "0.7.0", "uri": path.as_uri(), "images": images}), encoding="utf-8"
    )
    return path


def test_a_project_is_classified_as_it_shows_its_images(
    project: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    events = list(predict(project, tiny_bundle, tmp_path / "out", SMALL))
    (planned,) = [event for event in events if isinstance(event, Planned)]
    assert (planned.slide, planned.spacing) == ("one", 0.5)
    assert any("turned" in event.message for event in events if isinstance(event, Warned))
    # The second is shown in a size that no reader of ours knows: nothing could be put in its place.
    (failed,) = [event for event in events if isinstance(event, SlideFailed)]
    assert (failed.slide, "401 x 300" in failed.problem) == ("two", True)
    assert (tmp_path / "out" / "one" / "qupath" / "slidecam.json").is_file()


def test_what_is_said_in_the_call_wins_over_the_project(
    project: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    spec = PredictSpec(
        batch=64, heatmap="none", dry_run=True, spacings={"one": 0.25}, shown={"two": (400, 300)}
    )
    events = [
        event
        for event in predict(project, tiny_bundle, tmp_path / "out", spec)
        if isinstance(event, Planned)
    ]
    assert [(event.slide, event.spacing) for event in events] == [("one", 0.25), ("two", 1.0)]


def test_the_folder_for_qupath_comes_when_it_is_asked_for_and_counts_as_an_output(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide, out = write_slide(tmp_path / "one.tif", 400, 300), tmp_path / "out"
    folder = out / "one" / "qupath"
    call = [
        "predict",
        str(slide),
        "-m",
        str(tiny_bundle),
        "-o",
        str(out),
        "--batch",
        "64",
        "--json",
        "--resume",
    ]
    assert CliRunner().invoke(app, call).exit_code == 0
    assert not folder.exists()
    for _twice in range(2):
        result = CliRunner().invoke(app, [*call, "--shown", "400x300"])
        assert result.exit_code == 0, result.output
        assert json.loads((folder / "slidecam.json").read_text())["heatmaps"]
        shutil.rmtree(folder)
    assert (read_run(out / "one") or {})["qupath"] == {"corner_px": [0, 0], "size_px": [400, 300]}


def test_export_tells_what_it_wrote(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide, out = write_slide(tmp_path / "one.tif", 400, 300), tmp_path / "out"
    list(predict(slide, tiny_bundle, out, SMALL))
    result = CliRunner().invoke(app, ["export", str(out), "--to", "qupath", "--json"])
    told = json.loads(result.stdout)
    assert (told["event"], told["slide"], told["tiles"]["geojson"]) == (
        "Exported",
        "one",
        "tiles.geojson.gz",
    )
    with gzip.open(out / "one" / "qupath" / "tiles.geojson.gz", "rb") as packed:
        assert packed.read() == (out / "one" / "tiles.geojson").read_bytes()
    boxes = RunStore.open(out / "one").boxes
    table = np.loadtxt(
        out / "one" / "qupath" / "tiles.csv.gz",
        np.int64,
        delimiter=",",
        skiprows=1,
        usecols=range(4),
    )
    np.testing.assert_array_equal(table, boxes)
    assert "tiles" in CliRunner().invoke(app, ["export", str(out), "--to", "qupath"]).stdout


def test_export_to_train_on_asks_for_a_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(tmp_path), "--json"])
    assert (result.exit_code, "Pass --out" in result.stdout) == (2, True)


@pytest.mark.parametrize(
    ("size", "told"), [("wide", "--shown 'wide'"), ("0x5", "--shown '0x5'"), ("9x9", "9 x 9 px")]
)
def test_a_wrong_size_ends_with_a_word(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path], size: str, told: str
) -> None:
    slide, out = write_slide(tmp_path / "one.tif", 400, 300), tmp_path / "out"
    call = [
        "predict",
        str(slide),
        "-m",
        str(tiny_bundle),
        "-o",
        str(out),
        "--json",
        "--shown",
        size,
    ]
    assert told in CliRunner().invoke(app, call).stdout
