"""What a measurement says, in plain words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from slidecam.faithfulness.report import (
    CENTRE,
    RANDOM,
    FaithfulnessReport,
    Finding,
    MethodFacts,
    Verdict,
)
from slidecam.faithfulness.spec import measure_called

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


FEW = 20
"""Tiles below which a reader is warned."""

SAME, LIKE, UNLIKE = 0.9, 0.5, 0.2
"""Rank correlation, of either sign, at which a map is called the same, or below it another.

The map is that of a random network.
"""

FEWEST, MOST = 2, 6
"""Digits behind the point."""

NARROW = 0.1
"""Probability below which there is little to lose or to gain along a curve."""

NOTHING = "\N{EN DASH}"
"""Stands where there is no figure."""

SHOWN = 2
"""Measures that a sentence quotes; the table has all."""


def sentences(report: FaithfulnessReport) -> tuple[str, ...]:
    """Return what there is to say: some sentences about each method, as one text."""
    methods = [method for method in report.methods if not method.reference]
    return tuple(" ".join(_about(report, method)) for method in methods)


def cautions(report: FaithfulnessReport) -> tuple[str, ...]:
    """Return what a reader must know before believing any figure."""
    return tuple(_cautions(report))


def figure(mean: float, error: float = float("nan")) -> str:
    """Return a figure with its standard error as people read it: ``0.53 ± 0.02``.

    A dash where there is none.
    """
    if not math.isfinite(mean):
        return NOTHING
    known = math.isfinite(error)
    # As many digits as the error has to say, in bounds.
    digits = FEWEST + 1
    if known and error > 0:
        digits = min(max(-math.floor(math.log10(error)), FEWEST), MOST)
    shown = round(mean, digits) + 0.0  # never -0.00
    if known:
        return f"{shown:.{digits}f} ± {error:.{digits}f}"
    return f"{shown:.{digits}f}"


def _about(report: FaithfulnessReport, method: MethodFacts) -> Iterator[str]:
    own = [one for one in report.findings if one.method == method.name]
    judged = [one for one in own if measure_called(one.measure).judged]
    if judged:
        yield _against(report, method, judged)
        yield from _against_centre(judged)
    yield from _inside(report, method.name)
    yield from _after_randomisation(report, method.name)
    reason = method.facts.get("approximate")
    if isinstance(reason, str) and reason:
        yield f"Its maps are approximate: {reason}."
    elif reason:
        yield "Its maps are approximate."


def _against(report: FaithfulnessReport, method: MethodFacts, judged: Sequence[Finding]) -> str:
    random = method.random
    tiles = "this tile"
    if report.tiles != 1:
        tiles = f"these {report.tiles} tiles"
    start = f"On {tiles} {method.name} for {report.explained}"
    unknown = _by(judged, random, "unknown")
    better = _by(judged, random, "better")
    no_better = _by(judged, random, "no better")
    worse = _by(judged, random, "worse")

    if unknown and not (better or worse or no_better):
        return f"{start} cannot be told from a random map: there are too few tiles."
    if not better and not worse:
        return f"{start} is no better than a random map ({_compared(report, no_better, random)})."

    parts = []
    for verdict, some in (
        ("better", better),
        ("no better", no_better),
        ("worse", worse),
    ):
        if some:
            compared = _compared(report, some, random)
            parts.append(f"{verdict} by {_count(some, judged)} ({compared})")
    return f"{start} is, beside a random map, {'; '.join(parts)}."


def _against_centre(judged: Sequence[Finding]) -> Iterator[str]:
    better = _by(judged, CENTRE, "better")
    beside = [one for one in judged if CENTRE in _verdicts(one)]
    if beside and not better:
        yield "By no measure is it better than a blob in the middle of the tile."
    elif len(better) < len(beside):
        yield (
            f"It is better than a blob in the middle of the tile by {len(better)} of {len(beside)}"
            " measures."
        )


def _inside(report: FaithfulnessReport, method: str) -> Iterator[str]:
    found = report.finding(method, "energy")
    if found is not None and math.isfinite(found.mean):
        share = f"{100 * report.mask_share:.0f} %"
        yield (
            f"{100 * found.mean:.0f} % of the map lies inside the masks, which take {share} of"
            " their tiles."
        )


def _after_randomisation(report: FaithfulnessReport, method: str) -> Iterator[str]:
    stages = report.likenesses_of(method)
    head, whole = stages.get("head", (0.0, 0.0)), stages.get("all", (0.0, 0.0))
    if head[0] >= SAME:
        yield (
            f"With its head alone made random its map stays (rank correlation {figure(*head)}): it"
            " hardly knows classes."
        )
    if not math.isfinite(whole[0]):
        yield "With the whole network made random its maps are flat."
    elif "all" in stages:
        shows = ""
        if abs(whole[0]) >= LIKE:
            shows = ": it shows the picture more than the classifier"
        yield (
            f"With the whole network made random its map is {_likeness(whole[0])} (rank correlation"
            f" {figure(*whole)}){shows}."
        )


def _likeness(correlation: float) -> str:
    if abs(correlation) >= LIKE:
        if correlation > 0:
            return "hardly another"
        return "the same turned round"
    if abs(correlation) < UNLIKE:
        return "another"
    return "in part another"


def _cautions(report: FaithfulnessReport) -> Iterator[str]:
    if report.tiles < FEW:
        few = f"{report.tiles} tiles are"
        if report.tiles == 1:
            few = "1 tile is"
        yield f"{few} few: figures may change with others."
    if report.tiles > 1:
        yield (
            "Each comparison stands for itself: of twenty with a map as good as chance, one is told"
            " better or worse."
        )
    yield from _narrow(report)
    shaken = [one.mean for one in report.findings if one.measure == "max-sensitivity"]
    if np.isfinite(shaken).any():
        yield (
            "Max-sensitivity tells how far a map moves when the tile changes by less than an eye"
            " sees, and nothing of whether it is right: the centre prior never moves, and a"
            f" {RANDOM} always does."
        )


def _narrow(report: FaithfulnessReport) -> Iterator[str]:
    """Yield which baselines the classifier hardly tells from the tiles themselves."""
    spans = {one.measure: float(one.mean[0] - one.mean[-1]) for one in report.curves}
    for measure, span in spans.items():
        family, _, baseline = measure.partition(":")
        if family == "deletion" and span < NARROW and report.output != "logit":
            yield (
                f"With the whole tile replaced ({baseline}), the probability falls by {span:.3f}"
                " only: the curves on this baseline have little to tell."
            )


def _by(judged: Sequence[Finding], reference: str, verdict: Verdict) -> list[Finding]:
    return [one for one in judged if _verdicts(one).get(reference) == verdict]


def _verdicts(finding: Finding) -> dict[str, Verdict]:
    """Return what came of the comparison with each reference."""
    return {apart.reference: apart.verdict for apart in finding.differences}


def _count(some: Sequence[Finding], judged: Sequence[Finding]) -> str:
    if len(some) == len(judged):
        if len(judged) > 1:
            return "every measure"
        return "the one measure"
    return f"{len(some)} of {len(judged)} measures"


def _compared(report: FaithfulnessReport, some: Sequence[Finding], random: str) -> str:
    """Return a few of some figures beside those of the random map."""
    quoted = ", ".join(_one_compared(report, one, random) for one in some[:SHOWN])
    if len(some) > SHOWN:
        return f"{quoted}, …"
    return quoted


def _one_compared(report: FaithfulnessReport, one: Finding, random: str) -> str:
    words = f"{measure_called(one.measure).title} {figure(one.mean, one.se_tiles)}"
    other = report.finding(random, one.measure)
    if other is None:
        return words
    return f"{words} against {figure(other.mean, other.se_tiles)}"
