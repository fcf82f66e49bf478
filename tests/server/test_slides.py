"""Deep Zoom tiles are the slide's own pixels, whatever its pyramid.

Files do not stay open for nothing.
"""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from slidecam.errors import RegionReadError
from slidecam.geometry import LevelBox, Size
from slidecam.runs import located
from slidecam.server import deepzoom, folders, slides
from slidecam.server.deepzoom import TILE, DeepZoom
from slidecam.server.guard import RequestError
from slidecam.server.slides import WRITTEN_SINCE, SlideCache
from slidecam.sources.apart import SourceApart, open_apart
from stopping import PATIENCE

from .conftest import finished

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from numpy.typing import NDArray

    from conftest import MakeSource
    from slidecam.sources import Source

    from .conftest import Running

Noise = "Callable[[int, int], NDArray[np.uint8]]"


def whole_level(zoom: DeepZoom, level: int) -> NDArray[np.uint8]:
    """Return a level put together from its tiles."""
    size = zoom.level_size(level)
    rows = range(-(-size.height // TILE))
    columns = range(-(-size.width // TILE))
    pixels = np.concatenate(
        [
            np.concatenate([zoom.tile(level, column, row) for column in columns], axis=1)
            for row in rows
        ],
        axis=0,
    )
    assert pixels.shape == (size.height, size.width, 3)
    return pixels


def test_the_finest_level_is_the_slide_to_the_pixel(
    array_source: MakeSource, noise: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    pixels = noise(1300, 700)
    zoom = DeepZoom(array_source(pixels))
    assert zoom.max_level == 11
    np.testing.assert_array_equal(whole_level(zoom, zoom.max_level), pixels)


def test_a_large_slides_finest_level_is_read_and_not_enlarged(
    array_source: MakeSource, noise: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    pixels = noise(2100, 600)
    zoom = DeepZoom(array_source(pixels))
    np.testing.assert_array_equal(whole_level(zoom, zoom.max_level), pixels)


@pytest.mark.parametrize("size", [(1300, 700), (2500, 1030), (4100, 90)])
def test_coarse_levels_are_means_over_exact_areas(
    array_source: MakeSource, noise: Callable[[int, int], NDArray[np.uint8]], size: tuple[int, int]
) -> None:
    pixels = noise(*size)
    zoom = DeepZoom(array_source(pixels))
    for back in (1, 2):
        found = whole_level(zoom, zoom.max_level - back)
        step = 1 << back
        inner = pixels[: pixels.shape[0] // step * step, : pixels.shape[1] // step * step]
        means = inner.reshape(inner.shape[0] // step, step, inner.shape[1] // step, step, 3).mean(
            (1, 3)
        )
        inner_part = found[: means.shape[0], : means.shape[1]].astype(float)
        assert np.abs(inner_part - means).max() <= 1


def test_the_coarsest_levels_of_a_file_without_any_come_from_one_picture_of_it(
    array_source: MakeSource, noise: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    pixels = noise(4096, 512) // 4
    pixels[:, 2048:] += 100
    source = array_source(pixels)
    zoom = DeepZoom(source)
    found = whole_level(zoom, zoom.max_level - 5).astype(float)
    means = pixels.reshape(16, 32, 128, 32, 3).mean((1, 3))
    assert np.abs(found - means).max() <= 2
    source.decoded.clear()
    zoom.tile(zoom.max_level - 6, 0, 0)
    assert source.decoded == []


def test_a_coarse_level_of_the_file_is_used_where_it_is_fine_enough(
    array_source: MakeSource, noise: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    source = array_source(noise(8400, 600), downsamples=(1, 2))
    zoom = DeepZoom(source)
    zoom.tile(zoom.max_level - 1, 0, 0)
    assert {level for level, _box in source.decoded} == {1}


def test_a_level_that_a_file_rounded_down_is_widened_by_its_last_pixels(
    array_source: MakeSource, noise: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    source = array_source(noise(1301, 701), downsamples=(1, 2))
    short = source._levels[1][:350, :650]
    source._levels[1] = short
    levels = source.facts.levels[0], replace(source.facts.levels[1], size=Size(650, 350))
    source.facts = replace(source.facts, levels=levels)
    zoom = DeepZoom(source)
    found = whole_level(zoom, zoom.max_level - 1)
    np.testing.assert_array_equal(found[:350, :650], short)
    np.testing.assert_array_equal(found[350, :650], short[349])


def test_a_tile_that_needs_much_of_the_file_is_made_by_quarters(
    array_source: MakeSource,
    noise: Callable[[int, int], NDArray[np.uint8]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = array_source(noise(4500, 1100))
    plain = whole_level(DeepZoom(source), 12)
    monkeypatch.setattr(deepzoom, "MOST_READ", 600 * 600)
    source.decoded.clear()
    quartered = whole_level(DeepZoom(source), 12)
    assert max(box.width * box.height for _level, box in source.decoded) <= 600 * 600
    np.testing.assert_allclose(quartered.astype(int), plain.astype(int), atol=1)


@pytest.mark.parametrize("place", [(11, 3, 0), (11, 0, 2), (12, 0, 0), (-1, 0, 0), (11, -1, 0)])
def test_there_is_nothing_beyond_the_edge(
    array_source: MakeSource,
    noise: Callable[[int, int], NDArray[np.uint8]],
    place: tuple[int, int, int],
) -> None:
    with pytest.raises(RequestError) as refusal:
        DeepZoom(array_source(noise(1300, 700))).tile(*place)
    assert refusal.value.status == 404


def test_a_damaged_place_is_an_error_and_not_white(
    array_source: MakeSource, noise: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    zoom = DeepZoom(array_source(noise(4500, 600), broken=LevelBox(0, 0, 10, 10)))
    with pytest.raises(RegionReadError):
        zoom.tile(13, 0, 0)
    assert zoom.tile(13, 1, 0).shape == (TILE, TILE, 3)


def test_a_slide_is_told_and_cut_over_http(client: httpx.Client, server: Running) -> None:
    told = client.get("/v1/slides/open", params={"path": str(server.root / "small.tif")}).json()
    assert (told["width"], told["height"], told["spacing_um_px"]) == (700, 500, pytest.approx(0.5))
    assert told["pixel_um"] == pytest.approx([0.5, 0.5])
    assert 'Width="700" Height="500"' in client.get(told["dzi"]).text
    tile = client.get(f"/v1/slides/{told['id']}_files/10/1_0.jpeg")
    assert Image.open(io.BytesIO(tile.content)).size == (188, 500)
    assert "max-age" in tile.headers["cache-control"]
    assert (
        client.get("/v1/slides/open", params={"path": str(server.root / "notes.txt")}).status_code
        == 415
    )


def test_only_some_slides_stay_open_and_those_pushed_out_open_again(
    client: httpx.Client, server: Running
) -> None:
    for index in range(4):
        Image.new("RGB", (20 + index, 20)).save(server.root / f"picture{index}.png")
    paths = [server.root / f"picture{index}.png" for index in range(4)]
    told = [client.get("/v1/slides/open", params={"path": str(path)}).json() for path in paths]
    assert len(server.service.slides._open) == 2
    for one in told:
        tile = client.get(f"/v1/slides/{one['id']}_files/0/0_0.jpeg")
        assert tile.status_code == 200
    for path in paths:
        path.unlink()


def test_a_runs_slide_is_opened_and_another_one_under_its_path_is_refused_in_words(
    client: httpx.Client, server: Running, write_slide: Callable[..., Path]
) -> None:
    path = write_slide(server.root / "mine.tif", seed=3)
    job = client.post(
        "/v1/jobs", json={"slides": [str(path)], "options": {"heatmap": "none"}}
    ).json()
    finished(client, job)
    query = {"path": str(path), "job": job["id"], "slide": "mine"}
    plain = client.get("/v1/slides/open", params={"path": str(path)}).json()
    assert client.get("/v1/slides/open", params=query).json() == plain
    write_slide(path, seed=4)
    refusal = client.get("/v1/slides/open", params=query)
    assert refusal.status_code == 409
    assert refusal.json() == {
        "error": f"Another slide than the one that was classified lies at {path}.",
        "remedy": "Put that one back, or classify this one.",
    }
    other = client.get("/v1/slides/open", params={"path": str(path)}).json()
    assert other["id"] != plain["id"]
    path.unlink()
    assert client.get("/v1/slides/open", params=query).status_code == 404


def test_a_runs_slide_is_opened_once_for_its_run(
    client: httpx.Client, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = server.root / "small.tif"
    order = {"slides": [str(path)], "options": {"heatmap": "none"}}
    job = client.post("/v1/jobs", json=order).json()
    finished(client, job)
    places: list[Path] = []

    def counted(place: Path, *given: Any, **how: Any) -> Source:
        places.append(place)
        return open_apart(place, *given, **how)

    for module in (slides, located):
        monkeypatch.setattr(module, "open_apart", counted)
    query = {"path": str(path), "job": job["id"], "slide": "small"}
    assert client.get("/v1/slides/open", params=query).status_code == 200
    assert places == [path]


def test_a_slide_that_was_never_begun_has_no_run_to_be_opened_for(
    client: httpx.Client, server: Running
) -> None:
    path = server.root / "small.tif"
    job = client.post(
        "/v1/jobs", json={"slides": [str(path)], "options": {"heatmap": "none"}}
    ).json()
    finished(client, job)
    query = {"path": str(path), "job": job["id"], "slide": "large"}
    assert client.get("/v1/slides/open", params=query).status_code == 404


def test_a_slide_that_was_exchanged_while_it_was_put_away_is_not_cut_under_its_old_name(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    shelf = SlideCache(most=1)
    paths = [write_slide(tmp_path / "a.tif", seed=1), write_slide(tmp_path / "b.tif", seed=2)]
    first, _second = (shelf.open(path)["id"] for path in paths)
    write_slide(paths[0], seed=3)
    with pytest.raises(RequestError, match="Another slide than before lies at") as refusal:
        shelf.tile(first, 0, 0, 0)
    assert refusal.value.status == 409
    shelf.close()


def test_a_slide_that_is_replaced_between_the_samples_of_its_content_is_another_one(
    tmp_path: Path, noise: Callable[[int, int], NDArray[np.uint8]]
) -> None:
    shelf = SlideCache(most=2)
    path, other = tmp_path / "a.tif", tmp_path / "b.tif"
    pixels = noise(1400, 1400)
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(128, 128))
    content = bytearray(path.read_bytes())
    place = len(content) // 30  # in the middle of the first two samples
    content[place : place + 60_000] = bytes(60_000)
    other.write_bytes(content)
    first = shelf.open(path)
    before = shelf.tile(first["id"], 11, 1, 0)
    other.replace(path)
    second = shelf.open(path)
    assert shelf._known[first["id"]].fingerprint == shelf._known[second["id"]].fingerprint
    assert second["id"] != first["id"]
    assert shelf.tile(second["id"], 11, 1, 0) != before
    shelf.close()


def test_a_slide_that_was_written_since_its_run_is_shown_with_a_note(
    client: httpx.Client, server: Running, write_slide: Callable[..., Path]
) -> None:
    path = write_slide(server.root / "touched.tif", seed=8)
    order = {"slides": [str(path)], "options": {"heatmap": "none"}}
    job = client.post("/v1/jobs", json=order).json()
    finished(client, job)
    query = {"path": str(path), "job": job["id"], "slide": "touched"}
    before = client.get("/v1/slides/open", params=query).json()
    path.write_bytes(path.read_bytes())
    after = client.get("/v1/slides/open", params=query).json()
    assert WRITTEN_SINCE not in before["notes"]
    assert WRITTEN_SINCE in after["notes"]
    assert after["id"] != before["id"]
    path.unlink()


def test_a_list_that_ends_early_says_how_many_more_there_are(
    client: httpx.Client, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = client.get("/v1/slides", params={"folder": str(server.root)}).json()
    assert whole["left_out"] == {"folders": 0, "slides": 0}
    monkeypatch.setattr(folders, "MOST", 1)
    told = client.get("/v1/slides", params={"folder": str(server.root)}).json()
    assert told["slides"] == whole["slides"][:1]
    assert told["left_out"] == {"folders": 0, "slides": len(whole["slides"]) - 1}


def test_folders_are_listed_as_far_as_the_roots_reach(
    client: httpx.Client, server: Running
) -> None:
    assert client.get("/v1/slides").json()["folders"] == [
        {"name": server.root.name, "path": str(server.root)}
    ]
    listed = client.get("/v1/slides", params={"folder": str(server.root)}).json()
    assert {one["name"] for one in listed["slides"]} >= {"small.tif", "large.tif"}
    assert listed["parent"] is None
    assert [one["name"] for one in listed["folders"]] == ["inner"]
    inner = client.get("/v1/slides", params={"folder": str(server.root / "inner")}).json()
    # Two of one stem are refused to one run, and yet each of them can be looked at.
    for name in ("cell.png", "cell.jpg"):
        (server.root / "inner" / name).write_bytes(b"x")
    both = client.get("/v1/slides", params={"folder": str(server.root / "inner")}).json()["slides"]
    assert [one["name"] for one in both] == ["cell.jpg", "cell.png"]
    for one in both:
        Path(one["path"]).unlink()
    assert (inner["slides"], inner["parent"]) == ([], str(server.root))
    assert client.get("/v1/slides", params={"folder": str(server.root.parent)}).status_code == 403
    assert (
        client.get("/v1/slides", params={"folder": str(server.root / "small.tif")}).status_code
        == 400
    )


@pytest.mark.parametrize("side", [1, 2, 3, 255, 256, 257, 1000])
def test_levels_end_with_one_pixel_and_begin_with_all(array_source: MakeSource, side: int) -> None:
    view = DeepZoom(array_source(np.zeros((side, min(side, 9), 3), np.uint8)))
    assert view.level_size(0) == Size(1, 1)
    assert view.level_size(view.max_level) == Size(min(side, 9), side)
    assert view.max_level == 0 or view.level_size(1).height == 2


def test_a_tile_between_two_levels_lies_where_the_whole_level_would_have_it(
    array_source: MakeSource,
    noise: Callable[[int, int], NDArray[np.uint8]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deepzoom, "TILE", 16)
    source = array_source(noise(301, 233), downsamples=(1, 3))
    view = DeepZoom(source)
    size = source.facts.levels[1].size
    level = source.read(1, LevelBox(0, 0, size.width, size.height))
    # Four pixels of the slide to one, from a level of three to one.
    number = view.max_level - 2
    for column, row in ((0, 0), (1, 2), (3, 1)):
        left, top, right, bottom = (
            16 * place * 4 / 3 for place in (column, row, column + 1, row + 1)
        )
        edges = (left, top, right, bottom)
        expected = Image.fromarray(level).resize((16, 16), Image.Resampling.BOX, box=edges)
        found = view.tile(number, column, row).astype(int)
        assert np.abs(found - np.asarray(expected)).max() <= 1


def test_another_picture_of_a_file_is_looked_at_and_the_one_of_a_run_is_laid_under_its_tiles(
    client: httpx.Client, server: Running, write_two_scans: Callable[[Path], Path]
) -> None:
    path = write_two_scans(server.root / "two.ome.tif")
    plain = client.get("/v1/slides/open", params={"path": str(path)}).json()
    assert [(one["name"], one["shown"]) for one in plain["images"]] == [
        ("macro image", False),
        ("left", False),
        ("right", True),
    ]
    assert any(note.startswith("Image 3") for note in plain["notes"])
    left = client.get("/v1/slides/open", params={"path": str(path), "image": "2"}).json()
    assert (left["width"], left["height"]) == (430, 310)
    assert left["id"] != plain["id"]
    options = {"heatmap": "none", "image": "2"}
    job = client.post("/v1/jobs", json={"slides": [str(path)], "options": options}).json()
    finished(client, job)
    query = {"path": str(path), "job": job["id"], "slide": "two.ome"}
    assert client.get("/v1/slides/open", params=query).json() == left
    path.unlink()


def test_a_slide_that_opens_slowly_holds_up_no_tile_of_another(
    tmp_path: Path, write_slide: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = SlideCache(most=1)
    paths = [
        write_slide(tmp_path / name, seed=seed) for seed, name in enumerate(("a.tif", "b.tif"))
    ]
    slow, quick = (shelf.open(path)["id"] for path in paths)
    shelf.tile(quick, 0, 0, 0)  # which pushes the other one off the shelf
    begun, answering = Event(), Event()

    def open_slowly(path: Path, **how: Any) -> Source:
        begun.set()
        assert answering.wait(PATIENCE)
        return open_apart(path, **how)

    monkeypatch.setattr(slides, "open_apart", open_slowly)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(shelf.tile, slow, 0, 0, 0) for _caller in range(2)]
        assert begun.wait(PATIENCE)
        assert shelf.tile(quick, 0, 0, 0)
        answering.set()
        assert waiting[0].result() == waiting[1].result()
    shelf.close()


def test_the_slides_on_the_shelf_are_bounded_by_their_memory(
    tmp_path: Path, write_slide: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slides, "WEIGHED_SECONDS", 0.0)
    names = [write_slide(tmp_path / f"{seed}.tif", seed=seed) for seed in range(3)]
    with closing(SlideCache(most=9)) as shelf:
        told = [shelf.open(path)["id"] for path in names]
        held = sum(one.zoom.source.held_bytes for one in shelf._open.values())
        assert held > 30_000_000  # three processes
    with closing(SlideCache(most=9, most_bytes=held // 2)) as shelf:
        told = [shelf.open(path)["id"] for path in names]
        assert list(shelf._open) == told[-len(shelf._open) :]
        assert len(shelf._open) < 3
        assert shelf.tile(told[0], 0, 0, 0)  # one that is alone may be as large as it is
    with closing(SlideCache(most=9, most_bytes=1)) as shelf:
        assert shelf.tile(shelf.open(names[0])["id"], 0, 0, 0)


def test_volumes_on_the_shelf_count_by_what_was_unpacked_and_is_kept(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slides, "WEIGHED_SECONDS", 0.0)
    names = [write_volume.nifti(tmp_path / f"{name}.nii.gz", head) for name in "ab"]
    with closing(SlideCache(most=9)) as shelf:
        first = shelf.open(names[0])["id"]
        source = shelf._open[first].zoom.source
        shelf.tile(first, 0, 0, 0)
        unpacked = head.size * head.itemsize
        assert unpacked < source.held_bytes < 10 * unpacked
    with closing(SlideCache(most=9, most_bytes=unpacked)) as shelf:
        told = [shelf.open(path)["id"] for path in names]
        for one in told:
            shelf.tile(one, 0, 0, 0)
        shelf.tile(told[1], 0, 0, 0)
        assert list(shelf._open) == told[1:]


@pytest.mark.parametrize("deed", ["abort", "hang", "eat"])
def test_a_file_that_ends_holds_or_fills_its_reader_costs_its_own_look_alone(
    client: httpx.Client,
    server: Running,
    write_hostile: Callable[[Path, str], Path],
    deed: str,
) -> None:
    if deed == "eat" and not sys.platform.startswith("linux"):
        pytest.skip("no limit on memory elsewhere")
    ours = client.get("/v1/slides/open", params={"path": str(server.root / "small.tif")}).json()
    path = write_hostile(server.root / f"{deed}.hst", f"read {deed}")
    slide = client.get("/v1/slides/open", params={"path": str(path)}).json()
    source = server.service.slides._open[slide["id"]].zoom.source
    assert isinstance(source, SourceApart)
    source._seconds = 0.3 if deed == "hang" else PATIENCE
    refusal = client.get(f"/v1/slides/{slide['id']}_files/8/0_0.jpeg")
    assert refusal.status_code == 422
    assert refusal.json()["remedy"]
    assert client.get(f"/v1/slides/{ours['id']}_files/8/0_0.jpeg").status_code == 200
    path.unlink()


def test_a_slide_whose_process_was_ended_is_opened_again(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    shelf = SlideCache(most=1)
    name = shelf.open(write_slide(tmp_path / "a.tif", seed=1))["id"]
    before = shelf.tile(name, 0, 0, 0)
    lost = shelf._open[name].zoom.source
    assert isinstance(lost, SourceApart)
    lost._process.end()
    assert shelf.tile(name, 0, 0, 0) == before
    shelf.close()
