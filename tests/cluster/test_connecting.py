"""A cluster's file is data: a class of Dask's packages and its arguments, and nothing is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slidecam.errors import UsageError

connecting = pytest.importorskip("slidecam.cluster.connecting")

if TYPE_CHECKING:
    from pathlib import Path


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return path


def test_a_file_names_a_class_and_its_arguments(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "cluster: distributed.LocalCluster\narguments: {n_workers: 3}\nadapt: {maximum: 7}\n",
    )
    said = connecting.read_cluster_file(path)
    assert said.arguments == {"n_workers": 3}
    assert said.adapt == {"maximum": 7}
    assert connecting.cluster_class(said.cluster, path).__name__ == "LocalCluster"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n",
        "arguments: {}\n",
        "cluster: 3\n",
        "cluster: distributed.LocalCluster\nworkers: 3\n",
        "cluster: distributed.LocalCluster\nscale: many\n",
        "cluster: !!python/object/apply:os.system ['touch /tmp/owned']\n",
        "cluster: [",
    ],
)
def test_what_describes_no_cluster_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"cluster\.yaml"):
        connecting.read_cluster_file(written(tmp_path, text))


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "subprocess.Popen",
        "dask.config.set",
        "distributed",
        "distributed.Client",
        "distributed.LocalCluster; import os",
        "dask_nothing.Cluster",
        "distributedx.LocalCluster",
    ],
)
def test_only_cluster_classes_of_dasks_packages_are_looked_up(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        connecting.cluster_class(name, tmp_path / "cluster.yaml")
