"""A place of a slide is explained as its tile is, with how far to trust each map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slidecam.close_up import CloseUpSpec, TileChoice, explain_tiles
from slidecam.faithfulness.removal import CurveSpec
from slidecam.steps import result_of

from .conftest import running_server

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from .conftest import Running


def test_a_place_is_explained_as_the_command_line_explains_it(
    client: httpx.Client, server: Running, tiny_bundle: Path, tmp_path: Path
) -> None:
    path = server.root / "small.tif"
    query: dict[str, Any] = {"path": str(path), "x": 320, "y": 240, "methods": "cam,gradcam++"}
    told: dict[str, Any] = client.get("/v1/explain", params=query).json()
    spec = CloseUpSpec(
        ("cam", "gradcam++"),
        classes=("A", "B", "C"),
        tiles=TileChoice(at=((320.0, 240.0),)),
        curves=CurveSpec(14, ("blur",)),
        device="cpu",
    )
    found = result_of(explain_tiles(path, tiny_bundle, tmp_path, spec))
    assert found.tiles.boxes is not None
    assert told["box"] == found.tiles.boxes[0].tolist()
    assert [one["method"] for one in told["maps"]] == ["cam", "gradcam++"]
    for one in told["maps"]:
        expected = found.maps[one["method"]][0]
        np.testing.assert_allclose(one["values"], expected, atol=1e-4 * np.abs(expected).max())
    assert told["predicted"] in {"A", "B", "C"}
    assert set(told["faithfulness"]) == {"cam", "gradcam++"}
    for areas in told["faithfulness"].values():
        assert 0 <= areas["deletion"] <= 1
        assert 0 <= areas["insertion"] <= 1


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"x": 99_999}, 400, "99999"),
        ({"methods": "magic"}, 400, "magic"),
        ({"path": "/etc/passwd"}, 403, "outside"),
        ({"mpp": -1}, 400, "mpp"),
        ({"plane": 2}, 400, ""),
    ],
)
def test_what_cannot_be_explained_is_said(
    client: httpx.Client, server: Running, change: dict[str, Any], status: int, word: str
) -> None:
    query = {"path": str(server.root / "small.tif"), "x": 320, "y": 240, **change}
    answer = client.get("/v1/explain", params=query)
    assert answer.status_code == status
    assert word in answer.json()["error"]


def test_a_slice_of_a_volume_is_explained(
    slice_bundle: Path, tmp_path: Path, write_volume: Any, head: Any
) -> None:
    (tmp_path / "root").mkdir()
    path = tmp_path / "root" / "head.nii.gz"
    write_volume.nifti(path, head)
    home = tmp_path / "home"
    with running_server(slice_bundle, tmp_path / "root", home) as server, server.client() as client:
        query: dict[str, Any] = {"path": str(path), "plane": 5}
        told = client.get("/v1/explain", params={**query, "methods": "gradcam"}).json()
    assert "slice 5" in told["name"]
    assert told["maps"][0]["classes"] == ["plain", "lesion"]
    assert set(told["faithfulness"]) == {"gradcam"}
