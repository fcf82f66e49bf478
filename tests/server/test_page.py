"""The page in a real browser: what a person sees, with the mouse and without it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.runs import Run
from slidecam.server import app
from slidecam.server.views import static_files
from slidecam.store import RunStore
from stopping import PATIENCE, gate_before

from .conftest import picture, running_server
from .test_pictures import cells, pages
from .visits import NAMELESS, Visit, needs_viewer, open_slide, pixels_of, upload

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser

    from .conftest import Running

pytestmark = pytest.mark.gui

DRAWN_ROWS = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const rows = new Set();
    for (let i = 3; i < data.length; i += 4)
        if (data[i]) rows.add(Math.floor(i / 4 / canvas.width));
    return rows.size / canvas.width;
}"""
"""How much of the overlay something is drawn on: rows, as a share of its width."""


def test_a_picture_is_told_with_bars_and_maps_that_a_slider_fades(visit: Visit) -> None:
    page = visit.open()
    assert "Research use only" in page.inner_text("header")
    upload(page, "cell.png", picture(90, 60))
    page.wait_for_selector("#maps figure:nth-child(3) canvas")
    titles = page.locator("#maps figcaption").all_inner_texts()
    assert [title.split("\n")[0] for title in titles] == ["CAM", "Grad-CAM++", "Score-CAM"]
    shares = [float(text.rstrip(" %")) for text in page.locator("#bars .share").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert shares == sorted(shares, reverse=True)
    assert page.inner_text("#predicted").startswith(
        page.inner_text("#bars button:first-child .name")
    )
    assert "not calibrated" in page.inner_text("#calibration")
    shown = pixels_of(page, "#maps canvas")
    page.fill("#picture-opacity", "0")
    assert page.inner_text("#picture-opacity-told") == "0 %"
    bare = pixels_of(page, "#maps canvas")
    assert shown != bare
    assert bare == pixels_of(page, "#maps figure:nth-child(2) canvas")
    page.fill("#picture-opacity", "100")
    assert pixels_of(page, "#maps canvas") not in {shown, bare}


def test_all_of_it_can_be_done_with_the_keyboard_and_is_said_aloud(visit: Visit) -> None:
    page = visit.open()
    upload(page, "cell.png", picture(seed=3))
    page.wait_for_selector("#bars button")
    assert "cell.png" in page.inner_text("#said")
    before = str(page.get_attribute("#bars button[aria-checked=true]", "data-name"))
    page.focus("#bars button[aria-checked=true]")
    page.keyboard.press("ArrowDown")
    after = str(page.get_attribute("#bars button[aria-checked=true]", "data-name"))
    assert after != before
    assert page.evaluate("document.activeElement.dataset.name") == after
    page.wait_for_selector("#maps figure:nth-child(3) canvas")
    assert after in str(page.get_attribute("#maps canvas", "aria-label"))
    page.focus("#tab-picture")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#tab-slide", "aria-selected") == "true"
    assert page.is_visible("#slide")
    assert page.evaluate(NAMELESS) == []


def test_a_wrong_file_is_named_with_what_to_do_and_the_next_one_works(visit: Visit) -> None:
    page = visit.open()
    upload(page, "notes.txt", b"no picture")
    page.wait_for_selector("#picture-error:visible")
    assert "notes.txt" in page.inner_text("#picture-error")
    assert "PNG" in page.inner_text("#picture-error")
    assert not page.is_visible("#picture-result")
    upload(page, "huge.png", bytes(400_000))
    page.locator("#picture-error", has_text="huge.png").wait_for()
    upload(page, "cell.png", picture())
    page.wait_for_selector("#bars button")
    assert not page.is_visible("#picture-error")


def test_a_tiff_is_seen_and_a_tall_picture_fits_the_window(visit: Visit) -> None:
    page = visit.open()
    shape = "(canvas => [canvas.width, canvas.height, canvas.getBoundingClientRect().height])"
    upload(page, "tile.tif", picture(40, 600, "TIFF"))
    page.wait_for_selector("#maps canvas")
    page.fill("#picture-opacity", "0")
    width, height, on_screen = page.eval_on_selector("#maps canvas", shape)
    assert (width, height) == (64, 960)
    assert on_screen <= 760
    colours = "canvas => new Set(canvas.getContext('2d').getImageData(0, 0, 60, 60).data).size"
    assert page.eval_on_selector("#maps canvas", colours) > 50
    assert not any(
        "cannot show" in note for note in page.locator("#picture-notes li").all_inner_texts()
    )


def test_of_a_file_of_several_pictures_another_one_is_taken(visit: Visit) -> None:
    page = visit.open()
    upload(page, "stack.tif", pages(40, 40, 40))
    page.locator("#picture-error", has_text="3 pages").wait_for()
    page.get_by_label("Which picture of the file").fill("2")
    page.keyboard.press("Enter")
    page.wait_for_selector("#bars button")
    assert "stack.tif, plane 2" in page.inner_text("#picture-name")
    assert "Plane 2 of 3" in page.inner_text("#picture-notes")
    assert not page.is_visible("#picture-error")
    page.get_by_label("Which picture of the file").fill("3")
    page.click("text=Take this one")
    page.locator("#picture-notes", has_text="Plane 3 of 3").wait_for()
    upload(page, "cell.png", picture())
    page.locator("#picture-name", has_text="cell.png").wait_for()
    assert not page.is_visible("#page-form")


def test_what_the_picture_tab_does_not_take_is_told_in_a_persons_words(visit: Visit) -> None:
    page = visit.open()
    upload(page, "empty.png", b"")
    page.locator("#picture-error", has_text="it is empty").wait_for()
    upload(page, "brain.nii.gz", b"no picture")
    page.locator("#picture-error", has_text="brain.nii.gz").wait_for()
    assert "volumes are opened under" in page.inner_text("#picture-error")


def test_a_graph_classifiers_neighbours_are_listed(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with running_server(cells(tmp_path / "cells"), tmp_path / "root", tmp_path / "home") as running:
        visit = Visit(browser, running)
        page = visit.open()
        upload(page, "cell.png", picture(40, 40))
        page.wait_for_selector("#neighbours li")
        assert page.locator("#neighbours li").count() == 4
        assert re.search(
            r"(ALL|HEM)\s+cell \d+\.bmp\s+likeness 0?\.?\d", page.inner_text("#neighbours li")
        )
        assert "holds no pictures of them" in page.inner_text("#neighbours")
        assert page.locator("#neighbours img").count() == 0
        visit.close()


def test_a_neighbour_is_seen_where_the_bundle_holds_its_picture(
    browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "root").mkdir()
    places = cells(tmp_path / "cells", 24), tmp_path / "root", tmp_path / "home"
    with running_server(*places) as running:
        visit = Visit(browser, running)
        page = visit.open()
        upload(page, "cell.png", picture(40, 40))
        page.wait_for_selector("#neighbours li img")
        images = page.locator("#neighbours li img")
        assert images.count() == 4
        assert "holds no pictures" not in page.inner_text("#neighbours")
        assert re.search(r"cell \d+\.bmp", str(images.first.get_attribute("alt")))
        page.wait_for_function("document.querySelector('#neighbours img').naturalWidth === 24")
        visit.close()


def test_a_slide_is_shown_classified_and_asked_place_by_place(visit: Visit) -> None:
    needs_viewer()
    page = visit.open()
    open_slide(page, "small.tif")
    page.click("#start")
    page.wait_for_selector("#outcome:visible")
    assert page.inner_text("#outcome") == "Done."
    with visit.server.client() as client:
        job = client.get("/v1/jobs").json()["jobs"][0]
    # The page says that it is done, and then asks for the last tiles.
    for _look in range(10 * PATIENCE):
        texts = page.locator("#legend .count").all_inner_texts()
        if sum(int(text.split()[0]) for text in texts) == job["progress"]["total"]:
            break
        page.wait_for_timeout(100)
    else:
        pytest.fail(f"the legend says {texts} of {job['progress']['total']} tiles")
    page.wait_for_selector(".view.pale")
    assert page.is_checked("#show-heat")
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator("#values", has_text="CAM of").wait_for()
    told = page.inner_text("#values")
    assert_values_are_the_stores(told, Path(job["out"]) / "small")
    heated = pixels_of(page, "#overlay")
    page.fill("#heat-opacity", "20")
    assert pixels_of(page, "#overlay") != heated
    page.uncheck("#show-heat")
    page.check("#show-classes")
    assert page.locator(".view.pale").count() == 0
    with page.context.expect_page() as opened:
        page.click("#report")
    assert "Research use only" in opened.value.inner_text("body")
    assert opened.value.evaluate("self.origin") == "null"


def test_the_ruler_is_as_long_as_it_says(visit: Visit) -> None:
    needs_viewer()
    page = visit.open()
    open_slide(page, "small.tif")
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    places = []
    for share in (0.4, 0.6):
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        places.append(int(re.findall(r"(-?\d+), -?\d+ px", page.inner_text("#values"))[0]))
    um_per_screen_px = 0.5 * (places[1] - places[0]) / (0.2 * box["width"])
    told, unit = page.inner_text("#ruler").split()
    width = page.eval_on_selector("#ruler", "one => one.getBoundingClientRect().width")
    assert unit in {"µm", "mm"}
    assert float(told) * (1000 if unit == "mm" else 1) == pytest.approx(
        width * um_per_screen_px, rel=0.03
    )


def assert_values_are_the_stores(told: str, folder: Path) -> None:
    x, y = map(int, re.findall(r"(\d+), (\d+) px", told)[0])
    store = RunStore.open(folder)
    inside = [
        row
        for row, (left, top, width, height) in enumerate(store.boxes.tolist())
        if left <= x < left + width and top <= y < top + height
    ]
    expected = {name: store.probabilities[inside[0], index] for index, name in enumerate("ABC")}
    found = {
        name: float(value)
        for name, value in re.findall(r"\b([ABC]) (\d\.\d+)", told.partition("CAM of")[0])
    }
    assert found == pytest.approx(expected, abs=6e-4)


def test_a_run_goes_on_over_a_reload_and_can_be_cancelled(visit: Visit) -> None:
    needs_viewer()
    page = visit.open()
    open_slide(page, "large.tif")
    page.select_option("#overlap", "0.5")
    with gate_before(RunStore, "commit", 4) as gate:
        page.click("#start")
        page.locator("#stage", has_text=" of ").wait_for()
        gate.wait_reached()
        page.reload()
        page.wait_for_selector("#cancel:visible")
        assert page.inner_text("#slide-name") == "large"
        page.locator("#stage", has_text=" of ").wait_for()
        page.wait_for_selector("#legend li")
        with page.expect_response(lambda answer: answer.request.method == "DELETE"):
            page.click("#cancel")
        gate.open()
        page.wait_for_selector("#outcome:visible")
    assert page.inner_text("#outcome").startswith("Cancelled")
    assert page.is_visible("#start")


def test_a_run_is_not_laid_over_another_slide_that_lies_under_its_path(
    visit: Visit, write_slide: Callable[..., Path]
) -> None:
    needs_viewer()
    path = write_slide(visit.server.root / "exchanged.tif", seed=5)
    page = visit.open()
    open_slide(page, path.name)
    page.click("#start")
    page.wait_for_selector("#outcome:visible")
    page.wait_for_selector("#legend li")
    assert not page.is_visible("#slide-error")
    write_slide(path, seed=6)
    page.reload()
    page.locator("#slide-error", has_text="Another slide than the one that was").wait_for()
    assert not page.is_visible("#layers")
    path.unlink()


def test_who_opens_a_folder_with_the_keyboard_stands_in_it(visit: Visit) -> None:
    page = visit.open()
    page.click("#tab-slide")
    page.focus('#entries button[data-path$="inner"]')
    page.keyboard.press("Enter")
    page.wait_for_selector("#entries button.up")
    page.wait_for_function("() => document.activeElement.className === 'up'")
    assert "Nothing in this folder" in page.inner_text("#entries")
    page.keyboard.press("Enter")
    page.wait_for_selector('#entries button[data-path$="small.tif"]')
    assert "small.tif" in page.inner_text("#entries")


def test_a_slide_that_cannot_be_opened_is_told(visit: Visit) -> None:
    broken = visit.server.root / "broken.png"
    broken.write_bytes(b"\x89PNG broken")
    page = visit.open()
    page.click("#tab-slide")
    page.click('#entries button[data-path$="broken.png"]')
    page.wait_for_selector("#slide-error:visible")
    assert "broken.png" in page.inner_text("#slide-error")
    broken.unlink()


def test_without_the_key_it_says_how_to_get_in(browser: Browser, server: Running) -> None:
    visit = Visit(browser, server)
    visit.page.goto(server.url)
    visit.page.wait_for_selector("#stranger:visible")
    assert "whole link" in visit.page.inner_text("#stranger")
    visit.page.goto(f"{server.url}/?again#token=wrong")
    visit.page.locator("#stranger", has_text="token").wait_for()
    visit.close()


def test_the_key_is_taken_out_of_the_address(visit: Visit) -> None:
    page = visit.open()
    assert page.url == f"{visit.server.url}/"


def test_an_installation_without_the_viewer_says_so_and_still_classifies(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {
        name: file for name, file in static_files().items() if not name.startswith("openseadragon/")
    }
    monkeypatch.setattr(app, "static_files", lambda: own)
    page = visit.open()
    page.click("#tab-slide")
    assert "no slide viewer" in page.inner_text("#blank")
    page.click('#entries button[data-path$="small.tif"]')
    page.click("#start")
    page.wait_for_selector("#outcome:visible")
    assert page.inner_text("#outcome") == "Done."


def test_a_volume_is_turned_through_slice_by_slice_with_its_heat(
    browser: Browser, slice_bundle: Path, tmp_path: Path, write_volume: Any, head: Any
) -> None:
    needs_viewer()
    (tmp_path / "root").mkdir()
    write_volume.nifti(tmp_path / "root" / "head.nii.gz", head)
    with running_server(slice_bundle, tmp_path / "root", tmp_path / "home") as running:
        visit = Visit(browser, running)
        page = visit.open()
        open_slide(page, "head.nii.gz")
        assert re.match(r"40 . 48 . 12 voxels", page.inner_text("#slide-facts"))
        assert page.inner_text("#plane-told").startswith("Slice 7 of 12")
        page.click("#start")
        page.wait_for_selector("#called:visible")
        assert page.inner_text("#called").startswith("Called ")
        assert not page.is_visible("#slide-error")
        page.locator("#values", has_text="CAM").wait_for()
        assert page.inner_text("#plane-told").startswith("Slice 7 of 12")  # where it was left
        page.click("#decisive")
        number = re.findall(r"slice (\d+)", page.inner_text("#decisive"))[0]
        assert page.inner_text("#plane-told").startswith(f"Slice {number} of 12")
        assert decisive(running) == int(number)
        page.focus("#plane")
        page.keyboard.press("End")
        heats = set()
        for number in (11, 10, 9):
            page.keyboard.press("ArrowLeft")
            page.locator("#values", has_text=re.compile(rf"slice {number}\b.*CAM")).wait_for()
            heats.add(pixels_of(page, "#overlay"))
        assert len(heats) == 3
        told = page.inner_text("#plane-told")
        assert told.startswith("Slice 9 of 12")
        assert page.get_attribute("#plane", "aria-valuetext") == told.replace(" · ", ", ")
        assert "slice 9" in page.inner_text("#values")
        page.reload()
        page.wait_for_selector("#called:visible")
        assert page.evaluate(NAMELESS) == []
        visit.close()


def decisive(running: Running) -> int:
    """Return the number of the slice with the highest probability of what the volume is called."""
    with running.client() as client:
        job = client.get("/v1/jobs").json()["jobs"][0]
    run = Run.open(Path(job["out"]) / "head")
    assert run.record.call is not None
    index = run.tiles.class_names.index(run.record.call.facts["called"])
    return int(run.plane_numbers[run.tiles.probabilities[:, index].argmax()]) + 1


def test_the_pictures_of_a_file_are_offered_and_the_shown_one_is_classified(
    visit: Visit, write_two_scans: Callable[[Path], Path]
) -> None:
    path = write_two_scans(visit.server.root / "two.ome.tif")
    page = visit.open()
    page.click("#tab-slide")
    page.click("button:text-is('two.ome.tif')")
    page.locator("#slide-facts", has_text="610").wait_for()
    assert "Image 3" in page.inner_text("#slide-notes")
    assert page.locator("#image option").all_inner_texts()[1].startswith("2: left, 430")
    page.select_option("#image", "2")
    page.locator("#slide-facts", has_text="430").wait_for()
    page.click("#start")
    page.locator("#outcome.done").wait_for()
    page.locator("#show-heat:checked").wait_for()
    drawn = page.eval_on_selector("#overlay", DRAWN_ROWS)
    # The picture before was flatter: its heat would be cut off above and below.
    assert drawn == pytest.approx(310 / 430, abs=0.01)
    page.reload()
    page.locator("#slide-facts", has_text="430").wait_for()
    path.unlink()
