"""Pictures parted into training, validation and test.

Stratified, seeded, and never through a patient.

Without groups every class is shared out by itself. With groups (patients, slides) whole groups are
dealt out, largest first, to the part that is furthest from its share of their classes; then single
groups are moved as long as that brings the shares nearer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import DataSetError
from slidecam.extras import brought
from slidecam.learning.data.picture_files import PARTS, Part
from slidecam.learning.predictions import group_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from sklearn import model_selection

    from slidecam.learning.data.pictures import PictureSet
else:
    model_selection = brought("sklearn.model_selection", "train")

NEARLY = 1e-6
"""How far the shares may be from 1 in sum, and how much nearer a move must bring them."""

LOOSELY = 2.0
"""How many times as large as another a group must be to be dealt out before it for certain."""


@dataclass(frozen=True)
class SplitSpec:
    """How pictures are to be parted.

    Attributes
    ----------
    train, val, test
        Shares of the pictures, adding up to 1; a part with the share 0 stays empty.
    seed
        The same seed parts the same pictures in the same way.
    by_group
        Whether a patient or slide stays in one part, where it is known.
    """

    train: float = 0.7
    val: float = 0.15
    test: float = 0.15
    seed: int = 0
    by_group: bool = True

    def __post_init__(self) -> None:
        shares = self.shares
        if min(shares) < 0 or self.train <= 0 or not abs(sum(shares) - 1) < NEARLY:
            note = " + ".join(f"{share:g}" for share in shares)
            raise DataSetError(
                f"The parts train, val and test are {note} of the data.",
                "Pass shares that add up to 1, that of train above 0.",
            )

    @property
    def shares(self) -> tuple[float, float, float]:
        """The shares of train, val and test."""
        return self.train, self.val, self.test


def split(pictures: PictureSet, spec: SplitSpec) -> PictureSet:
    """Return the pictures with a part for each.

    Parts that the data bring (folders, a column) are kept. Where they have no validation part, it
    is taken out of the training part, which a note tells, and the test part stays untouched.

    Raises
    ------
    DataSetError
        If the training part would be without a class.
    """
    if not pictures.is_split:
        return _parted(pictures, np.arange(len(pictures)), np.array(spec.shares), spec)
    if "val" in pictures.parts or not spec.val:
        return pictures
    parted = _with_val(pictures, spec)
    taken, given = len(parted.part("val")), len(pictures.part("train"))
    if not taken:
        return parted
    note = (
        f"The data have no validation part: {taken} of the {given} pictures to train on are taken"
        " for it (data.val = 0 keeps them)."
    )
    return parted.with_parts(parted.parts, note)


def _with_val(pictures: PictureSet, spec: SplitSpec) -> PictureSet:
    """Return pictures whose validation part is taken out of their training part."""
    trained = np.flatnonzero(np.array(pictures.parts) == "train")
    shares = np.array([spec.train, spec.val, 0.0]) / (spec.train + spec.val)
    return _parted(pictures, trained, shares, spec)


def _parted(
    pictures: PictureSet,
    rows: NDArray[np.int64],
    shares: NDArray[np.float64],
    spec: SplitSpec,
) -> PictureSet:
    """Return the pictures with new parts for ``rows``; the others keep theirs."""
    chosen = pictures.rows(rows)
    random = np.random.default_rng(spec.seed)
    if not spec.by_group:
        chosen = chosen.with_groups(None)
    if chosen.groups is not None:
        places = _by_group(chosen, shares, random)
    else:
        places = _by_class(chosen, shares, random)
    parts = list(pictures.parts)
    for row, place in zip(rows.tolist(), places.tolist(), strict=True):
        parts[row] = PARTS[place]
    parted = pictures.with_parts(parts)
    return parted.with_parts(parts, *_missing(parted, shares), *_empty(parted, chosen, shares))


def _missing(pictures: PictureSet, shares: NDArray[np.float64]) -> Iterator[str]:
    """Refuse a training part without a class; report the others."""
    for part, share in zip(PARTS, shares, strict=True):
        found = pictures.part(part).present()
        missing = [name for name in pictures.present() if name not in found]
        if missing and part == "train":
            raise DataSetError(
                f"no picture of {missing[0]!r} is left to train on.",
                "Add pictures (of other patients), try another seed, or say which part each picture"
                " is in.",
                pictures.root,
            )
        if missing and share and len(pictures.part(part)):
            yield f"{part} has no picture of {', '.join(missing)}: there are too few to go round."


def _empty(
    pictures: PictureSet,
    dealt: PictureSet,
    shares: NDArray[np.float64],
) -> Iterator[str]:
    """Report parts that were wanted and got none of the ``dealt`` pictures.

    Why that is, and what follows.
    """
    empty = []
    for part, share in zip(PARTS, shares, strict=True):
        if share and part not in pictures.parts:
            empty.append(part)
    if not empty:
        return
    verb = "has"
    if len(empty) > 1:
        verb = "have"
    yield f"{' and '.join(empty)} {verb} no picture: {_cause(dealt)}."
    if "val" in empty:
        yield (
            "Without a validation part nothing stops the training early, and no temperature is"
            " fitted."
        )
    if not {"val", "test"} & set(pictures.parts):
        yield "Nothing is measured: how good the classifier is on other patients is not known."


def _cause(dealt: PictureSet) -> str:
    groups = group_count(dealt.groups)
    if not groups:
        return f"{len(dealt)} pictures are too few to go round"
    owners = f"{groups} patients or slides"
    if groups == 1:
        owners = "one patient or slide"
    return f"all {len(dealt)} pictures are of {owners}, and none of them is ever parted: add others"


def _by_class(
    pictures: PictureSet,
    shares: NDArray[np.float64],
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the part of each picture.

    A class's shares are off by less than a picture or two, all classes' too.
    """
    places = np.zeros(len(pictures), np.int64)
    owed = np.zeros(len(shares))
    for index in range(len(pictures.class_names)):
        rows = random.permutation(np.flatnonzero(pictures.labels == index))
        wanted = shares * len(rows)
        # What rounding has kept from a part in earlier classes is made up for here.
        counts = _whole(wanted + owed, len(rows), shares)
        owed += wanted - counts
        places[rows] = np.repeat(np.arange(len(shares)), counts)
    return places


def _whole(
    wanted: NDArray[np.float64],
    total: int,
    shares: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return whole counts near ``wanted`` that add up to ``total``, none 0 if there is enough."""
    used = shares > 0
    if total >= used.sum():
        floor = used.astype(np.int64)
    else:
        floor = np.zeros(len(shares), np.int64)
    counts = np.maximum(np.floor(wanted).astype(np.int64), floor) * used
    while counts.sum() != total:
        step = int(np.sign(total - counts.sum()))
        gain = np.where(used & (counts + step >= floor), (wanted - counts) * step, -np.inf)
        counts[int(np.argmax(gain))] += step
    return counts


def _by_group(
    pictures: PictureSet,
    shares: NDArray[np.float64],
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the part of each picture; all pictures of a group have one."""
    names, members = np.unique(np.array(pictures.groups), return_inverse=True)
    counts = np.zeros((len(names), len(pictures.class_names)))
    np.add.at(counts, (members, pictures.labels), 1)
    # A class counts as much as any other, however many pictures it has.
    counts /= np.maximum(counts.sum(axis=0), 1)
    # Large groups first, since the small ones can still make up for them; loosely, so that the seed
    # has a say.
    order = np.argsort(-counts.max(axis=1) * random.uniform(1, LOOSELY, len(names)), kind="stable")
    places = _improved(counts, _dealt(counts, shares, order), shares)
    chosen: NDArray[np.int64] = places[members]
    return chosen


def _dealt(
    counts: NDArray[np.float64],
    shares: NDArray[np.float64],
    order: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Give each group to the part that it brings nearest to its shares of the classes."""
    places = np.zeros(len(counts), np.int64)
    deficit = np.repeat(shares[:, None], counts.shape[1], axis=1)
    for group in order:
        gain = ((deficit**2) - (deficit - counts[group]) ** 2).sum(axis=1)
        best = int(np.argmax(np.where(shares > 0, gain, -np.inf)))
        places[group] = best
        deficit[best] -= counts[group]
    return places


def _improved(
    counts: NDArray[np.float64],
    places: NDArray[np.int64],
    shares: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Move single groups to another part as long as the shares come nearer.

    That ends, since each move does.
    """
    places = places.copy()
    deficit = np.repeat(shares[:, None], counts.shape[1], axis=1)
    np.subtract.at(deficit, places, counts)
    moved = True
    while moved:
        moved = False
        for group, count in enumerate(counts):
            here = places[group]
            loss = (deficit[here] ** 2).sum() - ((deficit[here] + count) ** 2).sum()
            gain = (deficit**2).sum(axis=1) - ((deficit - count) ** 2).sum(axis=1) + loss
            gain[here] = 0
            best = int(np.argmax(np.where(shares > 0, gain, -np.inf)))
            if gain[best] > NEARLY**2:
                deficit[here] += count
                deficit[best] -= count
                places[group], moved = best, True
    return places


def folds(
    pictures: PictureSet,
    k: int,
    seed: int,
    repeats: int = 1,
    val: float = 0.0,
) -> tuple[PictureSet, ...]:
    """Return the pictures ``k * repeats`` times, each time with another fold as the test part.

    Parameters
    ----------
    pictures
        Parts that they have already are not heeded.
    k, repeats
        Folds of one partition, and how many partitions; every picture is tested ``repeats`` times.
    seed
        Of the partitions, and of the validation parts.
    val
        Share of what is not tested that becomes the validation part, so that nothing is chosen on
        the test fold.

    Raises
    ------
    DataSetError
        If a class has fewer pictures (or, where groups are known, fewer groups) than there are
        folds.
    """
    check_folds(pictures, k)
    spec = SplitSpec(1 - val, val, 0.0, seed)
    tested = _test_rows(pictures, k, seed, repeats)
    return tuple(_with_test(pictures, rows, spec) for rows in tested)


def check_folds(pictures: PictureSet, k: int) -> None:
    """Refuse more folds than a class has pictures or, where known, groups; DataSetError."""
    if k < 2:  # noqa: PLR2004  (one to test on and one to train on)
        raise DataSetError(f"{k} folds are no cross-validation.", "Ask for 2 or more.")
    units: tuple[str, ...] = pictures.groups or pictures.names
    for index, name in enumerate(pictures.class_names):
        found = {units[row] for row in np.flatnonzero(pictures.labels == index)}
        if len(found) < k:
            unit = "groups (patients or slides)"
            if pictures.groups is None:
                unit = "pictures"
            raise DataSetError(
                f"{name!r} has {len(found)} {unit}, too few for {k} folds.",
                "Ask for fewer folds, or add pictures.",
                pictures.root,
            )


def _test_rows(
    pictures: PictureSet,
    k: int,
    seed: int,
    repeats: int,
) -> Iterator[NDArray[np.int64]]:
    rows, labels = np.zeros((len(pictures), 1)), pictures.labels
    if pictures.groups is None:
        folding = model_selection.RepeatedStratifiedKFold(
            n_splits=k, n_repeats=repeats, random_state=seed
        )
        for _rest, tested in folding.split(rows, labels):
            yield tested
        return
    for repeat in range(repeats):
        grouping = model_selection.StratifiedGroupKFold(
            n_splits=k, shuffle=True, random_state=seed + repeat
        )
        for _rest, tested in grouping.split(rows, labels, pictures.groups):
            yield tested


def _with_test(
    pictures: PictureSet,
    tested: NDArray[np.int64],
    spec: SplitSpec,
) -> PictureSet:
    parts: list[Part] = ["train"] * len(pictures)
    for row in tested.tolist():
        parts[row] = "test"
    parted = pictures.with_parts(parts)
    if spec.val:
        return _with_val(parted, spec)
    return parted
