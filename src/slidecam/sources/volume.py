"""A volume behind `Source`.

Its slices along an axis are planes, shown through a window of intensities.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import UsageError
from slidecam.geometry import Level, LevelBox, Size, Spacing
from slidecam.pixels import windowed
from slidecam.registry import deferred
from slidecam.sources._library import closed, decoding
from slidecam.sources._voxels import SLOWEST, not_numbers_words
from slidecam.sources.overview import CHUNK_EDGE
from slidecam.sources.placement import words_on_axes
from slidecam.sources.source import Source, SourceFacts
from slidecam.sources.tasks import TaskSlide
from slidecam.viewing import FULL_RANGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import dask.array as da
    from numpy.typing import NDArray

    from slidecam.sources._probe import Probe
    from slidecam.sources._voxels import Voxels
    from slidecam.sources.volume_grid import PlaneStack
    from slidecam.viewing import VolumeView
else:
    da = deferred("dask.array")


SLAB_BYTES = 16_000_000
"""Intensities that are read at once.

Neighbouring slices lie together in most files, or cost as much as one.
"""

MOST_IN_SLAB = 32
SLABS_KEPT = 3
"""Slabs in memory: those of the slice that is wanted, of the next one, and of a late thread."""

SAMPLED_VOXELS = 4_000_000
"""From so many voxels, evenly spread, the window is found."""

UM_PER_MM = 1000.0
WHITE = 255.0


def volume_facts(
    probe: Probe,
    stack: PlaneStack,
    kind: tuple[str, str, str],
    fingerprint: str,
    notes: Iterable[str] = (),
) -> SourceFacts:
    """Return the facts of a volume.

    ``kind`` is its reader, its format and where its spacing comes from.
    """
    reader, file_format, spacing_from = kind
    _planes, rows, columns = stack.shape
    _apart, row_mm, column_mm = stack.spacing_mm
    size = Size(columns, rows)
    return SourceFacts(
        path=probe.given,
        name=probe.name,
        reader=reader,
        format=file_format,
        levels=(Level(0, size, 1.0),),
        spacing=Spacing(column_mm * UM_PER_MM, row_mm * UM_PER_MM),
        spacing_from=spacing_from,
        bounds=None,
        chunk=(Size(min(CHUNK_EDGE, columns), min(CHUNK_EDGE, rows)),),
        associated=(),
        fingerprint=fingerprint,
        readings=(*notes, *words_on_axes(stack.grid)),
        stack=stack,
    )


class VolumeSource(Source):
    """A volume, read plane by plane as pictures, or as intensities in (S, P, L) order.

    Parameters
    ----------
    facts
        With the `PlaneStack` that says which planes there are.
    voxels
        The samples.
    view
        How planes become pictures.
    unplaced
        Files of its series that were slices and are lost, and nothing says which: at its ends.

    Examples
    --------
    >>> with open_source("brain.nii.gz", view=VolumeView(axis="coronal")) as volume:
    ...     picture = volume.read(0, LevelBox(0, 0, 64, 64), plane=40)  # uint8, (64, 64, 3)
    ...     intensities = volume.array()  # dask, float32, (S, P, L)
    """

    def __init__(
        self, facts: SourceFacts, voxels: Voxels, view: VolumeView, unplaced: int = 0
    ) -> None:
        facts = replace(facts, readings=facts.readings + voxels.layout.colours(facts.path))
        if not voxels.is_colour:
            facts = replace(facts, offers=facts.offers | {"window"})
        if view.slide.window == FULL_RANGE:
            problem = "The intensities of a volume have no full range."
            raise UsageError(problem, "Pass --window LOW,HIGH or LOW%,HIGH%.", facts.path)
        super().__init__(facts)
        assert facts.stack is not None  # noqa: S101  (for the type checker: every volume has one)
        self.stack: PlaneStack = facts.stack
        self.view = view
        self.unplaced = unplaced
        self._voxels = voxels
        self._slabs: OrderedDict[int, NDArray[np.float32] | NDArray[np.uint8]] = OrderedDict()
        self._lock, self._limits_lock = Lock(), Lock()
        self._limits: tuple[float, float] | None = None
        self._not_numbers = 0.0
        self._closed = False

    @property
    def is_colour(self) -> bool:
        """Whether voxels are colours, which no window changes."""
        return self._voxels.is_colour

    @property
    def broken(self) -> Mapping[int, str]:
        """The planes that cannot be read, though others can, and why; all is unpacked to say so.

        Nothing where the volume is shown along another axis than its file's slices: of each picture
        a part is lost then, which is one of ``facts.readings`` from the first read on.

        Raises
        ------
        RegionReadError
            If nothing can be read.
        """
        if self._closed:
            raise closed(self.facts.path)
        size = self.facts.size
        with decoding(self.facts.path, 0, LevelBox(0, 0, size.width, size.height)):
            lost = self._voxels.broken
        if not lost or self.stack.grid.file_axis(self.stack.place) != SLOWEST:
            return {}
        planes = enumerate(self.stack.file_indices.tolist())
        return {plane: lost[index] for plane, index in planes if index in lost}

    def say_what_is_broken(self) -> None:
        """Put what cannot be read of the volume into ``facts.readings``; all is unpacked."""
        planes, lost = self.broken, self._voxels.broken
        if planes:
            number, reason = next(iter(planes.items()))
            said = f"{len(planes)} of its slices cannot be read, such as {number} ({reason})."
        elif lost:
            reason = next(iter(lost.values()))
            said = f"{len(lost)} slices of its files cannot be read ({reason}): they are dark here."
        else:
            return
        self._say(said)

    @property
    def limits(self) -> tuple[float, float]:
        """The intensities that are shown as black and as white; 0 and 255 for colours."""
        if self.is_colour:
            return 0.0, WHITE
        with self._limits_lock:
            if self._limits is None:
                sample = self._sample()
                self._limits = self.view.shown_window.limits(sample)
                if sample.size:
                    self._not_numbers = 1 - float(np.isfinite(sample).mean())
            return self._limits

    @property
    def unplaced_words(self) -> str:
        """That files are lost of which nothing says where they lay, as a clause; or nothing."""
        if not self.unplaced:
            return ""
        if self.unplaced == 1:
            return "1 file was a slice of its series and cannot be read"
        return f"{self.unplaced} files were slices of its series and cannot be read"

    def say_window(self) -> None:
        """Put into ``facts.readings`` which intensities are black and white; colours have none."""
        if self.is_colour:
            return
        low, high = self.limits
        window, found = self.view.shown_window, ""
        if window.kind != "fixed":
            found = f": {window.words} of its voxels above air"
        self._say(
            f"Window {low:.4g} to {high:.4g} is black to white{found}; --window sets another."
        )

    def say_what_is_no_number(self) -> None:
        """Put into ``facts.readings`` that voxels are no numbers, where some are."""
        if self.not_numbers:
            self._say(not_numbers_words(self.not_numbers))

    def _say(self, said: str) -> None:
        if said not in self.facts.readings:
            self.facts = replace(self.facts, readings=(*self.facts.readings, said))

    @property
    def not_numbers(self) -> float:
        """The share of voxels that are not-a-number or infinite.

        It is counted in the sample that the window is found from.
        """
        if self.limits and not self.is_colour:
            return self._not_numbers
        return 0.0

    def intensities(self, plane: int) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Return one plane's intensities as it is hung, float32, (rows, columns).

        Uint8, (…, 3) of colours.

        A plane of `broken` is dark.

        Raises
        ------
        UsageError
            If the source is closed.
        RegionReadError
            If the file is damaged.
        """
        number, place = divmod(plane, self._thickness)
        slab: NDArray[Any] = self._slab(number)
        return np.asarray(slab[place])

    def array(self) -> da.Array:
        """Return the volume as a lazy Dask array, float32, (S, P, L), one block for some slices.

        Colours are uint8, (S, P, L, 3). The place of a voxel is ``stack.grid.scale`` and
        ``stack.grid.translate``.
        """
        place, shape = self.stack.place, self.stack.grid.spl_shape
        bands: tuple[int, ...] = ()
        dtype: np.dtype[Any] = np.dtype(np.float32)
        if self.is_colour:
            bands, dtype = (3,), np.dtype(np.uint8)
        chunks = [*shape]
        chunks[place] = self._thickness
        lazy: da.Array = da.from_array(  # type: ignore[no-untyped-call]  # dask types it in part
            _VolumeView(self, (*shape, *bands), dtype),
            chunks=(*chunks, *bands),
            name=f"{self.facts.reader}-{self.facts.fingerprint}-{self.view.volume}-{self.view.axis}",
            asarray=False,
            fancy=False,
            meta=np.empty((0,) * len((*shape, *bands)), dtype),
        )
        return lazy

    @property
    def held_bytes(self) -> int:
        """Slabs that are kept for the next slices, and what was unpacked."""
        with self._lock:
            return self._voxels.spooled_bytes + sum(slab.nbytes for slab in self._slabs.values())

    def close(self) -> None:
        """Let the samples go, and the temporary file that a compressed volume was unpacked into."""
        with self._lock:
            self._closed = True
            self._slabs.clear()
        self._voxels.close()

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Raise KeyError: a volume has no associated images."""
        raise KeyError(name)

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        return self._decode_plane(level, box, 0)

    def _decode_plane(self, level: int, box: LevelBox, plane: int) -> NDArray[np.uint8]:
        with decoding(self.facts.path, level, box):
            rows, columns = slice(box.y, box.bottom), slice(box.x, box.right)
            lost = self.broken
            if self.is_colour:
                _refuse_lost(lost, [plane])
                return np.asarray(self.intensities(plane)[rows, columns], np.uint8).copy()
            half, last = self.view.slices // 2, self.stack.shape[0] - 1
            shown = np.clip([plane - half, plane, plane + half], 0, last).tolist()
            _refuse_lost(lost, shown)
            grey = {
                each: self._shown(self.intensities(each)[rows, columns])
                for each in dict.fromkeys(shown)
            }
            return np.stack([grey[each] for each in shown], axis=2)

    def _shown(self, values: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.uint8]:
        return windowed(values, *self.limits)

    @property
    def _thickness(self) -> int:
        """Planes in a slab."""
        _planes, rows, columns = self.stack.shape
        return int(min(MOST_IN_SLAB, max(1, SLAB_BYTES // (4 * rows * columns))))

    def _slab(self, number: int) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Return planes ``number * thickness`` … as pictures; whoever asks first reads for all."""
        with self._lock:
            if self._closed:
                raise closed(self.facts.path)
            if number not in self._slabs:
                start = number * self._thickness
                stop = min(start + self._thickness, self.stack.shape[0])
                self._slabs[number] = self._read(self.stack.place, start, stop)
            self._slabs.move_to_end(number)
            while len(self._slabs) > SLABS_KEPT:
                self._slabs.popitem(last=False)
            return self._slabs[number]

    def _read(self, place: int, start: int, stop: int) -> NDArray[np.float32] | NDArray[np.uint8]:
        grid = self.stack.grid
        if grid.flipped(place):
            length = grid.spl_shape[place]
            start, stop = length - stop, length - start
        voxels = self._in_file(grid.file_axis(place), start, stop)
        pictures = self.stack.to_pictures(grid.to_spl(voxels))
        return np.ascontiguousarray(pictures)

    def _in_file(self, axis: int, start: int, stop: int) -> NDArray[np.float32] | NDArray[np.uint8]:
        size = self.facts.size
        with decoding(self.facts.path, 0, LevelBox(0, 0, size.width, size.height)):
            return self._voxels.slab(axis, start, stop)

    def _sample(self) -> NDArray[np.float32]:
        """Return about `SAMPLED_VOXELS` intensities, evenly spread in the file's own order."""
        columns, rows, planes = self.stack.grid.shape
        step = max(1, int(np.cbrt(columns * rows * planes / SAMPLED_VOXELS)))
        missing = self._missing_in_file() | self._voxels.broken.keys()
        kept = [plane for plane in range(0, planes, step) if plane not in missing]
        parts = [self._in_file(2, plane, plane + 1)[::step, ::step].ravel() for plane in kept]
        return np.concatenate(parts).astype(np.float32)

    def _missing_in_file(self) -> frozenset[int]:
        if self.stack.grid.file_axis(self.stack.place) != SLOWEST:
            return frozenset()
        return frozenset(self.stack.file_indices[list(self.stack.missing)].tolist())


def _refuse_lost(lost: Mapping[int, str], planes: Iterable[int]) -> None:
    for plane in planes:
        if plane in lost:
            raise ValueError(lost[plane])


class _VolumeView:
    """What Dask needs to slice a volume; nothing is read before a block is asked for."""

    def __init__(
        self, source: VolumeSource, shape: tuple[int, ...], dtype: np.dtype[np.generic]
    ) -> None:
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)
        self._slide = TaskSlide(source)

    def __getitem__(self, key: tuple[slice | int, ...]) -> NDArray[np.generic]:
        with self._slide.opened() as source:
            return self._read(source, key)

    def _read(self, source: VolumeSource, key: tuple[slice | int, ...]) -> NDArray[np.generic]:
        stack, inner = source.stack, [*key]
        planes = range(self.shape[stack.place])[key[stack.place]]
        inner[stack.place] = slice(None)
        if isinstance(planes, int):
            planes = range(planes, planes + 1)
            inner[stack.place] = 0
        if not planes:
            return np.empty(self.shape, self.dtype)[key]
        read = np.stack(list(map(source.intensities, planes)))
        return stack.from_pictures(read)[tuple(inner)]
