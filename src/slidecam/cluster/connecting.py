"""From what a call says of a cluster to its client.

An address of a scheduler, ``local`` for workers on this machine, or a YAML file that names a
cluster class of Dask and its arguments. The file is data: no class of any other package is looked
up, and nothing in it is run.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping  # noqa: TC003  (the validator reads the fields)
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import yaml
from distributed import Client, LocalCluster
from distributed.deploy.cluster import Cluster

from slidecam.errors import UsageError
from slidecam.settings import Complaints, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECT_SECONDS = 30
"""How long a scheduler may take to answer."""

ANSWER_SECONDS = 5
"""How long its dashboard may take."""

THREADS = 2
"""Of a local worker: one has its batches on the device while the other decodes the next."""

_LOCAL = re.compile(r"local(?::(\d{1,4}))?")
_CLASS = re.compile(r"(dask_[a-z0-9_]+|distributed)(\.[A-Za-z_][A-Za-z0-9_]*)+")

FORMS = "Pass an address (tcp://host:8786), local, local:N, or a .yaml file."


@dataclass(frozen=True)
class ClusterFile:
    """What a cluster's YAML file says.

    Attributes
    ----------
    cluster
        The import path of its class: ``dask_jobqueue.SLURMCluster``.
    arguments
        What the class is called with.
    scale
        How many jobs or workers are wanted at once.
    adapt
        How many at least and at most, by the load, as the class's ``adapt`` takes it.
    """

    cluster: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    scale: int | None = None
    adapt: Mapping[str, Any] | None = None


@contextmanager
def connected(cluster: str | Path | Client) -> Iterator[Client]:
    """Give a client of a cluster; what was begun for it ends with it.

    Parameters
    ----------
    cluster
        A client, which is left as it is; a scheduler's address; ``local`` or ``local:N`` for as
        many workers on this machine, by default one for each of its processors; or a YAML file.

    Raises
    ------
    UsageError
        If it is none of them, the file says something impossible, or nobody answers.
    """
    if isinstance(cluster, Client):
        yield cluster
        return
    # None of ours becomes the process's default, by which it computes Dask's arrays of its own.
    text = str(cluster)
    local = _LOCAL.fullmatch(text)
    if local:
        with _local(local[1]) as running, Client(running, set_as_default=False) as client:
            yield client
    elif "://" in text:
        with _at(text) as client:
            yield client
    elif text.lower().endswith((".yaml", ".yml")):
        with _described(Path(text)) as running, Client(running, set_as_default=False) as client:
            yield client
    else:
        raise UsageError(f"There is no cluster {text!r}.", FORMS)


def _local(number: str | None) -> LocalCluster:
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if number is not None:
        workers = int(number)
    if not workers:
        raise UsageError("A cluster of no workers does nothing.", FORMS)
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=THREADS,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.ERROR,
    )


def _at(address: str) -> Client:
    try:
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise UsageError(
            f"No scheduler answers at {address}.",
            "Start one with dask scheduler, and check the address.",
        ) from error


def _described(path: Path) -> Cluster:
    said = read_cluster_file(path)
    running = cluster_class(said.cluster, path)(**said.arguments)
    if said.adapt is not None:
        running.adapt(**said.adapt)
    elif said.scale is not None:
        running.scale(said.scale)
    return running


def read_cluster_file(path: Path) -> ClusterFile:
    """Read a cluster's YAML file; UsageError where it says something impossible."""
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError("There is no such file for --cluster.", "Check the path.", path) from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        words = str(error).splitlines()[0]
        raise UsageError(f"The file is no YAML: {words}.", "Mend it.", path) from error
    complaints = Complaints()
    said = read_settings(ClusterFile, record, "", complaints)
    if said is None:
        raise UsageError(
            f"The file does not describe a cluster: {' '.join(complaints.lines)}",
            "Write cluster: dask_jobqueue.SLURMCluster, arguments: {…}, and scale: N or adapt:"
            " {minimum: N, maximum: N}.",
            path,
        )
    return said


def cluster_class(name: str, path: Path) -> type[Cluster]:
    """Return a cluster class of Dask's packages by its import path.

    Raises
    ------
    UsageError
        If it is of another package, not installed, or no cluster.
    """
    if not _CLASS.fullmatch(name):
        problem = f"{name!r} is no cluster class of a package dask_* or distributed."
        raise UsageError(problem, "Name one of them: dask_jobqueue.SLURMCluster.", path)
    module, _, kind = name.rpartition(".")
    try:
        found = getattr(import_module(module), kind, None)
    except ImportError as error:
        package = module.split(".")[0].replace("_", "-")
        problem = f"The class {name} cannot be imported: {error}."
        raise UsageError(problem, f"Install it: pip install {package}.", path) from error
    if not (isinstance(found, type) and issubclass(found, Cluster)):
        problem = f"{name} is no class of a cluster."
        raise UsageError(problem, "Name one: dask_jobqueue.SLURMCluster.", path)
    return found


def workers_of(client: Client) -> Mapping[str, Any]:
    """Return the workers of a cluster, by their addresses, as its scheduler knows them."""
    workers: Mapping[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
    return workers


def dashboard_of(client: Client) -> str:
    """Return where a cluster's dashboard is; nothing where it has none that answers here."""
    if "dashboard" not in client.scheduler_info().get("services", {}):
        return ""
    link = str(client.dashboard_link)
    # A scheduler names one without bokeh and with --no-dashboard too.
    try:
        with urlopen(link, timeout=ANSWER_SECONDS):  # noqa: S310  (the scheduler's own page)
            return link
    except (OSError, ValueError):
        return ""
