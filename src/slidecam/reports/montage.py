"""`montage.png` of a volume.

Its most decisive slices with their heat, and the classes along the axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slidecam.drawing.heat import enlarged, glowing
from slidecam.drawing.pen import Pen, Place, Type, blank_figure, pixels_of, plain
from slidecam.drawing.style import FAMILY, INK, LINE, MUTED, as_hex
from slidecam.files import replacing
from slidecam.reports.sidebar import DISCLAIMER
from slidecam.runs.slices import FAILED, MISSING, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.classes import ClassSet
    from slidecam.runs.slices import SliceTable

SHOWN = 6
"""Slices that are shown."""

APART = 24
"""Shown slices lie at least so many-th of the stack apart, not one slice six times."""

SHEET, MARGIN, GAP = 14.0, 0.45, 0.14
"""Inches: width of the sheet, room round everything, and between pictures."""

HEADER, WORDS, PROFILE, FOOTER = 1.55, 0.3, 2.6, 0.55
"""Inches above the pictures, for a line of words, of the profile, and below it."""

SHADES = {FAILED: "#e06c75", MISSING: "#e06c75", SKIPPED: "#eceef1"}
"""What lies behind the slices that have no probability."""

PICTURE_PX = 480
"""Longest side of a slice as it is drawn."""


@dataclass(frozen=True, eq=False)
class MontageSlice:
    """One slice that is shown.

    Attributes
    ----------
    number
        Its number in the table.
    picture
        uint8, (rows, columns, 3).
    heat
        float32, (rows, columns), 0 to 1 (-1 to 1 if signed), NaN where there is none; or None.
    """

    number: int
    picture: NDArray[np.uint8]
    heat: NDArray[np.float32] | None


@dataclass(frozen=True)
class MontageFacts:
    """What stands round the slices.

    Attributes
    ----------
    name, details
        The volume, and a line of what made the picture.
    call
        The volume-level call in words.
    shown_class
        Whose heat is shown.
    classes
        Those of the table.
    aspect
        Height of a slice over its width, in millimetres.
    signed
        Whether heat speaks against the class too.
    said
        Sentences on what the heat shows, which the file carries.
    """

    name: str
    details: str
    call: str
    shown_class: str
    classes: ClassSet
    aspect: float
    signed: bool = False
    said: tuple[str, ...] = ()


def decisive_slices(table: SliceTable, index: int) -> list[int]:
    """Return the slices where a class is most probable, spread along the axis, in their order."""
    probable = np.where(table.done, table.probabilities[:, index], -1.0)
    apart = max(1, len(table) // APART)
    chosen: list[int] = []
    for number in np.argsort(-probable, kind="stable").tolist():
        if probable[number] < 0 or len(chosen) == SHOWN:
            break
        if all(abs(number - other) >= apart for other in chosen):
            chosen.append(number)
    return sorted(chosen)


def write_montage_png(
    path: Path, slices: Sequence[MontageSlice], table: SliceTable, facts: MontageFacts
) -> None:
    """Draw a row of slices, the same with heat, and the profile of all classes along the axis."""
    width = (SHEET - 2 * MARGIN - (SHOWN - 1) * GAP) / SHOWN
    height = min(width * facts.aspect, 2 * width)
    rows = 1 + any(one.heat is not None for one in slices)
    pictures = WORDS
    if slices:
        pictures += rows * (height + GAP)
    pen = Pen(SHEET, HEADER + pictures + PROFILE + FOOTER)
    pen.text(MARGIN, 0.56, facts.name, Type(17, INK, "bold"), SHEET - 2 * MARGIN)
    pen.text(MARGIN, 0.84, facts.call, Type(11.5, INK), SHEET - 2 * MARGIN)
    pen.text(MARGIN, 1.08, facts.details, Type(9.5, MUTED), SHEET - 2 * MARGIN)
    for column, one in enumerate(slices):
        _draw_slice(
            pen,
            one,
            table,
            facts,
            Place(MARGIN + column * (width + GAP), HEADER, width, height),
        )
    plot = Place(MARGIN, HEADER + pictures, SHEET - 2 * MARGIN, PROFILE)
    pen.image(
        plot,
        profile_picture(table, [one.number for one in slices], facts, (plot.width, plot.height)),
    )
    pen.text(MARGIN, pen.height - 0.2, DISCLAIMER, Type(9, MUTED))
    pen.text(pen.width - MARGIN, pen.height - 0.2, "slidecam", Type(9, MUTED, align="right"))
    with replacing(path) as fresh:
        pen.save(fresh, facts.said)


def _draw_slice(
    pen: Pen, one: MontageSlice, table: SliceTable, facts: MontageFacts, place: Place
) -> None:
    called = _call(facts.classes, table.probabilities[one.number].tolist())
    words = f"{one.number}: {table.positions[one.number]:.1f} mm, {called}"
    pen.text(place.left, place.top - 0.08, words, Type(8.5), place.width)
    size = (max(1, round(PICTURE_PX / facts.aspect)), PICTURE_PX)
    picture = enlarged(one.picture, size)
    pen.image(place, picture)
    if one.heat is not None:
        lower = Place(place.left, place.top + place.height + GAP, place.width, place.height)
        heat = enlarged(np.nan_to_num(one.heat), size)
        pen.image(lower, glowing(picture, heat, signed=facts.signed))


def _call(classes: ClassSet, values: Sequence[float]) -> str:
    """Return what a slice is called, with its largest probability; that in brackets if none is."""
    share = f"{values[classes.foremost(values)]:.2f}"
    called = classes.call(values)
    if classes.called_names(values):
        return f"{called} {share}"
    return f"{called} ({share})"


def profile_picture(
    table: SliceTable,
    shown: Sequence[int],
    facts: MontageFacts,
    size: tuple[float, float],
) -> NDArray[np.uint8]:
    """Draw each class's probability along the axis, with what was skipped in grey.

    ``size`` in inches.
    """
    figure = blank_figure(*size)
    axes = figure.add_axes((0.05, 0.2, 0.82, 0.72))
    for index, (name, color) in enumerate(
        zip(table.class_names, facts.classes.colors, strict=True)
    ):
        axes.plot(
            table.positions,
            table.probabilities[:, index],
            color=as_hex(color),
            lw=1.8,
            label=plain(name),
            marker=".",
        )
    half = 0.5
    if len(table) > 1:
        half = abs(float(np.diff(table.positions[:2])[0])) / 2
    for place, status in zip(table.positions.tolist(), table.status, strict=True):
        if status in SHADES:
            axes.axvspan(place - half, place + half, color=SHADES[status], lw=0)
    for number in shown:
        axes.axvline(table.positions[number], color=LINE, lw=0.8, zorder=0)
    axes.set(
        ylim=(-0.02, 1.02),
        xlim=(table.positions.min() - half, table.positions.max() + half),
    )
    words = {
        "axial": "upwards",
        "coronal": "backwards",
        "sagittal": "to the patient's left",
    }
    label = (
        f"{table.axis} slices, mm {words.get(table.axis, '')} (grey: skipped, without foreground)"
    )
    axes.set_xlabel(label, fontsize=9, family=FAMILY, color=MUTED)
    axes.set_ylabel("probability", fontsize=9, family=FAMILY, color=MUTED)
    axes.tick_params(labelsize=8, colors=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="center right", fontsize=9, frameon=False)
    return pixels_of(figure)
