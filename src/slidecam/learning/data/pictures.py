"""The pictures to learn from: which file is of which class, of which patient, and in which part.

Three layouts are read. Class folders, ``DIR/<class>/**``; parts of class folders,
``DIR/{train,val,test}/<class>/**``; and a table, ``path,label[,group][,split]``, whose paths are
relative to its folder. A folder that holds a ``pictures.csv`` is read by that table, and a row of a
table that has no label names data of its own, so that one table joins several.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from slidecam.class_names import doubled_name, normal_name
from slidecam.errors import DataSetError
from slidecam.files import write_csv
from slidecam.learning.data.picture_files import (
    PARTS,
    FoundPicture,
    Part,
    PictureSpec,
    named,
    some,
)
from slidecam.learning.data.picture_tables import from_data
from slidecam.viewing import AS_THE_FILE_SAYS, PictureView

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

FEWEST_CLASSES = 2
"""Classes that a training needs."""


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pictures with their classes.

    Attributes
    ----------
    root
        The folder that the pictures' names begin from.
    paths
        One file each.
    labels
        int64, (pictures,): places in ``class_names``.
    class_names
        The classes in the order of the logits.
    groups
        The patient or slide of each picture, or None where nobody knows.
    parts
        ``train``, ``val``, ``test`` for each, or nothing where they are still to be split.
    notes
        What a careful user wants to know of how the data were read, as sentences.
    seen
        Which picture of each file it is, and in which colours; a profile of None for the card's.
    """

    root: Path
    paths: tuple[Path, ...]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    groups: tuple[str, ...] | None
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    seen: PictureView = AS_THE_FILE_SAYS

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The pictures' paths below ``root`` with forward slashes.

        Whole ones for those that lie elsewhere.
        """
        return tuple(named(path, self.root) for path in self.paths)

    @property
    def is_split(self) -> bool:
        """Whether the parts are known."""
        return any(self.parts)

    def part(self, *names: Part) -> PictureSet:
        """Return the pictures of one part, or of some."""
        return self.rows(np.flatnonzero([part in names for part in self.parts]))

    def rows(self, rows: NDArray[np.int64] | Sequence[int]) -> PictureSet:
        """Return these pictures, in this order."""
        chosen = list(map(int, rows))
        groups = self.groups
        if groups is not None:
            groups = tuple(groups[row] for row in chosen)
        return replace(
            self,
            paths=tuple(self.paths[row] for row in chosen),
            labels=self.labels[chosen],
            groups=groups,
            parts=tuple(self.parts[row] for row in chosen),
        )

    def with_parts(self, parts: Sequence[Part], *notes: str) -> PictureSet:
        """Return the same pictures in other parts."""
        return replace(self, parts=tuple(parts), notes=(*self.notes, *notes))

    def with_groups(self, groups: Sequence[str] | None) -> PictureSet:
        """Return the same pictures with other groups."""
        if groups is not None:
            groups = tuple(groups)
        return replace(self, groups=groups)

    def counts(self) -> dict[str, int]:
        """Return how many pictures each class has."""
        found = np.bincount(self.labels, minlength=len(self.class_names)).tolist()
        return dict(zip(self.class_names, found, strict=True))

    def counts_by_part(self) -> dict[Part, dict[str, int]]:
        """Return how many pictures each class has in each part that there is, in their order."""
        found: dict[Part, dict[str, int]] = {}
        for part in (*PARTS, ""):
            if part in self.parts:
                found[part] = self.part(part).counts()
        return found

    def present(self) -> tuple[str, ...]:
        """Return the classes of which there is a picture, in their order."""
        return tuple(name for name, count in self.counts().items() if count)


def read_picture_set(
    path: Path,
    spec: PictureSpec | None = None,
    *,
    fewest: int = FEWEST_CLASSES,
) -> PictureSet:
    r"""Read which pictures there are, and of what; no picture is opened.

    Parameters
    ----------
    path
        A folder of class folders, a folder of ``train``, ``val``, ``test`` folders of class
        folders, or a table.
    spec
        How names are to be understood.
    fewest
        Classes that there must be: two to learn from, one where nobody learns.

    Raises
    ------
    DataSetError
        If there is nothing to learn from: a missing file, an empty class, fewer classes than
        ``fewest``, a class that only the test part has, a table without its columns. The message
        names the file.

    Examples
    --------
    >>> pictures = read_picture_set(Path("idc"), PictureSpec(group_pattern=r"^(?P<group>\d+)_idx"))
    >>> pictures.part("train").counts()
    """
    spec = spec or PictureSpec()
    if not path.exists():
        raise DataSetError("there is no such file or folder.", "Check the path of the data.", path)
    root = path.parent
    if path.is_dir():
        root = path
    rows, notes = from_data(path, spec)
    _check_classes(path, sorted({normal_name(row.label) for row in rows}), fewest)
    return _checked(path, _assembled(root, rows, spec), notes)


def _check_classes(
    path: Path,
    found: Sequence[str],
    fewest: int,
) -> None:
    if not found:
        remedy = (
            "Name a folder that holds pictures, each class's in a folder of its own, or a table of"
            " them."
        )
        raise DataSetError("there is no picture.", remedy, path)
    if len(found) < fewest:
        raise DataSetError(
            f"there is one class only, {found[0]!r}.",
            "A classifier needs pictures of two classes or more, each in a folder of its own or"
            " labelled in a table.",
            path,
        )


def _refuse_doubled(root: Path, names: Sequence[str]) -> None:
    twice = doubled_name(names)
    if twice is not None:
        raise DataSetError(f"the class {twice!r} is named twice.", "Name it once.", root)


def _assembled(
    root: Path,
    rows: Sequence[FoundPicture],
    spec: PictureSpec,
) -> PictureSet:
    labels = [normal_name(row.label) for row in rows]
    names = tuple(map(normal_name, spec.class_names)) or tuple(sorted(set(labels)))
    _refuse_doubled(root, names)
    for row, label in zip(rows, labels, strict=True):
        if label not in names:
            raise DataSetError(
                f"this picture's class {row.label!r} is none of {', '.join(names)}.",
                "Rename or remove it, or name it among the classes.",
                row.path,
            )
    groups: tuple[str, ...] | None = tuple(row.group for row in rows)
    if not all(groups or ()):
        groups = None
    return PictureSet(
        root=root,
        paths=tuple(row.path for row in rows),
        labels=np.array([names.index(label) for label in labels], np.int64),
        class_names=names,
        groups=groups,
        parts=tuple(row.part for row in rows),
    )


def _checked(
    path: Path,
    pictures: PictureSet,
    notes: Sequence[str],
) -> PictureSet:
    """Refuse parts that know other classes than the training; note what is merely missing."""
    if not pictures.is_split:
        return replace(pictures, notes=tuple(notes))
    collected = list(notes)
    trained = pictures.part("train").present()
    for part in ("val", "test"):
        measured = pictures.part(part).present()
        unknown = [name for name in measured if name not in trained]
        if unknown and trained:
            raise DataSetError(
                f"The part {part} has pictures of {unknown[0]!r}, and train has none.",
                f"Train has {', '.join(sorted(trained))}; name the classes alike in every part.",
                path,
            )
        missing = [name for name in trained if name not in measured]
        if missing and measured:
            collected.append(f"{part} has no picture of {', '.join(missing)}, which train has.")
    return replace(pictures, notes=(*collected, *_shared_groups(pictures)))


def _shared_groups(pictures: PictureSet) -> Iterator[str]:
    if pictures.groups is None:
        return
    parts_of: dict[str, set[str]] = {}
    for group, part in zip(pictures.groups, pictures.parts, strict=True):
        parts_of.setdefault(group, set()).add(part)
    shared = [group for group, parts in sorted(parts_of.items()) if len(parts) > 1]
    if shared:
        yield f"Patients or slides in more than one part ({len(shared)}): {some(shared)}."


COUNTED = 24
"""Classes that a sentence counts the pictures of."""


def counted(pictures: PictureSet) -> str:
    """Return how many pictures each class has in each part, as a sentence."""
    counts = pictures.counts_by_part()
    said: list[str] = []
    for name, total in pictures.counts().items():
        split = ", ".join(f"{each[name]} {part}" for part, each in counts.items() if part)
        said.append(f"{name} {total}")
        if split:
            said[-1] += f" ({split})"
    words = "; ".join(said[:COUNTED])
    if len(said) > COUNTED:
        words += f" and {len(said) - COUNTED} more"
    return f"{len(pictures)} pictures of {len(said)} classes: {words}."


_NAMES = re.compile(r" \([^()]* for one\)|(?<=\d\)): .*(?=\.)|(?<=another): .*(?=\.)|\"[^\"]*\"")


def nameless(note: str) -> str:
    """Return a note without names of files and patients, which a bundle does not pass on."""
    return _NAMES.sub("", note)


def write_picture_table(pictures: PictureSet, path: Path) -> None:
    """Write each picture's class, group and part as a table that `read_picture_set` reads back."""
    rows = [("path", "label", "group", "split")]
    groups = pictures.groups or ("",) * len(pictures)
    pairs = zip(pictures.paths, pictures.labels, groups, pictures.parts, strict=True)
    for picture, label, group, part in pairs:
        name = named(picture.absolute(), path.parent.absolute())
        rows.append((name, pictures.class_names[label], group, part))
    write_csv(path, rows)


def drawn_of_all_classes(labels: NDArray[np.int64], wanted: int, seed: int) -> list[int]:
    """Draw rows without replacement, of all classes in turn.

    A measurement of one class alone says little.
    """
    draw = np.random.default_rng(seed)
    rounds = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        queue = draw.permutation(np.flatnonzero(labels == label))
        rounds[queue] = np.arange(len(queue))
    # In one round the classes come in their order.
    order: list[int] = np.lexsort((labels, rounds)).tolist()
    return sorted(order[:wanted])
