"""How the pictures of a data set are read: every one is opened, and no choice is silent.

Of thousands of pictures no one reads a sentence each: what the readers say is counted, and pictures
of which they say the same, but for numbers and names, are told of together.
"""

from __future__ import annotations

import re
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

from PIL import Image

from slidecam.errors import (
    DataSetError,
    SlidecamError,
    UsageError,
    listed_problems,
    remedies_of,
)
from slidecam.learning.data.pixels import (
    REPORT_EVERY,
    WORKERS,
    in_order,
    is_read_as_a_slide,
    open_picture,
)
from slidecam.pixels import reason
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from slidecam.learning.data.pictures import PictureSet
    from slidecam.viewing import PictureView

_COPY = "Copy or save them again, or take them out of the data."
_VARIABLE = re.compile(r"\"[^\"]*\"|\([^)]*\)|\d+")
"""What of a sentence may differ between pictures that are read alike: names, asides, numbers."""

_PROBLEM = attrgetter("problem")


@dataclass(frozen=True)
class OpenedPicture:
    """What is known of a picture once it was opened.

    Attributes
    ----------
    readings
        How it is read, as in `SourceFacts`.
    problem, remedy
        Why it cannot be opened and what to do; empty where it can.
    offers
        Names of fields of `PictureView` that it leaves to choose.
    """

    readings: tuple[str, ...] = ()
    problem: str = ""
    remedy: str = ""
    offers: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class OpenedPictures:
    """All pictures of a set, opened; one for each.

    Attributes
    ----------
    pictures
        The set.
    found
        What is known of each.
    """

    pictures: PictureSet
    found: tuple[OpenedPicture, ...]

    @property
    def is_broken(self) -> bool:
        """Whether there is a picture that cannot be opened."""
        return any(map(_PROBLEM, self.found))

    def refuse_broken(self) -> None:
        """Raise `DataSetError` where there are pictures that cannot be opened, naming them."""
        bad = list(filter(_PROBLEM, self.found))
        if bad:
            problems = list(map(_PROBLEM, bad))
            listed = listed_problems(problems, len(self.found), "opened")
            raise DataSetError(listed, remedies_of(bad))

    def unheard(self, chosen: PictureView) -> set[str]:
        """Return the names of choices that no picture leaves; none where one cannot be opened."""
        if self.is_broken:
            return set()
        names = chosen.chosen.keys() - {"profile"}
        for each in self.found:
            names -= each.offers
        return names

    def refuse_unheard(self, chosen: PictureView) -> None:
        """Raise `UsageError` where no picture leaves a choice that was made."""
        names = self.unheard(chosen)
        if names:
            words = " and ".join(f"--{name}" for name in sorted(names))
            problem = f"None of {len(self.found)} pictures leaves anything to choose by {words}."
            remedy = f"Leave {words} out, and the keys of that name in the recipe's [data]."
            raise UsageError(problem, remedy, self.pictures.root)

    def noted(self) -> PictureSet:
        """Return the pictures with a note of every way in which some of them are read."""
        notes = grouped_readings(self.pictures.names, self.found)
        return replace(self.pictures, notes=(*self.pictures.notes, *notes))


def look_at_pictures(pictures: PictureSet) -> Generator[Step, None, OpenedPictures]:
    """Open every picture, which takes a moment, before work that takes hours.

    Damage beyond the header shows when `load_pixels` comes to it.
    """
    found: list[OpenedPicture] = []
    look = partial(_opened, seen=pictures.seen)
    with closing(in_order(look, pictures.paths, WORKERS)) as opened:
        for each in opened:
            found.append(each)
            if len(found) % REPORT_EVERY == 0 or len(found) == len(pictures):
                yield Step("opening pictures", len(found), len(pictures))
    return OpenedPictures(pictures, tuple(found))


def grouped_readings(names: Sequence[str], found: Sequence[OpenedPicture]) -> tuple[str, ...]:
    """Return what is said of many pictures as a sentence for each kind, with how many it is of.

    Examples
    --------
    >>> said = "Plane 2 of 5 is read; --plane reads another."
    >>> grouped_readings(["a.tif", "b.png"], [OpenedPicture((said,)), OpenedPicture()])
    ('Of 2 pictures 1 (a.tif for one): Plane 2 of 5 is read; --plane reads another.',)
    """
    kinds: dict[str, list[str]] = {}
    for name, picture in zip(names, found, strict=True):
        for sentence in picture.readings:
            kind = _VARIABLE.sub("", sentence.partition(":")[0])
            kinds.setdefault(kind, []).append(f"({name} for one): {sentence}")
    notes: list[str] = []
    for members in kinds.values():
        count = str(len(members))
        if len(members) == len(names):
            count = "all"
        notes.append(f"Of {len(names)} pictures {count} {members[0]}")
    return tuple(notes)


def _opened(path: Path, seen: PictureView) -> OpenedPicture:
    try:
        if is_read_as_a_slide(path, None, seen):
            with open_picture(path, None, seen) as source:
                return OpenedPicture(source.facts.readings, offers=source.facts.offers)
        with Image.open(path) as picture:
            if min(picture.size) == 0:
                return OpenedPicture(problem=f"{path}: it has no pixels", remedy=_COPY)
    except SlidecamError as error:
        return OpenedPicture(problem=error.clause, remedy=error.remedy)  # which names the file
    except Exception as error:  # noqa: BLE001  (the boundary of a picture: all are reported at once)
        return OpenedPicture(problem=f"{path}: {reason(error)}", remedy=_COPY)
    # What Pillow alone reads has no reader that would say how.
    with suppress(SlidecamError), open_picture(path, None, seen, "picture") as source:
        return OpenedPicture(source.facts.readings, offers=source.facts.offers)
    return OpenedPicture()
