"""Where a slide's seconds went."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slidecam.inference import ScoredBatch


@dataclass
class Timings:
    """Seconds of one slide, added up over its batches.

    ``decode`` counts thread seconds, which run beside the others; ``transfer`` and ``model`` are
    the device's, ``write`` the store's and the outputs'.
    """

    decode: float = 0.0
    transfer: float = 0.0
    model: float = 0.0
    write: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, scored: ScoredBatch) -> None:
        """Add one batch."""
        self.decode += scored.batch.decode_seconds
        self.transfer += scored.transfer_seconds
        self.model += scored.model_seconds

    def told(self) -> dict[str, float]:
        """Return all of them, rounded to milliseconds, with the seconds since the slide began."""
        parts = {
            "decode": self.decode,
            "transfer": self.transfer,
            "model": self.model,
            "write": self.write,
        }
        return {name: round(value, 3) for name, value in {**parts, "total": self.seconds}.items()}

    @property
    def seconds(self) -> float:
        """Seconds since the slide was begun."""
        return time.perf_counter() - self.started
