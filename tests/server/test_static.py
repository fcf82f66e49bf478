"""The page is whole, and names nothing that lies elsewhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from slidecam.server import views
from slidecam.server.views import PAGE, VIEWER, static_files, viewer_files

if TYPE_CHECKING:
    from pathlib import Path

NAMESPACE = "http://www.w3.org/2000/svg"


def test_every_file_that_a_file_names_is_there() -> None:
    files = static_files()
    own = {name: file.content.decode() for name, file in files.items() if "/" not in name}
    assert {"index.html", "app.js", "style.css", "icon.svg"} <= own.keys()
    imported = {name for text in own.values() for name in re.findall(r'from "\./(\S+)"', text)}
    linked = set(re.findall(r'(?:href|src)="/page/(\S+?)"', own["index.html"]))
    assert imported
    assert imported | linked <= own.keys()


def test_ids_that_scripts_ask_for_are_in_the_page() -> None:
    page = (PAGE / "index.html").read_text(encoding="utf-8")
    asked = {
        name
        for path in PAGE.glob("*.js")
        for name in re.findall(r'\bat\("([\w-]+)"\)', path.read_text("utf-8"))
    }
    assert len(asked) > 40
    assert asked <= set(re.findall(r'id="([\w-]+)"', page))


def test_nothing_is_loaded_from_elsewhere() -> None:
    for path in PAGE.iterdir():
        if path.is_file():
            text = path.read_text(encoding="utf-8").replace(NAMESPACE, "")
            assert not re.search(r"https?://|(?:src|href)=\"//", text), path.name


def test_the_viewer_comes_with_its_licence_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / VIEWER
    installed.mkdir()
    (installed / "openseadragon.min.js").write_text("viewer")
    monkeypatch.setattr(views, "PAGE", tmp_path)
    monkeypatch.setattr(views, "FROM_NPM", tmp_path / "none")
    assert viewer_files() == []
    (installed / "LICENSE.txt").write_text("BSD")
    assert [path.name for path in viewer_files()] == ["openseadragon.min.js", "LICENSE.txt"]


@pytest.mark.skipif(not viewer_files(), reason="OpenSeadragon is not here: npm ci --prefix web")
def test_the_viewer_is_served_with_its_licence() -> None:
    assert b"Redistribution" in static_files()[f"{VIEWER}/LICENSE.txt"].content
    assert b"OpenSeadragon" in static_files()[f"{VIEWER}/openseadragon.min.js"].content
