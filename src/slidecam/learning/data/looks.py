"""How a picture looks in 256 bits, so that it is known again however it is held.

A picture is made grey and 17 x 16 pixels small, and each of 256 bits says whether a pixel is darker
than its right neighbour. What differs in few bits is the same picture in another size, compression
or brightness. Of the small picture's mirror images and quarter turns the bits are another's: a copy
that was mirrored or turned is found by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

HASH_EDGE = 16
BITS = HASH_EDGE**2
WORDS = BITS // 64

NEAR_BITS = 12
"""How many bits of near duplicates' hashes differ at most."""

INFORMED = 4
"""How many times as many neighbours as the bits that may differ must have another grey.

A hash of an even picture says
nothing, and all of them would be duplicates of each other."""

WAYS = 7
"""Mirror images and quarter turns of a picture, without the picture itself."""

ROWS_AT_ONCE = 128
"""Hashes that are compared with all others at a time."""


def difference_hash(picture: Image.Image) -> tuple[NDArray[np.uint64], int]:
    """Return a picture's 256 bits as four words, and how many neighbours differ in grey at all."""
    steps = np.diff(_small(picture.convert("L"), HASH_EDGE + 1, HASH_EDGE), axis=1)
    return _packed(steps), int((steps != 0).sum())


def turned_hashes(picture: Image.Image) -> NDArray[np.uint64]:
    """Return the hashes of a picture's mirror images and quarter turns, (`WAYS`, 4)."""
    grey = picture.convert("L")
    wide = _small(grey, HASH_EDGE + 1, HASH_EDGE)
    high = _small(grey, HASH_EDGE, HASH_EDGE + 1).T
    found = []
    for small in (wide, high):
        for flipped in (small, small[::-1]):
            found.append(_packed(np.diff(flipped, axis=1)))
            found.append(_packed(np.diff(flipped[:, ::-1], axis=1)))
    return np.stack(found[1:])


def _small(grey: Image.Image, width: int, height: int) -> NDArray[np.int16]:
    return np.asarray(grey.resize((width, height), Image.Resampling.LANCZOS), np.int16)


def _packed(steps: NDArray[np.int16]) -> NDArray[np.uint64]:
    return np.packbits(steps > 0).view(np.uint64)


def near_pairs(
    hashes: NDArray[np.uint64],
    bits: int,
    informed: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return every two rows whose hashes differ in at most ``bits`` bits.

    Parameters
    ----------
    hashes
        uint64, (pictures, words).
    bits
        How many bits may differ; below 0 there are no pairs.
    informed
        bool, (pictures,): whose hashes say something.

    Returns
    -------
    ndarray
        int64, (pairs, 2), the smaller row first.
    """
    return _pairs_within(hashes, hashes, bits, informed)


def turned_pairs(
    hashes: NDArray[np.uint64],
    turned: NDArray[np.uint64],
    bits: int,
    informed: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return every two rows of which one, mirrored or turned, looks like the other.

    As `near_pairs`, with the `turned_hashes` of each, uint64, (pictures, `WAYS`, words).
    """
    found = [_pairs_within(hashes, turned[:, way], bits, informed) for way in range(WAYS)]
    return np.unique(np.concatenate(found), axis=0)


def _pairs_within(
    hashes: NDArray[np.uint64],
    others: NDArray[np.uint64],
    bits: int,
    informed: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Return each row of ``hashes`` with the later rows of ``others`` that are near to it."""
    rows = np.flatnonzero(informed)
    found = [np.zeros((0, 2), np.int64)]
    if bits >= 0:
        for left, right in near_rows(hashes[rows], others[rows], bits, later=True):
            later = left < right
            found.append(np.stack([rows[left[later]], rows[right[later]]], axis=1))
    return np.concatenate(found)


def near_rows(
    hashes: NDArray[np.uint64],
    others: NDArray[np.uint64],
    bits: int = NEAR_BITS,
    *,
    later: bool = False,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield rows of ``hashes`` with those of ``others`` that differ in at most ``bits`` bits.

    Both are uint64, (rows, words); the rows are in ascending order, a block of them at a time.
    Where ``later`` rows of ``others`` are wanted alone, most of the earlier are not looked at.
    """
    middle = hashes.shape[1] // 2
    column = np.ascontiguousarray(others[:, middle])
    for start in range(0, len(hashes), ROWS_AT_ONCE):
        some = hashes[start : start + ROWS_AT_ONCE]
        # What differs in more bits of one word is not looked at in the others.
        first = start if later else 0
        maybe = np.bitwise_count(some[:, None, middle] ^ column[None, first:]) <= bits
        left, right = np.nonzero(maybe)
        right += first
        differing = np.bitwise_count(some[left] ^ others[right]).sum(axis=1, dtype=np.int64)
        near = differing <= bits
        yield start + left[near], right[near]
