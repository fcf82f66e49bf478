"""SIGKILL at moments that a seed draws: each run is then resumed, and must be the undisturbed one.

A slide, a volume, and a server whose job runs; a cluster's processes have `cluster`.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from reliability.calls import (
    LONGEST,
    SLIDE,
    VOLUME,
    Call,
    Subject,
    difference,
    files_of,
    finished,
    predict,
)
from reliability.rows import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TICK = 0.05
_OPENER = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbed: its files, and how long it took from the first one on."""

    files: dict[str, bytes]
    seconds: float

    @classmethod
    def of(cls, subject: Subject, folder: Path) -> Undisturbed:
        """Classify a subject; RuntimeError where even that fails."""
        out = folder / "whole"
        ended = Call(predict(subject, out), folder / "whole.log").end()
        if ended.code != 0:
            raise RuntimeError(f"the undisturbed run failed: {ended.said[-500:]}")
        return cls(files_of(out / subject.folder), ended.seconds)


def kills(folder: Path, count: int, seed: int) -> Iterator[Row]:
    """Yield a row for a slide, a volume and a server's job, each of about a third of the kills."""
    shares = (count - 2 * (count // 4), count // 4, count // 4)
    for subject, words, tries in zip(
        (SLIDE, VOLUME), ("predict on a slide", "predict on a volume"), shares, strict=False
    ):
        yield _of_calls(subject, words, folder / subject.folder, tries, seed)
    yield _of_server(folder / "server", shares[2], seed)


def _of_calls(subject: Subject, words: str, folder: Path, count: int, seed: int) -> Row:
    row = Row("kills", f"SIGKILL of {words}")
    if not count:
        return row
    whole = Undisturbed.of(subject, folder)
    for number in range(seed, seed + count):
        # Whole calls, from the first import to the last file; the later part is the longer one.
        moment = random.Random(number).uniform(0.05, 1.0) * whole.seconds  # noqa: S311  (no secret)
        out = folder / f"kill-{number}"
        fault = _killed_once(subject, out, moment, whole)
        row.add(fault and f"seed {number}, after {moment:.2f} s: {fault}")
        if not fault:
            shutil.rmtree(out, ignore_errors=True)
    row.note = f"seeds {seed} to {seed + count - 1}, within {whole.seconds:.1f} s"
    return row


def _killed_once(subject: Subject, out: Path, moment: float, whole: Undisturbed) -> str:
    log = out.with_suffix(".log")
    Call(predict(subject, out), log).kill_after(moment)
    fault = finished(lambda *more: predict(subject, out, *more), log)
    return fault or difference(whole.files, files_of(out / subject.folder))


class Server:
    """``slidecam serve`` in a process of its own."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "endpoint.json"
        self._file.unlink(missing_ok=True)
        words = ("serve", "-m", str(subject.bundle), "--root", str(subject.path.parent))
        environment = {"SLIDECAM_SERVER_FILE": str(self._file)}
        more = ("--root", str(folder), "--out", str(folder / "jobs"))
        self.call = Call((*words, *more), folder / "server.log", environment)

    def ask(self, path: str, body: object = None) -> Any:  # noqa: ANN401  (JSON)
        """Return the JSON that answers a request; OSError where there is none."""
        return json.loads(self.ask_bytes(path, body))

    def ask_bytes(self, path: str, body: object = None) -> bytes:
        """Return the answer to a request; OSError where there is none."""
        known = json.loads(self._file.read_bytes())
        content = None
        if body is not None:
            content = json.dumps(body).encode()
        request = Request(f"{known['url']}{path}", content)  # noqa: S310  (our own server)
        request.add_header("Authorization", f"Bearer {known['token']}")
        request.add_header("Content-Type", "application/json")
        with _OPENER.open(request, timeout=30) as answer:
            content_back: bytes = answer.read()
        return content_back

    def wait(self) -> None:
        """Return once it listens; RuntimeError where it does not."""
        end = time.monotonic() + LONGEST
        while time.monotonic() < end:
            with suppress(OSError, ValueError, KeyError, URLError):
                self.ask("/v1/status")
                return
            if self.call.process.poll() is not None:
                break
            time.sleep(TICK)
        raise RuntimeError(f"the server did not begin: {self.call.log.read_text()[-500:]}")


def job_of(subject: Subject, out: Path, existing: str) -> dict[str, Any]:
    """Return the body of a request for a job that does what `predict` calls for."""
    options = {"batch": 8, "outputs": ["tiles.csv", "heatmap.ome.zarr"]}
    return {
        "slides": [str(subject.path)],
        "out": str(out),
        "options": {**options, "existing": existing},
    }


def done(server: Server, job: dict[str, Any]) -> str:
    """Wait for a job's end and return what is wrong, or nothing."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        found = server.ask(f"/v1/jobs/{job['id']}")
        if found["status"] not in {"queued", "waiting", "running"}:
            return "" if found["exit_code"] == 0 else f"the job ended: {found}"
        time.sleep(TICK)
    return "the job did not end"


def _of_server(folder: Path, count: int, seed: int) -> Row:
    row = Row("kills", "SIGKILL of a server whose job runs")
    if not count:
        return row
    server = Server(SLIDE, folder)
    server.wait()
    begun = time.monotonic()
    fault = done(server, server.ask("/v1/jobs", job_of(SLIDE, folder / "whole", "refuse")))
    if fault:
        raise RuntimeError(f"the undisturbed job failed: {fault}")
    seconds, expected = time.monotonic() - begun, files_of(folder / "whole" / SLIDE.folder)
    for number in range(seed, seed + count):
        moment = random.Random(number).uniform(0.0, 1.2) * seconds  # noqa: S311  (no secret)
        out = folder / f"kill-{number}"
        server.ask("/v1/jobs", job_of(SLIDE, out, "refuse"))
        server.call.kill_after(moment)
        server = Server(SLIDE, folder)
        server.wait()
        existing = "resume" if (out / SLIDE.folder).exists() else "refuse"
        fault = done(server, server.ask("/v1/jobs", job_of(SLIDE, out, existing)))
        fault = fault or difference(expected, files_of(out / SLIDE.folder))
        row.add(fault and f"seed {number}, after {moment:.2f} s: {fault}")
        if not fault:
            shutil.rmtree(out, ignore_errors=True)
    server.call.kill_after(0)
    row.note = f"seeds {seed} to {seed + count - 1}, within {seconds:.1f} s of the job"
    return row
