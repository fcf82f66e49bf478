"""The pictures of a training, from the folder they lie in to the part that each is in."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import DataSetError
from slidecam.learning.data.duplicates import (
    find_duplicates,
    grouped_with_duplicates,
    without_duplicates,
)
from slidecam.learning.data.inputs import WORKERS
from slidecam.learning.data.pictures import check_pictures, read_picture_set
from slidecam.learning.data.pixels import picture_boundary
from slidecam.learning.data.splitting import check_folds, folds, split

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from slidecam.learning.data.duplicates import Duplicates
    from slidecam.learning.data.pictures import PictureSet
    from slidecam.learning.recipes.tables import DataSpec
    from slidecam.steps import Step


@dataclass(frozen=True, eq=False)
class Dataset:
    """What a training learns from and is measured on.

    Attributes
    ----------
    pictures
        In their parts; their ``notes`` say what a careful user wants to know.
    duplicates
        What is there more than once, or None where nobody looked.
    """

    pictures: PictureSet
    duplicates: Duplicates | None = None


def dataset_for(data: Path, spec: DataSpec) -> Generator[Step, None, Dataset]:
    """Return the pictures in ``data``, each seen to open, in the parts that a recipe asks for.

    Raises
    ------
    DataSetError
        If there is nothing to learn from, or a picture cannot be opened; the message names the
        file.
    """
    found = yield from _looked_through(data, spec)
    parted = found.kept(split(found.pictures, spec.parting))
    limited = parted
    if spec.limit:
        limited = _limited(parted, spec.limit)
    if not len(limited.part("train")):
        raise DataSetError(
            "there is no picture to train on.", "Put some into a part called train.", data
        )
    return Dataset(limited, found.duplicates_of(parted))


def folds_for(
    data: Path, spec: DataSpec, count: int, repeats: int
) -> Generator[Step, None, tuple[Dataset, ...]]:
    """Return the pictures in ``data`` in as many partings as folds, each tested on another fold.

    The validation part, the recipe's share of what is not tested, is taken from the training part:
    nothing is chosen on the fold that is tested.

    Raises
    ------
    DataSetError
        As for `dataset_for`; and if a class has fewer pictures, or patients, than there are folds.
    """
    check_folds(read_picture_set(data, spec.reading), count)
    found = yield from _looked_through(data, spec)
    share = spec.val / (spec.train + spec.val)
    parted = list(map(found.kept, folds(found.pictures, count, spec.split_seed, repeats, share)))
    return tuple(Dataset(each, found.duplicates_of(each)) for each in parted)


def content_digest(pictures: PictureSet) -> str:
    """Return SHA-256 over every picture's name, class and content, whatever part it is in."""
    with ThreadPoolExecutor(WORKERS) as pool:
        digests = list(pool.map(_digest, pictures.paths))
    rows = zip(pictures.names, pictures.labels.tolist(), digests, strict=True)
    return hashlib.sha256(repr((pictures.class_names, sorted(rows))).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class _Found:
    """Pictures that are still to be parted.

    Attributes
    ----------
    pictures
        Duplicates left out, or in one group, as the recipe wants it.
    groups
        Their patients or slides, as they were before duplicates were put into one group.
    duplicates
        What was found.
    """

    pictures: PictureSet
    groups: tuple[str, ...] | None
    duplicates: Duplicates | None

    def kept(self, parted: PictureSet) -> PictureSet:
        """Return parted pictures with their own groups again."""
        own = parted.with_groups(self.groups)
        found = self.duplicates_of(own)
        if found is None:
            return own
        return replace(own, notes=(*own.notes, *found.sentences()))

    def duplicates_of(self, parted: PictureSet) -> Duplicates | None:
        """Return the duplicates in the parts that they are in now.

        Those that were left out in the parts they had.
        """
        found = self.duplicates
        if found is not None and len(found.pictures) == len(parted):
            return replace(found, pictures=parted)
        return found


def _looked_through(data: Path, spec: DataSpec) -> Generator[Step, None, _Found]:
    pictures = read_picture_set(data, spec.reading)
    check_pictures(pictures.paths, WORKERS)
    if spec.duplicates == "ignore":
        return _Found(pictures, pictures.groups, None)
    found = yield from find_duplicates(pictures)
    if spec.duplicates == "drop":
        single = without_duplicates(found)
        return _Found(single, single.groups, found)
    # Without any there is nothing to group, and single pictures need no groups.
    together = spec.duplicates == "group" and bool(found.clusters)
    return _Found(grouped_with_duplicates(found) if together else pictures, pictures.groups, found)


def _limited(pictures: PictureSet, limit: int) -> PictureSet:
    keys = np.array(
        [
            f"{part}/{label}"
            for part, label in zip(pictures.parts, pictures.labels.tolist(), strict=True)
        ]
    )
    rows = np.concatenate([np.flatnonzero(keys == key)[:limit] for key in np.unique(keys)])
    return pictures.rows(np.sort(rows))


def _digest(path: Path) -> str:
    with picture_boundary(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
