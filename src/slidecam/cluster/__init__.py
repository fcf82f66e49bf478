"""`predict`, on this machine or on a cluster: the same plan, the same batches, the same bytes.

`running` is one call on a dask.distributed cluster, `connecting` finds the cluster, `scheduling`
gives out the work, `working` does it, and `messages` are the nouns that travel between the two: no
pixel and no map does. `gathering` makes a folder's manifest and report anew from what its slides
recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.extras import need
from slidecam.prediction.pipeline import predict as predict_here
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from distributed import Client

    from slidecam.events import Event
    from slidecam.prediction.model import WarmClassifiers


def predict(
    inputs: str | Path | Sequence[str | Path],
    model: str | Path,
    out: str | Path,
    spec: PredictSpec | None = None,
    warm: WarmClassifiers | None = None,
    cluster: str | Path | Client | None = None,
) -> Generator[Event]:
    """Classify slides and write their outputs, yielding each step as an event.

    Parameters
    ----------
    inputs
        Slides, URLs, or folders of slides.
    model
        A bundle's folder.
    out
        Where the outputs go: ``OUT/<file stem>/`` for each slide, ``manifest.json`` and
        ``report.html`` beside them.
    spec
        Everything else; see `PredictSpec`.
    warm
        Keeps the classifier on its device from one call to the next; without effect on a cluster,
        whose workers keep theirs.
    cluster
        A client of dask.distributed, a scheduler's address (``tcp://host:8786``), ``local`` or
        ``local:N`` for N workers on this machine, or a YAML file that names a cluster class of Dask
        and its arguments. All machines see slides, bundle and ``out`` under the same paths. None
        for this process.

    Yields
    ------
    Event
        `Planned`, `BatchDone`, `TileFailed`, `Warned`, `SlideFinished`, `SlideFailed`, and
        `Finished` at the end.

    Raises
    ------
    UsageError
        If two inputs share a stem, nothing was found, or the cluster cannot be used, before
        anything is written.
    BundleError, DeviceError, ExplanationError
        If the model cannot be used as the settings say.
    RunExistsError
        If outputs lie there already and neither resume nor overwrite was said.
    StoreError
        If the output folder's ``manifest.json`` is none of ours, or damaged.

    Examples
    --------
    >>> for event in slidecam.predict("slide.svs", "bundle", "out"):
    ...     print(event)
    >>> for event in slidecam.predict("slides", "bundle", "out", cluster="tcp://host:8786"):
    ...     print(event)
    """
    if cluster is None:
        return predict_here(inputs, model, out, spec, warm)
    return _on_cluster(inputs, model, out, spec or PredictSpec(), cluster)


def _on_cluster(
    inputs: str | Path | Sequence[str | Path],
    model: str | Path,
    out: str | Path,
    spec: PredictSpec,
    cluster: str | Path | Client,
) -> Generator[Event]:
    need("cluster")
    # An extra, which not everybody has.
    from slidecam.cluster.running import predict_there  # noqa: PLC0415

    yield from predict_there(inputs, model, out, spec, cluster)
