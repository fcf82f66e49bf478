"""Volumes through the server.

Each plane is shown in its true shape, with its own tiles and its own heat.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from slidecam.exchange.volumes import read_volume_ome_zarr
from slidecam.geometry import LevelBox
from slidecam.sources import open_source
from slidecam.store import RunStore

from .conftest import Running, finished, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx
    from numpy.typing import NDArray

OUTPUT = {"heatmap": "gradcam++"}


@pytest.fixture(scope="module")
def server(
    slice_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
    write_volume: Any,
    head: NDArray[np.int16],
) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("volumes")
    write_volume.nifti(root / "head.nii.gz", head, np.diag([1.0, 2.0, 3.0, 1.0]))
    with running_server(slice_bundle, root, tmp_path_factory.mktemp("volumes-home")) as running:
        yield running


def opened(client: httpx.Client, server: Running) -> dict[str, Any]:
    told: dict[str, Any] = client.get(
        "/v1/slides/open", params={"path": str(server.root / "head.nii.gz")}
    ).json()
    return told


def plane_shown(client: httpx.Client, told: dict[str, Any], plane: int) -> NDArray[np.uint8]:
    level = (max(told["width"], told["height"]) - 1).bit_length()
    answer = client.get(f"/v1/slides/{told['id']}_files/{level}/0_0.jpeg", params={"plane": plane})
    assert answer.status_code == 200
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_planes_are_shown_one_by_one_with_square_pixels(
    server: Running, client: httpx.Client, head: NDArray[np.int16]
) -> None:
    told = opened(client, server)
    columns, rows, planes = head.shape
    assert told["volume"]["voxels"] == [columns, rows, planes]
    assert told["volume"]["spacing_mm"] == [1.0, 2.0, 3.0]
    assert (told["width"], told["height"]) == (columns, 2 * rows)
    with open_source(server.root / "head.nii.gz") as volume:
        for plane in (0, planes // 2, planes - 1):
            shown = plane_shown(client, told, plane)
            assert shown.shape == (2 * rows, columns, 3)
            expected = volume.read(0, LevelBox(0, 0, columns, rows), plane=plane).astype(float)
            assert np.abs(shown[::2].astype(float) - expected).mean() < 12
    assert (
        np.abs(
            plane_shown(client, told, 0).astype(int) - plane_shown(client, told, planes // 2)
        ).max()
        > 50
    )


def test_there_is_no_plane_beyond_the_last(server: Running, client: httpx.Client) -> None:
    told = opened(client, server)
    beyond = f"/v1/slides/{told['id']}_files/0/0_0.jpeg?plane={told['volume']['planes']}"
    assert client.get(beyond).status_code == 404
    assert client.get(f"/v1/slides/{told['id']}_files/0/0_0.jpeg?plane=-1").status_code == 400


def test_tiles_know_their_plane_and_heat_is_that_of_the_plane_asked_for(
    server: Running, client: httpx.Client
) -> None:
    path = str(server.root / "head.nii.gz")
    job = client.post("/v1/jobs", json={"slides": [path], "options": OUTPUT}).json()
    finished(client, job)
    here = f"/v1/jobs/{job['id']}/slides/head"
    folder = server.home / job["id"] / "head"
    tiles = client.get(f"{here}/tiles").json()
    planes = np.frombuffer(base64.b64decode(tiles["planes"]), "<i4")
    np.testing.assert_array_equal(planes, RunStore.open(folder).planes)
    assert len(set(planes.tolist())) == tiles["tiles"] > 3
    assert set(tiles["volume"]["probabilities"]) == {"plain", "lesion"}
    (told,) = client.get(f"{here}/heatmaps").json()["heatmaps"]
    saved = read_volume_ome_zarr(folder / "heatmap.ome.zarr")
    assert (told["planes"], told["height"], told["width"], told["axis"]) == (
        *saved.spec.stack.shape,
        "axial",
    )
    for plane in (int(planes[0]), int(planes[-1])):
        sent = np.frombuffer(client.get(f"{here}/heatmaps/heatmap/1?plane={plane}").content, "<i2")
        expected = saved.pictures(1, plane, plane + 1)[0]
        np.testing.assert_allclose(
            sent.reshape(expected.shape) / 32767, np.nan_to_num(expected), atol=2e-5
        )
        assert sent.any()
    assert client.get(f"{here}/heatmaps/heatmap/1?plane={told['planes']}").status_code == 404
