"""The nouns of a run at work: one slide with all that was settled, its run on disk, its seconds."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from slidecam.errors import SlideFailedError
from slidecam.files import changed_since
from slidecam.runs.legend import own_parts, own_slices
from slidecam.runs.outputs import QUPATH_FOLDER, output_names
from slidecam.store import WHEN_WHOLE, spoil_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from slidecam.files import Mark
    from slidecam.foreground import Foreground
    from slidecam.geometry import Spacing
    from slidecam.inference import ScoredBatch
    from slidecam.locks import FolderLock
    from slidecam.models import Card
    from slidecam.prediction.model import LoadedModel
    from slidecam.runs.legend import OwnParts
    from slidecam.runs.record import RunRecord
    from slidecam.runs.spec import PredictSpec
    from slidecam.sources import SettledSpacing, Source
    from slidecam.sources.qupath import QuPathView
    from slidecam.store import Mirror, RunStore
    from slidecam.streaming import TileStream
    from slidecam.tiling import TileGrid


@dataclass(frozen=True)
class OpenRun:
    """A run on disk with its pending batches on their way.

    Attributes
    ----------
    store, stream
        Where results go, and the tiles that have none yet.
    boxes
        int64, (tiles, 4), level-0 pixels, in grid order.
    done
        Tiles that had a result when the run was opened.
    complete
        Whether an earlier call has finished this slide, and all of its outputs are still there.
    notes
        What a reader of the results should know of how they came about.
    lock
        Keeps other processes out until it is released; None where another process holds it.
    planes
        int64, (tiles,): the plane of a volume that each tile is on, in grid order; None for a
        slide.
    """

    store: RunStore
    stream: TileStream
    boxes: NDArray[np.int64]
    done: int
    complete: bool
    notes: tuple[str, ...]
    lock: FolderLock | None
    planes: NDArray[np.int64] | None = None

    def close(self) -> None:
        """Stop decoding and let other processes in."""
        try:
            self.stream.close()
        finally:
            if self.lock is not None:
                self.lock.release()


@dataclass
class Timings:
    """Seconds of one slide, added up over its stages and batches.

    ``decode`` counts thread seconds, which run beside the others; ``transfer`` and ``model`` are
    the device's, ``write`` the store's and the outputs', ``prepare`` those from opening the slide
    to its plan. What it waits between two stages, for the slides before it, belongs to none.
    """

    prepare: float = 0.0
    decode: float = 0.0
    transfer: float = 0.0
    model: float = 0.0
    write: float = 0.0
    _worked: float = 0.0
    _begun: float | None = None

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Count the seconds of one stage."""
        self._begun = time.perf_counter()
        try:
            yield
        finally:
            self._worked, self._begun = self.seconds, None

    def add(self, scored: ScoredBatch) -> None:
        """Add one batch."""
        self.decode += scored.batch.decode_seconds
        self.transfer += scored.transfer_seconds
        self.model += scored.model_seconds

    def include(self, other: Timings) -> None:
        """Add the seconds of stages that another process took."""
        self.decode += other.decode
        self.transfer += other.transfer
        self.model += other.model
        self.write += other.write
        self._worked += other.seconds

    def record(self) -> dict[str, float]:
        """Return all of them, rounded to milliseconds, with the seconds of all stages."""
        parts = {
            "prepare": self.prepare,
            "decode": self.decode,
            "transfer": self.transfer,
            "model": self.model,
            "write": self.write,
        }
        return {name: round(value, 3) for name, value in {**parts, "total": self.seconds}.items()}

    @property
    def seconds(self) -> float:
        """Seconds of its stages so far, one after the other."""
        if self._begun is None:
            return self._worked
        return self._worked + time.perf_counter() - self._begun


@dataclass(frozen=True)
class SlideWork:
    """The work on one slide: what it is, how it is cut, what classifies it, where results go.

    Attributes
    ----------
    model, spec
        What it is classified with, and how.
    source, spacing, foreground, grid
        The slide and what was settled about it; ``spacing`` is None where nobody knows it and the
        classifier needs none.
    folder
        Where its outputs go.
    plan
        What decides every result, as in ``run.json``.
    qupath
        Where QuPath counts from, ``corner_px``, and the size that it shows, ``size_px``, as in
        ``run.json``.
    run
        The run on disk; None in a dry run.
    timings
        Its seconds.
    mirror
        What puts its folder to a URL; None where its outputs stay on this machine.
    marks
        Of its files before they were opened: what is read of a file that changes meanwhile is of
        two slides.
    """

    model: LoadedModel
    spec: PredictSpec
    source: Source
    spacing: SettledSpacing | None
    foreground: Foreground
    grid: TileGrid
    folder: Path
    plan: Mapping[str, Any]
    qupath: QuPathView
    run: OpenRun | None
    timings: Timings = field(default_factory=Timings)
    mirror: Mirror | None = None
    marks: Mapping[Path, Mark] = field(default_factory=dict)

    def refuse_changed(self) -> None:
        """Give a slide up whose files were written while they were read; SlideFailedError.

        Its run is not continued either: nobody knows which of its tiles are of which content.
        """
        changed = changed_since(self.marks)
        if not changed or self.run is None:
            return
        words = f"The file {changed[0].name} was written while it was classified"
        if len(changed) > 1:
            words = f"{words}, and {len(changed) - 1} more"
        problem = f"{words}: its tiles are of two contents."
        spoil_run(self.folder, problem)
        raise SlideFailedError(self.source.facts.path, problem, WHEN_WHOLE)

    def put(self) -> None:
        """Put what has changed in its folder to where its outputs go, if that is elsewhere."""
        if self.mirror is not None:
            self.mirror.push()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the results should know of the slide."""
        return tuple(self._warnings())

    def _warnings(self) -> Iterator[str]:
        if self.spacing is not None and self.spacing.warning:
            yield self.spacing.warning
        yield from self.source.facts.readings
        if self.run is not None:
            yield from self.run.notes

    @property
    def is_volume(self) -> bool:
        """Whether the source is a volume."""
        return self.source.facts.stack is not None

    @property
    def no_tile_reason(self) -> str:
        """Why nothing of the slide is classified, where nothing is, as a clause."""
        if self.is_volume:
            return (
                f"none of {self.source.facts.planes} slices holds any foreground"
                f" ({self.foreground.origin})"
            )
        if self.foreground.share:
            places = self.grid.candidates
            return f"none of {places} places on the slide holds enough tissue for a tile"
        return f"no tissue found ({self.foreground.origin})"

    @property
    def um_per_pixel(self) -> Spacing | None:
        """Its spacing at level 0, in µm, where anybody knows it."""
        if self.spacing is None:
            return None
        return self.spacing.spacing

    @property
    def card(self) -> Card:
        """The classifier's card."""
        return self.model.bundle.card

    def own_parts(self) -> OwnParts:
        """Return what each of its tiles counts for in shares of classes."""
        grid = self.grid
        if self.is_volume:
            return own_slices(len(grid))
        return own_parts(grid.boxes, grid.steps, self.foreground, self.um_per_pixel)

    def is_written_for_qupath(self, record: RunRecord) -> bool:
        """Whether what lies there counts from where QuPath does now, and exists if wanted."""
        if record.qupath != self.qupath:
            return False
        return self.qupath.size is None or (self.folder / QUPATH_FOLDER).exists()

    def output_names(self) -> tuple[str, ...]:
        """Return the names of all outputs in its folder, beside `run.json` and `run.zarr`."""
        volume_classes = None
        if self.is_volume:
            volume_classes = self.card.class_names
        return output_names(self.model.request, volume_classes, self.spec.outputs)

    def close(self) -> str:
        """Stop decoding and let the file go; return what its reader raised meanwhile, in words."""
        try:
            if self.run is not None:
                self.run.close()
        finally:
            lost = self._let_source_go()
            if self.mirror is not None:
                self.mirror.release()
        return lost

    def _let_source_go(self) -> str:
        """Close the file, but not under a thread that still reads it: a native reader would die."""
        blocked = self.run is not None and self.run.stream.blocked
        if blocked and not self.source.closes_under_reads:
            return "A read of this slide did not return, and its file stays open."
        return self.source.let_go()
