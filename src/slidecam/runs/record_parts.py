"""The parts of a run's record: its slide, classifier, heatmaps and outcome, to JSON and back.

Reading one from values of another kind than were written raises one of `DAMAGES`; `RunRecord.read`
makes one message of them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from slidecam.classes import ClassSet
from slidecam.explain.facts import shown_by
from slidecam.geometry import Box, Size, Spacing
from slidecam.runs.written import OutputMark

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slidecam.sources import SourceFacts

V = TypeVar("V")
R = TypeVar("R")

DAMAGES = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading values of another kind than were written raises."""


def if_known(value: V | None, convert: Callable[[V], R]) -> R | None:
    """Return a value converted; None where nobody knows it."""
    if value is None:
        return None
    return convert(value)


@dataclass(frozen=True)
class RecordedVolume:
    """How a volume was cut into slices: along ``axis``, its voxels' shape, spacing and affine."""

    axis: str
    planes: int
    voxels: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    affine_ras_mm: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecordedVolume | None:
        """Return what ``input`` says of a volume; None where it is a slide."""
        if not data.get("planes"):
            return None
        return cls(
            axis=str(data["axis"]),
            planes=int(data["planes"]),
            voxels=tuple(int(length) for length in data.get("voxels", ())),
            spacing_mm=tuple(float(length) for length in data.get("spacing_mm", ())),
            affine_ras_mm=tuple(tuple(map(float, row)) for row in data.get("affine_ras_mm", ())),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as part of ``input``."""
        return {
            "axis": self.axis,
            "planes": self.planes,
            "voxels": list(self.voxels),
            "spacing_mm": list(self.spacing_mm),
            "affine_ras_mm": [list(row) for row in self.affine_ras_mm],
        }


@dataclass(frozen=True)
class RecordedInput:
    """The slide that was classified.

    Attributes
    ----------
    path
        As it was given, without what names a patient; a relative one counts from
        `RunRecord.made_in`.
    fingerprint
        Of its content.
    reader, format
        Who read it, and what it is.
    size, bounds
        Of level 0, and the part of it that was scanned; ``size`` is None where a run of version 1
        does not say.
    volume
        None for a slide.
    readings
        What was chosen of the file, as sentences: see `slidecam.sources.SourceFacts`.
    group
        What the call's list of slides says that it belongs to; empty where it says nothing.
    """

    path: str
    fingerprint: str | None = None
    reader: str | None = None
    format: str = ""
    size: Size | None = None
    bounds: Box | None = None
    volume: RecordedVolume | None = None
    readings: tuple[str, ...] = ()
    group: str = ""

    @classmethod
    def of(
        cls, path: str, facts: SourceFacts, volume: RecordedVolume | None, group: str = ""
    ) -> RecordedInput:
        """Return what a run records of a slide that was opened, by the path that may be shown."""
        return cls(
            path=path,
            fingerprint=facts.fingerprint,
            reader=facts.reader,
            format=facts.format,
            size=facts.size,
            bounds=facts.bounds,
            volume=volume,
            readings=facts.readings,
            group=group,
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecordedInput:
        """Return what ``input`` says."""
        return cls(
            path=str(data["path"]),
            fingerprint=data.get("fingerprint"),
            reader=data.get("reader"),
            format=str(data.get("format", "")),
            size=if_known(data["size_px"], lambda size: Size(*map(int, size))),
            bounds=if_known(data["bounds_px"], lambda box: Box(*map(int, box))),
            volume=RecordedVolume.from_json(data),
            readings=tuple(data.get("readings", ())),
            group=str(data.get("group", "")),
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as ``input``."""
        volume: dict[str, Any] = {}
        if self.volume is not None:
            volume = self.volume.to_json()
        if self.group:
            volume["group"] = self.group
        return {
            "path": self.path,
            "fingerprint": self.fingerprint,
            "reader": self.reader,
            "format": self.format,
            "size_px": if_known(self.size, lambda size: [size.width, size.height]),
            "bounds_px": if_known(self.bounds, lambda box: [box.x, box.y, box.width, box.height]),
            **volume,
            "readings": list(self.readings),
        }


@dataclass(frozen=True)
class RecordedSpacing:
    """µm per level-0 pixel, and who said so."""

    spacing: Spacing
    origin: str

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecordedSpacing:
        """Return what ``spacing`` says."""
        return cls(Spacing(*map(float, data["um_px"])), str(data["from"]))

    def to_json(self) -> dict[str, Any]:
        """Return it as ``spacing``."""
        return {"um_px": [self.spacing.x, self.spacing.y], "from": self.origin}


@dataclass(frozen=True)
class RecordedForeground:
    """Where the tissue mask came from, and the share of the slide that it covers."""

    origin: str
    share: float

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecordedForeground:
        """Return what ``foreground`` says."""
        return cls(str(data["from"]), float(data["share"]))

    def to_json(self) -> dict[str, Any]:
        """Return it as ``foreground``."""
        return {"from": self.origin, "share": self.share}


@dataclass(frozen=True)
class RecordedBundle:
    """The classifier.

    Attributes
    ----------
    name, path, digest
        Its name; its folder, which may be relative as `RecordedInput.path`; what it is known by.
    classes
        None where a run of version 1 does not say them.
    """

    name: str
    path: str = ""
    digest: str | None = None
    classes: ClassSet | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecordedBundle:
        """Return what ``bundle`` says."""
        classes = None
        if data["class_names"]:
            classes = ClassSet.from_record(data)
        return cls(
            name=str(data["name"]),
            path=str(data.get("path", "")),
            digest=data.get("digest"),
            classes=classes,
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as ``bundle``."""
        classes: Mapping[str, Any] = {"class_names": []}
        if self.classes is not None:
            classes = self.classes.record
        return {"name": self.name, "path": self.path, "digest": self.digest, **classes}


@dataclass(frozen=True)
class RecordedHeatmap:
    """One method's heatmap beside the run.

    Attributes
    ----------
    file, method
        Its name in the run's folder, and what made it.
    facts
        All that is written of it, these two among it, as JSON.
    """

    file: str
    method: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecordedHeatmap:
        """Return what an entry of ``heatmaps`` says."""
        return cls(str(data["file"]), str(data.get("method", "")), dict(data))

    def said(self, channel: int) -> tuple[str, ...]:
        """Return what it shows, how faithful it was, and first whether there is enough to see."""
        notes = self.facts.get("notes") or [""] * (channel + 1)
        said = [self.facts.get("shows") or shown_by(self.method), self.facts.get("measured")]
        if notes[channel]:
            said.insert(0, f"It is {notes[channel]}.")
        return tuple(str(each) for each in said if each)

    def raw_limits(self, channel: int) -> tuple[float, float] | None:
        """Return the raw values that are drawn as 0 and 1 on a fixed scale.

        None on the slide's own scale.
        """
        if self.facts.get("scale") != "fixed":
            return None
        return float(self.facts["raw_at_0"][channel]), float(self.facts["raw_at_1"][channel])


@dataclass(frozen=True)
class RecordedCall:
    """What a volume was called.

    Attributes
    ----------
    called
        The class; None where it was none.
    facts
        All of it (``called``, ``probabilities``, ``pooling``, ``slices``), as JSON.
    """

    called: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What it was called, in words; records of before name one class at most."""
        named = self.facts.get("called_classes") or [self.called]
        return " + ".join(filter(None, named)) or "nothing"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecordedCall:
        """Return what ``volume`` says."""
        return cls(if_known(data["called"], str), dict(data))


@dataclass(frozen=True)
class RecordedOutcome:
    """What became of a slide.

    Attributes
    ----------
    finished
        When, ISO 8601.
    reason, remedy, traceback
        Of a slide that was given up: what was wrong, what to do, and where in our code.
    tiles, tissue, classes, failures, seconds
        Counts of tiles; what shares are shares of; rows by class; some of the tiles that failed,
        and why; the time that each stage took. As JSON.
    heatmaps
        In the order of the methods.
    call
        Of a volume.
    written
        What each output was when it was written, by its name.
    """

    finished: str
    reason: str = ""
    remedy: str = ""
    traceback: tuple[str, ...] = ()
    tiles: Mapping[str, int] = field(default_factory=dict)
    tissue: Mapping[str, Any] = field(default_factory=dict)
    classes: Sequence[Mapping[str, Any]] = ()
    failures: Sequence[Mapping[str, Any]] = ()
    heatmaps: tuple[RecordedHeatmap, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    call: RecordedCall | None = None
    written: Mapping[str, OutputMark] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecordedOutcome | None:
        """Return what a record says of its end; None while there is none."""
        if "finished" not in data:
            return None
        return cls(
            finished=str(data["finished"]),
            reason=str(data.get("reason", "")),
            remedy=str(data.get("remedy", "")),
            traceback=tuple(data.get("traceback", ())),
            tiles={name: int(count) for name, count in data.get("tiles", {}).items()},
            tissue=dict(data.get("tissue", {})),
            classes=tuple(data.get("classes", ())),
            failures=tuple(data.get("failures", ())),
            heatmaps=tuple(RecordedHeatmap.from_json(one) for one in data.get("heatmaps", ())),
            seconds=dict(data.get("seconds", {})),
            call=if_known(data.get("volume"), RecordedCall.from_json),
            written={one["file"]: OutputMark.from_json(one) for one in data.get("written", ())},
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as part of the record: a failure's words, or what was written."""
        if self.reason:
            words: dict[str, Any] = {
                "finished": self.finished,
                "reason": self.reason,
                "remedy": self.remedy,
            }
            if self.traceback:
                words["traceback"] = list(self.traceback)
            return words
        record: dict[str, Any] = {
            "finished": self.finished,
            "tiles": dict(self.tiles),
            "tissue": dict(self.tissue),
            "classes": [dict(row) for row in self.classes],
            "failures": [dict(row) for row in self.failures],
        }
        if self.call is not None:
            record["volume"] = dict(self.call.facts)
        record["heatmaps"] = [dict(heatmap.facts) for heatmap in self.heatmaps]
        record["seconds"] = dict(self.seconds)
        record["written"] = [
            {"file": name, **mark.to_json()} for name, mark in self.written.items()
        ]
        return record
