"""How the pictures of a data set are read: every one is opened, and no choice is silent.

Of thousands of pictures no one reads a sentence each: what the readers say is counted, and pictures
of which they say the same, but for numbers and names, are told of together. A bundle's recipe says
how names are understood, as far as that means anything to other data.
"""

from __future__ import annotations

import re
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from slidecam.errors import DataSetError, SlidecamError, UsageError, listed_problems, remedies_of
from slidecam.extras import imported
from slidecam.learning.data.picture_files import PART_NAMES, PICTURE_TABLE, PictureSpec, named
from slidecam.learning.data.picture_tables import from_data
from slidecam.learning.data.pixels import (
    REPORT_EVERY,
    WORKERS,
    Given,
    in_order,
    is_read_as_a_slide,
    open_picture,
    read_picture,
)
from slidecam.learning.recipes.tables import DataSpec
from slidecam.parsing import ParseError, toml_of
from slidecam.pixels import reason
from slidecam.settings import Complaints, read_settings
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence
    from pathlib import Path

    from slidecam.learning.data.pictures import PictureSet
    from slidecam.models.card import Card
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

    def refuse_broken(self, *, unread: bool = False) -> Generator[Step, None, None]:
        """Raise `DataSetError` where there are pictures that cannot be read, naming all of them.

        The others are read to their end where one cannot be opened, so that all damage is told at
        once, and where nobody reads them before they are learnt from: they are ``unread``.
        """
        found: Sequence[OpenedPicture] = self.found
        if unread or self.is_broken:
            rows = tuple(zip(self.pictures.paths, self.found, strict=True))
            look = partial(_read, seen=self.pictures.seen.without(("profile",)))
            found = yield from _of_each(look, rows, "reading pictures")
        bad = list(filter(_PROBLEM, found))
        if bad:
            listed = listed_problems(list(map(_PROBLEM, bad)), len(found), "read")
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
    """Open every picture, which takes a moment, before work that takes hours."""
    look = partial(_opened, seen=pictures.seen)
    found = yield from _of_each(look, pictures.paths, "opening pictures")
    return OpenedPictures(pictures, tuple(found))


def _of_each(
    look: Callable[[Given], OpenedPicture], items: Sequence[Given], work: str
) -> Generator[Step, None, list[OpenedPicture]]:
    found: list[OpenedPicture] = []
    with closing(in_order(look, items, WORKERS)) as opened:
        for each in opened:
            found.append(each)
            if len(found) % REPORT_EVERY == 0 or len(found) == len(items):
                yield Step(work, len(found), len(items))
    return found


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


def _read(row: tuple[Path, OpenedPicture], seen: PictureView) -> OpenedPicture:
    """Return what is known of a picture once all of it was read."""
    path, opened = row
    try:
        if not opened.problem:
            read_picture(path, seen=seen)
    except DataSetError as error:
        return OpenedPicture(problem=error.clause, remedy=error.remedy)
    return opened


_FEWEST_TO_PROBE, _FOLDS, _DEPTH = 20, 5, 4
_TELLING, _BEYOND = 0.1, 3.0
"""How far above chance a balanced accuracy must be, and in how many standard deviations."""


def format_tells(pictures: PictureSet) -> tuple[str, ...]:
    """Return in a sentence how far classes can be told without looking at a picture, if they can.

    A small decision tree sees each file's format, colour mode, width and height, and nothing else;
    its figure is of pictures, and patients, that it has not learnt from.
    """
    counts = list(filter(None, pictures.counts().values()))
    if len(counts) < 2 or min(counts) < _FEWEST_TO_PROBE:  # noqa: PLR2004  (nothing to tell apart)
        return ()
    with closing(in_order(_look_of, pictures.paths, WORKERS)) as found:
        looks = list(found)
    if len(set(looks)) == 1:
        return ()
    kinds = [sorted({look[place] for look in looks}) for place in (0, 1)]
    rows: list[list[float]] = []
    for file_format, mode, width, height in looks:
        numbers = (kinds[0].index(file_format), kinds[1].index(mode), width, height)
        rows.append([*map(float, numbers), width / height])
    selection = imported("sklearn.model_selection", "train")
    folds = selection.StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    if pictures.groups is not None and len(set(pictures.groups)) >= _FOLDS:
        folds = selection.StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
    trees = imported("sklearn.tree", "train")
    tree = trees.DecisionTreeClassifier(max_depth=_DEPTH, class_weight="balanced", random_state=0)
    labels, groups = pictures.labels, pictures.groups
    called = selection.cross_val_predict(tree, rows, labels, groups=groups, cv=folds)
    score = imported("sklearn.metrics", "train").balanced_accuracy_score
    reached, chance = float(score(labels, called)), 1 / len(counts)
    by_luck = float(np.sqrt(chance * (1 - chance) * (1 / np.array(counts)).sum())) / len(counts)
    if reached - chance <= max(_TELLING, _BEYOND * by_luck):
        return ()
    said = (
        "Classes can be told from the files' format, colour mode and size in pixels alone:"
        f" balanced accuracy {reached:.2f}, by chance {chance:.2f}; a classifier may learn where"
        " pictures come from, and figures on these data flatter it."
    )
    return (said,)


def _look_of(path: Path) -> tuple[str, str, int, int]:
    """Return a file's format, colour mode, width and height; of others than PIL's its suffix."""
    wrong = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
    with suppress(*wrong), Image.open(path) as picture:
        return picture.format or path.suffix, picture.mode, *picture.size
    return path.suffix.lower(), "", 1, 1


def reading_for(
    data: Path,
    card: Card,
    seen: PictureView,
    group_pattern: str,
    only_pattern: str | None,
) -> tuple[DataSpec, tuple[str, ...]]:
    """Return how data are read by a bundle's recipe, so that names lead to the same patients.

    Parameters
    ----------
    data
        A folder or a table.
    card
        The bundle's, whose provenance holds the recipe.
    seen, group_pattern, only_pattern
        What is chosen over the recipe; the patterns are empty and None where nothing is.

    Returns
    -------
    reading, notes
        Without what means nothing to these data, and a sentence for each of that.
    """
    try:
        recipe = toml_of(str(card.provenance.get("recipe", "")))
    except ParseError:
        recipe = {}
    reading = read_settings(DataSpec, recipe.get("data", {}), "data", Complaints()) or DataSpec()
    reading = replace(reading, color_profile=card.color_profile)
    for name, value in seen.chosen.items():
        reading = replace(reading, **{"color_profile" if name == "profile" else name: value})
    chosen: list[str] = []
    if only_pattern is not None:
        reading = replace(reading, only_pattern=only_pattern)
        chosen.append("only_pattern")
    if group_pattern:
        reading = replace(reading, group_pattern=group_pattern, group_folder=False)
        chosen.append("group_pattern")
    fitted, notes = fitted_to(data, reading.reading, chosen)
    settings = asdict(fitted)
    settings.pop("class_names")
    return replace(reading, **settings), notes


def fitted_to(
    data: Path,
    spec: PictureSpec,
    chosen: Collection[str],
) -> tuple[PictureSpec, tuple[str, ...]]:
    """Return how data are read by settings that were made for others, and what is said of it.

    Parameters
    ----------
    data
        A folder or a table.
    spec
        The settings, those of a bundle's recipe.
    chosen
        Names of settings that were chosen for these data: they stay.

    Returns
    -------
    spec, notes
        Without the settings that find nothing in any name; a sentence for each of those.

    Raises
    ------
    DataSetError
        If patients are found in some names and not in others.
    """
    if not data.exists():
        return spec, ()
    rows, _notes = from_data(data, PictureSpec(label_pattern="(?P<label>.+)"))
    root = data
    if not data.is_dir():
        root = data.parent
    names = [named(row.path, root) for row in rows]
    found = {
        "only_pattern": _matching(spec.only_pattern, names),
        "label_pattern": _matching(spec.label_pattern, names),
        "group_pattern": _matching(spec.group_pattern, names),
        "group_folder": _in_folders_of_patients(data, names),
    }
    notes: list[str] = []
    for name, matches in found.items():
        setting = getattr(spec, name)
        if not setting or not names or name in chosen:
            continue
        if not matches:
            notes.append(
                f"The bundle's recipe has a setting {name} ({setting}) that finds nothing in the"
                f" names of these {len(names)} pictures: it is not heeded{_OVERRULED[name]}."
            )
            spec = replace(spec, **{name: type(setting)()})
        elif name == "group_pattern" and len(matches) < len(names):
            _refuse_patients_of_some(data, spec, names)
    return spec, tuple(notes)


_OVERRULED = {
    "only_pattern": ", all are taken (--only-pattern REGEX takes some)",
    "label_pattern": ", classes are those of folders or of the table",
    "group_pattern": " (--group-pattern REGEX finds patients)",
    "group_folder": " (--group-pattern REGEX finds patients)",
}


def _matching(pattern: str, names: Sequence[str]) -> list[str]:
    """Return the names that a pattern finds something in; only the last part without a ``/``."""

    def is_found(name: str) -> bool:
        file = name.rpartition("/")[2]
        return bool(re.search(pattern, name) or re.search(pattern, file))

    return list(filter(is_found, names))


def _in_folders_of_patients(data: Path, names: Sequence[str]) -> list[str]:
    """Return the pictures that lie in a folder within their class's; of a table none does."""
    if not data.is_dir() or (data / PICTURE_TABLE).is_file():
        return []
    deep: list[str] = []
    for name in names:
        folders = name.split("/")[:-1]
        if len(folders) - (folders[0].lower() in PART_NAMES) > 1:
            deep.append(name)
    return deep


def _refuse_patients_of_some(data: Path, spec: PictureSpec, names: Sequence[str]) -> None:
    wanted = _matching(spec.only_pattern, names)
    found = _matching(spec.group_pattern, wanted)
    if len(found) < len(wanted):
        lost = next(name for name in wanted if name not in found)
        raise DataSetError(
            f"the bundle's group_pattern {spec.group_pattern!r} finds patients in {len(found)} of"
            f" {len(wanted)} names, and none in {lost!r}.",
            "Pass --group-pattern REGEX that finds one in all of them.",
            data,
        )
