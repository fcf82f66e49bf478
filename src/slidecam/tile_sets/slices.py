"""From volumes to pictures to learn from: slices as `predict` sees them, in folders of classes.

A classifier that has learnt from selected pictures alone has seen no slice beside a tumour, and
hardly a head in the place and size that a scanner gives it.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import DataSetError, SlidecamError, UsageError
from slidecam.files import refuse_inputs, replacing_folder, write_csv, write_json
from slidecam.foreground import find_head, mask_on
from slidecam.learning.data.picture_files import PART_NAMES, PICTURE_TABLE
from slidecam.models.card_parts import VolumeCard
from slidecam.parsing import ParseError, rows_in, whole_number
from slidecam.sources.apart import open_apart
from slidecam.sources.volume import VolumeSource
from slidecam.steps import Step
from slidecam.streaming import StreamSpec, TileStream, plan_batches
from slidecam.tile_sets.writing import BATCH, refuse_existing, safe_name, save_tile
from slidecam.viewing import VolumeView
from slidecam.volume_tiling import lay_planes

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.learning.recipes.tables import Recipe
    from slidecam.models import Card

SLICE_RECORD = "slice_set.json"

SLICE_COLUMNS = ("path", "label", "group", "split", "volume", "axis", "slice", "position_mm")

REMEDY = "A line is a volume: path,label[,first,last,step,mask,outside,volume,group,split]."


@dataclass(frozen=True)
class SliceSetSpec:
    """How volumes become pictures.

    Attributes
    ----------
    seen
        Axis, slices at a time and window, as on a card.
    input_px, interpolation
        Edge of what is written, and how the square in millimetres that holds a slice is resized to
        it.
    min_tissue
        Least foreground of a slice, as a share of the fullest one's.
    workers, memory_mb
        As in `PredictSpec`.
    overwrite
        Whether a slice set that lies there already may be replaced.
    """

    seen: VolumeCard = field(default_factory=VolumeCard)
    input_px: int = 224
    interpolation: str = "bilinear"
    min_tissue: float = 0.1
    workers: int = 4
    memory_mb: int = 512
    overwrite: bool = False

    @classmethod
    def of_recipe(
        cls,
        recipe: Recipe,
        min_tissue: float,
        *,
        overwrite: bool = False,
    ) -> SliceSetSpec:
        """Return how a recipe's classifier will see volumes."""
        data, seen = recipe.data, recipe.volume or VolumeCard()
        return cls(seen, data.input_px, data.interpolation, min_tissue, overwrite=overwrite)

    @classmethod
    def of_card(cls, card: Card, min_tissue: float, *, overwrite: bool = False) -> SliceSetSpec:
        """Return how a bundle's classifier sees volumes; UsageError if it sees tiles of slides."""
        if card.spacing is not None:
            raise UsageError(
                f"The bundle {card.name} sees tiles, no whole pictures.",
                "Name a bundle of whole pictures.",
            )
        seen = card.volume or VolumeCard()
        return cls(seen, card.input_px, card.interpolation, min_tissue, overwrite=overwrite)


@dataclass(frozen=True)
class LabelledSlices:
    """A line of the table: which slices of a volume are of a class.

    Attributes
    ----------
    path, label
        The volume, and the class of the slices.
    first, last, step
        Numbers of the slices along the axis, as in ``slices.csv``, both included, and every how
        many of them is taken. None for the volume's own first and last.
    mask
        A volume that is above 0 where a person marked something: the label is that of the slices
        that it cuts.
    outside
        The class of the slices that the mask does not cut; they are left out where it is empty.
    volume
        Of a 4-D file: its number or name; None for the first.
    group, split
        The patient, and the part of the data.
    """

    path: Path
    label: str
    first: int | None = None
    last: int | None = None
    step: int = 1
    mask: Path | None = None
    outside: str = ""
    volume: str | None = None
    group: str = ""
    split: str = ""


@dataclass(frozen=True)
class SliceSet:
    """A finished set: where it lies, how many slices each class has, and what became of each line.

    Attributes
    ----------
    folder
        Where it lies.
    slices
        How many there are of each class.
    volumes
        What became of each line of the table, in words, by the volume and its label.
    is_whole
        Whether every volume and every slice could be read.
    """

    folder: Path
    slices: Mapping[str, int]
    volumes: Mapping[str, str]
    is_whole: bool


@dataclass(frozen=True)
class _Written:
    file: str
    label: str
    group: str
    split: str
    volume: str
    axis: str
    number: int
    position_mm: float


def write_slice_set(
    table: Path,
    out: Path,
    spec: SliceSetSpec | None = None,
) -> Generator[Step, None, SliceSet]:
    """Write slices of volumes as pictures to learn from, as `predict` would see them.

    ``out`` gets a PNG per slice, ``[<split>/]<class>/<volume>_<axis>_<slice>.png``, a table of them
    with the volume as the group, ``pictures.csv``, and ``slice_set.json``, which says how they were
    made. It appears whole or not at all; a volume that cannot be read is told, and left out.

    Parameters
    ----------
    table
        CSV, a line as `LabelledSlices` says; paths are relative to its folder.
    out
        A folder that is not there yet, or empty.
    spec
        Everything else.

    Raises
    ------
    DataSetError
        If the table says nothing that can be followed, or no slice of any volume could be read.
    UsageError
        If something lies in ``out``.
    """
    spec = spec or SliceSetSpec()
    lines = read_slice_table(table)
    refuse_inputs([out], [table, *(line.path for line in lines)], whole=True)
    refuse_existing(out, SLICE_RECORD, overwrite=spec.overwrite)
    rows: list[_Written] = []
    volumes: dict[str, str] = {}
    is_whole = True
    with replacing_folder(out) as fresh:
        fresh.mkdir()
        for number, line in enumerate(lines, 1):
            before = len(rows)
            try:
                failed, notes = yield from _one_volume(line, fresh, spec, rows)
            except DataSetError:
                raise
            except SlidecamError as error:
                failed, said = 1, f"{error.problem} {error.remedy}"
            else:
                counted = f"{len(rows) - before} slices, {failed} failed"
                said = ". ".join((counted, *notes))
            is_whole = is_whole and not failed
            volumes[f"line {number + 1}, {line.path.name}, {line.label}"] = said
            yield Step("volumes", number, len(lines), message=f"{line.path.name}: {said}")
        if not rows:
            raise DataSetError(f"No slice was taken: {said}", "Mend what is said of it.", table)
        write_csv(fresh / PICTURE_TABLE, [SLICE_COLUMNS, *map(_values, rows)])
        write_json(
            fresh / SLICE_RECORD,
            {"format": "slidecam-slice-set", "spec": asdict(spec), "volumes": volumes},
        )
    return SliceSet(out, Counter(row.label for row in rows), volumes, is_whole)


def _values(row: _Written) -> tuple[str, ...]:
    place = f"{row.position_mm:.3f}"
    known = row.file, row.label, row.group, row.split, row.volume, row.axis
    return (*known, str(row.number), place)


def read_slice_table(table: Path) -> list[LabelledSlices]:
    """Return the lines of a table of volumes; DataSetError where one cannot be followed."""
    try:
        columns, rows = rows_in(table)
    except (OSError, ParseError) as error:
        raise DataSetError(f"this is no table of text: {error}.", REMEDY, table) from error
    for column in columns:
        if column not in LabelledSlices.__dataclass_fields__:
            raise DataSetError(f"there is no column {column!r}.", REMEDY, table)
    return [_line(table, number, values) for number, values in enumerate(rows, 2)]


def _line(table: Path, number: int, values: Mapping[str, str]) -> LabelledSlices:
    where = f"{table}, line {number}"
    said = {key: value.strip() for key, value in values.items()}
    if not said.get("path") or not said.get("label"):
        raise DataSetError(f"{where}: the path or the label is empty.", "Fill both.")
    counts: dict[str, int | None] = {}
    for key in ("first", "last", "step"):
        text = said.get(key, "")
        counts[key] = whole_number(text)
        if text and counts[key] is None:
            raise DataSetError(f"{where}: {key} is {text[:20]!r}.", "Write the number of a slice.")
    part = said.get("split", "").lower()
    if part not in PART_NAMES:
        raise DataSetError(f"{where}: there is no split {part!r}.", "Write train, val or test.")
    mask = None
    if said.get("mask"):
        mask = table.parent / said["mask"]
    elif said.get("outside"):
        raise DataSetError(f"{where}: outside says of what?", "Name the mask as well.")
    return LabelledSlices(
        path=table.parent / said["path"],
        label=said["label"],
        first=counts["first"],
        last=counts["last"],
        step=counts["step"] or 1,
        mask=mask,
        outside=said.get("outside", ""),
        volume=said.get("volume") or None,
        group=said.get("group", ""),
        split=PART_NAMES[part],
    )


def _one_volume(
    line: LabelledSlices,
    folder: Path,
    spec: SliceSetSpec,
    rows: list[_Written],
) -> Generator[Step, None, tuple[int, tuple[str, ...]]]:
    """Write the slices of one line and note them in ``rows``.

    Return how many failed, and what was assumed of the volume's file and the mask's.
    """
    seen = spec.seen
    view = VolumeView(seen.axis, seen.slices, seen.window, line.volume)
    with open_apart(line.path, view=view) as source:
        if not isinstance(source, VolumeSource):
            raise DataSetError("This is no volume.", "Take it out of the table.", line.path)
        grid = lay_planes(source.facts, find_head(source), spec.input_px, spec.min_tissue)
        assert grid.planes is not None  # noqa: S101  (for the type checker: of a volume's grid)
        labels, notes = _labels(line, source, grid.planes)
        notes = (*source.facts.readings, *notes)
        kept = np.flatnonzero(labels != "")
        grid, labels = grid.only(kept), labels[kept]
        written = [
            _slice(line, source, label, plane, rows)
            for label, plane in zip(labels.tolist(), grid.planes.tolist(), strict=True)
        ]
        for row in written:
            (folder / row.file).parent.mkdir(parents=True, exist_ok=True)
        batches = list(enumerate(plan_batches(source, grid, BATCH)))
        stream_spec = StreamSpec(BATCH, spec.workers, spec.memory_mb, spec.interpolation)
        lost: set[int] = set()
        done = 0
        with (
            TileStream(source, grid, batches, stream_spec) as stream,
            ThreadPoolExecutor(spec.workers) as pool,
        ):
            for batch in stream:
                lost |= {failure.row for failure in batch.failures}
                read = [
                    (pixels, folder / written[row].file)
                    for pixels, row in zip(batch.pixels, batch.rows.tolist(), strict=True)
                    if row not in lost
                ]
                list(pool.map(save_tile, read))
                done += len(batch.rows)
                yield Step(f"slices of {source.facts.name}", done, len(written))
    rows.extend(row for at, row in enumerate(written) if at not in lost)
    return len(lost), notes


def _labels(
    line: LabelledSlices,
    source: VolumeSource,
    planes: NDArray[np.int64],
) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Return the class of each plane, empty for those that are left out, and a mask's readings."""
    last = source.facts.planes - 1
    if line.last is not None:
        last = line.last
    first = line.first or 0
    wanted = (planes >= first) & (planes <= last) & ((planes - first) % line.step == 0)
    labels = np.full(len(planes), line.label, dtype=object)
    notes: tuple[str, ...] = ()
    if line.mask is not None:
        mask = mask_on(line.mask, source.stack)
        marked, notes = np.asarray(mask.planes.any(axis=(1, 2))), mask.readings
        labels[~marked[planes]] = line.outside
    labels[~wanted] = ""
    return labels.astype(np.str_), notes


def _slice(
    line: LabelledSlices,
    source: VolumeSource,
    label: str,
    plane: int,
    rows: Sequence[_Written],
) -> _Written:
    name, axis = source.facts.name, source.stack.axis
    group = line.group or name
    whose = name
    if group != name:
        whose = f"{group}_{name}"
    if line.volume is not None:
        whose = f"{whose}_{line.volume}"
    file = f"{safe_name(label)}/{safe_name(whose)}_{axis}_{plane:04d}.png"
    if line.split:
        file = f"{line.split}/{file}"
    for row in rows:
        if row.file == file:
            raise DataSetError(
                f"slice {plane} of {whose} is in the table twice.",
                "Keep one line for it; volumes of one name need a group each.",
                line.path,
            )
    position = float(source.stack.positions[plane])
    return _Written(file, label, group, line.split, name, axis, plane, position)
