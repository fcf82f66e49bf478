"""Words to the user, as napari's notifications."""

from __future__ import annotations

from napari.utils.notifications import show_error, show_info, show_warning


def tell(words: str) -> None:
    """Tell something that is worth knowing."""
    show_info(words)


def warn(words: str) -> None:
    """Tell something that the user should look at."""
    show_warning(words)


def complain(words: str) -> None:
    """Tell that something went wrong, and what to do."""
    show_error(words)
