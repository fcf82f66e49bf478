"""One call on a cluster, from what is refused at once to its last event."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from slidecam.cluster.connecting import connected, dashboard_of, workers_of
from slidecam.cluster.messages import MARK, Call, Refused, SlideJob
from slidecam.cluster.scheduling import SchedulerLostError, Scheduling
from slidecam.cluster.working import Resident, forget, inspect_worker, is_busy, settle
from slidecam.errors import SlidecamError, UsageError, without_secrets
from slidecam.events import Warned
from slidecam.explain.facts import said_of_methods
from slidecam.files import write_text
from slidecam.models import open_bundle
from slidecam.objects import begun, from_everywhere, is_alive, is_url, said
from slidecam.options import EVERY_SLIDE
from slidecam.prediction.checks import folder_named, found_and_settled, listed
from slidecam.runlog import RunLog
from slidecam.store import Outlet

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from distributed import Client

    from slidecam.cluster.messages import Settled
    from slidecam.events import Event
    from slidecam.models import Bundle
    from slidecam.runs.spec import PredictSpec
    from slidecam.sources.names import Discovery, FoundSlide

Row = TypeVar("Row")

FIRST_WORKER_SECONDS = 600
"""How long the first worker may take: a batch queue gives none at once."""

STOP_SECONDS = 120.0
"""How long a batch may take that is on a worker's device while the run is being stopped."""

LOST = (
    "The scheduler ended, or cannot be reached. What was classified is safe: repeat the call with"
    " --resume."
)


def predict_there(
    inputs: str | Path | Sequence[str | Path],
    model: str | Path,
    out: str | Path,
    spec: PredictSpec,
    cluster: str | Path | Client,
) -> Generator[Event]:
    """Classify slides on a cluster; see `slidecam.predict`."""
    # Workers have working folders of their own.
    if is_url(folder_named(out)):
        raise UsageError(
            f"A cluster writes no results to a URL: {without_secrets(folder_named(out))}.",
            "Leave --cluster out: any number of processes share a URL, --shard K/N each. Or pass an"
            " --out on a drive that all machines see.",
        )
    folder = Path(folder_named(out)).absolute()
    places = list(map(from_everywhere, listed(inputs)))
    if spec.mask is not None:
        spec = replace(spec, mask=spec.mask.absolute())
    found, spec = found_and_settled(places, Outlet(folder), spec)
    bundle = open_bundle(from_everywhere(model), trust=spec.trust)
    call = Call(uuid4().hex, version("slidecam"), said(bundle.path), bundle.digest, folder, spec)
    with ExitStack() as cleanup:
        client = cleanup.enter_context(connected(cluster))
        link = dashboard_of(client)
        if link:
            yield Warned("", f"The cluster's dashboard is at {link}.")
        cleanup.callback(_unmark, call, made=not folder.exists())
        _remove_left_marks(call.out)
        write_text(call.mark, f"{gethostname()}\n{begun(os.getpid())}\n")
        _wait_for_workers(client)
        log = yield from _given_out(client, call, found, bundle)
    yield from log.warnings()
    yield log.summary()


def _given_out(
    client: Client,
    call: Call,
    found: Discovery,
    bundle: Bundle,
) -> Generator[Event, None, RunLog]:
    client.register_plugin(Resident())
    _refuse_workers(client, call)
    on_gpu = call.spec.device != "cpu" and _has_gpu(client)
    settled = _settled(client, call, found, on_gpu=on_gpu)
    own = replace(call, batch=settled.batch, spec=replace(call.spec, spacings={}, shown={}))
    slides = call.spec.share_of(found.slides)
    said = said_of_methods(bundle.card, settled.methods)
    log = RunLog(Outlet(call.out), bundle, call.spec, slides, said)
    yield log.begun(len(found.slides))
    for message in settled.notes:
        yield Warned("", message)
    jobs = [*_jobs(call.spec, slides)]
    with ExitStack() as cleanup:
        work = Scheduling(client, own, jobs, log, on_gpu=on_gpu)
        # In the opposite order: nothing is let go of while a worker may still write into it.
        cleanup.callback(log.write)
        cleanup.callback(work.release)
        cleanup.callback(_wait_until_idle, client, call.key)
        cleanup.callback(work.stop)
        try:
            yield from work.events()
        except SchedulerLostError:
            yield Warned("", LOST)
    return log


def _jobs(spec: PredictSpec, slides: Sequence[FoundSlide]) -> Iterator[SlideJob]:
    """Yield each slide with the rows of tables that are its own: all of them may be thousands."""
    for number, slide in enumerate(slides, 1):
        names = {*slide.row_names, EVERY_SLIDE}
        spacings, shown = _rows(spec.spacings, names), _rows(spec.shown, names)
        yield SlideJob(slide, number, len(slides), spacings, shown)


def _rows(table: Mapping[str, Row], names: set[str]) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for name in names & table.keys():
        rows[name] = table[name]
    return rows


def _remove_left_marks(out: Path) -> None:
    """Remove the marks of calls of this machine whose process was ended before it could."""
    for left in out.glob(f"{MARK}*"):
        with suppress(OSError, ValueError):  # removed just now; of an earlier slidecam
            host, owner = left.read_text(encoding="utf-8").splitlines()
            if host == gethostname() and not is_alive(owner):
                left.unlink()


def _unmark(call: Call, *, made: bool) -> None:
    call.mark.unlink(missing_ok=True)
    if made:
        with suppress(OSError):  # what was written into it stays
            call.out.rmdir()


def _wait_for_workers(client: Client) -> None:
    try:
        client.wait_for_workers(1, timeout=FIRST_WORKER_SECONDS)
    except TimeoutError as error:
        raise UsageError(
            f"No worker came to the cluster in {FIRST_WORKER_SECONDS} s.",
            "Start one with dask worker, or see the queue of your batch system.",
        ) from error


def _has_gpu(client: Client) -> bool:
    return any(worker["resources"].get("GPU") for worker in workers_of(client).values())


def _refuse_workers(client: Client, call: Call) -> None:
    """Refuse a cluster of whose workers one cannot take part, by its name; UsageError."""
    try:
        faults = client.run(inspect_worker, call)
    except ImportError as error:
        raise UsageError(
            f"The workers have no slidecam: {error}.", "Install it on all machines."
        ) from error
    for fault in faults.values():
        if fault is not None:
            raise _as_error(fault)


def _settled(client: Client, call: Call, found: Discovery, *, on_gpu: bool) -> Settled:
    resources = None
    if on_gpu:
        resources = {"GPU": 0}
    settled = client.submit(settle, call, found, pure=False, resources=resources).result()
    if isinstance(settled, Refused):
        raise _as_error(settled)
    return settled


def _as_error(fault: Refused) -> SlidecamError:
    if fault.usage:
        return UsageError(fault.problem, fault.remedy)
    return SlidecamError(fault.problem, fault.remedy)


def _wait_until_idle(client: Client, key: str) -> None:
    """Return once no worker is at work on a call, or cannot be heard any more."""
    end = time.monotonic() + STOP_SECONDS
    # What goes wrong here comes on top of what is reported already: workers that are gone write
    # nothing.
    with suppress(Exception):
        while any(client.run(is_busy, key, on_error="return").values()):
            if time.monotonic() > end:
                return
            time.sleep(0.1)
        client.run(forget, key, on_error="ignore")
