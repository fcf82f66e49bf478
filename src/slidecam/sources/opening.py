"""From a path or URL to a `Source`: opened by the reader that suits its content best."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from slidecam.errors import (
    NothingToChooseError,
    ReaderFailedError,
    RefusedSourceError,
    UnknownFormatError,
    UnreadableSourceError,
    UsageError,
)
from slidecam.extras import command_for
from slidecam.objects import as_given
from slidecam.sources._companions import note_on_name, refuse_front
from slidecam.sources._dicom_lost import folders_of_medium, words_on_medium
from slidecam.sources._probe import looks_like
from slidecam.sources._remote import needs_file, on_this_machine, probed
from slidecam.sources.readers import NOT_MINE, READERS, formats_read
from slidecam.sources.tasks import Opening
from slidecam.viewing import DEFAULT_VIEW

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.sources._probe import Probe
    from slidecam.sources.readers import Reader
    from slidecam.sources.source import Source
    from slidecam.viewing import VolumeView


LISTED = 5
"""Folders that a refusal names."""


def open_source(
    path: str | Path,
    reader: str | None = None,
    view: VolumeView = DEFAULT_VIEW,
    content: bytes | None = None,
) -> Source:
    """Open a slide, a picture or a volume.

    Parameters
    ----------
    path
        A file; a folder with a DICOM series or OME-Zarr in it; or an fsspec URL (``file://``,
        ``memory://``, ``s3://`` where s3fs is installed, …). The network is used only for URLs that
        name it.
    reader
        One of `reader_names` to read it with, instead of the one that suits the content best.
    view
        How a volume is shown: along which axis, through which window; and its ``slide``: which
        picture of a file, which plane, whose colours.
    content
        All bytes of the file, where they have been read already; ``path`` then only names it.

    Returns
    -------
    Source
        Ready to be read from any thread; close it, or use it in a ``with`` statement.

    Raises
    ------
    UnknownFormatError
        If no reader recognises the content; the message says what it looks like.
    UnreadableSourceError
        If there is no such file, or those who recognise it cannot open it.
    RefusedSourceError
        If its own reader knows that it is no picture to classify, and says what would be.
    UsageError
        If there is no reader of that name, the package that reads it is not installed, or the file
        leaves nothing to choose where the view chooses.
    """
    found = probed(path, view, content)
    if reader in {None, "openslide"}:
        refuse_front(found)
    candidates, lost = _candidates(found, reader)
    if needs_file(found, candidates):
        found = on_this_machine(found)
        candidates, lost = _candidates(found, reader)
    if lost and not candidates:
        raise lost[0]
    if not candidates and found.local is not None:
        folder = _series_of_medium(found.given, found.local)
        if folder is not None:
            source = open_source(folder, view=view)
            source.add_readings(words_on_medium(found.local))
            return source
    if not candidates:
        what, remedy = looks_like(found, formats_read())
        problem = f"This is {what}, not a slide, picture or volume that slidecam reads."
        raise UnknownFormatError(found.given, problem, remedy)
    source = _open_first(found, candidates)
    source.opening = Opening(as_given(path), reader, view, content)
    notes = tuple(f"Left out: {error.clause}." for error in lost)
    notes += note_on_name(found, source.facts)
    if notes:
        source.facts = replace(source.facts, readings=source.facts.readings + notes)
    _refuse_unheard(source, view)
    try:
        source.show(view.slide)
    except BaseException:
        source.let_go()
        raise
    return source


def _series_of_medium(given: str, local: Path) -> Path | None:
    """Return the folder of the one series that a medium's directory (DICOMDIR) lies above."""
    folders = folders_of_medium(local)
    if len(folders) > 1:
        listed = ", ".join(folder.name for folder in folders[:LISTED])
        problem = f"This is a DICOM medium of {len(folders)} folders of series ({listed})."
        raise RefusedSourceError(given, problem, "Pass the one that you want.")
    return next(iter(folders), None)


def _refuse_unheard(source: Source, view: VolumeView) -> None:
    """Refuse a choice that the reader made nothing of; the source is closed."""
    facts = source.facts
    unheard = view.slide.chosen.keys() - facts.offers - {"profile"}
    # The only picture of a file may be named by its number.
    if view.slide.image == "1" and not facts.images:
        unheard.discard("image")
    if view.volume is not None and facts.stack is None:
        unheard.add("volume")
    if unheard:
        source.let_go()
        raise NothingToChooseError(facts.path, unheard)


def _named(name: str) -> Reader:
    if name in READERS:
        return READERS[name]
    raise UsageError(f"There is no reader {name!r}.", READERS.remedy(name))


def _candidates(found: Probe, name: str | None) -> tuple[list[Reader], list[ReaderFailedError]]:
    """Return who reads what was found, best first, and what those raised who cannot even tell.

    The one of a ``name`` alone, where there is one.
    """
    ranked: list[tuple[int, Reader]] = []
    lost: list[ReaderFailedError] = []
    if name:
        return [_named(name)], lost
    for reader in READERS.values():
        try:
            with READERS.boundary(reader.name, partial(ReaderFailedError, found.given)):
                ranked.append((reader.rank(found), reader))
        except ReaderFailedError as error:
            lost.append(error)
    ranked.sort(key=lambda each: -each[0])
    return [reader for rank, reader in ranked if rank != NOT_MINE], lost


def _open_first(found: Probe, candidates: list[Reader]) -> Source:
    """Open with the best candidate that can; if none can, the user gets the best one's reason.

    Those that are not installed are passed over, in words.
    """
    failures: list[UnreadableSourceError] = []
    untried: list[Reader] = []
    for reader in candidates:
        if reader.absent:
            untried.append(reader)
            continue
        try:
            source = reader.open(found)
        except RefusedSourceError:
            raise
        except UnreadableSourceError as error:
            failures.append(error)
        else:
            source.add_readings(map(_words_on_untried, untried))
            return source
    if not failures:
        return untried[0].open(found)  # which says what is missing
    for reader in untried:
        failures[0].add_remedy(_words_on_untried(reader))
    raise failures[0]


def _words_on_untried(reader: Reader) -> str:
    command = command_for(reader.absent, reader.extra)
    name = reader.name
    return f"Reader {name} would be tried for this file too, and is not installed: run `{command}`."
