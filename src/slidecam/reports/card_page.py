"""A bundle's card as a page to read: what the classifier is, sees, comes from and was measured at.

Mitchell et al., *Model Cards for Model Reporting* (FAT* 2019). Nothing is said that the card does
not say, and what it does not say is said to be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slidecam.explain.catalogue import title_of
from slidecam.learning.evaluation.figures import MEASURED_ON
from slidecam.learning.published import published_of
from slidecam.models.channels import IN_WORDS
from slidecam.pages import write_page
from slidecam.reports.card_figures import PARTS, MeasuredFigure, extents_of, figures_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slidecam.models.bundle import Bundle
    from slidecam.models.card import Card

PAGE = "card.html"
"""What the page beside a card is called."""

NOT_STATED = "not stated"
_ELSEWHERE = frozenset(
    (
        *("calibration", "caveats", "measured", MEASURED_ON, "parent", "published"),
        *("readings", "recipe"),
        *("weights_left_out", "wsinfer", "intended_use", "unmeasured"),
    )
)
"""Keys of a provenance that have a place of their own on the page, or none."""

_USE = ("intended_use", "intended use", "use")


@dataclass(frozen=True)
class CardPage:
    """What a page says of a card, in words.

    Attributes
    ----------
    name
        What people call the classifier.
    identity, sight, origin, terms
        Label and value of what it is, what it is shown, where it comes from, and for what it may be
        used.
    classes
        Name, colour (``#rrggbb``) and what calls it, of each class.
    counts
        Pictures by class, of each part of its data.
    figures
        By the part of the data that they were measured on.
    extents
        Of how many pictures, patients or slides they are, by the same names, where that is known.
    published
        Whose figures stand beside them, and how those differ; empty for nobody's.
    heatmaps
        What was measured of its heatmaps, a sentence each.
    caveats
        What a careful reader must know, a sentence each.
    recipe
        The recipe that it was trained by, TOML; empty where there is none.
    """

    name: str
    identity: Mapping[str, str]
    classes: tuple[tuple[str, str, str], ...]
    sight: Mapping[str, str]
    origin: Mapping[str, str]
    counts: Mapping[str, Mapping[str, int]]
    figures: Mapping[str, tuple[MeasuredFigure, ...]]
    extents: Mapping[str, str]
    published: str
    heatmaps: tuple[str, ...]
    caveats: tuple[str, ...]
    terms: Mapping[str, str]
    recipe: str

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        classes = []
        for name, color, called in self.classes:
            classes.append({"name": name, "color": color, "called": called})
        figures: dict[str, dict[str, Any]] = {}
        for part, lines in self.figures.items():
            figures[part] = {}
            for line in lines:
                figures[part][line.name] = {
                    "value": line.value,
                    "interval": line.interval,
                    "note": line.note,
                }
        return {
            "name": self.name,
            "identity": dict(self.identity),
            "classes": classes,
            "sees": dict(self.sight),
            "origin": dict(self.origin),
            "pictures": {part: dict(each) for part, each in self.counts.items()},
            "figures": figures,
            "measured_on": dict(self.extents),
            "published": self.published,
            "heatmaps": list(self.heatmaps),
            "caveats": list(self.caveats),
            "terms": dict(self.terms),
            "recipe": self.recipe,
        }

    def tables(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what it says as tables, a title and its facts each."""
        yield self.name, dict(self.identity)
        yield "Classes", {name: called for name, _color, called in self.classes}
        yield "What it is shown", dict(self.sight)
        for part, counts in self.counts.items():
            yield f"Pictures, {part}", dict(counts)
        for part, lines in self.figures.items():
            found = {}
            if part in self.extents:
                found["of"] = self.extents[part]
            for line in lines:
                found[line.name] = "  ".join(filter(None, (line.value, line.interval, line.note)))
            yield f"Measured on the {part}", found
        yield "Heatmaps", {"evidence": list(self.heatmaps)}
        yield "Where it comes from", dict(self.origin)
        if self.caveats:
            yield "Needs attention", {"caveats": list(self.caveats)}
        yield "Terms", dict(self.terms)


def card_page(bundle: Bundle) -> CardPage:
    """Return what a page says of a bundle's card."""
    card = bundle.card
    provenance = card.provenance
    recipe = provenance.get("recipe")
    published = published_of(provenance)
    beside = ""
    if published is not None:
        beside = f"{published.source.rstrip('.')}. {published.protocol}".strip()
    return CardPage(
        card.name,
        _identity(bundle),
        _classes(card),
        _sight(card),
        _origin(card),
        _counts(card),
        figures_of(card),
        extents_of(card),
        beside,
        _heatmaps(card),
        _caveats(card),
        _terms(card),
        recipe if isinstance(recipe, str) else "",
    )


def write_card_page(page: CardPage, path: Path) -> None:
    """Write the page, complete in itself."""
    write_page("card", path, page=page, parts=list(page.counts))


def _identity(bundle: Bundle) -> dict[str, str]:
    card = bundle.card
    found = {"Architecture": card.architecture}
    if card.architecture_args:
        args = card.architecture_args
        found["Its arguments"] = ", ".join(f"{name}={args[name]}" for name in args)
    found["Kind of folder"] = bundle.kind
    found["Digest"] = bundle.digest
    found["SHA-256 of the weights"] = card.weights_sha256
    found["Activation"] = card.activation
    found["Probabilities"] = card.calibration
    if card.temperature != 1:
        found["Temperature"] = f"{card.temperature:.4g}"
    if card.class_biases:
        found["Bias of each class"] = ", ".join(f"{bias:.3g}" for bias in card.class_biases)
    return found


def _classes(card: Card) -> tuple[tuple[str, str, str], ...]:
    rows = []
    classes = card.classes
    for place, (name, color) in enumerate(zip(card.class_names, card.class_colors, strict=True)):
        called = "where it is the likeliest"
        if classes.has_thresholds:
            threshold = 0.5
            if card.thresholds:
                threshold = card.thresholds[place]
            called = f"from {threshold:g}"
        rows.append((name, "#{:02x}{:02x}{:02x}".format(*color), called))
    return tuple(rows)


def _sight(card: Card) -> dict[str, str]:
    found = {"Tile": "a whole picture, of whatever size"}
    if card.spacing is not None:
        edge = card.tile_px * card.spacing
        found["Tile"] = f"{card.tile_px} px at {card.spacing:g} µm/px ({edge:g} µm)"
    found["Network's input"] = f"{card.input_px} px"
    if card.input_px != card.tile_px or card.spacing is None:
        found["Network's input"] += f", resized by {card.interpolation}"
    found["Channels"] = IN_WORDS[card.channels]
    found["Normalisation"] = (
        f"(pixel / 255 - mean) / deviation; mean {_numbers(card.mean)}, deviation"
        f" {_numbers(card.std)}"
    )
    if card.stain is not None:
        numbers = _listed({key: str(value) for key, value in card.stain.to_json().items()})
        found["Stain normalisation"] = f"{card.stain.words} ({numbers})"
    found["Colour profiles"] = "ignored"
    if card.color_profile == "srgb":
        found["Colour profiles"] = "applied, to sRGB"
    if card.volume is not None:
        seen = card.volume
        found["Volumes"] = f"{seen.axis} slices, {seen.window.words}; call: {seen.pooling}"
    return found


def _origin(card: Card) -> dict[str, str]:
    known = card.provenance
    found: dict[str, str] = {}
    data, parent = known.get("data"), known.get("parent")
    if isinstance(data, Mapping):
        found |= _of_data(data)
    if isinstance(parent, Mapping):
        found["Made from"] = f"{parent.get('name')} ({parent.get('digest')})"
    members = known.get("members")
    if isinstance(members, Sequence):
        names = [f"{each.get('name')} ({str(each.get('digest'))[:8]})" for each in members]
        found["The mean of"] = ", ".join(names)
    for key, value in known.items():
        label = key.replace("_", " ").capitalize()
        if key in _ELSEWHERE or value is None:
            continue
        if isinstance(value, str | int | float):
            found[label] = str(value)
        elif isinstance(value, Mapping):
            found[label] = _listed(value)
    return found or {"Provenance": NOT_STATED}


def _of_data(data: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    if isinstance(data.get("pictures"), int):
        found["Pictures"] = f"{data['pictures']:,}"
    for key, label in (("digest", "Digest of the data"), ("content", "Digest of its content")):
        if data.get(key):
            found[label] = str(data[key])
    groups = data.get("learnt_from")
    if isinstance(groups, Sequence):
        found["Patients or slides learnt from"] = f"{len(groups):,}"
    return found


def _counts(card: Card) -> dict[str, dict[str, int]]:
    data = card.provenance.get("data")
    counts = data.get("counts") if isinstance(data, Mapping) else None
    found: dict[str, dict[str, int]] = {}
    if not isinstance(counts, Mapping):
        return found
    for part, each in counts.items():
        if isinstance(each, Mapping):
            found[PARTS.get(part, str(part))] = {name: int(each[name]) for name in each}
    return found


def _heatmaps(card: Card) -> tuple[str, ...]:
    evidence = card.heatmap_evidence
    if evidence is None:
        return (
            "Nobody has measured whether its heatmaps are faithful: slidecam faithfulness does.",
        )
    methods = tuple(evidence.methods)
    lead = evidence.lead(methods)
    said = "None was shown to be faithful."
    if lead is not None:
        said = f"{title_of(lead)} was shown to be faithful, and is shown first."
    return evidence.said_of(methods, title_of), said


def _caveats(card: Card) -> tuple[str, ...]:
    found: list[str] = []
    for key in ("caveats", "readings"):
        sentences = card.provenance.get(key)
        if isinstance(sentences, Sequence) and not isinstance(sentences, str):
            found.extend(map(str, sentences))
    if card.volume is not None and card.volume.caveat:
        found.append(card.volume.caveat)
    if not card.provenance.get("measured"):
        found.append("No figure of it stands on its card: slidecam evaluate measures it.")
    if card.licence == NOT_STATED:
        found.append("Its licence is not stated: ask who made it before you use it.")
    return tuple(dict.fromkeys(found))


def _terms(card: Card) -> dict[str, str]:
    use = NOT_STATED
    for key in _USE:
        for table in (card.extra, card.provenance):
            if isinstance(table.get(key), str):
                use = str(table[key])
    return {"Licence": card.licence, "Intended use": use}


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _listed(table: Mapping[str, Any]) -> str:
    """Return a table's plain values in a line; what is a table itself is not read."""
    plain = [key for key, value in table.items() if not isinstance(value, Mapping | list)]
    return ", ".join(f"{key} {table[key]}" for key in plain)
