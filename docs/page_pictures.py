"""Takes the pictures of the page in ``docs/pictures``.

A real server, the system's Chromium, light and dark.

npm ci --prefix web && python docs/page_pictures.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import tifffile
from PIL import Image
from playwright.sync_api import sync_playwright
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
SIZE = {"width": 1180, "height": 740}
SCHEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
SIDE, OWN_COLOURS = 328, 96
"""Pixels of the page's side, and colours that are kept of it."""

TILE = (2200, 2000, 128)


def main() -> None:
    """Take all of them."""
    PICTURES.mkdir(exist_ok=True)
    chromium = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        visit(browser, "bundle", of_pictures, of_slides)
        visit(browser, "mri-bundle", of_volumes)
        browser.close()


def visit(browser: Browser, bundle: str, *pictures: Callable[[Page], None]) -> None:
    """Open the page of a server with one of the sample's bundles, and take pictures of it."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), bundle) as server:
        try:
            page = browser.new_page(viewport={"width": SIZE["width"], "height": SIZE["height"]})
            page.set_default_timeout(600_000)
            page.goto(address_of(server, Path(folder)))
            page.wait_for_selector("body[data-ready]")
            for taken in pictures:
                taken(page)
            page.close()
        finally:
            server.terminate()


def served(folder: Path, bundle: str) -> subprocess.Popen[str]:
    """Return a server on the sample's data and one of its bundles."""
    data = ROOT / "sample_data"
    command = [
        sys.executable,
        "-m",
        "slidecam",
        "serve",
        "--json",
        "--root",
        str(data),
        "-m",
        str(data / bundle),
    ]
    environment = {**os.environ, "SLIDECAM_SERVER_FILE": str(folder / "server.json")}
    return subprocess.Popen(
        [*command, "-o", str(folder)], env=environment, stdout=subprocess.PIPE, text=True
    )


def address_of(server: subprocess.Popen[str], folder: Path) -> str:
    """Return the page's address, once the server listens."""
    assert server.stdout is not None  # noqa: S101  (for the type checker: it is a pipe)
    server.stdout.readline()
    told = json.loads((folder / "server.json").read_text(encoding="utf-8"))
    return f"{told['url']}/#token={told['token']}"


def of_pictures(page: Page) -> None:
    """Take the picture's tab: a wrong file, and a tile."""
    page.set_input_files(
        "#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    )
    page.wait_for_selector("#picture-error:visible")
    take(page, "page-wrong-file")
    page.set_input_files("#file", {"name": "tile.png", "mimeType": "image/png", "buffer": tile()})
    page.wait_for_selector("#maps figure:nth-child(2) canvas")
    take(page, "page-picture")


def tile() -> bytes:
    """Return a tile of the sample slide as PNG."""
    left, top, edge = TILE
    pixels = tifffile.imread(ROOT / "sample_data" / "slide.tif", key=0)[
        top : top + edge, left : left + edge
    ]
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def of_slides(page: Page) -> None:
    """Take the slide's tab: while it is classified, its heatmap, its classes."""
    page.click("#tab-slide")
    page.click('#entries button[data-path$="slide.tif"]')
    page.wait_for_selector("#blank", state="hidden")
    page.select_option("#overlap", "0.5")
    page.click("#start")
    page.wait_for_selector("#legend li")
    take(page, "page-running")
    page.wait_for_selector("#outcome:visible")
    page.wait_for_selector(".view.pale")
    box = page.locator("#viewer").bounding_box()
    assert box is not None  # noqa: S101  (for the type checker: it is to be seen)
    page.mouse.move(box["x"] + box["width"] * 0.66, box["y"] + box["height"] * 0.62)
    for _turn in range(4):
        page.mouse.wheel(0, -120)
        page.wait_for_timeout(200)
    take(page, "page-heatmap")
    page.uncheck("#show-heat")
    page.check("#show-classes")
    take(page, "page-classes")


def of_volumes(page: Page) -> None:
    """Take the synthetic head.

    Its most decisive slice with its heat, and the profile of all of them.
    """
    page.click("#tab-slide")
    page.click('#entries button[data-path$="brain.nii.gz"]')
    page.wait_for_selector("#blank", state="hidden")
    page.click("#start")
    page.wait_for_selector("#called:visible")
    page.wait_for_function("() => document.querySelector('#show-heat').checked")
    page.wait_for_timeout(1500)
    take(page, "page-volume")


def take(page: Page, name: str) -> None:
    """Take a picture in light and one in dark, in few colours, so that they are small."""
    page.wait_for_timeout(800)
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.wait_for_timeout(200)
        with Image.open(BytesIO(page.screenshot())) as shot:
            smaller(shot.convert("RGB")).save(PICTURES / f"{name}-{scheme}.png", optimize=True)


def smaller(shot: Image.Image) -> Image.Image:
    """Return a picture in 256 colours.

    Those of the page's own parts exactly, and some for all of the tissue.
    """
    pixels = np.asarray(shot)
    own, counts = np.unique(pixels[:, :SIDE].reshape(-1, 3), axis=0, return_counts=True)
    flat = own[np.argsort(-counts)[:OWN_COLOURS]]
    others = (
        shot.crop((SIDE, 0, shot.width, shot.height)).quantize(256 - len(flat)).getpalette() or []
    )
    palette = np.concatenate([flat, np.array(others, np.uint8).reshape(-1, 3)[: 256 - len(flat)]])
    colours, places = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = cKDTree(palette).query(colours)[1].astype(np.uint8)
    small = Image.fromarray(nearest[places.ravel()].reshape(pixels.shape[:2])).convert("P")
    small.putpalette(palette.tobytes())
    return small


if __name__ == "__main__":
    main()
