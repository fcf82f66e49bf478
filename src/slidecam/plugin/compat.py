"""What napari calls differently from 0.6.6 to 0.9: the one place that knows."""

from __future__ import annotations

from typing import Any


def camera(viewer: Any) -> Any:  # noqa: ANN401  (napari's models differ by version)
    """Return the viewer's camera."""
    scene = getattr(viewer, "scene", None)
    if scene is None:
        return viewer.camera
    return scene.camera


def scale_bar(viewer: Any) -> Any:  # noqa: ANN401
    """Return the viewer's scale bar."""
    canvas = getattr(viewer, "canvas", None)
    if canvas is None:
        return viewer.scale_bar
    return canvas.overlays.scale_bar


def canvas_size(viewer: Any) -> tuple[int, int]:  # noqa: ANN401
    """Return height and width of the canvas in screen pixels."""
    canvas = getattr(viewer, "canvas", None)
    height, width = viewer._canvas_size if canvas is None else canvas.size  # noqa: SLF001  (its name until 0.8)
    return int(height), int(width)


def in_micrometres(viewer: Any) -> None:  # noqa: ANN401
    """Show a scale bar.

    It takes its unit from the layers where napari knows theirs, and from here where not.
    """
    bar = scale_bar(viewer)
    bar.visible = True
    if getattr(viewer, "canvas", None) is None:
        bar.unit = "um"
