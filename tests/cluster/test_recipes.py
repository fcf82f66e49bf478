"""The recipes of ``cluster/``: read and checked, and run as far as can be here."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from slidecam import PredictSpec, predict
from slidecam.cluster.connecting import read_cluster_file
from slidecam.events import Finished

if TYPE_CHECKING:
    from collections.abc import Callable

RECIPES = Path(__file__).parents[2] / "cluster"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_a_cluster_file_says_what_ours_may_say(path: Path) -> None:
    said = read_cluster_file(path)
    assert said.cluster.split(".")[0] in {"distributed", "dask_jobqueue", "dask_kubernetes"}


def test_compose_has_a_scheduler_workers_and_a_client() -> None:
    services = yaml.safe_load((RECIPES / "docker-compose.yml").read_text())["services"]
    assert services.keys() == {"scheduler", "worker", "client"}


def test_the_job_array_is_a_script_that_bash_reads() -> None:
    words = ["/bin/bash", "-n", str(RECIPES / "slurm-array.sh")]
    subprocess.run(words, check=True)  # noqa: S603  (our own script, and only read)


@pytest.mark.slow
def test_the_local_recipe_classifies(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide, spec = write_slide(tmp_path / "one.tif"), PredictSpec(batch=8, outputs=("tiles.csv",))
    cluster = RECIPES / "local.yaml"
    events = list(predict(slide, tiny_bundle, tmp_path / "out", spec, cluster=cluster))
    assert isinstance(events[-1], Finished)
    assert events[-1].exit_code == 0
