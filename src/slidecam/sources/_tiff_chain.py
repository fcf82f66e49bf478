"""The chain of a TIFF's pages, each of which names the next: walked before a library follows it.

tifffile looks for a circle once, at its hundredth page, and else goes round for ever.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tifffile import TiffFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tifffile import TiffFile

MOST_PAGES = 1_000_000
"""More than any file holds: each costs memory."""

MOST_TAGS = 4096
"""At a page of more, tifffile ends the chain."""


def refuse_circle(tiff: TiffFile) -> None:
    """Refuse a file whose pages follow each other in a circle, or are more than any file holds.

    Raises
    ------
    TiffFileError
        As tifffile does of what else is wrong with a file.
    """
    seen: set[int] = set()
    for offset in _offsets(tiff):
        if offset in seen:
            raise TiffFileError("its pages follow each other in a circle")
        if len(seen) >= MOST_PAGES:
            raise TiffFileError(f"its pages are more than {MOST_PAGES:,}")
        seen.add(offset)


def _offsets(tiff: TiffFile) -> Iterator[int]:
    """Yield where each page begins, until the chain ends or leaves the file."""
    form, file = tiff.tiff, tiff.filehandle
    offset = int(tiff.pages.first.offset)
    while 0 < offset < file.size:
        yield offset
        file.seek(offset)
        try:
            (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
            if tags > MOST_TAGS:
                return
            file.seek(offset + form.tagnosize + tags * form.tagsize)
            (offset,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
        except struct.error:
            return
