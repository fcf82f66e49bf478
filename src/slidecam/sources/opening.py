"""From a path or URL to a `Source`, by what the file holds and never by what it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.errors import UnknownFormatError, UnreadableSourceError, UsageError
from slidecam.sources._probe import looks_like, probe
from slidecam.sources._registry import NOT_MINE, READERS, formats_read
from slidecam.viewing import DEFAULT_VIEW

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.sources._probe import Probe
    from slidecam.sources._registry import Reader
    from slidecam.sources.source import Source
    from slidecam.viewing import VolumeView


def open_source(
    path: str | Path, reader: str | None = None, view: VolumeView = DEFAULT_VIEW
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
        How a volume is shown: along which axis, through which window. A slide knows nothing of it.

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
    UsageError
        If there is no reader of that name.
    """
    found = probe(path, view)
    if reader:
        candidates = [_named(reader)]
    else:
        candidates = _candidates(found)
    if not candidates:
        what, remedy = looks_like(found, formats_read())
        problem = f"this is {what}, not a slide, picture or volume that slidecam reads."
        raise UnknownFormatError(found.given, problem, remedy)
    return _open_first(found, candidates)


def reader_names() -> tuple[str, ...]:
    """Return the names that ``open_source(path, reader=...)`` takes."""
    return tuple(READERS)


def _named(name: str) -> Reader:
    if name in READERS:
        return READERS[name]
    raise UsageError(f"There is no reader {name!r}.", READERS.remedy(name))


def _candidates(found: Probe) -> list[Reader]:
    ranks = {name: reader.rank(found) for name, reader in READERS.items()}
    mine = [name for name in READERS if ranks[name] != NOT_MINE]
    return [READERS[name] for name in sorted(mine, key=lambda name: -ranks[name])]


def _open_first(found: Probe, candidates: list[Reader]) -> Source:
    """Open with the best candidate that can; if none can, the user gets the best one's reason."""
    failures: list[UnreadableSourceError] = []
    for reader in candidates:
        try:
            return reader.open(found)
        except UnreadableSourceError as error:
            failures.append(error)
    raise failures[0]
