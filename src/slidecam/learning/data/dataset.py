"""The pictures of a training, from the folder they lie in to the part that each is in.

And what a bundle remembers of them: where it comes from, and which slides and patients it has
learnt from: its figures on these say nothing about new ones.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slidecam.errors import DataSetError
from slidecam.learning.data.duplicates import (
    Duplicates,
    find_duplicates,
    grouped_with_duplicates,
    without_duplicates,
)
from slidecam.learning.data.picture_files import PARTS
from slidecam.learning.data.pictures import PictureSet, read_picture_set
from slidecam.learning.data.pixels import (
    WORKERS,
    in_order,
    picture_boundary,
)
from slidecam.learning.data.readings import format_tells, look_at_pictures
from slidecam.learning.data.splitting import SplitSpec, check_folds, folds, split
from slidecam.learning.predictions import group_count
from slidecam.learning.recipes.tables import DataSpec

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

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

    def noted(self, notes: Sequence[str]) -> Dataset:
        """Return it with more sentences for a careful user."""
        return replace(self, pictures=replace(self.pictures, notes=(*self.pictures.notes, *notes)))


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
    limited = _limited(parted, spec.limit)
    if not len(limited.part("train")):
        raise DataSetError(
            "there is no picture to train on.",
            "Put some into a part called train.",
            data,
        )
    return Dataset(limited, found.duplicates_of(parted))


def folds_for(
    data: Path,
    spec: DataSpec,
    count: int,
    repeats: int,
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
    if found.pictures.is_split:
        found = found.noted(
            f"The parts that the data bring ({_parts_of(found.pictures)}) are dealt into the folds"
            " anew: no picture of them is kept apart (--folds)."
        )
    parted = list(map(found.kept, folds(found.pictures, count, spec.split_seed, repeats, share)))
    return tuple(Dataset(each, found.duplicates_of(each)) for each in parted)


def _parts_of(pictures: PictureSet) -> str:
    return ", ".join(sorted(filter(None, set(pictures.parts))))


def content_digest(pictures: PictureSet) -> str:
    """Return SHA-256 over every picture's name, class and content, whatever part it is in."""
    digests = in_order(_file_digest, pictures.paths, WORKERS)
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

    def noted(self, note: str) -> _Found:
        """Return them with one more sentence on how they were read."""
        pictures = replace(self.pictures, notes=(*self.pictures.notes, note))
        return replace(self, pictures=pictures)

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
    listed = read_picture_set(data, spec.reading)
    if not spec.classes:
        _refuse_twins(listed)
    opened = yield from look_at_pictures(replace(listed, seen=spec.seen))
    # Who looks for duplicates reads every picture, and names those that cannot be read.
    yield from opened.refuse_broken(unread=spec.duplicates == "ignore")
    opened.refuse_unheard(spec.seen)
    pictures = opened.noted()
    pictures = replace(
        pictures, notes=(*pictures.notes, *_idle(spec, pictures), *format_tells(pictures))
    )
    if spec.duplicates == "ignore":
        return _Found(pictures, pictures.groups, None)
    found = yield from find_duplicates(pictures)
    if spec.duplicates == "drop":
        single = without_duplicates(found)
        return _Found(single, single.groups, found)
    # Without any there is nothing to group, and single pictures need no groups.
    if spec.duplicates == "group" and (found.clusters or found.overlaps):
        return _Found(grouped_with_duplicates(found), pictures.groups, found)
    return _Found(pictures, pictures.groups, found)


def _idle(spec: DataSpec, pictures: PictureSet) -> Iterator[str]:
    """Yield what is to be said of settings that find nothing in these pictures."""
    for text in spec.repeat:
        if not any(re.search(text, name) for name in pictures.names):
            yield f"data.repeat names {text!r}, which no picture's path matches: none is repeated."
    shares = (spec.train, spec.val, spec.test)
    usual = (DataSpec.train, DataSpec.val, DataSpec.test)
    if "val" in pictures.parts and shares != usual:
        yield (
            f"The data bring their parts ({_parts_of(pictures)}): data.train, val and test are not"
            " heeded."
        )


_BETWEEN_WORDS = re.compile(r"[\s_-]+")


def _refuse_twins(pictures: PictureSet) -> None:
    """Refuse two classes whose names differ in capitals or gaps alone."""
    first: dict[str, str] = {}
    for name in pictures.class_names:
        other = first.setdefault(_BETWEEN_WORDS.sub("", name).casefold(), name)
        if other != name:
            raise DataSetError(
                f"the classes {other!r} and {name!r} differ in capitals or gaps alone.",
                "Call them alike if they are one class; if not, name all in data.classes.",
                pictures.root,
            )


def _limited(pictures: PictureSet, limit: int) -> PictureSet:
    """Return at most ``limit`` pictures of a class in each part, the first ones."""
    if not limit:
        return pictures
    rows: list[int] = []
    taken: Counter[tuple[str, int]] = Counter()
    for row, key in enumerate(zip(pictures.parts, pictures.labels.tolist(), strict=True)):
        taken[key] += 1
        if taken[key] <= limit:
            rows.append(row)
    return pictures.rows(rows)


def _file_digest(path: Path) -> str:
    with picture_boundary(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def split_record(pictures: PictureSet, spec: SplitSpec | None) -> dict[str, object]:
    """Return what a bundle's provenance says of its data, as JSON values.

    ``spec`` is None for the data's own parts.

    The digest is that of every picture's name, class and part, in any order: the same data, parted
    in the same way, have the same. The table that `write_picture_table` writes lists them all.
    Groups that were learnt from, or that chose the epoch, are there as digests: a bundle is passed
    on, patients' names are not.
    """
    lines = []
    for name, label, part in zip(pictures.names, pictures.labels, pictures.parts, strict=True):
        lines.append(f"{name}\t{pictures.class_names[label]}\t{part}\n")
    record: dict[str, object] = {
        "digest": hashlib.sha256("".join(sorted(lines)).encode()).hexdigest(),
        "pictures": len(pictures),
        "counts": pictures.counts_by_part(),
        "groups": group_count(pictures.groups),
        LEARNT_FROM: _learnt_from(pictures),
        "shares": None,
        "seed": None,
        "by_group": None,
    }
    if spec is not None:
        record["shares"] = dict(zip(PARTS, spec.shares, strict=True))
        record["seed"] = spec.seed
        record["by_group"] = spec.by_group and pictures.groups is not None
    return record


def _learnt_from(pictures: PictureSet) -> list[str] | None:
    if pictures.groups is None:
        return None
    learnt = pictures.part("train", "val", "")
    return group_digests(learnt.groups or ())


LEARNT_FROM = "learnt_from"
"""Where a provenance's ``data`` lists the digests.

A slide that a head was tuned on stands in ``slide``, by name.
"""

LEARNT_SLIDES = "learnt_slides"
"""Where it lists the fingerprints of slides whose tiles were learnt from."""

_DIGITS = 16
_WORD_ENDS = re.compile(r"[\s_.,-]")


def group_digests(groups: Iterable[str]) -> list[str]:
    """Return what slides and patients are known by in a bundle that is passed on.

    Digests, and no names.
    """
    return sorted(set(map(name_digest, groups)))


def has_learnt_from(provenance: Mapping[str, Any], slide: str, fingerprint: str = "") -> bool:
    """Whether a bundle, or one that it was made from, was trained on a slide or its patient.

    The patient is known by the name that begins the slide's.

    Parameters
    ----------
    provenance
        The card's.
    slide
        The slide's name, without its suffix.
    fingerprint
        As in `SourceFacts`: the same slide is known by it whatever it is called now.
    """
    names = set(group_digests(_beginnings(slide)))
    for each in provenances(provenance):
        if each.get("slide") == slide or (fingerprint and fingerprint in slide_prints(each)):
            return True
        data = each.get("data")
        known = None
        if isinstance(data, dict):
            known = data.get(LEARNT_FROM)
        if isinstance(known, list) and not names.isdisjoint(known):
            return True
    return False


def provenances(provenance: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield a bundle's provenance, and those of the bundles that it was made from."""
    yield provenance
    for parent in (provenance.get("parent"), *(provenance.get("members") or ())):
        if isinstance(parent, dict) and isinstance(parent.get("provenance"), dict):
            yield from provenances(parent["provenance"])


def slide_prints(provenance: Mapping[str, Any]) -> set[object]:
    """Return the fingerprints of the slides that a bundle learnt from, without its parents'."""
    found = {provenance.get("slide_fingerprint")}
    data = provenance.get("data")
    if isinstance(data, dict):
        found |= set(data.get(LEARNT_SLIDES) or ())
    return found


def _beginnings(slide: str) -> Iterator[str]:
    """Yield the name and what precedes each of its gaps: ``P1_block2`` is a slide of ``P1``."""
    yield slide
    for gap in _WORD_ENDS.finditer(slide):
        yield slide[: gap.start()]


def name_digest(name: str) -> str:
    """Return what one slide or patient is known by."""
    return hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
