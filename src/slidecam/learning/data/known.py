"""What a bundle has learnt from, in digests that lie beside its card.

A picture is known by its content, to the byte, by its look, the difference hash that finds
duplicates, however it is mirrored or turned, and by the spots that a shifted or cropped copy of it
shares; a patient or slide by its name. With them every evaluation leaves out what was learnt
from, wherever it lies and whatever it is called now: a figure on it is no test.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from slidecam.files import replacing
from slidecam.learning.data.dataset import (
    LEARNT_FROM,
    LEARNT_SLIDES,
    name_digest,
    provenances,
)
from slidecam.learning.data.duplicates import prints_of
from slidecam.learning.data.looks import (
    INFORMED,
    NEAR_BITS,
    WAYS,
    WORDS,
    near_rows,
)
from slidecam.learning.data.overlaps import NO_SPOTS, Spots, shown_before
from slidecam.learning.data.picture_tables import slides_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.learning.data.dataset import Dataset
    from slidecam.learning.data.duplicates import PicturePrint
    from slidecam.learning.data.pictures import PictureSet
    from slidecam.models.bundle import Bundle
    from slidecam.steps import Step

LEARNT_FILE = "learnt.safetensors"
"""Beside a bundle's card, which holds its SHA-256."""

LEARNT_PICTURES = "learnt_pictures"
"""Where a provenance's ``data`` says so."""

_CONTENT_BYTES = 8
"""Of SHA-256: two of a million pictures share them by chance once in forty million sets."""


@dataclass(frozen=True, eq=False)
class LearntPictures:
    """What is known of pictures, without the pictures.

    Attributes
    ----------
    content
        uint64, (N,): the beginning of each file's SHA-256.
    hashes
        uint64, (N, 4): difference hashes.
    informed
        bool, (N,): whose hashes say something.
    spots
        What each is recognised by where only a part of it is shown, without its small picture; of
        no bits where nobody kept them.
    """

    content: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    informed: NDArray[np.bool_]
    spots: tuple[Spots, ...]

    @classmethod
    def of(cls, prints: Sequence[PicturePrint]) -> LearntPictures:
        """Return the digests of pictures that were looked at; those of unreadable files are 0."""
        content = np.zeros(len(prints), np.uint64)
        hashes = np.zeros((len(prints), WORDS), np.uint64)
        informed = np.zeros(len(prints), np.bool_)
        for row, each in enumerate(prints):
            content[row] = int.from_bytes(each.digest[:_CONTENT_BYTES], "big")
            hashes[row] = each.hash
            informed[row] = each.informed >= INFORMED * NEAR_BITS
        spots = [NO_SPOTS if each.spots is None else each.spots.blind() for each in prints]
        return cls(content, hashes, informed, tuple(spots))

    def and_those(self, other: LearntPictures | None) -> LearntPictures:
        """Return these and others, where these are known."""
        if other is None:
            return self
        return LearntPictures(
            np.concatenate([self.content, other.content]),
            np.concatenate([self.hashes, other.hashes]),
            np.concatenate([self.informed, other.informed]),
            self.spots + other.spots,
        )

    def distinct(self) -> LearntPictures:
        """Return each content once, in a settled order; unreadable files are left out."""
        content, rows = np.unique(self.content, return_index=True)
        rows = rows[content != 0]
        spots = tuple(self.spots[row] for row in rows.tolist())
        return LearntPictures(self.content[rows], self.hashes[rows], self.informed[rows], spots)

    def same(self, others: LearntPictures) -> NDArray[np.bool_]:
        """Return which of other pictures are these to the byte, bool (M,)."""
        known: NDArray[np.bool_] = np.isin(others.content, self.content)
        known &= others.content != 0
        return known

    def near(self, others: LearntPictures) -> NDArray[np.bool_]:
        """Return which of other pictures look like one of these, bool (M,)."""
        return self._like(others.hashes, others.informed)

    def mirrored(self, others: Sequence[PicturePrint]) -> NDArray[np.bool_]:
        """Return which of other pictures, mirrored or turned, look like one of these, bool (M,)."""
        informed = LearntPictures.of(others).informed
        turned = np.array([each.turned for each in others], np.uint64).reshape(-1, WAYS, WORDS)
        found = np.zeros(len(others), np.bool_)
        for way in range(WAYS):
            found |= self._like(turned[:, way], informed)
        return found

    def _like(
        self,
        hashes: NDArray[np.uint64],
        informed: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        rows = np.flatnonzero(informed)
        found = np.zeros(len(hashes), np.bool_)
        for near, _known in near_rows(hashes[rows], self.hashes[self.informed]):
            found[rows[near]] = True
        return found

    def shown(self, others: LearntPictures) -> NDArray[np.bool_]:
        """Return which of other pictures show a place that one of these does, bool (M,)."""
        return shown_before(self.spots, others.spots)

    def save(self, folder: Path) -> dict[str, object]:
        """Write them into a bundle's folder; return what its provenance says of them."""
        arrays: dict[str, NDArray[Any]] = {
            "content": self.content,
            "hashes": self.hashes,
            "informed": self.informed.astype(np.uint8),
            **_arrays_of(self.spots),
        }
        content = save(arrays)
        with replacing(folder / LEARNT_FILE) as fresh:
            fresh.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        return {"file": LEARNT_FILE, "sha256": digest, "pictures": len(self.content)}


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a bundle has learnt from, as far as it keeps digests.

    Attributes
    ----------
    pictures
        Those of its training and validation; None where it keeps none.
    groups
        Digests of patients' and slides' names.
    """

    pictures: LearntPictures | None = None
    groups: frozenset[str] = frozenset()


NOTHING_KEPT = Learnt()


def learnt_by(bundle: Bundle) -> Learnt:
    """Return what a bundle, and those that it was made from, have learnt from."""
    groups: set[str] = set()
    sealed: set[object] = set()
    for provenance in provenances(bundle.card.provenance):
        data = provenance.get("data")
        if isinstance(data, dict):
            groups |= set(data.get(LEARNT_FROM) or ())
            sealed.add(_seal_of(data))
    return Learnt(_read(bundle.path / LEARNT_FILE, sealed), frozenset(groups))


def _seal_of(data: Mapping[str, Any]) -> object:
    said = data.get(LEARNT_PICTURES)
    if isinstance(said, dict):
        return said.get("sha256")
    return None


def _read(path: Path, sealed: set[object]) -> LearntPictures | None:
    """Read digests; None where there are none, or those of another bundle."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() not in sealed:
            return None
        arrays = load(content)
        return LearntPictures(
            arrays["content"],
            arrays["hashes"],
            arrays["informed"].astype(np.bool_),
            _spots_in(arrays, len(arrays["content"])),
        )
    except (OSError, SafetensorError, KeyError):
        return None


def _arrays_of(spots: Sequence[Spots]) -> dict[str, NDArray[Any]]:
    """Return spots as arrays to be kept, those of one picture after those of another."""
    bits, places = [NO_SPOTS.bits], [NO_SPOTS.places]
    counts, native = [], []
    for each in spots:
        bits.append(each.bits)
        places.append(each.places)
        counts.append(len(each.bits))
        native.append(each.is_native)
    return {
        "spot_bits": np.concatenate(bits),
        "spot_places": np.concatenate(places).astype(np.uint8),
        "spot_counts": np.array(counts, np.uint8),
        "spots_native": np.array(native, np.uint8),
    }


def _spots_in(arrays: Mapping[str, NDArray[Any]], pictures: int) -> tuple[Spots, ...]:
    """Return each picture's spots; none where they were not kept, as bundles once did not."""
    if "spot_counts" not in arrays:
        return (NO_SPOTS,) * pictures
    ends = np.cumsum(arrays["spot_counts"], dtype=np.int64)[:-1]
    bits = np.split(arrays["spot_bits"], ends)
    places = np.split(arrays["spot_places"].astype(np.int64), ends)
    native = arrays["spots_native"].astype(np.bool_).tolist()
    found: list[Spots] = []
    for its_places, its_bits, is_native in zip(places, bits, native, strict=True):
        found.append(Spots(NO_SPOTS.relief, its_places, its_bits, is_native))
    return tuple(found)


def learnt_of(dataset: Dataset) -> Generator[Step, None, LearntPictures]:
    """Return the digests of a training's pictures, and of those that its epoch was chosen by."""
    pictures = dataset.pictures.part("train", "val", "")
    looked = dataset.duplicates
    if looked is None or len(looked.prints) != len(looked.pictures):
        return LearntPictures.of((yield from prints_of(pictures, spotted=True)))
    by_path = dict(zip(looked.pictures.paths, looked.prints, strict=True))
    return LearntPictures.of(list(map(by_path.__getitem__, pictures.paths)))


def is_learnt_from(dataset: Dataset, learnt: Learnt) -> Generator[Step, None, bool]:
    """Return whether a bundle knows pictures of data that are parted as its own were.

    By their content or their look: other data may have the same names. True where it keeps none.
    """
    if learnt.pictures is None:
        return True
    found = yield from learnt_of(dataset)
    return bool((learnt.pictures.same(found) | learnt.pictures.near(found)).any())


@dataclass(frozen=True, eq=False)
class Sifted:
    """Pictures, and which of them a bundle knows.

    Attributes
    ----------
    pictures
        All of them.
    same, near, mirrored, shown, grouped
        bool, (N,): known to the byte; by their look; by it, mirrored or turned; by a place that
        they show; by their patient or slide. None is of two.
    """

    pictures: PictureSet
    same: NDArray[np.bool_]
    near: NDArray[np.bool_]
    mirrored: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    grouped: NDArray[np.bool_]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which are known in one way or another, bool (N,)."""
        known: NDArray[np.bool_] = self.same | self.near | self.mirrored
        known |= self.shown | self.grouped
        return known

    def record(self) -> dict[str, int]:
        """Return how many are known, and by what, as JSON values."""
        return {
            "pictures": int(self.known.sum()),
            "same content": int(self.same.sum()),
            "same look": int(self.near.sum()),
            "mirrored or turned": int(self.mirrored.sum()),
            "same place": int(self.shown.sum()),
            "known patient or slide": int(self.grouped.sum()),
        }

    @property
    def reasons(self) -> str:
        """By what the known ones are known, in words."""
        words = {
            "to the byte": self.same,
            "nearly the same": self.near,
            "mirrored or turned copies": self.mirrored,
            "of the same place, shifted or cropped": self.shown,
            "others of patients or slides that it knows": self.grouped,
        }
        said: list[str] = []
        for word, rows in words.items():
            if rows.any():
                said.append(f"{rows.sum()} {word}")
        return ", ".join(said)

    def unknown(self) -> PictureSet:
        """Return the pictures that the bundle does not know."""
        return self.pictures.rows(np.flatnonzero(~self.known))


def sift(pictures: PictureSet, learnt: Learnt) -> Generator[Step, None, Sifted]:
    """Find out which pictures a bundle has learnt from; a patient of one of them is known too."""
    none = np.zeros(len(pictures), np.bool_)
    same = near = mirrored = shown = none
    if learnt.pictures is not None:
        prints = yield from prints_of(pictures, broken=True, spotted=True)
        found = LearntPictures.of(prints)
        same = learnt.pictures.same(found)
        near = learnt.pictures.near(found) & ~same
        mirrored = learnt.pictures.mirrored(prints) & ~(same | near)
        shown = learnt.pictures.shown(found) & ~(same | near | mirrored)
    looks = same | near | mirrored | shown
    grouped = none
    if pictures.groups is not None:
        names = np.array(pictures.groups)
        digests = list(map(name_digest, pictures.groups))
        known = np.isin(digests, list(learnt.groups))
        known |= np.isin(names, names[looks])
        grouped = known & ~looks
    return Sifted(pictures, same, near, mirrored, shown, grouped)


def with_learnt(
    provenance: Mapping[str, Any],
    learnt: LearntPictures,
    pictures: PictureSet,
    folder: Path,
) -> dict[str, Any]:
    """Write digests into a bundle's folder; return its provenance, which knows them then."""
    data = {**provenance.get("data", {}), LEARNT_PICTURES: learnt.save(folder)}
    slides = slides_of(pictures.root, pictures.part("train", "val", "").names)
    if slides:
        data[LEARNT_SLIDES] = slides
    return {**provenance, "data": data}
