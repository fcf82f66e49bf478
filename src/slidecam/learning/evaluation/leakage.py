"""Which slides and patients a classifier has learnt from.

Its figures on one of them say nothing about new ones.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LEARNT_FROM = "learnt_from"
"""Where a provenance's ``data`` lists the digests.

A slide that a head was tuned on stands in ``slide``, by name.
"""

_DIGITS = 16
_WORD_ENDS = re.compile(r"[\s_.,-]")


def group_digests(groups: Iterable[str]) -> list[str]:
    """Return what slides and patients are known by in a bundle that is passed on.

    Digests, and no names.
    """
    return sorted(set(map(_digest, groups)))


def has_learnt_from(provenance: Mapping[str, object], slide: str) -> bool:
    """Whether a bundle, or one that it was made from, was trained on a slide or its patient.

    The patient is known by the name that begins the slide's.

    Parameters
    ----------
    provenance
        The card's.
    slide
        The slide's name, without its suffix.
    """
    data, parent = provenance.get("data"), provenance.get("parent")
    known = None
    if isinstance(data, dict):
        known = data.get(LEARNT_FROM)
    own = isinstance(known, list) and any(_digest(name) in known for name in _beginnings(slide))
    inherited = None
    if isinstance(parent, dict):
        inherited = parent.get("provenance")
    return (
        own
        or provenance.get("slide") == slide
        or (isinstance(inherited, dict) and has_learnt_from(inherited, slide))
    )


def _beginnings(slide: str) -> Iterator[str]:
    """Yield the name and what precedes each of its gaps: ``P1_block2`` is a slide of ``P1``."""
    yield slide
    for gap in _WORD_ENDS.finditer(slide):
        yield slide[: gap.start()]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
