"""What is told of teaching, as rich text: what was said, what came of it, and what changed."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING

from slidecam.plugin.cards import swatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidecam.runs import RunComparison
    from slidecam.teaching import Annotation, Corrections, FineTuned

MOST = 8


def counts_told(annotations: Sequence[Annotation], corrections: Corrections) -> str:
    """Return how many areas and tiles of each class were said to be so."""
    areas = Counter(each.class_name for each in annotations)
    told = [
        f"{count} {'area' if count == 1 else 'areas'} of {name}"
        for name, count in sorted(areas.items())
    ]
    told += [f"{count} corrected to {name}" for name, count in corrections.counts.items()]
    return "Said so far: " + (", ".join(told) or "nothing") + "."


def tuned_told(tuned: FineTuned) -> str:
    """Return what came of fine-tuning, with its own warning of what that is worth."""
    labelled = ", ".join(f"{count} {escape(name)}" for name, count in tuned.labelled.items())
    right = f"{100 * tuned.right_before:.0f} % right before, {100 * tuned.right_after:.0f} % now"
    if tuned.measured is not None:
        held = ""
    else:
        held = f" Not measured: {escape(tuned.why_not)}"
    return (
        f"<b>New model in {tuned.seconds:.1f} s</b>: {escape(str(tuned.bundle.path))}<br>Taught"
        f" {labelled}; {right} (on the very tiles it learnt from, which measures nothing).{held}"
    )


def compared(comparison: RunComparison) -> str:
    """Return what two runs see otherwise."""
    rows = [
        f"<tr><td>{swatch(each.color, each.name)}&nbsp;&nbsp;</td>"
        f'<td align="right">{100 * each.share_before:.1f} % →&nbsp;</td>'
        f'<td align="right">{100 * each.share_after:.1f} %</td></tr>'
        for each in comparison.classes[:MOST]
    ]
    if comparison.agreement is None:
        agreement = ""
    else:
        agreement = f", {100 * comparison.agreement:.1f} % agree"
    head = (
        f"<b>Old and new:</b> {len(comparison.changed)} of {len(comparison.rows_after)} tiles"
        f" changed{agreement}"
    )
    return f"{head}<table>{''.join(rows)}</table>"
