"""What a set of tiles says of its own making: their scale, colours and slides."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slidecam.learning.data.picture_files import PICTURE_TABLE, TILE_SET_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from slidecam.models.card import Card

SAME_SCALE = 0.02
"""How far the widths of two tiles may lie apart, relative to one, and be called the same."""


@dataclass(frozen=True)
class TileSetFacts:
    """How a set's tiles were cut.

    Attributes
    ----------
    tile_px, spacing
        Their edge in pixels at µm per pixel.
    color_profile
        What was done about the slides' ICC profiles; None where the set says nothing of it.
    fingerprints
        Of the slides, by their names.
    """

    tile_px: int
    spacing: float
    color_profile: str | None
    fingerprints: dict[str, str | None]

    @property
    def width_um(self) -> float:
        """How much of the slide a tile shows, in µm."""
        return self.tile_px * self.spacing

    def scale_note(self, card: Card) -> str:
        """Return in a sentence that a classifier was trained on tiles of another scale, if it was.

        Nothing of one that sees whole pictures, at no scale.
        """
        if card.spacing is None:
            return ""
        trained = card.tile_px * card.spacing
        if abs(self.width_um / trained - 1) <= SAME_SCALE:
            return ""
        return (
            f"These tiles are of another scale than the classifier's: {self.tile_px} px at"
            f" {self.spacing:g} µm/px show {self.width_um:g} µm ({TILE_SET_FILE}), and it was"
            f" trained on {card.tile_px} px at {card.spacing:g} µm/px, {trained:g} µm. They are"
            " squeezed or stretched for it, and figures suffer; cut them with slidecam tiles --like"
            " BUNDLE."
        )


def tile_set_facts(data: Path) -> TileSetFacts | None:
    """Return what is known of the tiles in a folder, or in a table's folder; None of others."""
    folder = data if data.is_dir() else data.parent
    try:
        record = json.loads((folder / TILE_SET_FILE).read_text(encoding="utf-8"))
        spec = record["spec"]
        return TileSetFacts(
            tile_px=int(spec["tile_px"]),
            spacing=float(spec["spacing"]),
            color_profile=spec.get("seen", {}).get("profile"),
            fingerprints=_fingerprints(record),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def scale_notes(data: Path, card: Card) -> tuple[str, ...]:
    """Return what a person should know of the scale of pictures that a classifier is shown."""
    facts = tile_set_facts(data)
    if facts is None:
        return ()
    return tuple(filter(None, [facts.scale_note(card)]))


def slides_of(data: Path, names: Iterable[str]) -> list[str]:
    """Return the fingerprints of the slides that pictures of a tile set were cut from."""
    facts = tile_set_facts(data)
    if facts is None:
        return []
    wanted, found = set(names), set()
    try:
        with (data / PICTURE_TABLE).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["path"] in wanted:
                    found.add(facts.fingerprints.get(row["slide"]))
    except (OSError, ValueError, KeyError):
        return []
    return sorted(filter(None, found))


def _fingerprints(record: dict[str, Any]) -> dict[str, str | None]:
    return {one["slide"]: one["facts"].get("fingerprint") for one in record.get("slides", ())}
