"""What stands behind the routes: one warm model, its devices, the jobs, the open slides."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from slidecam.close_up.methods import choose_methods
from slidecam.explain.catalogue import slide_methods
from slidecam.explain.facts import usual_methods
from slidecam.explain.neighbours import has_neighbours
from slidecam.models import open_bundle
from slidecam.models.backends import choose_device
from slidecam.models.channels import IN_WORDS
from slidecam.prediction.model import WarmClassifiers
from slidecam.prediction.preparation import view_of
from slidecam.runs.spec import PredictSpec
from slidecam.server.devices import Devices
from slidecam.server.guard import busy
from slidecam.server.job_requests import JobDefaults
from slidecam.server.jobs import JobQueue
from slidecam.server.pictures import default_methods, explain_picture
from slidecam.server.slides import SlideCache
from slidecam.server.views import class_records, heat_colours

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.models import Bundle, Classifier
    from slidecam.server.folders import Roots
    from slidecam.server.guard import Limits
    from slidecam.server.pictures import PictureRequest


@dataclass(frozen=True)
class Service:
    """Everything that lives as long as the server does.

    Attributes
    ----------
    bundle
        The server's own model.
    device
        Where it is.
    warm
        It, ready to run, and the one that a job brought along last.
    devices, jobs, slides, defaults, limits
        See their classes.
    methods
        What a picture is explained by where a request names no method.
    picture_thread
        Where pictures are explained.
    admitted
        Pictures that may still come in.
    """

    bundle: Bundle
    device: str
    warm: WarmClassifiers
    devices: Devices
    jobs: JobQueue
    slides: SlideCache
    defaults: JobDefaults
    limits: Limits
    methods: tuple[str, ...]
    picture_thread: ThreadPoolExecutor
    admitted: BoundedSemaphore

    @classmethod
    def of(cls, model: str | Path, roots: Roots, home: Path, limits: Limits, **how: Any) -> Service:  # noqa: ANN401  (device, trust)
        """Load the model and open for business; SlidecamError if it cannot be used."""
        bundle = open_bundle(model, trust=how["trust"])
        warm, devices = WarmClassifiers(), Devices()
        device = str(choose_device(how["device"]))
        classifier = warm.classifier(bundle, choose_device(device), "fp32", "folded")
        return cls(
            bundle=bundle,
            device=device,
            warm=warm,
            devices=devices,
            jobs=JobQueue(warm, devices, limits),
            # Neighbouring slices as colours are for the classifier; people look at one.
            slides=SlideCache(
                limits.open_slides,
                replace(view_of(bundle.card, PredictSpec()), slices=1),
            ),
            defaults=JobDefaults(roots, home, bundle, how["trust"], device),
            limits=limits,
            methods=default_methods(classifier),
            picture_thread=ThreadPoolExecutor(1, "slidecam-picture"),
            admitted=BoundedSemaphore(limits.waiting_images),
        )

    def classifier(self) -> Classifier:
        """Return the server's own classifier, which is loaded again where a job's pushed it out."""
        return self.warm.classifier(self.bundle, choose_device(self.device), "fp32", "folded")

    async def explain(self, content: bytes, request: PictureRequest) -> dict[str, Any]:
        """Classify a picture on the pictures' thread; see `explain_picture`."""
        return await asyncio.get_running_loop().run_in_executor(
            self.picture_thread,
            partial(self._explain, content, request),
        )

    def _explain(self, content: bytes, request: PictureRequest) -> dict[str, Any]:
        return explain_picture(
            content,
            self.classifier(),
            request,
            self.limits,
            self.devices.lock(self.device),
        )

    def admit(self) -> None:
        """Let one more picture in; RequestError 503 if there are enough."""
        if not self.admitted.acquire(blocking=False):
            raise busy(503, f"{self.limits.waiting_images} pictures are waiting already.", 1)

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
                "pictures": list(self.methods),
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
        return {name: chosen.method.title for name, chosen in choose_methods(self.methods).items()}

    def _model_facts(self) -> dict[str, Any]:
        card, classifier = self.bundle.card, self.classifier()
        return {
            "name": card.name,
            "path": str(self.bundle.path),
            "digest": self.bundle.digest,
            "classes": class_records(card),
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
        self.slides.close()
