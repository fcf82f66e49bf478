"""Slides together: how much of each class a cohort has, and two cohorts beside each other.

The one home of a cohort's shares, for `report.html` and the command line.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from slidecam.exchange.tables import class_names_of, in_digits
from slidecam.runs.legend import PX2, SHARE_MEANS, SLICES, SLICES_MEANS, UM2
from slidecam.runs.tiles import UNDECIDED
from slidecam.settings import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from slidecam.exchange.manifest import SlideReport
    from slidecam.exchange.tables import Cell
    from slidecam.pixels import RGB

    Pair = tuple[SlideReport, SlideReport]

TOGETHER = (
    "Of slides together: what is called so on all of them, of all that is classified on them, so"
    " that a larger slide counts for more."
)
MEAN = "Mean: of the slides' shares, so that each slide counts the same."
APART = "Models of other classes are not added up: each has its own shares."
OLDER = "{count} written by an older slidecam: shares there are of tiles, and not in the total."

UNSURE = (
    f"Share of the classified tissue whose tiles have an uncertainty of {UNDECIDED:g} or more"
    " (0: one class is certain, 1: all are as likely)."
)
"""What stands beside a slide's share that nobody is sure of."""


def models_of(reports: Iterable[SlideReport]) -> list[tuple[str, str, int]]:
    """Return the bundles that slides were classified with: name, digest, how many slides."""
    counts = Counter((one.bundle, one.bundle_digest) for one in reports if one.bundle_digest)
    return [(*bundle, count) for bundle, count in counts.items()]


def model_words(name: str, digest: str) -> str:
    """Return a model as a person tells it from others, which may be called the same."""
    return f"{name} ({digest[:12]})"


def mixed_words(reports: Sequence[SlideReport]) -> str:
    """Return that slides are of several models, and of which; nothing where they are of one."""
    models = models_of(reports)
    if len(models) < 2:  # noqa: PLR2004  (several)
        return ""
    shown = [
        f"{model_words(name, digest)} of {counted(count, 'slide')}"
        for name, digest, count in models
    ]
    return f"This folder holds results of {len(models)} models: {', '.join(shown)}."


@dataclass(frozen=True)
class ClassTotal:
    """A class on slides together: tiles that are called so, and their share, 0 to 1."""

    name: str
    color: RGB
    count: int
    share: float


@dataclass(frozen=True)
class CohortShares:
    """How the tissue of slides of the same classes divides among them, all slides together.

    Attributes
    ----------
    models
        The models of these slides, in words.
    classes
        In the classifier's order.
    none_called, none_share
        Tiles that are called none, and their share.
    means
        What a share is, and of which slides, as sentences.
    """

    models: tuple[str, ...] = ()
    classes: tuple[ClassTotal, ...] = ()
    none_called: int = 0
    none_share: float = 0.0
    means: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "models": self.models,
            "shares": {one.name: in_digits(one.share) for one in self.classes},
            "none called": in_digits(self.none_share),
            "means": self.means,
        }


def cohort_shares(reports: Iterable[SlideReport]) -> list[CohortShares]:
    """Return how the tissue of slides together divides, of each set of classes by itself.

    Classes of several models add up only where they are called the same, all of them.
    """
    groups: dict[frozenset[str], list[SlideReport]] = {}
    for report in filter(_is_classified, reports):
        groups.setdefault(frozenset(class_names_of([report])), []).append(report)
    return list(map(_shares_together, groups.values()))


def means_of(shares: Sequence[CohortShares]) -> list[str]:
    """Return what shares of slides together are, each sentence once."""
    sentences = dict.fromkeys(chain.from_iterable(one.means for one in shares))
    if len(shares) > 1:
        sentences[APART] = None
    return list(sentences)


def _is_classified(report: SlideReport) -> bool:
    return bool(report.classes)


def _shares_together(reports: Sequence[SlideReport]) -> CohortShares:
    """Return the shares of slides of the same classes.

    Areas add up where they are in one unit: of slides without a known spacing, of volumes and of
    what an older slidecam wrote, the sentences say that they are left out.
    """
    models = tuple(model_words(name, digest) for name, digest, _count in models_of(reports))
    units = [report.tissue.unit for report in reports if report.tissue is not None]
    if not units:
        return CohortShares(models, means=(OLDER.format(count=counted(len(reports), "slide")),))
    unit = min(units, key=(UM2, PX2, SLICES).index)
    colors: dict[str, RGB] = {}
    counts, areas, whole = Counter[str](), defaultdict[str, float](float), 0.0
    none, none_area = 0, 0.0
    for report in reports:
        if report.tissue is None or report.tissue.unit != unit:
            continue
        whole += report.tissue.classified
        none, none_area = none + report.tiles.none_called, none_area + report.tissue.none_called
        for one in report.classes:
            colors.setdefault(one.name, one.color)
            counts[one.name] += one.count
            areas[one.name] += one.area or 0.0
    classes = [
        ClassTotal(name, color, counts[name], areas[name] / (whole or 1.0))
        for name, color in colors.items()
    ]
    words = _share_words(reports, unit)
    return CohortShares(models, tuple(classes), none, none_area / (whole or 1.0), words)


def _share_words(reports: Sequence[SlideReport], unit: str) -> tuple[str, ...]:
    """Return what the shares are, and which slides the total is without."""
    words, older, other = [SLICES_MEANS if unit == SLICES else SHARE_MEANS, TOGETHER], 0, 0
    for report in reports:
        if report.tissue is None:
            older += 1
        elif report.tissue.unit != unit:
            other += 1
    if other:
        words.append(f"{counted(other, 'slide')} without areas in {unit}: not in the total.")
    if older:
        words.append(OLDER.format(count=counted(older, "slide")))
    return tuple(words)


@dataclass(frozen=True)
class CohortComparison:
    """The slides of two folders of outputs beside each other.

    Attributes
    ----------
    rows
        A row for each slide of both: its name, and the share of each class before and after; None
        of a class that one of its models does not know.
    classes
        A row for each class that both sides have: its share of all slides together, the mean of the
        slides' shares, and the largest change; of the slides that have it on both sides.
    left_out
        Why slides, or classes, are not compared, as sentences.
    notes
        Which models are compared, where they are not the same one.
    """

    rows: tuple[Mapping[str, Cell], ...]
    classes: tuple[Mapping[str, Cell], ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def compare_cohorts(
    before: Sequence[SlideReport],
    after: Sequence[SlideReport],
) -> CohortComparison:
    """Hold what two folders remember beside each other, slide by slide, by one definition.

    Slides are the same by name and content, and classes by name. Shares of tiles that an older
    slidecam wrote are not compared, nor models without a class in common.
    """
    old, new = _by_name(before), _by_name(after)
    left_out = [*_only("before", old, new), *_only("after", new, old)]
    pairs = []
    for name in old.keys() & new.keys():
        problem = _not_compared(old[name], new[name])
        if problem:
            left_out.append(f"{name}: {problem}.")
        else:
            pairs.append((old[name], new[name]))
    pairs.sort(key=lambda pair: pair[0].slide)
    left_out += _classes_of_one(pairs)
    names = list(dict.fromkeys(chain.from_iterable(map(_in_both, pairs))))
    return CohortComparison(
        tuple(_change_row(pair, names) for pair in pairs),
        tuple(_class_change(name, pairs) for name in names),
        tuple(sorted(left_out)),
        (*_other_models(pairs), *_not_together(pairs)),
    )


def _only(where: str, here: Mapping[str, object], there: Mapping[str, object]) -> Iterator[str]:
    missing = sorted(here.keys() - there.keys())
    if missing:
        shown = ", ".join(missing[:LISTED])
        more = ""
        if len(missing) > LISTED:
            more = f" and {len(missing) - LISTED} more"
        yield f"Only {where}: {shown}{more}."


LISTED = 5


def _not_compared(old: SlideReport, new: SlideReport) -> str:
    if old.tissue is None or new.tissue is None:
        if old.classes and new.classes:
            return "an older slidecam wrote one of them, by shares of tiles"
        return "nothing was classified in one of them"
    before, after = _content(old), _content(new)
    if before and after and before != after:
        return "another slide of the same name"
    if not _in_both((old, new)):
        return f"{_model_of(old)} and {_model_of(new)} have no class in common"
    return ""


def _content(report: SlideReport) -> object:
    return (report.facts.get("input") or {}).get("fingerprint")


def _model_of(report: SlideReport) -> str:
    return model_words(report.bundle, report.bundle_digest)


def _by_name(reports: Sequence[SlideReport]) -> dict[str, SlideReport]:
    names: dict[str, SlideReport] = {}
    for one in reports:
        names[one.slide] = one
    return names


def _shares(report: SlideReport) -> dict[str, float]:
    shares: dict[str, float] = {}
    for one in report.classes:
        shares[one.name] = one.share
    return shares


def _in_both(pair: Pair) -> list[str]:
    before, after = map(_shares, pair)
    return [name for name in before if name in after]


def _other_models(pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield which models are compared where they are two, and of how many slides."""
    counts = Counter((_model_of(old), _model_of(new)) for old, new in pairs)
    for (before, after), count in counts.items():
        if before != after:
            yield f"{counted(count, 'slide')}: {before} before, {after} after, two models."


def _not_together(pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield which slides are in no share of slides together, on each side."""
    for when, side in zip(("Before", "After"), zip(*pairs, strict=True), strict=False):
        for sentence in _shares_together(side).means[len((SHARE_MEANS, TOGETHER)) :]:
            yield f"{when}: {sentence}"


def _classes_of_one(pairs: Sequence[Pair]) -> Iterator[str]:
    """Yield the classes that are left out because one of two models does not know them."""
    counts = Counter[tuple[str, str, str]]()
    for old, new in pairs:
        before, after = _shares(old), _shares(new)
        for name in before.keys() ^ after.keys():
            known, other = (old, new) if name in before else (new, old)
            counts[name, _model_of(known), _model_of(other)] += 1
    for (name, having, without), count in counts.items():
        where = counted(count, "slide")
        yield f"The class {name} of {having}: {without} does not know it ({where}), not compared."


def _change_row(pair: Pair, names: Sequence[str]) -> dict[str, Cell]:
    before, after = map(_shares, pair)
    both = _in_both(pair)
    row: dict[str, Cell] = {"slide": pair[0].slide}
    for name in names:
        for when, shares in (("before", before), ("after", after)):
            row[f"{name} {when}"] = in_digits(shares[name]) if name in both else None
    return row


def _class_change(name: str, pairs: Sequence[Pair]) -> dict[str, Cell]:
    known = [pair for pair in pairs if name in _in_both(pair)]
    before = [_shares(old)[name] for old, _new in known]
    after = [_shares(new)[name] for _old, new in known]
    changes = [new - old for old, new in zip(before, after, strict=True)]
    most = max(range(len(known)), key=lambda place: abs(changes[place]))
    return {
        "class": name,
        "slides": len(known),
        "together before": _together(name, [old for old, _new in known]),
        "together after": _together(name, [new for _old, new in known]),
        "mean before": in_digits(sum(before) / len(known)),
        "mean after": in_digits(sum(after) / len(known)),
        "largest change": in_digits(changes[most]),
        "of": known[most][0].slide,
    }


def _together(name: str, reports: Sequence[SlideReport]) -> float | None:
    """Return a class's share of slides together, whatever their other classes are."""
    for total in _shares_together(reports).classes:
        if total.name == name:
            return in_digits(total.share)
    return None
