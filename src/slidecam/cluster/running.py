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
from slidecam.cluster.working import PLUGIN, Resident, refuse_other, settle
from slidecam.errors import SlidecamError, StoreError, UsageError, without_secrets
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

    from distributed import Client, Scheduler, Worker

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
    if is_url(folder_named(out)):
        raise UsageError(
            f"A cluster writes no results to a URL ({without_secrets(folder_named(out))}): several"
            " workers write into one slide's files, and what is put to a URL is one process's.",
            "Leave --cluster out: any number of processes share a URL, --shard K/N each. Or pass an"
            " --out on a drive that all machines see.",
        )
    folder = Path(folder_named(out)).absolute()
    places = list(map(from_everywhere, listed(inputs)))
    if spec.mask is not None:
        spec = replace(spec, mask=spec.mask.absolute())
    found, spec = found_and_settled(places, model, Outlet(folder), spec)
    bundle = open_bundle(from_everywhere(model), trust=spec.trust)
    call = Call(uuid4().hex, version("slidecam"), said(bundle.path), bundle.digest, folder, spec)
    with ExitStack() as cleanup:
        client = cleanup.enter_context(connected(cluster))
        link = dashboard_of(client)
        if link:
            yield Warned("", f"The cluster's dashboard is at {link}.")
        cleanup.callback(_unmark, call, made=not folder.exists())
        # First of all: workers that come later load what it is of while they begin, and one that
        # is still loading is not taken for idle.
        client.register_plugin(Resident())
        _wait_for_workers(client)
        _end_left_calls(client, call.out)
        write_text(call.mark, f"{gethostname()}\n{begun(os.getpid())}\n{client.id}\n")
        log = yield from _given_out(client, call, found, bundle)
    yield from log.warnings()
    yield log.summary()


def _given_out(
    client: Client,
    call: Call,
    found: Discovery,
    bundle: Bundle,
) -> Generator[Event, None, RunLog]:
    _refuse_workers(client, call)
    on_gpu = call.spec.device != "cpu" and _has_gpu(client)
    settled = _settled(client, call, found, on_gpu=on_gpu)
    spec = replace(call.spec, spacings={}, shown={})
    own = replace(call, batch=settled.batch, runs_by=settled.runs_by, spec=spec)
    slides = call.spec.share_of(found.slides)
    said = said_of_methods(bundle.card, settled.methods)
    log = RunLog(Outlet(call.out), bundle, call.spec, slides, said)
    jobs = [*_jobs(call.spec, slides)]
    with ExitStack() as cleanup:
        # Before the first event: whoever hears of a call may end it at once.
        cleanup.callback(log.write)
        yield log.begun(len(found.slides))
        for message in settled.notes:
            yield Warned("", message)
        work = Scheduling(client, own, jobs, log, on_gpu=on_gpu)
        # In the opposite order: nothing is let go of while a worker may still write into it.
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


def _end_left_calls(client: Client, out: Path) -> None:
    """Wait for what workers still do for calls whose client was killed, and remove their marks.

    UsageError if they do not come to an end.
    """
    for left in out.glob(f"{MARK}*"):
        key = left.name.removeprefix(MARK)
        with suppress(OSError, ValueError):  # removed just now; of an earlier slidecam
            host, owner, *its_client = left.read_text(encoding="utf-8").splitlines()
            ended = host == gethostname() and not is_alive(owner)
            if not (ended or (its_client and _has_left(client, its_client[0], key))):
                continue
            # Without it, a worker takes no task of the call, and leaves off after its batch.
            left.unlink()
            if not _wait_until_idle(client, key):
                raise StoreError(
                    out,
                    "Workers are still busy with a call in this folder whose client has ended.",
                    "Wait until they have done, or start the workers anew.",
                )


def _has_left(client: Client, its_client: str, key: str) -> bool:
    """Whether workers of this cluster are at work for a client that it has no more."""
    return its_client not in client.run_on_scheduler(_clients) and _is_any_busy(client, key)


def _clients(dask_scheduler: Scheduler) -> list[str]:
    return list(dask_scheduler.clients)


def _is_any_busy(client: Client, key: str) -> bool:
    return True in client.run(is_busy, key, on_error="return").values()


def _unmark(call: Call, *, made: bool) -> None:
    call.mark.unlink(missing_ok=True)
    if made:
        with suppress(OSError):  # what was written into it stays
            call.out.rmdir()


def _wait_for_workers(client: Client) -> None:
    # A task, and not a look for workers: a cluster that adapts has none before there is work.
    first = client.submit(gethostname, pure=False)
    try:
        first.result(timeout=FIRST_WORKER_SECONDS)
    except TimeoutError as error:
        raise UsageError(
            f"No worker came to the cluster in {FIRST_WORKER_SECONDS} s.",
            "Start one with dask worker, or see the queue of your batch system.",
        ) from error


def _has_gpu(client: Client) -> bool:
    return any(worker["resources"].get("GPU") for worker in workers_of(client).values())


def _refuse_workers(client: Client, call: Call) -> None:
    """Refuse a cluster of whose workers one cannot take part, by its name; UsageError."""
    for fault in client.run(inspect_worker, call, on_error="return").values():
        if isinstance(fault, Refused):
            raise _as_error(fault)
        if isinstance(fault, ImportError):
            raise UsageError(
                f"The workers have no slidecam: {fault}.", "Install it on all machines."
            ) from fault
        # A worker that left just now keeps nobody.
        if isinstance(fault, Exception) and not isinstance(fault, OSError):
            raise fault


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


def _wait_until_idle(client: Client, key: str) -> bool:
    """Return once no worker is at work on a call, or cannot be heard any more.

    False where one still is after `STOP_SECONDS`.
    """
    end = time.monotonic() + STOP_SECONDS
    # What goes wrong here comes on top of what is reported already: workers that are gone write
    # nothing.
    with suppress(Exception):
        while _is_any_busy(client, key):
            if time.monotonic() > end:
                return False
            time.sleep(0.1)
        client.run(forget, key, on_error="ignore")
    return True


def inspect_worker(call: Call, dask_worker: Worker) -> Refused | None:
    """Return what keeps a worker from a call; None where nothing does."""
    try:
        refuse_other(call, dask_worker.address)
    except SlidecamError as error:
        return Refused(error.problem, error.remedy, error.usage)
    return None


def is_busy(key: str, dask_worker: Worker) -> bool:
    """Whether a task of a call is still at work on a worker."""
    plugin = dask_worker.plugins.get(PLUGIN)
    return isinstance(plugin, Resident) and plugin.residence.is_busy(key)


def forget(key: str, dask_worker: Worker) -> None:
    """Let a worker close what it has open of a call that is over."""
    plugin = dask_worker.plugins.get(PLUGIN)
    if isinstance(plugin, Resident):
        plugin.residence.forget(key)
