"""Other versions of napari, and the second LLVM that is kept out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.plugin.compat import (
    camera,
    canvas_size,
    keep_triton_out,
    later,
    resized,
    scale_bar,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel


@pytest.mark.parametrize(
    ("loaded", "maps", "kept_out"),
    [
        ({}, "libLLVM-15.so", True),
        ({"triton": object()}, "libLLVM-15.so", False),
        ({}, "libc.so", False),
    ],
)
def test_triton_is_kept_out_where_another_llvm_is_in_the_process(
    tmp_path: Path, loaded: dict[str, Any], maps: str, *, kept_out: bool
) -> None:
    (tmp_path / "maps").write_text(f"7f00 r-xp /usr/lib/{maps}\n")
    assert keep_triton_out(loaded, tmp_path / "maps") is kept_out
    assert (loaded.get("triton", "absent") is None) is kept_out
    assert not keep_triton_out({}, tmp_path / "no such file")


def test_the_shim_finds_camera_canvas_and_scale_bar(viewer: ViewerModel) -> None:
    camera(viewer).zoom = 3
    assert camera(viewer).zoom == 3
    assert canvas_size(viewer) == tuple(viewer.canvas.size)
    assert scale_bar(viewer) is viewer.canvas.overlays.scale_bar
    sizes: list[Any] = []
    for event in resized(viewer):
        event.connect(lambda _event: sizes.append(canvas_size(viewer)))
    viewer.canvas.size = (300, 400)
    assert sizes == [(300, 400)]


class OldViewer:
    """A viewer as napari had it before 0.9."""

    camera, scale_bar, _canvas_size = "camera", "bar", (600, 800)


def test_the_shim_knows_napari_before_0_9_too() -> None:
    assert (camera(OldViewer), scale_bar(OldViewer), canvas_size(OldViewer)) == (
        "camera",
        "bar",
        (600, 800),
    )
    assert resized(OldViewer) == ()


def test_what_is_for_later_is_left_where_no_window_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "qtpy.QtCore")
    called: list[str] = []
    later(lambda: called.append("now"))
    assert called == []
