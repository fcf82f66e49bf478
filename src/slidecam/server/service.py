"""What stands behind the routes: one warm model, its devices, the jobs, the open slides."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from slidecam.close_up.methods import choose_methods
from slidecam.explain.catalogue import slide_methods
from slidecam.explain.facts import usual_methods
from slidecam.explain.neighbours import has_neighbours
from slidecam.models.backends import choose_device
from slidecam.models.channels import IN_WORDS
from slidecam.prediction.choices import view_of
from slidecam.prediction.model import WarmClassifiers
from slidecam.runs.spec import PredictSpec
from slidecam.server.devices import Devices
from slidecam.server.guard import busy
from slidecam.server.job_requests import JobDefaults, read_request
from slidecam.server.jobs import JobQueue
from slidecam.server.kept_requests import KeptRequests
from slidecam.server.past_runs import PastRuns
from slidecam.server.pictures import default_methods, explain_picture
from slidecam.server.places import SlidePlace, explain_place
from slidecam.server.run_shelf import RunShelf
from slidecam.server.served_bundle import ServedBundle
from slidecam.server.slides import SlideCache
from slidecam.server.views import class_records, heat_colours

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.models import Classifier
    from slidecam.server.callers import Caller
    from slidecam.server.folders import Roots
    from slidecam.server.guard import Limits
    from slidecam.server.job import Job
    from slidecam.server.pictures import PictureRequest
    from slidecam.viewing import VolumeView


TILE_THREADS, OPENING_THREADS = 16, 16
"""Those that wait for a share which does not answer leave some to others."""


@dataclass(frozen=True)
class Service:
    """Everything that lives as long as the server does.

    Attributes
    ----------
    served
        The server's own model.
    device
        Where it is.
    warm
        It, ready to run, and the one that a job brought along last.
    devices, jobs, runs, slides, defaults, limits
        See their classes.
    picture_thread, tile_threads, opening_threads
        Where pictures are explained, tiles are cut and slides are opened: none waits for another.
    admitted
        Pictures that may still come in.
    """

    served: ServedBundle
    device: str
    warm: WarmClassifiers
    devices: Devices
    jobs: JobQueue
    runs: RunShelf
    slides: SlideCache
    defaults: JobDefaults
    limits: Limits
    picture_thread: ThreadPoolExecutor
    tile_threads: ThreadPoolExecutor
    opening_threads: ThreadPoolExecutor
    admitted: BoundedSemaphore
    _methods: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: str | Path, roots: Roots, home: Path, limits: Limits, **how: Any) -> Service:  # noqa: ANN401  (device, trust)
        """Load the model and open for business; SlidecamError if it cannot be used."""
        served = ServedBundle(model, trust=how["trust"])
        warm, devices = WarmClassifiers(), Devices()
        device = str(choose_device(how["device"]))
        jobs = JobQueue(warm, devices, limits)
        service = cls(
            served=served,
            device=device,
            warm=warm,
            devices=devices,
            jobs=jobs,
            runs=RunShelf(jobs, PastRuns(roots.with_folder(home)), KeptRequests(home)),
            slides=SlideCache(limits.open_slides, partial(_looked_at, served), limits.shelf_bytes),
            defaults=JobDefaults(roots, home, served, device),
            limits=limits,
            picture_thread=ThreadPoolExecutor(1, "slidecam-picture"),
            tile_threads=ThreadPoolExecutor(TILE_THREADS, "slidecam-tile"),
            opening_threads=ThreadPoolExecutor(OPENING_THREADS, "slidecam-opening"),
            admitted=BoundedSemaphore(limits.waiting_images),
        )
        service.methods()  # a model that cannot be used is found before anybody calls
        return service

    def classifier(self) -> Classifier:
        """Return the server's own classifier, which is loaded again where a job's pushed it out."""
        bundle = self.served.current()
        return self.warm.classifier(bundle, choose_device(self.device), "fp32", "folded")

    def methods(self) -> tuple[str, ...]:
        """Return what a picture is explained by where a request names no method."""
        digest = self.served.current().digest
        if digest not in self._methods:
            self._methods[digest] = default_methods(self.classifier())
        return self._methods[digest]

    def explain(self, content: bytes, request: PictureRequest, caller: Caller) -> dict[str, Any]:
        """Classify a picture; see `explain_picture`."""
        lock = self.devices.lock(self.device)
        caller.stays()
        return explain_picture(content, self.classifier(), request, self.limits, lock, caller)

    def explain_place(
        self, place: SlidePlace, request: PictureRequest, caller: Caller
    ) -> dict[str, Any]:
        """Explain a place of a slide; see `explain_place`."""
        lock = self.devices.lock(self.device)
        caller.stays()
        return explain_place(place, self.classifier(), request, self.limits, lock, caller)

    def admit(self) -> None:
        """Let one more picture in; RequestError 503 if there are enough."""
        if not self.admitted.acquire(blocking=False):
            raise busy(503, f"{self.limits.waiting_images} pictures are waiting already.", 1)

    def submit(self, wanted: Mapping[str, Any], caller: Caller) -> Job:
        """Put a job in line, and keep what it was sent for; SlidecamError if it is impossible.

        CallerLeftError where its sender has left before: nobody would know of it.
        """
        caller.stays()
        spec = self.defaults.job_of(read_request(wanted))
        caller.stays()
        job = self.jobs.submit(spec)
        self.runs.requests.keep(job.id, job.out, wanted)
        return job

    def go_on(self, name: str) -> Job:
        """Go on with a run, in its place and as it was begun; SlidecamError if it cannot be."""
        return self.jobs.submit(self.defaults.job_of(self.runs.continued(name)))

    def status(self) -> dict[str, Any]:
        """Return what ``GET /v1/status`` answers."""
        statuses = [job.status for job in self.jobs.all()]
        limits = self.limits
        return {
            "slidecam": version("slidecam"),
            "pid": os.getpid(),
            "device": self.device,
            "model": self._model_facts(),
            "methods": {
                "pictures": list(self.methods()),
                "titles": self._titles(),
                "slides": {name: one.title for name, one in slide_methods().items()},
                "usual": self._usual(),
            },
            "colours": heat_colours(),
            "roots": [str(root) for root in self.defaults.roots.given],
            "out": str(self.defaults.home),
            "limits": {
                "body_bytes": limits.body_bytes,
                "pixels": limits.pixels,
                "image_seconds": limits.image_seconds,
                "waiting_jobs": limits.waiting_jobs,
                "waiting_images": limits.waiting_images,
            },
            "jobs": {
                "running": statuses.count("running"),
                "waiting": statuses.count("queued"),
            },
        }

    def _usual(self) -> list[str]:
        """Return the methods that slides are mapped by where none is named."""
        classifier = self.classifier()
        linear = classifier.linear_head is not None
        return list(usual_methods(classifier.card, linear=linear)) if classifier.has_map else []

    def _titles(self) -> dict[str, str]:
        return {
            name: chosen.method.title for name, chosen in choose_methods(self.methods()).items()
        }

    def _model_facts(self) -> dict[str, Any]:
        bundle, classifier = self.served.current(), self.classifier()
        card = bundle.card
        return {
            "name": card.name,
            "path": str(bundle.path),
            "digest": bundle.digest,
            "classes": class_records(card.classes),
            "activation": card.activation,
            "probabilities": card.calibration,
            "sees_pictures": card.spacing is None,
            "tile_px": card.tile_px,
            "input_px": card.input_px,
            "channels": IN_WORDS[card.channels],
            "spacing_um_px": card.spacing,
            "has_map": classifier.has_map,
            "has_neighbours": has_neighbours(classifier),
            "licence": card.licence,
        }

    def close(self) -> None:
        """Stop what is at work and let everything go."""
        self.jobs.close()
        self.picture_thread.shutdown(wait=True, cancel_futures=True)
        # Their processes end with the slides, and whoever waits for them is answered.
        self.slides.close()
        for threads in (self.tile_threads, self.opening_threads):
            threads.shutdown(wait=False, cancel_futures=True)


def _looked_at(served: ServedBundle) -> VolumeView:
    """Return how volumes are looked at: as the classifier sees them, a slice at a time.

    Neighbouring slices as colours are for the classifier; people look at one.
    """
    return replace(view_of(served.current().card, PredictSpec()), slices=1)
