"""What stands beside the pixels, as rich text.

A bundle's card, one tile, the classes of a run, and what came of fine-tuning.
"""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from slidecam.drawing.style import as_hex
from slidecam.models.channels import IN_WORDS
from slidecam.plugin.tasks import in_viewer_words
from slidecam.reports.card_figures import measured_in_words
from slidecam.runs import legend, uncertainty
from slidecam.runs.tiles import UNDECIDED, words_on_disagreement
from slidecam.store import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from slidecam.models import Card
    from slidecam.plugin.job import Ended
    from slidecam.plugin.open_run import ShownRun
    from slidecam.runs import RunComparison
    from slidecam.runs.tiles import TileTable
    from slidecam.teaching import Annotation, Corrections, FineTuned


NAMED = 12
"""Classes that a card names; of more it says how many."""

SHOWN_CLASSES = 8
BAR = 12
"""Characters of the longest bar."""

LEVELS = ((0.25, "sure"), (UNDECIDED, "less sure"), (1.01, "undecided"))


def bundle_card(card: Card) -> str:
    """Return what a person should know of a classifier before it is trusted."""
    known = zip(card.class_names[:NAMED], card.class_colors[:NAMED], strict=True)
    classes = " ".join(swatch(color, name) for name, color in known)
    if len(card.class_names) > NAMED:
        classes += f" and {len(card.class_names) - NAMED} more"
    if card.spacing is None:
        tile = "whole pictures"
    else:
        tile = f"{card.tile_px} px tiles at {card.spacing:g} µm/px"
    rows = [
        ("classes", classes),
        ("sees", f"{tile}, as {card.input_px} px; {escape(IN_WORDS[card.channels])}"),
        ("network", escape(card.architecture)),
        ("licence", escape(card.licence)),
        ("measured", measured(card)),
        ("probabilities", escape(card.calibration)),
    ]
    return "<br>".join(
        [
            f"<b>{escape(card.name)}</b>",
            *(f"<i>{name}:</i> {words}" for name, words in rows),
        ]
    )


def measured(card: Card) -> str:
    """Return where a classifier was measured and how well it did, as its card says."""
    provenance = card.provenance
    if provenance.get("unmeasured"):
        return escape(str(provenance["unmeasured"]))
    said = measured_in_words(card)
    if said:
        return escape(said)
    figures = provenance.get("figures") or provenance.get("metrics") or provenance.get("measured")
    data = provenance.get("data")
    words = []
    if isinstance(figures, dict):
        words.append(
            ", ".join(
                f"{escape(str(key))} {_figure(value)}" for key, value in list(figures.items())[:4]
            )
        )
    if isinstance(data, str):
        words.append(f"on {escape(data)}")
    return "; ".join(words) or "not stated"


def _figure(value: object) -> str:
    if isinstance(value, dict):
        return (
            "("
            + ", ".join(f"{escape(str(key))} {_figure(each)}" for key, each in value.items())
            + ")"
        )
    if isinstance(value, float):
        return f"{value:.3g}"
    return escape(str(value))


def swatch(color: tuple[int, int, int], name: str) -> str:
    """Return a class's name behind a patch of its colour."""
    return f'<span style="color:{as_hex(color)}">■</span>&nbsp;{escape(name)}'


def tile_card(run: ShownRun, row: int) -> str:
    """Return what the classifier made of one tile."""
    table = run.table
    x, y, width, height = table.boxes[row].tolist()
    head = f"<b>tile {row}</b> &nbsp; x {x}, y {y}, {width} x {height} px"
    if table.status[row] == Status.FAILED:
        return f"{head}<br>could not be read or classified"
    if table.status[row] != Status.DONE:
        return f"{head}<br>not classified yet"
    return f"{head}<table>{''.join(_bars(table, row))}</table>{_trust(run, row)}"


def _bars(table: TileTable, row: int) -> list[str]:
    order = np.argsort(-table.probabilities[row], kind="stable")[:SHOWN_CLASSES]
    bars: list[str] = []
    for index in order.tolist():
        color, share = table.class_colors[index], float(table.probabilities[row, index])
        bar = "▬" * max(0, round(BAR * share))
        bars.append(
            f"<tr><td>{swatch(color, table.class_names[index])}&nbsp;</td>"
            f'<td align="right">{100 * share:.1f} %&nbsp;</td>'
            f'<td><span style="color:{as_hex(color)}">{bar}</span></td></tr>'
        )
    return bars


def _trust(run: ShownRun, row: int) -> str:
    unsure = float(uncertainty(run.table.probabilities[row : row + 1], run.table.activation)[0])
    word = next(word for limit, word in LEVELS if unsure < limit)
    words = f"uncertainty {unsure:.2f} ({word})"
    if run.table.disagreement is not None:
        words += f" · {words_on_disagreement(float(run.table.disagreement[row]))}"
    return f"{words} · {escape(run.stored.calibration)}"


Row = tuple[str, tuple[int, int, int], tuple[str, str, str]]


def class_rows(run: ShownRun, threshold: float = 0.5, most: int | None = None) -> list[Row]:
    """Return for each class its name, its colour, and three figures as text.

    They are its share of the classified tissue, the tiles that are called so, and the tiles whose
    probability of it reaches the threshold. Of more classes than ``most``, those that most tiles
    are called.
    """
    rows = legend(run.stored, threshold).rows
    if most is not None and len(rows) > most:
        rows = tuple(sorted(rows, key=lambda row: (-row.called, -row.count))[:most])
    return [
        (
            row.name,
            row.color,
            (f"{100 * row.called_share:.1f} %", f"{row.called:,}", f"{row.count:,}"),
        )
        for row in rows
    ]


def classes_left(run: ShownRun, shown: int) -> str:
    """Return how many classes a list does not name, in words; nothing where it names all."""
    left = len(run.table.class_names) - shown
    if left <= 0:
        return ""
    return f"and {left:,} more, fewer tiles each"


MOST_COMPARED = 8


def labels_in_words(annotations: Sequence[Annotation], corrections: Corrections) -> str:
    """Return how many areas and tiles of each class were said to be so."""
    areas = Counter(each.class_name for each in annotations)
    counts = [
        f"{count} {'area' if count == 1 else 'areas'} of {name}"
        for name, count in sorted(areas.items())
    ]
    counts += [f"{count} corrected to {name}" for name, count in corrections.counts.items()]
    return "Said so far: " + (", ".join(counts) or "nothing") + "."


def others_in_words(names: Sequence[str], left_out: Sequence[str]) -> str:
    """Return which other open slides teach too, and which do not; nothing where there are none."""
    words = ""
    if names:
        words += f" What was said of {', '.join(names)} teaches, too."
    if left_out:
        words += f" Left out, as results of another model: {', '.join(left_out)}."
    return words


def tuned_in_words(tuned: FineTuned, known: Collection[str] = ()) -> str:
    """Return what came of fine-tuning, with its own warning of what that is worth.

    And what must be known of it, but for what is ``known`` of the run already.
    """
    labelled = ", ".join(f"{count} {escape(name)}" for name, count in tuned.labelled.items())
    right = f"{100 * tuned.right_before:.0f} % right before, {100 * tuned.right_after:.0f} % now"
    if tuned.measured is not None:
        held = f" Measured on {escape(tuned.measured.in_words)}."
    else:
        held = f" Not measured: {escape(tuned.unmeasured)}"
    return (
        f"<b>New model in {tuned.seconds:.1f} s</b>: {escape(str(tuned.bundle.path))}<br>Taught"
        f" {labelled}; {right} (on the very tiles it learnt from, which measures nothing).{held}"
        + "".join(f"<br>{escape(note)}" for note in tuned.notes if note not in known)
    )


A_THIRD = 1 / 3
"""Of its share of the tissue: a class that nobody labelled and that moves further is warned of."""


LOOK = "<br><b>Look:</b> {}"


def moved_unlabelled(
    comparison: RunComparison,
    labelled: Collection[str],
) -> Iterator[str]:
    """Yield a sentence for each class that nobody labelled and that fell or rose by a third."""
    for each in comparison.classes:
        before, after = each.share_before, each.share_after
        if each.name in labelled or abs(after - before) <= A_THIRD * before:
            continue
        way = "fell"
        if after > before:
            way = "rose"
        figures = f"from {100 * before:.1f} to {100 * after:.1f} % of the tissue"
        yield f"{each.name} {way} {figures}, and nobody labelled it."


def comparison_table(
    comparison: RunComparison,
    labelled: Collection[str] = (),
) -> str:
    """Return what two runs see otherwise, with a warning of classes that moved unlabelled."""
    rows = [
        f"<tr><td>{swatch(each.color, each.name)}&nbsp;&nbsp;</td>"
        f'<td align="right">{100 * each.share_before:.1f} % →&nbsp;</td>'
        f'<td align="right">{100 * each.share_after:.1f} %</td></tr>'
        for each in comparison.classes[:MOST_COMPARED]
    ]
    if comparison.agreement is None:
        agreement = ""
    else:
        agreement = f", {100 * comparison.agreement:.1f} % agree"
    head = (
        f"<b>Old and new:</b> {len(comparison.changed)} of {len(comparison.rows_after)} tiles"
        f" changed{agreement}"
    )
    moved = map(escape, moved_unlabelled(comparison, labelled))
    warned = "".join(map(LOOK.format, moved))
    return f"{head}<table>{''.join(rows)}</table>{warned}"


def end_in_words(ended: Ended) -> str:
    """Return how a run came to its end."""
    if ended.volume is not None and ended.stopped:
        return "Stopped."
    if ended.volume is not None:
        return f"Done: {ended.volume}"
    if ended.run is None and ended.stopped:
        return "Stopped before the first tile."
    if ended.run is None:
        return in_viewer_words(ended.problem)
    if ended.stopped:
        done, total = int(ended.run.table.done.sum()), len(ended.run.table)
        return f"Stopped at {done} of {total} tiles."
    return f"Done: {ended.run.folder}"
