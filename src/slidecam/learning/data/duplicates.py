"""Pictures that are in the data more than once, byte by byte or to the eye.

Above all, those that are in two parts at once.

Near duplicates are found by `looks`: what is the same picture in another size, compression or
brightness. Mirrored and turned copies show the same place; `overlaps` finds others that do.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from slidecam.errors import DataSetError, listed_problems, remedies_of
from slidecam.learning.data.coordinates import overlapping_by_names
from slidecam.learning.data.looks import (
    INFORMED,
    NEAR_BITS,
    WAYS,
    WORDS,
    difference_hash,
    near_pairs,
    turned_hashes,
    turned_pairs,
)
from slidecam.learning.data.overlaps import same_places, spots_of
from slidecam.learning.data.picture_files import some
from slidecam.learning.data.pixels import (
    REPORT_EVERY,
    WORKERS,
    in_order,
    picture_boundary,
    read_picture,
)
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.learning.data.overlaps import Spots
    from slidecam.learning.data.picture_files import Part
    from slidecam.learning.data.pictures import PictureSet
    from slidecam.viewing import PictureView

HELD_OUT: tuple[Part, ...] = ("test", "val", "train", "")
"""In which part a picture stays that is in more than one."""

NAMED = 5
"""Clusters that a record lists in full."""


@dataclass(frozen=True)
class Duplicates:
    """What of a picture set is there more than once.

    Attributes
    ----------
    pictures
        The set that was looked through.
    clusters
        Rows of pictures that are duplicates of each other, exact or near, also by way of a third;
        first row first.
    exact
        Rows of byte-identical files.
    even
        Rows of pictures that are too even for a near duplicate to be found.
    overlaps
        Rows of every two pictures that show the same place in part: they overlap, also by the
        coordinates in their names alone, are neighbouring slices, or one is the other mirrored or
        turned.
    prints
        What each picture is known by; empty where nobody kept it.
    """

    pictures: PictureSet
    clusters: tuple[tuple[int, ...], ...]
    exact: tuple[tuple[int, ...], ...]
    even: tuple[int, ...] = ()
    overlaps: tuple[tuple[int, ...], ...] = ()
    prints: tuple[PicturePrint, ...] = ()

    @property
    def across(self) -> tuple[tuple[int, ...], ...]:
        """The clusters with pictures in more than one part."""
        return self._mixed(self.clusters, self.pictures.parts)

    @property
    def overlaps_across(self) -> tuple[tuple[int, ...], ...]:
        """The pictures in different parts that show the same place."""
        return self._mixed(self.overlaps, self.pictures.parts)

    @property
    def disputed(self) -> tuple[tuple[int, ...], ...]:
        """The clusters with pictures of more than one class."""
        return self._mixed(self.clusters, self.pictures.labels.tolist())

    @staticmethod
    def _mixed(
        clusters: tuple[tuple[int, ...], ...],
        values: Sequence[object],
    ) -> tuple[tuple[int, ...], ...]:
        """Return the clusters whose pictures do not all have the same of ``values``."""

        def is_mixed(rows: tuple[int, ...]) -> bool:
            return len({values[row] for row in rows}) > 1

        return tuple(filter(is_mixed, clusters))

    def names(self, clusters: Iterable[Sequence[int]]) -> list[list[str]]:
        """Return clusters by the names of their files."""
        return [list(self.pictures.rows(rows).names) for rows in clusters]

    def record(self) -> dict[str, object]:
        """Return the findings as JSON values.

        Counts, and all files that are in two parts or classes.
        """
        return {
            "clusters": len(self.clusters),
            "pictures_in_clusters": sum(map(len, self.clusters)),
            "exact_clusters": len(self.exact),
            "across_parts": self.names(self.across),
            "in_two_classes": self.names(self.disputed),
            "overlapping_pairs": len(self.overlaps),
            "overlapping_across_parts": self.names(self.overlaps_across),
            "too_even_to_tell": len(self.even),
            "too_even": list(self.pictures.rows(self.even).names),
        }

    def sentences(self) -> tuple[str, ...]:
        """Return what a person should know; nothing where there are no duplicates."""
        kinds = {
            "In the data more than once": self.clusters,
            "In more than one part": self.across,
            "In more than one class": self.disputed,
            "The same place in more than one part, as tiles overlap or slices are neighbours, or as"
            " a copy is mirrored or turned": self.overlaps_across,
        }
        found = []
        for kind, clusters in kinds.items():
            if clusters:
                found.append(f"{kind} ({len(clusters)}): {self._described(clusters)}.")
        if self.even:
            names = some(self.pictures.rows(self.even).names)
            found.append(
                f"Too even to be found once more ({len(self.even)}), as empty tiles are: {names}."
            )
        return tuple(found)

    def _described(self, clusters: Sequence[Sequence[int]]) -> str:
        text = "; ".join(map(" = ".join, self.names(clusters[:NAMED])))
        if len(clusters) > NAMED:
            text += f" and {len(clusters) - NAMED} more"
        return text


def find_duplicates(
    pictures: PictureSet,
    bits: int = NEAR_BITS,
) -> Generator[Step, None, Duplicates]:
    """Look for pictures that are there more than once, within parts and across them.

    Of 256 bits, ``bits`` may differ; 0 for equal hashes, -1 for byte-identical files only.

    Raises
    ------
    DataSetError
        Naming the first picture that cannot be read.
    """
    prints = yield from prints_of(pictures, spotted=True)
    same = _equal_pairs([each.digest for each in prints])
    hashes = np.array([each.hash for each in prints], np.uint64).reshape(-1, WORDS)
    neighbours = np.array([each.informed for each in prints], np.int64)
    informed = neighbours >= INFORMED * bits
    near = near_pairs(hashes, bits, informed)
    ways = np.array([each.turned for each in prints], np.uint64).reshape(-1, WAYS, WORDS)
    turned = turned_pairs(hashes, ways, bits, informed)
    spots = [each.spots for each in prints]
    pairs, whole = np.zeros((0, 2), np.int64), np.zeros(0, np.bool_)
    by_names: list[tuple[int, int]] = []
    if bits >= 0:
        pairs, whole = same_places(list(filter(None, spots)))
        by_names = overlapping_by_names(pictures, [each.size for each in prints], spots)
    copies = np.concatenate([same, near, pairs[whole]])
    parted = np.unique(np.concatenate([pairs[~whole], turned]), axis=0)
    held = {*map(tuple, copies.tolist())}
    overlaps = [pair for pair in map(tuple, parted.tolist()) if pair not in held]
    is_even = [each is not None and each.is_even for each in spots]
    return Duplicates(
        pictures=pictures,
        clusters=_clusters(copies, len(prints)),
        exact=_clusters(same, len(prints)),
        even=tuple(np.flatnonzero(~informed & is_even).tolist()),
        overlaps=tuple(sorted({*overlaps, *by_names})),
        prints=tuple(prints),
    )


@dataclass(frozen=True)
class PicturePrint:
    """What a picture is known by.

    The digest of its file, its difference hash, how much the hash says, and the hashes of its
    mirror images and quarter turns; the spots that it is recognised by where only a part of it is
    there once more, None where nobody looked; and its width and height.
    """

    digest: bytes
    hash: NDArray[np.uint64]
    informed: int
    turned: NDArray[np.uint64]
    spots: Spots | None = None
    size: tuple[int, int] = (0, 0)


def prints_of(
    pictures: PictureSet,
    *,
    broken: bool = False,
    spotted: bool = False,
) -> Generator[Step, None, list[PicturePrint]]:
    """Return what each picture is known by, where it is ``spotted`` with its spots.

    Raises
    ------
    DataSetError
        Naming the pictures that cannot be read; where ``broken`` are borne, such a one has a hash
        that says nothing.
    """
    prints: list[PicturePrint] = []
    faults: list[DataSetError] = []
    # In the colours as stored: a profile that is applied makes no other picture of it.
    look = partial(_print_of, seen=pictures.seen.without(("profile",)), spotted=spotted)
    with closing(in_order(look, pictures.paths, WORKERS)) as found:
        for each, fault in found:
            prints.append(each)
            if fault is not None:
                faults.append(fault)
            if len(prints) % REPORT_EVERY == 0 or len(prints) == len(pictures):
                yield Step("looking for duplicates", len(prints), len(pictures))
    if faults and not broken:
        _refuse(faults, len(pictures))
    return prints


def _refuse(faults: Sequence[DataSetError], total: int) -> None:
    if len(faults) == 1:
        raise faults[0]
    problems = [fault.clause for fault in faults]
    raise DataSetError(listed_problems(problems, total, "read"), remedies_of(faults))


def _print_of(
    path: Path,
    seen: PictureView,
    *,
    spotted: bool,
) -> tuple[PicturePrint, DataSetError | None]:
    """Return what a picture is known by; where it cannot be read, a hash of nothing, and why."""
    digest = b""
    try:
        with picture_boundary(path):
            content = path.read_bytes()
            digest = hashlib.sha256(content).digest()
            picture = read_picture(path, content, seen)
            spots = None
            if spotted:
                spots = spots_of(picture)
            turned = turned_hashes(picture)
            hashed = difference_hash(picture)
            return PicturePrint(digest, *hashed, turned, spots, picture.size), None
    except DataSetError as error:
        nothing = np.zeros((WAYS, WORDS), np.uint64)
        return PicturePrint(digest, nothing[0], 0, nothing), error


def _equal_pairs(digests: Sequence[bytes]) -> NDArray[np.int64]:
    """Return each row with the first that has its digest, int64, (pairs, 2)."""
    first: dict[bytes, int] = {}
    pairs = []
    for row, digest in enumerate(digests):
        earlier = first.setdefault(digest, row)
        if earlier != row:
            pairs.append((earlier, row))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _clusters(pairs: NDArray[np.int64], count: int) -> tuple[tuple[int, ...], ...]:
    """Return the rows that pairs join, directly or through others."""
    links = coo_array(
        (np.ones(len(pairs), np.bool_), (pairs[:, 0], pairs[:, 1])), shape=(count, count)
    )
    _number, cluster = connected_components(links, directed=False)
    members: dict[int, list[int]] = {}
    for row in np.unique(pairs).tolist():
        members.setdefault(int(cluster[row]), []).append(row)
    return tuple(map(tuple, members.values()))


def without_duplicates(found: Duplicates) -> PictureSet:
    """Return the pictures without their duplicates; the test part is left as it is.

    Of a cluster with pictures in several parts only those in the most held-out one stay: what is
    tested is not learnt from, nor chosen by. Of several in the training or the validation part, or
    in no part, the first stays. Pictures that show a place in part are no duplicates: they go only
    where a more held-out part shows it.
    """
    pictures = found.pictures
    dropped: set[int] = set()
    for rows in found.overlaps_across:
        dropped |= set(_less_held_out(pictures, rows))
    for rows in found.clusters:
        part = min((pictures.parts[row] for row in rows), key=HELD_OUT.index)
        inside = [row for row in rows if pictures.parts[row] == part]
        if part != "test":
            inside = inside[:1]
        dropped |= {*rows} - {*inside}
    return pictures.rows(sorted({*range(len(pictures))} - dropped))


def _less_held_out(pictures: PictureSet, rows: Sequence[int]) -> list[int]:
    """Return those of some pictures that are not in the most held-out part of theirs."""
    part = min((pictures.parts[row] for row in rows), key=HELD_OUT.index)
    return [row for row in rows if pictures.parts[row] != part]


def grouped_with_duplicates(found: Duplicates) -> PictureSet:
    """Return the pictures with duplicates in one group, so that `split` keeps them together.

    Groups that share a duplicate, or pictures of one place, become one. A picture without a group
    is one by itself.
    """
    pictures = found.pictures
    groups = pictures.groups or tuple(f"picture {row}" for row in range(len(pictures)))
    names, members = np.unique(np.array(groups), return_inverse=True)
    pairs: list[tuple[int, ...]] = []
    for rows in (*found.clusters, *found.overlaps):
        joined = members[list(rows)].tolist()
        pairs.extend(product(joined[:1], joined[1:]))
    first = np.arange(len(names))
    for joined in _clusters(np.array(pairs, np.int64).reshape(-1, 2), len(names)):
        first[list(joined)] = joined[0]
    return pictures.with_groups(names[first[members]].tolist())
