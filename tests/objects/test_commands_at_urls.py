"""Commands whose files and folders lie at URLs: read there, written there whole, or refused."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner, Result

from run_files import files_at, files_of
from slidecam.cli.app import app
from slidecam.cli.urls import AT_URLS, on_this_machine
from slidecam.objects import Location, put_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BUCKET = Location("memory://bucket")


def slidecam(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def done(tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]) -> Path:
    """Return the slide of a run that lies in the bucket with its bundle."""
    slide = write_slide(tmp_path / "S1.tif", width=420, height=400)
    put_folder(tiny_bundle, BUCKET / "bundle")
    call = ["predict", slide, "-m", f"{BUCKET}/bundle", "-o", f"{BUCKET}/out", "--batch", 8]
    slidecam(*call)
    return slide


def test_predict_takes_everything_from_urls(
    done: Path, tmp_path: Path, tiny_bundle: Path, nothing_kept: Path
) -> None:
    (tmp_path / "mpp.csv").write_text("slide,mpp\nS1,0.5\n")
    area = [[[10, 10], [390, 10], [390, 380], [10, 380], [10, 10]]]
    shape = {"type": "Polygon", "coordinates": area}
    feature = {"type": "Feature", "geometry": shape, "properties": {}}
    mask = {"type": "FeatureCollection", "features": [feature]}
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/S1.geojson").write_text(json.dumps(mask))
    put_folder(tmp_path / "masks", BUCKET / "masks")
    (BUCKET / "mpp.csv").put(tmp_path / "mpp.csv")
    options = ["--batch", 8, "--outputs", "tiles.csv"]
    here = ["--mpp-csv", tmp_path / "mpp.csv", "--mask", tmp_path / "masks"]
    slidecam("predict", done, "-m", tiny_bundle, "-o", tmp_path / "here", *here, *options)
    there = ["--mpp-csv", f"{BUCKET}/mpp.csv", "--mask", f"{BUCKET}/masks"]
    result = slidecam(
        "predict", done, "-m", f"{BUCKET}/bundle", "-o", f"{BUCKET}/there", *there, *options
    )
    assert f"{BUCKET}/there/report.html" in result.output.replace("\n", "")
    found, wanted = files_at(f"{BUCKET}/there"), files_of(tmp_path / "here")
    assert found.keys() == wanted.keys()
    assert found["S1/tiles.csv"] == wanted["S1/tiles.csv"]
    manifest = (BUCKET / "there/manifest.json").read().decode()
    assert f'"{BUCKET}/masks"' in manifest
    assert str(nothing_kept) not in manifest + result.output


def told(result: Result) -> dict[str, Any]:
    return dict(json.loads(result.stdout.splitlines()[-1]))


def test_runs_at_urls_are_read_as_those_of_this_machine(
    done: Path, tmp_path: Path, tiny_bundle: Path, nothing_kept: Path
) -> None:
    slidecam("predict", done, "-m", tiny_bundle, "-o", tmp_path / "out", "--batch", 8)
    run, here = f"{BUCKET}/out/S1", tmp_path / "out/S1"
    legend = slidecam("legend", run, "--json").stdout
    assert legend == slidecam("legend", here, "--json").stdout.replace(str(here), run)
    slides = told(slidecam("summary", f"{BUCKET}/out", "--json"))["slides"]
    assert [slide["slide"] for slide in slides] == ["S1"]
    slidecam("figure", run, "--out", f"{BUCKET}/figure.png")
    slidecam("figure", here, "--out", tmp_path / "figure.png")
    assert (BUCKET / "figure.png").read() == (tmp_path / "figure.png").read_bytes()
    slidecam("summary", f"{BUCKET}/out", "--csv", f"{BUCKET}/table.csv")
    assert (BUCKET / "table.csv").read().startswith(b"slide,")
    assert not list(nothing_kept.glob("work-*"))


def test_folders_are_put_whole_or_not_at_all(done: Path, nothing_kept: Path) -> None:
    call = ["export", f"{BUCKET}/out/S1", "--to", "qupath", "--out"]
    result = slidecam(*call, f"{BUCKET}/qupath")
    assert str(nothing_kept) not in result.output
    assert (BUCKET / "qupath").files()
    again = slidecam(*call, f"{BUCKET}/qupath", code=2)
    assert "There are files in this folder already" in again.output
    slidecam("export", f"{BUCKET}/nothing", *call[2:], f"{BUCKET}/none", code=2)
    assert (BUCKET / "none").files() == {}
    assert done.exists()


def test_parameters_of_commands_are_named_as_they_are() -> None:
    known: dict[str, set[str]] = {}
    for command in app.registered_commands:
        assert command.callback is not None
        known[command.callback.__name__] = {*inspect.signature(command.callback).parameters}
    for name, at in AT_URLS.items():
        flags = {each.removeprefix("!") for each in at.into}
        assert {*at.read, *at.written, *flags} <= known[name]


@pytest.mark.parametrize("record", ["tile_set.json", "card.json"])
def test_what_is_replaced_at_a_url_leaves_nothing_of_before(tmp_path: Path, record: str) -> None:
    place = BUCKET / "set"
    for name in (record, "A/1.png", "A/2.png"):
        (place / name).write(b"before")
    given = {"out": type(tmp_path)(str(place)), "overwrite": True}
    with on_this_machine("tiles", given) as here:
        (here["out"] / "A").mkdir(parents=True)
        (here["out"] / "A" / "1.png").write_bytes(b"now")
        (here["out"] / record).write_bytes(b"now")
    assert {name: (place / name).read() for name in place.files()} == {
        "A/1.png": b"now",
        record: b"now",
    }


def test_files_at_a_url_that_are_of_no_such_set_stay(tmp_path: Path) -> None:
    place = BUCKET / "others"
    (place / "mine.txt").write(b"mine")
    given = {"out": type(tmp_path)(str(place)), "overwrite": True}
    with on_this_machine("tiles", given) as here:
        here["out"].mkdir()
        (here["out"] / "tile_set.json").write_bytes(b"now")
    assert sorted(place.files()) == ["mine.txt", "tile_set.json"]
