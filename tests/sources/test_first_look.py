"""A file that does not answer holds up no search, and fails under its name."""

from __future__ import annotations

import errno
from threading import Event
from typing import TYPE_CHECKING

import pytest

from slidecam.sources import _dicom, _first_look
from slidecam.sources._first_look import at_first_look
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Wait for no look longer than a moment; what is returned lets those go on that hang."""
    monkeypatch.setattr(_first_look, "LOOK_SECONDS", 0.2)
    _first_look._looks_of.cache_clear()
    event = Event()
    yield event
    event.set()
    _first_look._looks_of.cache_clear()


def test_a_look_that_does_not_come_back_is_an_error_at_once_the_next_time(
    tmp_path: Path, held: Event
) -> None:
    looks = []

    def work(path: Path) -> bool:
        looks.append(path)
        return held.wait(60)

    for _again in range(2):
        with pytest.raises(OSError, match=r"a\.svs") as caught:
            at_first_look(tmp_path / "a.svs", work)
        assert caught.value.errno == errno.ETIMEDOUT
    assert looks == [tmp_path / "a.svs"]
    assert at_first_look(tmp_path / "b.svs", lambda path: path.name) == "b.svs"


def test_what_a_look_raises_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        at_first_look(tmp_path / "none", lambda path: path.read_bytes())


def test_a_silent_file_of_a_folder_is_found_under_its_name(
    tmp_path: Path,
    write_slide: Callable[..., Path],
    held: Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("silent.tif", "sound.tif"):
        write_slide(tmp_path / name, 200, 200)
    real = _dicom._identity_in

    def looked(path: Path) -> object:
        if path.name == "silent.tif":
            held.wait(60)
        return real(path)

    monkeypatch.setattr(_dicom, "_identity_in", looked)
    found = find_slides([tmp_path])
    assert [(slide.name, slide.error) for slide in found.slides] == [
        ("silent", None),
        ("sound", None),
    ]
