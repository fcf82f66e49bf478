"""From a request for a job to an order that can be carried out, everything in it checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slidecam.models import open_bundle
from slidecam.runs.spec import PredictSpec
from slidecam.server.http_errors import RequestError
from slidecam.server.job import JobOrder
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.models import Bundle
    from slidecam.server.roots import Roots
    from slidecam.server.schemas import JobRequest


@dataclass(frozen=True)
class OrderBook:
    """What a server adds to a request: where paths may lie, its own model and device.

    Attributes
    ----------
    roots
        Of slides, masks, bundles and outputs.
    home
        Where jobs go that name no folder.
    bundle, trust
        The server's own, and whether it may run code.
    device
        Where jobs run that name none.
    """

    roots: Roots
    home: Path
    bundle: Bundle
    trust: bool
    device: str

    def order(self, asked: JobRequest) -> JobOrder:
        """Return what a request amounts to.

        Raises
        ------
        SlidecamError
            If a path is not there or not allowed, an option is impossible, or the bundle cannot be
            used.
        """
        slides = tuple(self.roots.existing(text) for text in asked.slides)
        for found in find_slides(slides).slides:
            # A folder's links and a project's images may lead elsewhere.
            self.roots.existing(found.path)
        outputs = self.roots.with_folder(self.home)
        own = asked.model is None
        bundle = (
            self.bundle
            if asked.model is None
            else open_bundle(self.roots.existing(asked.model), trust=False)
        )
        return JobOrder(
            slides=slides,
            out=None if asked.out is None else outputs.allowed(asked.out),
            model=bundle.path,
            spec=self._spec(asked.options, trust=self.trust and own),
            card=bundle.card,
            home=self.home,
            mask=_sent_mask(asked),
        )

    def _spec(self, options: Mapping[str, Any], *, trust: bool) -> PredictSpec:
        settings = dict(options)
        settings["device"] = settings.get("device") or self.device
        mask = settings.get("mask")
        settings["mask"] = self.roots.existing(mask) if isinstance(mask, str) else None
        return PredictSpec(**settings, trust=trust)


def _sent_mask(asked: JobRequest) -> str:
    mask = asked.options.get("mask")
    if not isinstance(mask, dict):
        return ""
    if len(asked.slides) > 1:
        problem = f"options.mask is one GeoJSON for {len(asked.slides)} slides."
        raise RequestError(400, problem, "Send a job for each slide, or name a folder of masks.")
    return json.dumps(mask)
