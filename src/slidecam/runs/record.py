"""``run.json`` as a typed record: the one place that knows its keys.

Every version that was ever written is brought to the present one by `migrated`. What an older run
does not say (see `RecordedBundle.classes`, `RecordedInput.size`) is asked of the bundle or the
slide when the run is opened. What is damaged is refused with a remedy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from slidecam.classes import ClassSet
from slidecam.errors import SlidecamError, StoreError
from slidecam.explain.catalogue import title_of
from slidecam.geometry import Size
from slidecam.runs.record_faults import FINISHED, faults_of, faults_of_store
from slidecam.runs.record_parts import (
    DAMAGES,
    RecordedBundle,
    RecordedCall,
    RecordedForeground,
    RecordedHeatmap,
    RecordedInput,
    RecordedOutcome,
    RecordedSpacing,
    if_known,
)
from slidecam.sources.qupath import QuPathView
from slidecam.store import RUN_FILE, read_attributes, read_run, write_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.geometry import Box

VERSION = 2
"""Of what `RunRecord.to_json` writes; 1 is a file without a version."""

RUN_AGAIN = "Run slidecam predict on the slide again, with --overwrite."

NEWER = "Install a newer slidecam, or choose another folder."

MANIFEST_FACTS = ("input", "spacing", "foreground", "device", "seconds", "volume")
"""What the manifest repeats of a run."""


@dataclass(frozen=True)
class RunRecord:
    """All that ``run.json`` says of one slide's run.

    Attributes
    ----------
    status
        ``running``, ``failed`` or one of `FINISHED`.
    started, resumed
        When the first call began, ISO 8601, and how many calls continued it.
    made_in
        Folder that relative paths count from; None where it is not known, or names a patient.
    input, spacing, foreground, bundle
        What was classified, and by what.
    qupath
        Where QuPath counts from: the one shift of everything that is exchanged with it. None where
        a run of version 1 does not say: from the scanned bounds.
    plan, painting, ngff
        What decides results and heatmaps, as JSON (see `StorePlan`).
    device, machine, versions
        What it was computed on.
    outcome
        None until the slide is finished or given up.
    """

    input: RecordedInput
    bundle: RecordedBundle
    status: str = "running"
    started: str = ""
    resumed: int = 0
    made_in: str | None = None
    spacing: RecordedSpacing | None = None
    foreground: RecordedForeground | None = None
    qupath: QuPathView | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    ngff: str = ""
    painting: Mapping[str, Any] | None = None
    device: str = ""
    machine: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    outcome: RecordedOutcome | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.status in FINISHED

    @property
    def is_volume(self) -> bool:
        """Whether the slices of a volume were classified."""
        return self.input.volume is not None

    @property
    def heatmaps(self) -> tuple[RecordedHeatmap, ...]:
        """Its heatmaps, the first method's first; none while it is not finished."""
        if self.outcome is None:
            return ()
        return self.outcome.heatmaps

    def beside(self, shown: RecordedHeatmap) -> tuple[tuple[str, str], ...]:
        """Return in a line (label, value) which methods there are beside one; nothing of none."""
        others = [title_of(one.method) for one in self.heatmaps if one.file != shown.file]
        if not others:
            return ()
        return (("Beside it", ", ".join(others)),)

    @property
    def faint_heatmaps(self) -> tuple[str, ...]:
        """Sentences on the classes whose heatmaps show little or nothing."""
        said: list[str] = []
        for heatmap in self.heatmaps:
            notes = heatmap.facts.get("notes", ())
            for name, note in zip(heatmap.facts.get("classes", ()), notes, strict=False):
                if note:
                    said.append(f"{title_of(heatmap.method)} of {name} is {note}.")
        return tuple(said)

    @property
    def call(self) -> RecordedCall | None:
        """What a volume was called; None of a slide, or while that is not known."""
        return if_known(self.outcome, lambda outcome: outcome.call)

    @property
    def shown_part(self) -> Box | None:
        """The part of the slide that QuPath shows, from whose corner it counts; None for all."""
        if self.qupath is None:
            return self.input.bounds
        return self.qupath.part(self.input.size, self.input.bounds)

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Read the record in a slide's output folder.

        Raises
        ------
        StoreError
            If there is none, it is damaged or not of its run.zarr, or a later slidecam wrote it.
        """
        data = read_run(folder)
        if data is None:
            raise StoreError(folder, f"Its {RUN_FILE} is missing or damaged.", RUN_AGAIN)
        refuse_later(folder)
        try:
            present = migrated(data)
            faults = "; ".join(faults_of(present))
            if faults:
                raise ValueError(faults)
            record = _parsed(present)
        except DAMAGES as error:
            problem = f"Its {RUN_FILE} is damaged ({_words(error)})."
            raise StoreError(folder, problem, RUN_AGAIN) from error
        _refuse_other_classes(folder, record.bundle.classes)
        return record

    @classmethod
    def find(cls, folder: Path) -> RunRecord | None:
        """Return the record in a folder; None where there is none that can be read."""
        try:
            return cls.read(folder)
        except StoreError:
            return None

    def write(self, folder: Path) -> None:
        """Replace ``run.json`` in one step."""
        write_run(folder, self.to_json())

    def failed(self, outcome: RecordedOutcome) -> RunRecord:
        """Return the record of a slide that was given up."""
        return replace(self, status="failed", outcome=outcome)

    def manifest_facts(self) -> dict[str, Any]:
        """Return what the manifest repeats, as JSON."""
        data = self.to_json()
        facts = {key: data[key] for key in MANIFEST_FACTS if key in data}
        if self.plan.get("backend"):
            facts["backend"] = self.plan["backend"]
        if self.input.group:
            facts["group"] = self.input.group
        return facts

    def to_json(self) -> dict[str, Any]:
        """Return it as ``run.json`` holds it."""
        outcome = {}
        if self.outcome is not None:
            outcome = self.outcome.to_json()
        return {
            "version": VERSION,
            "status": self.status,
            "started": self.started,
            "resumed": self.resumed,
            "made_in": self.made_in,
            "input": self.input.to_json(),
            "spacing": if_known(self.spacing, RecordedSpacing.to_json),
            "foreground": if_known(self.foreground, RecordedForeground.to_json),
            "bundle": self.bundle.to_json(),
            "qupath": if_known(self.qupath, _view_json),
            "plan": dict(self.plan),
            "ngff": self.ngff,
            "painting": self.painting,
            "device": self.device,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            **outcome,
        }


def refuse_later(folder: Path) -> None:
    """Refuse a folder whose ``run.json`` a later slidecam wrote; StoreError says so.

    Whoever writes there asks first: what a later one keeps would be lost.
    """
    version = (read_run(folder) or {}).get("version")
    if type(version) is int and version > VERSION:
        problem = f"Its {RUN_FILE} is of version {version}, and this slidecam reads {VERSION}."
        raise StoreError(folder, problem, NEWER)


def write_failure(folder: Path, outcome: RecordedOutcome) -> None:
    """Note that a slide was given up, whatever ``run.json`` says so far.

    Nothing where a later slidecam wrote it. OSError if it cannot be written.
    """
    try:
        refuse_later(folder)
    except StoreError:
        return
    record = RunRecord.find(folder)
    if record is None:
        # Nothing of the slide is known yet, or its record is damaged: the reason still must be.
        write_run(folder, {"version": VERSION, "status": "failed", **outcome.to_json()})
        return
    record.failed(outcome).write(folder)


def migrated(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what any slidecam wrote as `VERSION` has it; what is not known becomes null.

    Raises
    ------
    ValueError
        If its version is none that was ever written.
    KeyError, TypeError, AttributeError
        If it is damaged.
    """
    version = data.get("version", 1)
    if version == VERSION:
        return dict(data)
    if version != 1:
        raise ValueError(f"version is {version!r}, not 1 or {VERSION}")
    source, bundle, plan = (
        dict(data["input"]),
        dict(data["bundle"]),
        dict(data.get("plan") or {}),
    )
    source.setdefault("fingerprint", plan.get("slide"))
    source.setdefault("reader", plan.get("reader"))
    if "bounds_px" not in source:
        # The size alone does not say where QuPath counts from: both are asked of the slide.
        source |= {"size_px": None, "bounds_px": None}
    if "class_names" not in bundle:
        bundle["class_names"] = []
    changed = {"input": source, "bundle": bundle, "plan": plan}
    return {"qupath": None, **data, **changed, "version": VERSION, "made_in": None}


def _words(error: Exception) -> str:
    if isinstance(error, ValueError | SlidecamError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _refuse_other_classes(folder: Path, recorded: ClassSet | None) -> None:
    """Refuse classes that are not those that the store keeps; older stores keep none.

    StoreError; also where what the store says of itself is damaged.
    """
    attributes = read_attributes(folder)
    faults = "; ".join(faults_of_store(attributes)) if attributes else ""
    if faults:
        raise StoreError(folder, f"Its run.zarr is damaged ({faults}).", RUN_AGAIN)
    kept = attributes.get("classes")
    if recorded is None or kept is None:
        return
    try:
        stored = ClassSet.from_record(kept)
    except DAMAGES as error:
        problem = f"Its run.zarr is damaged ({_words(error)})."
        raise StoreError(folder, problem, RUN_AGAIN) from error
    changed = []
    for word in ("names", "activation", "thresholds", "temperature", "biases"):
        now, then = getattr(recorded, word), getattr(stored, word)
        counts = word != "thresholds" or stored.has_thresholds
        if counts and now != then:
            changed.append(f"{word} {_listed(now)}, and the run.zarr {_listed(then)}")
    if changed:
        problem = f"Its {RUN_FILE} was changed: it says of the classes {'; '.join(changed)}."
        raise StoreError(folder, problem, RUN_AGAIN)


def _listed(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)


def _parsed(data: Mapping[str, Any]) -> RunRecord:
    return RunRecord(
        input=RecordedInput.from_json(data["input"]),
        bundle=RecordedBundle.from_json(data["bundle"]),
        status=str(data.get("status", "running")),
        started=str(data.get("started", "")),
        resumed=int(data.get("resumed", 0)),
        made_in=data.get("made_in"),
        spacing=if_known(data.get("spacing"), RecordedSpacing.from_json),
        foreground=if_known(data.get("foreground"), RecordedForeground.from_json),
        qupath=if_known(data["qupath"], _view),
        plan=dict(data["plan"]),
        ngff=str(data.get("ngff", "")),
        painting=data.get("painting"),
        device=str(data.get("device", "")),
        machine=dict(data.get("machine", {})),
        versions=dict(data.get("versions", {})),
        outcome=RecordedOutcome.from_json(data),
    )


def _view(data: Mapping[str, Any]) -> QuPathView:
    left, top = data["corner_px"]
    size = if_known(data["size_px"], lambda size: Size(*map(int, size)))
    return QuPathView((int(left), int(top)), size)


def _view_json(view: QuPathView) -> dict[str, Any]:
    size = if_known(view.size, lambda size: [size.width, size.height])
    return {"corner_px": list(view.corner), "size_px": size}
