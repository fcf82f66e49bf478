"""The server's own bundle as it lies in its folder now: what takes its place is another bundle."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from slidecam.models import open_bundle
from slidecam.server.standing import standing_of

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.models import Bundle
    from slidecam.server.standing import Standing


class ServedBundle:
    """A bundle that is opened anew when it was written to or replaced; any thread may ask for it.

    Parameters
    ----------
    path
        Its folder.
    trust
        Whether its weights may run code.
    """

    def __init__(self, path: str | Path, *, trust: bool) -> None:
        self.trust = trust
        self._lock = Lock()
        self._bundle = open_bundle(path, trust=trust)
        self._standings = _standings(self._bundle)

    def current(self) -> Bundle:
        """Return the bundle that lies there now.

        SlidecamError where none does, or it is written just now.
        """
        with self._lock:
            standings = _standings(self._bundle)
            if standings != self._standings:
                self._bundle = open_bundle(self._bundle.path, trust=self.trust)
                self._standings = standings
            return self._bundle


def _standings(bundle: Bundle) -> tuple[Standing | None, ...]:
    weights = bundle.path / bundle.card.weights_file
    return standing_of(bundle.card_path), standing_of(weights)
