"""`report.html`: one page that shows a person what became of every slide of a run.

The page needs nothing but itself: styles and small pictures are inside, so that it can be mailed
and printed. Its links lead to the outputs beside it. A page of many slides shows the pictures
beside it instead, as they come into view, or it would weigh a gigabyte for ten thousand of them.
"""

from __future__ import annotations

import json
import operator
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC
from functools import partial
from itertools import starmap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from zipfile import ZIP_DEFLATED, ZipFile, is_zipfile

from slidecam.class_names import NONE_CALLED
from slidecam.classes import SEVERAL_CALLED
from slidecam.drawing.style import as_hex, percent_words
from slidecam.exchange.cohort import cohort_shares, means_of, models_of
from slidecam.exchange.manifest import remembered
from slidecam.files import refuse_inputs, refuse_other_kind, replacing, strict_json
from slidecam.pages import KeptPictures, picture_uri, write_page
from slidecam.runs.outputs import OUTPUT_TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from slidecam.exchange.cohort import CohortShares
    from slidecam.exchange.manifest import Manifest, RunFacts, SlideReport
    from slidecam.pixels import RGB

OVERVIEWS = tuple(row.name for row in OUTPUT_TABLE.own if row.pictured)
"""The output that is shown: of a slide, and of a volume."""

EMBEDDED = 40
"""Slides up to which the pictures are inside the page."""

KEPT = ".pictures.json"
"""The small pictures of the page before, beside the page."""

PAGED = 200
"""Slides from which on the page shows them by pages: a browser takes seconds to lay out more."""

LISTED = 8
"""Classes that a slide's bar lists one by one; the rest share a piece."""

ORDER = {"failed": 0, "partly": 1, "unfinished": 2, "claimed": 3, "skipped": 4, "done": 5}
"""What needs attention comes first."""

WORDS = {
    "failed": "failed",
    "partly": "partly done",
    "unfinished": "unfinished",
    "claimed": "claimed elsewhere",
    "skipped": "skipped",
    "done": "done",
}
REST: RGB = (176, 182, 191)
SECONDS_PER_MINUTE = 60


@dataclass(frozen=True)
class Piece:
    """One piece of a slide's bar: a class and its share of the classified tissue, 0 to 1.

    ``width`` is its part of the bar, where tiles of several classes stand once for each.
    """

    name: str
    color: RGB
    count: int
    share: float
    width: float = 0.0

    @property
    def css(self) -> str:
        """The colour as CSS says it."""
        return as_hex(self.color)

    @property
    def percent(self) -> str:
        """The share as a person reads it."""
        return percent_words(self.share)


class SlideView:
    """A slide's report as the page shows it."""

    def __init__(
        self, folder: Path, inside: KeptPictures | None, number: int, report: SlideReport
    ) -> None:
        self.report, self.anchor = report, f"slide-{number}"
        self.status = WORDS[report.status]
        self.pieces = bar_pieces(report)
        self.took = in_words(report.seconds)
        self.first_share = 0.0
        if report.classes:
            self.first_share = report.classes[0].share
        # A path is quoted whole, its colon too: no name can become a scheme of its own.
        self.links = {
            kind: quote(path, errors="surrogateescape") for kind, path in report.outputs.items()
        }
        self.picture_link: str | None = None
        self._overview: Path | None = None
        for shown in filter(report.outputs.__contains__, OVERVIEWS):
            self.picture_link, self._overview = self.links[shown], folder / report.outputs[shown]
        self._inside = inside
        self.error: Exception | None = None

    @property
    def picture(self) -> str | None:
        """The overview as a data URI, made when the page gets to it so that one is in memory.

        Or its link. None where the picture cannot be read; what nobody foresaw is kept in
        ``error``.
        """
        if self._overview is None or self._inside is None:
            return self.picture_link
        try:
            return self._inside.uri(self._overview, picture_uri)
        # The boundary of one slide's picture: Pillow promises no list of what it raises.
        except Exception as error:  # noqa: BLE001  (the caller records it)
            self.error = error
            return None


def write_report(
    manifest: Manifest, run: RunFacts, path: Path, folder: Path | None = None
) -> dict[str, Exception]:
    """Write ``report.html`` of a folder: every slide of any call, and the last call.

    ``outputs`` of the reports are relative to ``folder``, by default the page's, as in the
    manifest.

    Returns
    -------
    dict
        By the names of slides that are shown without their picture, what was raised by it.
    """
    reports = manifest.slides
    ordered = sorted(reports, key=lambda report: ORDER[report.status])
    folder, inside = folder or path.parent, None
    if len(reports) <= EMBEDDED:
        inside = KeptPictures(folder / KEPT)
    slides = list(starmap(partial(SlideView, folder, inside), enumerate(ordered, 1)))
    models, shares = models_of(reports), cohort_shares(reports)
    table, attention = None, [one for one in slides if one.report.status != "done"]
    if len(reports) > PAGED:
        table, attention = paged_table(slides), attention[:PAGED]
    write_page(
        "report",
        path,
        table=table,
        attention=attention,
        run=run,
        took=in_words(run.seconds),
        started=run.started.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        slides=slides,
        calls=call_views(manifest.calls),
        models=models,
        counts=status_counts(reports),
        title=title_of(models, run),
        legends=list(map(cohort_legend, shares)),
        means=means_of(shares),
        several=_several_words(reports),
    )
    if inside is not None and folder == path.parent:
        inside.write()
    return {slide.report.slide: slide.error for slide in slides if slide.error is not None}


def paged_table(slides: Sequence[SlideView]) -> str:
    """Return what a page of many slides shows of each, as JSON that no name can break out of.

    Its script lays out those of one page, as they are searched and sorted.
    """
    classes: dict[str, str] = {}
    kinds: dict[str, int] = {}
    rows = []
    for slide in slides:
        report, held = slide.report, {}
        for one in report.classes:
            classes.setdefault(one.name, as_hex(one.color))
            held[one.name] = [one.share, one.area]
        rows.append(
            {
                "slide": report.slide,
                "status": report.status,
                "tiles": report.tiles.done,
                "failed": report.tiles.failed,
                "seconds": report.seconds,
                "took": slide.took,
                "classes": held,
                "unit": getattr(report.tissue, "unit", ""),
                "picture": slide.picture_link,
                "links": [
                    [kinds.setdefault(kind, len(kinds)), to] for kind, to in slide.links.items()
                ],
                "said": " ".join(filter(None, (report.reason, report.remedy, *report.warnings))),
            }
        )
    data = {"words": WORDS, "classes": classes, "kinds": list(kinds), "slides": rows}
    text = json.dumps(strict_json(data), separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


FOR_A_COLLEAGUE = ("text/csv", "image/png")
"""Media types of the outputs that are put beside the page in a zip."""


def write_zip(folder: Path, path: Path) -> int:
    """Write a folder's report, tables and pictures as one file, and return how many slides it has.

    Maps, masks' volumes and raw results stay behind, and the page has no links to them.

    Raises
    ------
    UsageError
        If ``folder`` is no folder of outputs, or ``path`` lies in it or is another kind of file.
    """
    refuse_inputs([path], [folder], option="--zip")
    refuse_other_kind(path, is_zipfile, "--zip")
    manifest = remembered(folder)
    sent: dict[str, Path] = {}
    kept = {row.name for row in OUTPUT_TABLE.own if row.media in FOR_A_COLLEAGUE}
    slides = []
    for report in manifest.slides:
        outputs = {kind: where for kind, where in report.outputs.items() if kind in kept}
        sent |= {where: folder / where for where in outputs.values()}
        slides.append(replace(report, outputs=outputs))
    tables = {name: folder / name for name in ("slides.csv", "slides.parquet", "manifest.json")}
    with replacing(path) as fresh, TemporaryDirectory() as made:
        page = Path(made) / "report.html"
        write_report(replace(manifest, slides=tuple(slides)), manifest.last_call, page, folder)
        with ZipFile(fresh, "w", ZIP_DEFLATED) as file:
            for name, whole in ({"report.html": page} | tables | sent).items():
                if whole.is_file():
                    file.write(whole, f"{path.stem}/{name}")
    return len(slides)


@dataclass(frozen=True)
class CallView:
    """A call as the page lists it."""

    started: str
    took: str
    bundle: str
    slides: int
    failed: int


def call_views(calls: Sequence[Mapping[str, Any]]) -> list[CallView]:
    """Return the calls that filled a folder, the last one first."""
    return [
        CallView(
            started=str(call.get("started", "")).replace("T", " ").replace("Z", " UTC"),
            took=in_words(float(call.get("seconds", 0.0))),
            bundle=str(call.get("bundle", "")),
            slides=int(call.get("slides", 0)),
            failed=int(call.get("failed", 0)),
        )
        for call in reversed(calls)
    ]


def _several_words(reports: Sequence[SlideReport]) -> str:
    """Return how many tiles are called several classes, and what that means; nothing of none."""
    count = sum(report.tiles.several_called for report in reports)
    if not count:
        return ""
    return f"{SEVERAL_CALLED[0].upper()}{SEVERAL_CALLED[1:]} ({count:,} tiles are)."


def bar_pieces(report: SlideReport) -> list[Piece]:
    """Return a slide's bar in pieces, in the classifier's order, so that slides compare easily.

    Of many classes the most frequent have a piece each; the other ones share one, as do tiles that
    are called none.
    """
    won = [one for one in report.classes if one.count]
    most = sorted((one.share for one in won), reverse=True)[:LISTED]
    shown = [one for one in won if one.share >= most[-1]][:LISTED]
    pieces = [Piece(one.name, one.color, one.count, one.share) for one in shown]
    rest = [one for one in won if one not in shown]
    if rest:
        count, share = sum(one.count for one in rest), sum(one.share for one in rest)
        pieces.append(Piece(f"{len(rest)} other classes", REST, count, share))
    none = report.tiles.none_called
    if none:
        pieces.append(Piece(NONE_CALLED, REST, none, _none_share(report)))
    whole = sum(piece.share for piece in pieces)
    if not whole:
        return pieces
    return [replace(piece, width=piece.share / whole) for piece in pieces]


def _none_share(report: SlideReport) -> float:
    if report.tissue is None:
        return report.tiles.none_called / report.tiles.done
    return report.tissue.share(report.tissue.none_called)


@dataclass(frozen=True)
class CohortLegend:
    """The classes of slides of the same ones, and their shares of all slides together.

    Attributes
    ----------
    models
        The models of these slides, as a person reads them.
    pieces
        The classes in the classifier's order, tiles that are called none last; of many classes the
        most frequent ones.
    """

    models: str
    pieces: tuple[Piece, ...]


def cohort_legend(shares: CohortShares) -> CohortLegend:
    """Return the classes of slides of the same ones as the page shows them."""
    totals = list(shares.classes)
    if len(totals) > LISTED:
        called = filter(operator.attrgetter("count"), totals)
        totals = sorted(called, key=lambda total: -total.share)[:LISTED]
    pieces = [Piece(one.name, one.color, one.count, one.share) for one in totals]
    if shares.none_called:
        pieces.append(Piece(NONE_CALLED, REST, shares.none_called, shares.none_share))
    return CohortLegend(", ".join(shares.models), tuple(pieces))


def title_of(models: Sequence[tuple[str, str, int]], run: RunFacts) -> str:
    """Return the page's title: the model of its slides, or how many there are and which."""
    if not models:
        return run.bundle
    names = dict.fromkeys(name for name, _digest, _count in models)
    if len(models) == 1:
        return models[0][0]
    return f"{len(models)} models: {', '.join(names)}"


def status_counts(reports: Sequence[SlideReport]) -> Mapping[str, int]:
    """Return how many slides ended how, without those that none did."""
    counts = Counter[str](report.status for report in reports)
    return {status: counts[status] for status in reversed(ORDER) if counts[status]}


def in_words(seconds: float) -> str:
    """Return a time as a person says it."""
    if seconds < SECONDS_PER_MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), SECONDS_PER_MINUTE)
    hours, minutes = divmod(minutes, SECONDS_PER_MINUTE)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s"
