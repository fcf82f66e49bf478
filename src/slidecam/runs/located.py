"""The gate to a run's slide and classifier: where they lie now, held against what they were.

A path that was written down means another file elsewhere. Whatever is opened for a run is known by
its content: a slide by its fingerprint, a bundle by its digest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam import models
from slidecam.errors import (
    BundleError,
    RunMismatchError,
    SourceError,
    StoreError,
    UsageError,
)
from slidecam.runs.record import RunRecord
from slidecam.runs.record_parts import if_known
from slidecam.sources.apart import open_apart
from slidecam.store import find_runs
from slidecam.viewing import PictureView, VolumeView, Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slidecam.models import Bundle
    from slidecam.sources import Source

NAME_SLIDE = "Name where that lies with --slide."
NAME_BUNDLE = "Name where that lies with --bundle."


def places_of(written: str, folder: Path, made_in: str | None) -> Iterator[str]:
    """Yield where a path of a record may lie now, the likeliest first.

    A relative one counts from where the run was made. Where nobody knows that, or all was moved
    together, it is looked for from the present folder and from each folder above the run; of an
    absolute one each of its ends, the longest first.
    """
    path = Path(written)
    if "://" in written:
        yield written
        return
    if path.is_absolute():
        yield written
        for beginning in range(1, len(path.parts)):
            for above in folder.resolve().parents:
                moved = above.joinpath(*path.parts[beginning:])
                if moved != path:
                    yield str(moved)
        return
    if made_in is not None:
        yield str(Path(made_in) / written)
    yield written
    for above in folder.resolve().parents:
        yield str(above / written)


def refuse_run(folder: Path) -> None:
    """Refuse a run where a slide or pictures are meant; UsageError, naming the run's slide."""
    try:
        runs = find_runs(folder)
    except UsageError:
        return
    record = RunRecord.find(runs[0])
    remedy = "Name the slide that it is of."
    if record is not None:
        remedy = f"Name its slide: {record.input.path}."
    if len(runs) > 1:
        remedy = f"Name the slide of one of them, for example {remedy.removeprefix('Name its ')}"
    raise UsageError("this is a run of slidecam predict, no slide and no pictures.", remedy, folder)


def open_recorded_slide(
    folder: Path,
    record: RunRecord,
    plan: Mapping[str, Any],
    given: str | None = None,
) -> tuple[str, Source]:
    """Open the slide of a run with the reader and the view that the run had; and say where it lies.

    Parameters
    ----------
    folder, record, plan
        Of the run; ``plan`` is the store's.
    given
        Where the slide lies now; None for where it was.

    Raises
    ------
    StoreError
        If what lies there is another slide.
    SourceError
        If nothing lies there, or it cannot be opened.
    """
    expected = recorded_fingerprint(record, plan)
    reader = if_known(plan.get("reader", record.input.reader), str)
    view = recorded_view(plan)
    written, other = record.input.path, None
    if given is not None:
        written = given
    for place in _existing(written, folder, record.made_in, given):
        try:
            source = open_apart(place, reader, view)
        except SourceError:
            if place == written:
                raise
            continue
        if source.facts.fingerprint == expected:
            return place, source
        source.let_go()
        other = other or place
    if other is None:
        # Nothing lies anywhere: opened all the same, for the reader's own words.
        return written, open_apart(written, reader, view)
    problem = f"What lies at {other} is not the slide that was classified."
    raise StoreError(folder, problem, NAME_SLIDE)


def recorded_fingerprint(record: RunRecord, plan: Mapping[str, Any]) -> str:
    """Return the digest of the content of a run's slide, by its plan or else its record."""
    return str(plan.get("slide", record.input.fingerprint))


def recorded_view(plan: Mapping[str, Any]) -> VolumeView:
    """Return how a run saw its volume or slide."""
    chosen = plan.get("picture", {})
    slide = PictureView(**{**chosen, "channels": tuple(chosen.get("channels", ()))})
    if "picture window" in plan and slide.window is None:
        # As it was found then: a file is not looked at anew.
        low, high = plan["picture window"]
        slide = replace(slide, window=f"{low!r},{high!r}")
    if "window" not in plan:
        return VolumeView(slide=slide)
    kind, low, high = plan["window"]
    return VolumeView(
        axis=plan["axis"],
        slices=int(plan["slices"]),
        window=Window(kind, float(low), float(high)),
        volume=plan.get("volume"),
        slide=slide,
    )


def open_recorded_bundle(
    folder: Path,
    record: RunRecord,
    plan: Mapping[str, Any],
    given: Path | str | None = None,
    *,
    trust: bool = False,
) -> Bundle:
    """Open the bundle that made a run.

    Parameters
    ----------
    folder, record, plan
        Of the run; ``plan`` is the store's.
    given
        Where the bundle lies now; None for where it was.
    trust
        Whether one that can run code may be opened.

    Raises
    ------
    RunMismatchError
        If another bundle lies there.
    BundleError
        If none does, or it cannot be opened.
    """
    written, other = record.bundle.path, None
    if given is not None:
        written = str(given)
    for place in _existing(written, folder, record.made_in, given):
        try:
            bundle = models.open_bundle(place, trust=trust)
        except BundleError:
            if place == written:
                raise
            continue
        if bundle.digest == plan.get("model", record.bundle.digest):
            return bundle
        other = other or bundle
    if other is None:
        return models.open_bundle(written, trust=trust)
    raise RunMismatchError(
        folder, f"This run was made by another bundle than {other.path}.", NAME_BUNDLE
    )


def _existing(
    written: str,
    folder: Path,
    made_in: str | None,
    given: object | None,
) -> Iterator[str]:
    places = places_of(written, folder, made_in)
    if given is not None:
        places = iter([written])
    for place in places:
        if "://" in place or Path(place).exists():
            yield place


def with_classes(
    folder: Path,
    record: RunRecord,
    plan: Mapping[str, Any],
    bundle: Path | str | None,
) -> RunRecord:
    """Return a record with what the bundle says of its classes."""
    try:
        # Trusted, since only its card is read.
        opened = open_recorded_bundle(folder, record, plan, bundle, trust=True)
    except BundleError as error:
        if record.bundle.classes is not None:
            raise
        problem = f"Its run.json lacks class_names, as an older version wrote it: {error.clause}."
        raise StoreError(folder, problem, error.remedy) from error
    card = opened.card
    known = replace(record.bundle, name=card.name, path=str(opened.path), classes=card.classes)
    return replace(record, bundle=known)


def with_extent(
    folder: Path,
    record: RunRecord,
    plan: Mapping[str, Any],
    slide: str | None,
) -> RunRecord:
    """Return a record with the size and scanned bounds that the slide's header says."""
    try:
        _place, source = open_recorded_slide(folder, record, plan, slide)
    except SourceError as error:
        problem = f"Its run.json lacks bounds_px, as an older version wrote it: {error.clause}."
        raise StoreError(folder, problem, error.remedy) from error
    source.let_go()
    known = replace(record.input, size=source.facts.size, bounds=source.facts.bounds)
    return replace(record, input=known)
