"""What tasks of other processes read of a slide that is open in this one."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from slidecam.errors import UnreadableSourceError, UsageError
from slidecam.geometry import LevelBox
from slidecam.sources import open_source
from slidecam.sources.tasks import TaskSlide, _held
from slidecam.viewing import PictureView, VolumeView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from slidecam.sources import Source

BOX = LevelBox(100, 80, 64, 48)


@pytest.fixture
def slide(tmp_path: Path, write_slide: Callable[..., Path]) -> Path:
    return write_slide(tmp_path / "wide.tif", width=900, height=800)


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    yield
    _held.cache_clear()


def elsewhere(thing: Any) -> Any:
    """Return what another process gets of it."""
    return pickle.loads(pickle.dumps(thing))  # noqa: S301  (our own)


def pixels_of(slide: TaskSlide[Source]) -> Any:
    with slide.opened() as source:
        return source.read(0, BOX)


def test_a_slide_is_opened_again_where_it_was_sent_and_once_for_all_of_its_tasks(
    slide: Path,
) -> None:
    with open_source(slide) as source:
        expected = source.read(0, BOX)
        sent = pickle.dumps(TaskSlide(source))
    assert len(sent) < 2000
    first, second = (pickle.loads(sent) for _ in range(2))  # noqa: S301  (our own)
    assert np.array_equal(pixels_of(first), expected)
    assert np.array_equal(pixels_of(elsewhere(second)), expected)
    assert _held.cache_info().misses == 1


def test_a_slide_is_found_from_another_working_folder(
    slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(slide.parent)
    with open_source(slide.name) as source:
        sent = pickle.dumps(TaskSlide(source))
    monkeypatch.chdir(os.sep)
    pixels_of(pickle.loads(sent))  # noqa: S301  (our own)


def test_a_slide_comes_as_it_was_chosen(slide: Path) -> None:
    pages = [np.full((90, 200), shade, np.uint8) for shade in (10, 200)]
    tifffile.imwrite(slide, np.stack(pages), photometric="minisblack", metadata={"axes": "ZYX"})
    view = VolumeView(slide=PictureView(plane=2))
    with open_source(slide, "tiff", view) as source:
        expected = source.read(0, BOX)
        there = elsewhere(TaskSlide(source))
    assert expected[0, 0, 0] == 200
    assert np.array_equal(pixels_of(there), expected)


def test_bytes_that_lie_nowhere_travel_themselves(slide: Path) -> None:
    content = slide.read_bytes()
    with open_source("sent.tif", content=content) as source:
        expected = source.read(0, BOX)
        there = elsewhere(TaskSlide(source))
    assert np.array_equal(pixels_of(there), expected)


def test_another_file_at_the_same_place_is_refused(
    slide: Path, write_slide: Callable[..., Path]
) -> None:
    with open_source(slide) as source:
        there = elsewhere(TaskSlide(source))
    write_slide(slide, width=900, height=800, seed=3)
    with pytest.raises(UnreadableSourceError, match="Another file"):
        pixels_of(there)


def test_a_slide_that_nobody_can_open_again_does_not_travel(slide: Path) -> None:
    with open_source(slide) as source:
        source.opening = None
        with pytest.raises(UsageError, match="open_source"):
            pickle.dumps(TaskSlide(source))
