"""Slides behind a URL whose query holds what opens it: a token, a signature."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

from range_server import Ranges, serving
from slidecam.cli.app import app
from slidecam.errors import RegionReadError, UnreadableSourceError
from slidecam.events import Finished
from slidecam.geometry import LevelBox
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.sources import open_source
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "a+b/c=d&e"  # noqa: S105 - of no server that there is
QUERY = "token=a%2Bb%2Fc%3Dd%26e&expires=1789"
PAGE = b"<!doctype html><title>Not here</title>"
BOX = LevelBox(411, 203, 190, 167)


class Gate(Ranges):
    """Files in ranges to whoever has the token, whatever else stands behind it in the query.

    A name that it does not know is answered with a page and 200 below a file, as single-page
    applications do, and with 404 elsewhere.
    """

    token = TOKEN

    def answer(self, *, with_body: bool) -> None:
        url = urlsplit(self.path)
        status, data = 200, PAGE
        path = self.folder / unquote(url.path).lstrip("/")
        if not parse_qs(url.query).get("token", [""])[0].startswith(self.token):
            status, data = 403, b""
        elif path.is_file():
            data = path.read_bytes()
        elif path.suffix != ".zarr" and not path.parent.is_file():
            status, data = 404, b""
        self.respond(status, data, with_body=with_body)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Return the address of a folder behind a gate: ``tmp_path``."""
    with serving(tmp_path, Gate) as address:
        yield address


@pytest.mark.parametrize("kind", ["tiled_tiff", "strip_tiff", "png"])
def test_the_query_of_a_file_is_kept_and_is_no_part_of_its_name(
    tmp_path: Path, served: str, write: Any, kind: str
) -> None:
    picture = write.picture(0)
    getattr(write, kind)(tmp_path / "my slide.tif", picture)
    with open_source(f"{served}/my%20slide.tif?{QUERY}") as source:
        assert source.facts.reader != "ome-zarr"
        assert source.facts.name == "my%20slide"
        np.testing.assert_array_equal(
            source.read(0, BOX), picture[BOX.y : BOX.bottom, BOX.x : BOX.right]
        )


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("end", ["", "/"])
def test_every_file_of_a_zarr_is_asked_for_with_the_query(
    tmp_path: Path, served: str, write: Any, version: str, end: str
) -> None:
    picture = write.picture(0)
    write.ome_zarr(str(tmp_path / "slide.zarr"), picture, version)
    with open_source(f"{served}/slide.zarr{end}?{QUERY}") as source:
        assert (source.facts.reader, source.facts.name) == ("ome-zarr", "slide")
        np.testing.assert_array_equal(
            source.read(0, BOX), picture[BOX.y : BOX.bottom, BOX.x : BOX.right]
        )


def test_a_link_that_is_signed_for_reading_alone_opens(
    tmp_path: Path, served: str, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Gate, "do_HEAD", lambda gate: gate.respond(403, b"", with_body=False))
    picture = write.picture(0)
    write.tiled_tiff(tmp_path / "slide.tif", picture)
    write.ome_zarr(str(tmp_path / "slide.zarr"), picture, "0.4")
    for name in ("slide.tif", "slide.zarr"):
        with open_source(f"{served}/{name}?{QUERY}") as source:
            np.testing.assert_array_equal(
                source.read(0, BOX), picture[BOX.y : BOX.bottom, BOX.x : BOX.right]
            )


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_the_pictures_of_a_collection_are_asked_for_with_the_query(
    tmp_path: Path, served: str, write: Any, zarr_format: Any
) -> None:
    version = {2: "0.4", 3: "0.5"}[zarr_format]
    picture, macro = write.picture(0), write.picture(1, 150, 99)
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format)
    group.attrs["bioformats2raw.layout"] = 3
    write.ome_zarr(str(tmp_path / "a.zarr" / "0"), macro, version)
    write.ome_zarr(str(tmp_path / "a.zarr" / "1"), picture, version)
    names = '<OME xmlns="x"><Image Name="macro"/><Image Name="scan"/></OME>'
    (tmp_path / "a.zarr" / "OME").mkdir()
    (tmp_path / "a.zarr" / "OME" / "METADATA.ome.xml").write_text(names, encoding="utf-8")
    with open_source(f"{served}/a.zarr?{QUERY}") as source:
        assert [each.name for each in source.facts.images] == ["macro", "scan"]
        np.testing.assert_array_equal(
            source.read(0, BOX), picture[BOX.y : BOX.bottom, BOX.x : BOX.right]
        )
        np.testing.assert_array_equal(source.associated_image("macro"), macro)


def test_nothing_that_a_run_says_or_writes_opens_the_server(
    tmp_path: Path, served: str, write_slide: Any, tiny_bundle: Path
) -> None:
    write_slide(tmp_path / "whole.tif", 360, 300)
    cut = write_slide(tmp_path / "cut.tif", 360, 300).read_bytes()
    (tmp_path / "cut.tif").write_bytes(cut[: len(cut) // 2] + bytes(len(cut) - len(cut) // 2))
    urls = [f"{served}/{name}.tif?{QUERY}" for name in ("whole", "cut", "absent")]
    spec = PredictSpec(batch=8, workers=1, spacings={"whole.tif": 0.5})
    events = list(predict(urls, tiny_bundle, tmp_path / "out", spec))
    assert isinstance(events[-1], Finished)
    assert events[-1].exit_code == 3
    secret = re.compile("token|expires|1789")
    assert not secret.search(str(events))
    for file in (tmp_path / "out").rglob("*"):
        if file.is_file() and file.suffix in {".json", ".csv", ".html", ".geojson"}:
            assert not secret.search(file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize("name", ["whole.tif", "cut.tif", "absent.tif", "text.tif", "whole.zarr"])
@pytest.mark.parametrize("more", [[], ["--json"], ["--check"], ["--check", "--json"]])
def test_info_shows_a_url_without_what_opens_it(
    tmp_path: Path, served: str, write: Any, name: str, more: list[str]
) -> None:
    picture = write.picture(0)
    write.tiled_tiff(tmp_path / "whole.tif", picture)
    write.ome_zarr(str(tmp_path / "whole.zarr"), picture, "0.4")
    cut = (tmp_path / "whole.tif").read_bytes()
    (tmp_path / "cut.tif").write_bytes(cut[: len(cut) // 2] + bytes(len(cut) - len(cut) // 2))
    (tmp_path / "text.tif").write_text("no slide at all")
    result = CliRunner().invoke(app, ["info", f"{served}/{name}?{QUERY}", *more])
    assert name in result.output.replace("\n", "")
    assert not re.search("token=|expires|1789", result.output)


def test_a_wrong_token_is_an_error_in_words(tmp_path: Path, served: str, write: Any) -> None:
    write.strip_tiff(tmp_path / "slide.tif", write.picture(0))
    with pytest.raises(UnreadableSourceError, match=r"403.*with the token"):
        open_source(f"{served}/slide.tif?token=wrong")


def test_a_token_that_is_taken_back_fails_what_is_read_then(
    tmp_path: Path, served: str, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write.ome_zarr(str(tmp_path / "slide.zarr"), write.picture(0), "0.4")
    with open_source(f"{served}/slide.zarr?{QUERY}") as source:
        monkeypatch.setattr(Gate, "token", "another")
        with pytest.raises(RegionReadError, match="403"):
            source.read(0, BOX)


def test_what_a_library_says_of_a_url_is_repeated_without_its_query() -> None:
    (slide,) = find_slides([f"https://me:secret@host/a/b.svs?{QUERY}"]).slides
    said = f"404, url='https://host/a/b.svs/0/0.0?token={TOKEN}'; {slide.path}: no"
    assert slide.public(said) == "404, url='https://host/a/b.svs/0/0.0'; https://host/a/b.svs: no"
