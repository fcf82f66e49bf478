"""Pictures that show the same place: tiles that overlap, shifts and crops, neighbouring slices.

A picture is made grey and small and freed of what is smooth. Its dark and light spots are places to
recognise: round each, 64 pairs of pixels say which of the two is darker. Two pictures with several
spots alike, all moved by the same few pixels, are laid over each other there, and count as the same
place where they correlate and would not, were they moved a little further: straight edges alone
would. Mirrored, turned and much enlarged copies are not found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

EDGE = 64
"""Longest edge that a picture is looked at with, in pixels; smaller ones are taken as they are."""

FINE, COARSE = 1.0, 4.0
"""Gaussians in pixels whose difference is looked at."""

REACH = 6
"""How far round a spot pixels are compared, and how near to the border no spot is taken."""

SPOTS = 24
"""Spots of a picture at most, the strongest."""

PROMINENT = 0.5
"""How strong a spot is at least, in standard deviations."""

EVEN = 1.0
"""Standard deviation, in grey levels, below which nothing is to be recognised."""

BANDS = 4
"""Parts of a spot's 64 bits: spots that may be alike are equal in one of them."""

AT_ONCE = 64
"""Spots that each is compared with, in each band, at most: what is everywhere says little."""

ALIKE_BITS = 8
"""Bits in which spots that are alike differ at most."""

VOTES: Mapping[bool, int] = MappingProxyType({True: 2, False: 3})
"""Spots that must have moved alike, in pictures that are looked at as they are, and in others."""

VOTES_ALONE: Mapping[bool, int] = MappingProxyType({True: 5, False: 10})
"""How many it takes where pictures cannot be laid over each other, as one of them is not at hand.

Among 7 million pairs of 50 px H&E tiles none had five alike by chance. Heads look alike: of the
pairs of brain slices with ten, nine in ten are shown to be of one head by laying them together.
"""

SAME = 0.85
"""Correlation from which on two pictures show the same place."""

FALL = 0.3
"""How much lower it must be a few pixels further on, in all directions."""

ASIDE = ((0, 4), (0, -4), (4, 0), (-4, 0), (3, 3), (-3, -3), (3, -3), (-3, 3))
"""Rows and columns of those places."""

LEAST_SHARE = 0.2
"""Share of the smaller picture that must be common."""

WHOLE_SHARE, WHOLE_LIKENESS = 0.9, 0.985
"""Share and correlation from which on one picture is the other once more.

Neighbouring slices lie over each other wholly, and correlate less."""


def _compared_pixels() -> NDArray[np.int64]:
    """Return which pixels round a spot are compared, (64, 4): row, column, row, column."""
    drawn = np.random.default_rng(5).normal(0, REACH / 2, (64, 4))
    return np.rint(drawn).clip(-REACH, REACH).astype(np.int64)


_COMPARED = _compared_pixels()


@dataclass(frozen=True, eq=False)
class Spots:
    """What a picture is recognised by.

    Attributes
    ----------
    relief
        int8, (height, width): the small picture without what is smooth.
    places
        int64, (spots, 2): rows and columns.
    bits
        uint64, (spots,): what lies round each.
    is_native
        Whether the picture is looked at as it is, pixel by pixel.
    """

    relief: NDArray[np.int8]
    places: NDArray[np.int64]
    bits: NDArray[np.uint64]
    is_native: bool

    @property
    def is_even(self) -> bool:
        """Whether there is nothing to recognise."""
        return not len(self.bits)

    def blind(self) -> Spots:
        """Return them without the small picture, which would show whose they are."""
        return replace(self, relief=np.zeros((0, 0), np.int8))


NO_SPOTS = Spots(
    np.zeros((0, 0), np.int8), np.zeros((0, 2), np.int64), np.zeros(0, np.uint64), is_native=False
)
"""Of a picture that nobody looked at."""


def spots_of(picture: Image.Image) -> Spots:
    """Return what a picture is recognised by; nothing of an even one."""
    grey = picture.convert("L")
    longest = max(grey.size)
    if longest > EDGE:
        width, height = np.maximum(1, np.rint(np.array(grey.size) * EDGE / longest)).astype(int)
        grey = grey.resize((width, height), Image.Resampling.LANCZOS)
    levels = np.asarray(grey, np.float32)
    relief = gaussian_filter(levels, FINE) - gaussian_filter(levels, COARSE)
    spread = float(relief.std())
    places = np.zeros((0, 2), np.int64)
    if spread >= EVEN:
        places = _prominent(relief, PROMINENT * spread)
    first, second = _COMPARED[:, :2], _COMPARED[:, 2:]
    around = [
        relief[tuple((places[:, None] + pixels).transpose(2, 0, 1))] for pixels in (first, second)
    ]
    bits = np.packbits(around[0] > around[1], axis=1).view(np.uint64)[:, 0]
    return Spots(relief.round().clip(-127, 127).astype(np.int8), places, bits, longest <= EDGE)


def _prominent(relief: NDArray[np.float32], least: float) -> NDArray[np.int64]:
    """Return rows and columns of the strongest hills and hollows, (spots, 2)."""
    is_hill = (relief == maximum_filter(relief, 5)) & (relief > least)
    is_hollow = (relief == minimum_filter(relief, 5)) & (relief < -least)
    is_spot = np.zeros(relief.shape, np.bool_)
    inner = (slice(REACH + 1, -REACH - 1), slice(REACH + 1, -REACH - 1))
    is_spot[inner] = (is_hill | is_hollow)[inner]
    places = np.argwhere(is_spot)
    order = np.argsort(-np.abs(relief[is_spot]), kind="stable")[:SPOTS]
    return places[np.sort(order)]


def same_places(pictures: Sequence[Spots]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return which pictures show the same place.

    Returns
    -------
    pairs, whole
        int64, (pairs, 2), rows of pictures, the smaller first; bool, (pairs,), whether they are
        one picture twice.
    """
    pairs: list[tuple[int, int]] = []
    whole: list[bool] = []
    for first, second, move in _moved_alike(pictures, VOTES):
        likeness, share = _common_part(pictures[first].relief, pictures[second].relief, move)
        if likeness:
            pairs.append((first, second))
            whole.append(likeness >= WHOLE_LIKENESS and share >= WHOLE_SHARE)
    return np.array(pairs, np.int64).reshape(-1, 2), np.array(whole, np.bool_)


def show_the_same(one: Spots, other: Spots, move: tuple[int, int]) -> bool:
    """Whether two pictures show the same where ``move``, rows and columns, lays them together."""
    return _common_part(one.relief, other.relief, move)[0] > 0


def shown_before(known: Sequence[Spots], pictures: Sequence[Spots]) -> NDArray[np.bool_]:
    """Return which pictures show a place of known ones, by their spots alone, bool (pictures,)."""
    found = np.zeros(len(pictures), np.bool_)
    for first, second, _move in _moved_alike([*known, *pictures], VOTES_ALONE):
        if first < len(known) <= second:
            found[second - len(known)] = True
    return found


def _moved_alike(
    pictures: Sequence[Spots],
    votes: Mapping[bool, int],
) -> Iterator[tuple[int, int, tuple[int, int]]]:
    """Yield pictures with enough spots alike that have moved by the same pixels, and by which."""
    counts = [len(each.bits) for each in pictures]
    owner = np.repeat(np.arange(len(pictures)), counts)
    bits = np.concatenate([np.zeros(0, np.uint64), *(each.bits for each in pictures)])
    places = np.concatenate([np.zeros((0, 2), np.int64), *(each.places for each in pictures)])
    first, second = alike_spots(bits, owner)
    pair = owner[first] * len(pictures) + owner[second]
    order = np.argsort(pair, kind="stable")
    pair, moves = pair[order], (places[first] - places[second])[order]
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    for start, end in pairwise([*starts.tolist(), len(pair)]):
        one, other = divmod(int(pair[start]), len(pictures))
        needed = votes[pictures[one].is_native and pictures[other].is_native]
        if end - start < needed:
            continue
        some = moves[start:end]
        agreeing = (np.abs(some[:, None] - some[None]).max(2) <= 1).sum(1)
        if agreeing.max() >= needed:
            row, column = some[agreeing.argmax()].tolist()
            yield one, other, (row, column)


def alike_spots(
    bits: NDArray[np.uint64],
    owner: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which spots of different pictures are alike, the smaller first.

    Parameters
    ----------
    bits
        uint64, (spots,).
    owner
        int64, (spots,): whose each is, in ascending order.
    """
    found = [np.zeros(0, np.int64)]
    for band in range(BANDS):
        part = bits >> np.uint64(band * 64 // BANDS) & np.uint64(2 ** (64 // BANDS) - 1)
        order = np.argsort(part, kind="stable")
        sorted_part = part[order]
        for step in range(1, AT_ONCE + 1):
            at = np.flatnonzero(sorted_part[step:] == sorted_part[:-step])
            if not len(at):
                break
            one, other = order[at], order[at + step]
            alike = np.bitwise_count(bits[one] ^ bits[other]) <= ALIKE_BITS
            alike &= owner[one] != owner[other]
            one, other = one[alike], other[alike]
            found.append(np.minimum(one, other) * len(bits) + np.maximum(one, other))
    # Sorted rather than by np.unique, whose hashing takes three times as long.
    pairs = np.sort(np.concatenate(found))
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    return pairs // max(len(bits), 1), pairs % max(len(bits), 1)


def _common_part(
    one: NDArray[np.int8],
    other: NDArray[np.int8],
    move: tuple[int, int],
) -> tuple[float, float]:
    """Return how two pictures correlate that ``move`` lays together, and what share both show.

    The share is that of the smaller picture; both are 0 where they do not show the same.
    """
    if _likeness(one, other, move)[0] < SAME - FALL:
        return 0.0, 0.0
    best, share, place = 0.0, 0.0, move
    for row in range(move[0] - 1, move[0] + 2):
        for column in range(move[1] - 1, move[1] + 2):
            likeness, common = _likeness(one, other, (row, column))
            if common >= LEAST_SHARE and likeness > best:
                best, share, place = likeness, common, (row, column)
    if best < SAME:
        return 0.0, 0.0
    for rows, columns in ASIDE:
        if _likeness(one, other, (place[0] + rows, place[1] + columns))[0] > best - FALL:
            return 0.0, 0.0
    return best, share


def _likeness(
    one: NDArray[np.int8],
    other: NDArray[np.int8],
    move: tuple[int, int],
) -> tuple[float, float]:
    """Return the correlation of two pictures where they lie over each other, and how much does."""
    (top, bottom), (left, right) = (
        (max(0, way), min(mine, theirs + way))
        for way, mine, theirs in zip(move, one.shape, other.shape, strict=True)
    )
    if min(bottom - top, right - left) <= REACH:
        return -1.0, 0.0
    row, column = move
    mine = one[top:bottom, left:right].astype(np.float32)
    theirs = other[top - row : bottom - row, left - column : right - column].astype(np.float32)
    mine -= mine.mean()
    theirs -= theirs.mean()
    size = float(np.sqrt((mine * mine).sum() * (theirs * theirs).sum()))
    if not size:
        return -1.0, 0.0
    return float((mine * theirs).sum()) / size, mine.size / min(one.size, other.size)
