"""Slides in object stores: what a prefix or pattern means, and what is fetched to be opened.

A URL that ends as a slide's name does is that slide, without a question to its server.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from slidecam.errors import UnreadableSourceError, UsageError
from slidecam.objects import Location, fetched, is_url
from slidecam.sources._dicom import DICOM_SUFFIXES, begins_as_dicom
from slidecam.sources._probe import ZARR_MARKS, ZARR_SUFFIX, Probe, probe, stem_of_url
from slidecam.sources.names import FoundSlide
from slidecam.sources.readers import slide_suffixes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from slidecam.sources.names import FindSpec
    from slidecam.sources.readers import Reader
    from slidecam.viewing import VolumeView

OF_FILES = ("nifti", "nrrd", "dicom", "openslide")
"""Readers that need files of this machine."""

MOST_NAMED = 5
"""Files named in the message on what was left out."""


def slides_at(url: str, where: FindSpec, ignored: list[str]) -> Iterator[FoundSlide]:
    """Yield the slides that a URL means: itself, those of a prefix, or what a pattern matches.

    A prefix with DICOM files in it is one series; any other gives the slides directly in it, and
    those below it if ``where`` says so.

    Raises
    ------
    UsageError
        If a pattern matches nothing.
    StoreError
        If the server does not list what is there.
    """
    if _is_pattern(url) and Location.of(url).identity() is None:
        found = Location.of(url).matching()
        if not found:
            raise UsageError("Nothing there is called so.", "Check the pattern.", url)
        for place in found:
            yield from _expanded(place.url, where, ignored)
        return
    yield from _expanded(url, where, ignored)


def _is_pattern(url: str) -> bool:
    return bool(set(url) & set("*[")) and not url.startswith(("http://", "https://"))


def _is_named_as_slide(url: str) -> bool:
    return PurePosixPath(url.partition("?")[0]).name.lower().endswith(slide_suffixes())


def _expanded(url: str, where: FindSpec, ignored: list[str]) -> Iterator[FoundSlide]:
    nameless = not url.partition("://")[2].strip("/")
    if nameless or "?" in url or _is_named_as_slide(url):
        yield FoundSlide(stem_of_url(url), url)
        return
    place = Location.of(url)
    inside = place.children()
    files = [name for name, is_folder in inside.items() if not is_folder]
    dicom = any(PurePosixPath(name).suffix.lower() in DICOM_SUFFIXES for name in files)
    if not inside or dicom or not {*ZARR_MARKS}.isdisjoint(files):
        # Opening it says what is wrong with it.
        yield FoundSlide(place.name, place.url)
        return
    yield from _in_prefix(place, inside, where, ignored)


def _in_prefix(
    place: Location, inside: dict[str, bool], where: FindSpec, ignored: list[str]
) -> Iterator[FoundSlide]:
    others, unsearched = [], []
    for name, is_folder in inside.items():
        below = (place / name).url
        if name.startswith("."):
            continue
        if _is_named_as_slide(below) and (not is_folder or name.lower().endswith(ZARR_SUFFIX)):
            yield FoundSlide(stem_of_url(below), below)
        elif not is_folder:
            others.append(name)
        elif where.recursive and not where.leaves_out(below):
            yield from _expanded(below, where, ignored)
        else:
            unsearched.append(name)
    if others:
        ignored.append(f"{place}: not taken for slides: {_listed(others)}.")
    if unsearched:
        ignored.append(
            f"{place}: folders in it that were not searched: {_listed(unsearched)}. Name them too,"
            " or pass --recursive, and the slides in them are taken."
        )


def _listed(names: list[str]) -> str:
    more = ""
    if len(names) > MOST_NAMED:
        more = f" and {len(names) - MOST_NAMED} more"
    return ", ".join(names[:MOST_NAMED]) + more


def probed(path: str | Path, view: VolumeView, content: bytes | None) -> Probe:
    """Look at a path or URL; a prefix with files below it is fetched, as a folder of this machine.

    UnreadableSourceError, as `probe`.
    """
    try:
        return probe(path, view, content)
    except UnreadableSourceError as error:
        url = str(path)
        missing = isinstance(error.__cause__, FileNotFoundError | IsADirectoryError)
        if not missing or not is_url(url) or url.startswith(("http://", "https://")):
            raise
        if not Location.of(url).children():
            raise
    return replace(probe(fetched(url), view), given=url)


def needs_file(found: Probe, candidates: Sequence[Reader]) -> bool:
    """Whether what lies at a URL is read from files of this machine alone, and not by ranges."""
    if found.local is not None or found.zarr or found.content is not None:
        return False
    if not candidates:
        return begins_as_dicom(found.head)
    return candidates[0].name in OF_FILES


def on_this_machine(found: Probe) -> Probe:
    """Return what lies at a URL as a file of this machine, under the name it has there."""
    return replace(probe(fetched(found.given), found.view), given=found.given)
