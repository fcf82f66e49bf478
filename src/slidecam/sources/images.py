"""Which of a file's pictures is the slide: one rule for TIFF pages, OME images, NGFF and DICOM.

The largest that is not called a label, macro, overview or thumbnail, whatever their order in the
file; or the one that was asked for. What was chosen among several is always said.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slidecam.errors import RefusedSourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slidecam.geometry import Size

ASSOCIATED = {
    "label(?!l?ed|l?ing)": "label",
    "macro(?!phag|cyt|mol)": "macro",
    "overview": "macro",
    "thumb(?!print)": "thumbnail",
    "preview": "thumbnail",
    "snapshot": "macro",
    "barcode": "label",
}
"""Words in a picture's name that say that it is no slide, and what people call it then.

A slide of macrophages, or one that was labelled with a dye, is a slide all the same.
"""

_MOST_NAMED = 24
"""Pictures that a sentence names; of more it says how many there are."""


@dataclass(frozen=True)
class FileImage:
    """One picture of a file.

    Attributes
    ----------
    number
        From 1, in the file's own order.
    name
        What the file calls it; empty where it does not.
    size
        Width and height at its finest level.
    reduced
        Whether the file says that it is a smaller copy of another (TIFF's NewSubfileType).
    chosen
        Whether it is the one that is read.
    """

    number: int
    name: str
    size: Size
    reduced: bool = False
    chosen: bool = False

    @property
    def associated(self) -> str | None:
        """``label``, ``macro`` or ``thumbnail`` where its name says so, else None."""
        return associated_name(self.name)

    def __str__(self) -> str:
        """Return number, name and size: ``2 "scan 2" (4000x3000 px)``."""
        name = f' "{self.name}"' if self.name else ""
        return f"{self.number}{name} ({self.size.width}x{self.size.height} px)"


@dataclass(frozen=True)
class FileVolume:
    """One volume of a file of several: of a 4-D file, or of a series of several stacks.

    Attributes
    ----------
    number
        From 0, as ``--volume`` counts.
    name
        What the file calls it; empty where it does not.
    chosen
        Whether it is the one that is read.
    """

    number: int
    name: str = ""
    chosen: bool = False

    def __str__(self) -> str:
        """Return number and name: ``1 (b=1000)``."""
        if self.name:
            return f"{self.number} ({self.name})"
        return str(self.number)

    def is_called(self, wanted: str | None) -> bool:
        """Whether ``--volume`` means it, by number or name; None means the first."""
        if wanted is None:
            return self.number == 0
        return wanted.casefold() in {str(self.number), self.name.casefold()}


def file_volumes(
    count: int,
    chosen: int,
    names: Sequence[str] = (),
) -> tuple[FileVolume, ...]:
    """Return the volumes of a file, one of them chosen; nothing where it has but one.

    ``names`` are empty where the file calls them nothing.
    """
    if count == 1:
        return ()
    called = [*names, *[""] * (count - len(names))]
    return tuple(FileVolume(number, called[number], number == chosen) for number in range(count))


def associated_name(name: str) -> str | None:
    """Return what people call a picture of this name where it is no slide, else None."""
    for word, known in ASSOCIATED.items():
        if re.search(word, name.lower()):
            return known
    return None


def choose_image(
    path: str, images: Sequence[FileImage], wanted: str | None
) -> tuple[tuple[FileImage, ...], FileImage, tuple[str, ...]]:
    """Choose the slide among a file's pictures.

    Parameters
    ----------
    path
        The file, for messages.
    images
        Its pictures, at least one, in the file's order.
    wanted
        Number or name of the one to read; None for the largest that is no label, macro, overview
        or thumbnail (of equal ones the first).

    Returns
    -------
    images
        The same, the chosen one marked.
    chosen
        That one.
    readings
        What to say of the choice: nothing where there was none.

    Raises
    ------
    UsageError
        If ``wanted`` is none of them, or the name of several.
    """
    reason = "as was asked for"
    if wanted is None:
        chosen, reason = _largest(images), _rule_of(images)
    else:
        chosen = _named(path, images, wanted)
    marked = tuple(replace(each, chosen=each.number == chosen.number) for each in images)
    readings: tuple[str, ...] = ()
    if len(images) > 1:
        name = f' "{chosen.name}"' if chosen.name else ""
        others = _listed([each for each in images if each.number != chosen.number])
        said = f"Image {chosen.number}{name} of {len(images)} is read, {reason}; --image reads"
        readings = (f"{said} another: {others}.",)
    return marked, replace(chosen, chosen=True), readings


@contextmanager
def offering_others(images: Sequence[FileImage]) -> Iterator[None]:
    """Name a file's other pictures in the remedy of whoever refuses the chosen one in the block."""
    try:
        yield
    except RefusedSourceError as error:
        others = [each for each in images if not each.chosen]
        if others:
            error.add_remedy(f"Or pass --image to read another of the file: {_listed(others)}.")
        raise


def _listed(images: Sequence[FileImage]) -> str:
    words = list(map(str, images[:_MOST_NAMED]))
    left = len(images) - _MOST_NAMED
    if left > 0:
        words.append(f"and {left} more")
    return "; ".join(words)


def _largest(images: Sequence[FileImage]) -> FileImage:
    slides = [each for each in images if not (each.associated or each.reduced)]
    slides = slides or [each for each in images if not each.associated] or list(images)
    return max(slides, key=lambda each: each.size.width * each.size.height)


def _rule_of(images: Sequence[FileImage]) -> str:
    odd = [each for each in images if each.associated or each.reduced]
    if odd and len(odd) < len(images):
        return "the largest that is no label, macro or thumbnail"
    return "the largest"


def _named(path: str, images: Sequence[FileImage], wanted: str) -> FileImage:
    found = [each for each in images if each.name == wanted]
    # A picture may be called "2" and be the first.
    if not found:
        found = [each for each in images if str(each.number) == wanted]
    if len(found) == 1:
        return found[0]
    problem = f"There is no image {wanted!r} in it."
    if found:
        problem = f"{len(found)} of its images are called {wanted!r}."
    raise UsageError(
        problem, f"Pass --image with the number of one of them: {_listed(images)}.", path
    )
