"""A volume's heatmaps against a mask that a person drew: energy inside, pointing game, Dice."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import distance_transform_edt

from slidecam.class_names import classes_meant, normal_name
from slidecam.errors import DataSetError, StoreError, UsageError
from slidecam.exchange.volumes import VolumeHeatmap, read_volume_ome_zarr
from slidecam.faithfulness.correlation import dice, energy, pointing
from slidecam.files import strict_json, write_json
from slidecam.foreground import mask_on
from slidecam.runs import RunRecord
from slidecam.runs.record import RUN_AGAIN
from slidecam.runs.record_parts import RecordedCall
from slidecam.runs.run import find_heatmaps
from slidecam.runs.slices import read_slices_csv
from slidecam.store import STORE_FOLDER, RunStore
from slidecam.thresholds import Threshold, threshold_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.sources.volume_grid import PlaneStack


OUTPUT = "localisation.json"


@dataclass(frozen=True)
class MaskFigures:
    """How one class's heatmap lies to a mask.

    Of an empty one, without any heat, energy, pointing, distance, Dice and cut are not a number.

    Attributes
    ----------
    heatmap, method, class_name
        What is measured.
    energy
        Share of the positive heat of the classified slices that lies in the mask.
    chance
        Share of the classified slices' voxels that are the mask's: what even heat would get.
    chance_in_foreground
        The same among the voxels of the foreground that was found.
    pointing
        1 where the highest voxel of all lies in the mask, else 0; a share where several are as
        high.
    peak_distance_mm
        From the highest voxel to the mask.
    slices_pointing, slices
        Share of the slices with mask whose own highest pixel lies in it, and how many these are.
    dice, threshold, cut
        Overlap of the mask and where heat is at or above the threshold: its rule, and the heat that
        it came to.
    """

    heatmap: str
    method: str
    class_name: str
    energy: float
    chance: float
    chance_in_foreground: float
    pointing: float
    peak_distance_mm: float
    slices_pointing: float
    slices: int
    dice: float
    threshold: str
    cut: float

    @property
    def is_empty(self) -> bool:
        """Whether the classified slices have no heat at all, so that it lies nowhere."""
        return math.isnan(self.energy)


@dataclass(frozen=True)
class VolumeEvaluation:
    """A finished run of a volume beside a mask.

    Attributes
    ----------
    run, mask
        The folder of the run and the file of the mask.
    call
        What the volume was called, as in ``run.json``.
    mask_voxels, mask_ml
        How large the mask is.
    slices_with_mask, called_with_mask
        Slices that the mask cuts, and of those that were classified, how many were called each
        class; one that is called several counts for each.
    figures
        One row for each heatmap and class.
    notes
        What a reader should know.
    none_called_with_mask
        How many of these slices were called none.
    """

    run: str
    mask: str
    call: dict[str, Any]
    mask_voxels: int
    mask_ml: float
    slices_with_mask: int
    called_with_mask: dict[str, int]
    figures: tuple[MaskFigures, ...]
    notes: tuple[str, ...] = ()
    none_called_with_mask: int = 0

    @property
    def called_words(self) -> str:
        """What the volume was called, in words: all its classes, or ``nothing``."""
        return RecordedCall.from_json(self.call).words

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON; what is not a number is null."""
        return {key: strict_json(value) for key, value in asdict(self).items()}


def evaluate_volume(
    run: Path,
    mask: Path,
    classes: Sequence[str] = (),
    threshold: Threshold | None = None,
) -> VolumeEvaluation:
    """Measure how a finished run's heatmaps lie to a mask.

    Parameters
    ----------
    run
        A volume's folder in the output folder of ``predict``.
    mask
        A volume (NIfTI, NRRD, MGZ), above 0 where a person marked something; on other voxels it is
        taken at the nearest.
    classes
        Whose heatmaps; empty for all.
    threshold
        Where heat begins to count for Dice; None for Otsu's.

    Raises
    ------
    StoreError
        If ``run`` is no finished run of a volume with a heatmap.
    MaskError
        If the mask cannot be read or is empty where the volume lies.
    UsageError
        If a class has no heatmap.
    DataSetError
        If no classified slice has any of the mask.
    """
    record, heatmaps = RunRecord.find(run), find_heatmaps(run)
    if record is None or record.call is None or not heatmaps:
        remedy = "Pass a volume's folder in the --out of predict, not run with --heatmap none."
        raise StoreError(run, "this is no finished run of a volume with a heatmap.", remedy)
    read = [(path, read_volume_ome_zarr(path)) for path in heatmaps]
    stack = read[0][1].spec.stack
    on_volume = mask_on(mask, stack)
    marked = on_volume.planes
    table = read_slices_csv(run / "slices.csv")
    cut = marked.any(axis=(1, 2))
    known = table.done
    if not (cut & known).any():
        raise DataSetError(
            "no classified slice has any of it.",
            "Check that it belongs to this volume.",
            mask,
        )
    known_classes = record.bundle.classes
    if known_classes is None:
        raise StoreError(run, "its run.json does not name the classes.", RUN_AGAIN)
    calls = known_classes.called(table.probabilities[cut & known])
    rule = threshold or Threshold()
    foreground = _foreground(run, record, stack)
    figures: list[MaskFigures] = []
    for path, heat in read:
        figures += _figures(path, heat, (marked, foreground, known), tuple(classes), rule)
    empty = [one for one in figures if one.is_empty]
    millilitres = float(marked.sum() * np.prod(stack.spacing_mm) / 1000)
    lost = int((cut & ~known).sum())
    notes = list(on_volume.readings)
    notes += [
        f"{one.heatmap} has no heat of {one.class_name}: it is empty, and lies nowhere."
        for one in empty
    ]
    if lost:
        notes.append(f"{lost} slices with mask were not classified and do not count.")
    called = dict(zip(table.class_names, calls.sum(axis=0).tolist(), strict=True))
    voxels, cuts = int(marked.sum()), int(cut.sum())
    call = dict(record.call.facts)
    return VolumeEvaluation(
        run=str(run),
        mask=str(mask),
        call=call,
        mask_voxels=voxels,
        mask_ml=millilitres,
        slices_with_mask=cuts,
        called_with_mask=called,
        figures=tuple(figures),
        notes=tuple(notes),
        none_called_with_mask=int((~calls.any(axis=1)).sum()),
    )


def _foreground(run: Path, record: RunRecord, stack: PlaneStack) -> NDArray[np.bool_]:
    """Return what the run took for foreground, (planes, rows, columns), each as it is hung.

    As its store keeps it; of an older one as its file says.
    """
    rows, columns = stack.shape[1:]
    if (run / STORE_FOLDER).exists():
        kept = RunStore.open(run).tissue
        if kept is not None:
            # Of every n-th row and column: each voxel has the nearest one before it.
            down = np.arange(rows) * kept.shape[1] // rows
            across = np.arange(columns) * kept.shape[2] // columns
            return kept[:, down][:, :, across]
    if record.foreground is None or not record.foreground.share:
        return np.zeros(stack.shape, np.bool_)
    return mask_on(run / "mask.nii.gz", stack).planes


def write_evaluation(evaluation: VolumeEvaluation, folder: Path) -> Path:
    """Write ``localisation.json`` and return its path."""
    path = folder / OUTPUT
    write_json(path, evaluation.record(), ascii_only=True)
    return path


def _figures(
    path: Path,
    heat: VolumeHeatmap,
    places: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]],
    classes: tuple[str, ...],
    rule: Threshold,
) -> Iterator[MaskFigures]:
    marked, foreground, known = places
    classes = tuple(map(normal_name, classes))
    unknown = [name for name in classes if name not in heat.spec.class_names]
    if unknown:
        raise UsageError(
            f"The heatmap {path.name} has no class {unknown[0]!r}.",
            classes_meant(unknown[0], heat.spec.class_names),
        )
    distance = distance_transform_edt(~marked[known], sampling=heat.spec.stack.spacing_mm)
    for name in classes or heat.spec.class_names:
        values = heat.pictures(heat.spec.class_names.index(name), 0, len(marked))[known]
        inside, body = marked[known], foreground[known]
        # Where a classified slice has no tile, there is no heat.
        values = np.nan_to_num(values)
        peak = float(distance[values == values.max()].mean())
        each = [pointing(one, own) for one, own in zip(values, inside, strict=True) if own.any()]
        found = MaskFigures(
            heatmap=path.name,
            method=str(heat.spec.attributes.get("method", "")),
            class_name=name,
            energy=energy(values, inside),
            chance=float(inside.mean()),
            chance_in_foreground=float((inside & body).sum() / max(1, body.sum())),
            pointing=pointing(values, inside),
            peak_distance_mm=peak,
            slices_pointing=float(np.mean(each)),
            slices=len(each),
            dice=dice(values, inside, rule),
            threshold=str(rule),
            cut=threshold_of(values, rule),
        )
        if found.is_empty:
            # All of its pixels are the highest: where they lie says nothing.
            found = replace(
                found,
                pointing=math.nan,
                peak_distance_mm=math.nan,
                slices_pointing=math.nan,
                dice=math.nan,
                cut=math.nan,
            )
        yield found
