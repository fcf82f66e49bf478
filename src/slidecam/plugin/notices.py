"""Words to the user, as napari's notifications."""

from __future__ import annotations

from napari.utils.notifications import show_error, show_info, show_warning

VIEWER_WORDS = (
    ("pass --overwrite", "tick “begin anew where a run lies already”"),
    ("Pass another --out", "Choose another folder in “Results”"),
    ("choose another --out", "choose another folder in “Results”"),
    (
        "Pass --mpp X (µm per pixel, for example --mpp 0.25) or a CSV with the columns slide,mpp",
        "Set “µm/px”",
    ),
    (", or pass a smaller --overlap", ""),
    (", or pass a smaller --min-share", ""),
    ("; pass --volume to read another", "; the command line reads others (--volume)"),
)
"""Remedies as the pipeline words them, for the command line, and what the same is in the viewer."""

UNFORESEEN = "Please report it; what was committed before is safe."
"""What to do about an error of a kind that slidecam does not raise itself."""


def in_viewer_words(words: str) -> str:
    """Return what went wrong with its remedy as it is had in the viewer."""
    for typed, clicked in VIEWER_WORDS:
        words = words.replace(typed, clicked)
    return words


def inform(words: str) -> None:
    """Tell something that is worth knowing."""
    show_info(in_viewer_words(words))


def warn(words: str) -> None:
    """Tell something that the user should look at."""
    show_warning(in_viewer_words(words))


def report_error(words: str) -> None:
    """Tell that something went wrong, and what to do."""
    show_error(in_viewer_words(words))
