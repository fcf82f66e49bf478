"""What the dock remembers from one day to the next: slides, model, results, the last folder."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QSettings

MOST_RECENT = 8
RECENT, FOLDER, MODEL, OUT = "recent", "folder", "model", "results"


class Remembered:
    """Settings of the user's own, in the place where this system keeps such."""

    def __init__(self) -> None:
        self._kept = QSettings(
            QSettings.Format.IniFormat, QSettings.Scope.UserScope, "slidecam", "napari"
        )

    def recent(self) -> list[str]:
        """Return the slides and results that were opened last and are still there, newest first."""
        return [path for path in self._paths(RECENT) if Path(path).exists()]

    def open(self, path: str) -> None:
        """Remember that a slide or a result was opened."""
        others = [one for one in self._paths(RECENT) if one != path]
        self._kept.setValue(RECENT, [path, *others][:MOST_RECENT])
        self._kept.setValue(FOLDER, str(Path(path).parent))

    def _paths(self, key: str) -> list[str]:
        # Qt gives a list of one as a text, and an empty one as nothing.
        kept = self._kept.value(key)
        if isinstance(kept, str):
            return [kept]
        return [str(path) for path in kept or []]

    def folder(self, key: str) -> str:
        """Return a folder that was chosen before and is still there, or nothing."""
        kept = str(self._kept.value(key) or "")
        if kept and Path(kept).is_dir():
            return kept
        return ""

    def choose(self, key: str, folder: str) -> None:
        """Remember a folder that was chosen."""
        self._kept.setValue(key, folder)
