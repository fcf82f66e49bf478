"""What a client may ask for, and the job that it amounts to, everything in it checked."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import MaxLen, MinLen
from pydantic import ConfigDict, Field, create_model

from slidecam.errors import SlidecamError
from slidecam.explain.map_request import request_maps
from slidecam.foreground.annotations import tissue_of
from slidecam.models import open_bundle
from slidecam.options import options_of
from slidecam.prediction.checks import refuse_unclear
from slidecam.prediction.choices import refuse_unfit
from slidecam.runs.spec import PredictSpec
from slidecam.server.guard import SEE, RequestError
from slidecam.server.job import JobSpec
from slidecam.settings import (
    Complaints,
    Hint,
    hints_of,
    read_settings,
    read_values,
    strict,
)
from slidecam.sources.discovery import find_slides
from slidecam.store import Outlet

if TYPE_CHECKING:
    from slidecam.server.folders import Roots
    from slidecam.server.served_bundle import ServedBundle

SENT_MASK = Path("options.mask")
LOOK_SECONDS = 60.0
"""How long a slide may take to be opened for a look at whether a request fits it."""

Text = Annotated[str, MinLen(1), MaxLen(4096)]

OTHERWISE: Mapping[str, Any] = {
    # A path, or GeoJSON itself.
    "mask": Text | Mapping[str, object] | None,
    # None is the server's own.
    "device": Text | None,
}
"""What JSON passes for the fields that mean something else here than in `PredictOptions`."""

JOB_OPTIONS: Mapping[str, Any] = {
    each.name: OTHERWISE.get(each.name, each.kind) for each in options_of("server")
}
"""The type of each option of a job, by name; a field that is left out says the reason itself."""


@dataclass(frozen=True)
class JobRequest:
    """Slides to classify, where the results go, and with which bundle.

    Attributes
    ----------
    slides
        Paths of slides, folders or projects.
    out
        Where results go; None for a folder of the server's own.
    model
        Folder of a bundle; None for the server's own.
    options
        Those of `JOB_OPTIONS` that are not as their defaults say.
    """

    slides: Annotated[tuple[Text, ...], MinLen(1), MaxLen(10_000)]
    out: Text | None = None
    model: Text | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def read_request(body: object) -> JobRequest:
    """Return what a body asks for.

    Raises
    ------
    RequestError
        400, with everything that is wrong with it.
    """
    complaints = Complaints()
    request = read_settings(JobRequest, body, "", complaints)
    options = body.get("options", {}) if isinstance(body, Mapping) else {}
    values: dict[str, Any] = {}
    if isinstance(options, Mapping):
        known = _without_others(options, complaints)
        values = read_values(JOB_OPTIONS, known, "options", complaints)
        try:
            PredictSpec(**values)
        except SlidecamError as error:
            complaints.lines.append(str(error))
    if request is None or complaints.lines:
        raise RequestError(400, f"Wrong in the request: {' '.join(complaints.lines)}", SEE)
    return JobRequest(request.slides, request.out, request.model, values)


def _without_others(options: Mapping[str, Any], complaints: Complaints) -> dict[str, Any]:
    """Return the options without those that only other doors have, and complain of those."""
    kept = dict(options)
    for each in options_of():
        reason = each.shown.without.get("server")
        if reason is not None and each.name in kept:
            del kept[each.name]
            complaints.add(
                f"options.{each.name}",
                "is no option of a job",
                f"{reason.capitalize()}.",
            )
    return kept


def json_schema(
    title: str,
    hints: Mapping[str, Hint],
    defaults: Mapping[str, object],
    help_words: Mapping[str, str],
) -> dict[str, Any]:
    """Return the JSON schema of an object with these keys and no others.

    Parameters
    ----------
    title
        What the object is called.
    hints
        The type of each key's value.
    defaults
        What holds where a key is left out; one that is not among them is required.
    help_words
        What each key does, where that is known.
    """
    made: dict[str, Any] = {}
    for name, hint in hints.items():
        about = Field(defaults.get(name, ...), description=help_words.get(name))
        made[name] = (strict(hint), about)
    config = ConfigDict(extra="forbid")
    model: Any = create_model(title, __config__=config, **made)
    schema: dict[str, Any] = model.model_json_schema()
    return schema


def request_schema() -> dict[str, Any]:
    """Return the JSON schema of `JobRequest`."""
    options = options_of("server")
    schema = json_schema(
        "JobRequest",
        hints_of(JobRequest),
        {"out": None, "model": None, "options": {}},
        {},
    )
    schema["properties"]["options"] = json_schema(
        "JobOptions",
        JOB_OPTIONS,
        {each.name: None if each.name in OTHERWISE else each.default for each in options},
        {each.name: each.shown.help for each in options},
    )
    return schema


@dataclass(frozen=True)
class JobDefaults:
    """What a server adds to a request: where paths may lie, its own model and device.

    Attributes
    ----------
    roots
        Of slides, masks, bundles and outputs.
    home
        Where jobs go that name no folder.
    served
        The server's own bundle.
    device
        Where jobs run that name none.
    """

    roots: Roots
    home: Path
    served: ServedBundle
    device: str

    def job_of(self, request: JobRequest) -> JobSpec:
        """Return what a request amounts to.

        Raises
        ------
        SlidecamError
            If a path is not there or not allowed, an option is impossible, or the bundle cannot be
            used.
        """
        slides = tuple(self.roots.existing(text) for text in request.slides)
        keep = bool(request.options.get("keep_identifiers", False))
        found = find_slides(slides, keep_identifiers=keep)
        for one in found.slides:
            # A folder's links and a project's images may lead elsewhere.
            self.roots.existing(one.path)
        outputs = self.roots.with_folder(self.home)
        # Only the server's own bundle may run code, where it was started so.
        if request.model is None:
            bundle, trust = self.served.current(), self.served.trust
        else:
            bundle, trust = open_bundle(self.roots.existing(request.model)), False
        out = None
        if request.out is not None:
            out = outputs.allowed(request.out)
        spec = self._predict_spec(request.options, trust=trust)
        place = out or self.home / secrets.token_hex(8)  # as new as the folder of its own
        refuse_unclear(found, Outlet(place), spec)
        mask = _sent_mask(request, len(found.slides))
        # Which classes and methods there are is known before any slide is: nobody waits for a no.
        request_maps(
            bundle.card,
            spec.heatmap,
            spec.heatmap_classes,
            spec.heatmap_against,
            has_map=True,
        )
        if len(found.slides) == 1:  # of many each says for itself, in its turn, what does not fit
            look, drawn = replace(spec, slide_timeout=LOOK_SECONDS), None
            if mask:
                look, drawn = replace(look, mask=SENT_MASK), mask.encode()
            refuse_unfit(found.slides[0], bundle.card, look, drawn)
        return JobSpec(
            slides=slides,
            out=out,
            bundle=bundle,
            predict=spec,
            home=self.home,
            outputs=outputs,
            mask=mask,
        )

    def _predict_spec(self, options: Mapping[str, Any], *, trust: bool) -> PredictSpec:
        settings = dict(options)
        settings["device"] = settings.get("device") or self.device
        mask = settings.get("mask")
        settings["mask"] = None
        if isinstance(mask, str):
            settings["mask"] = self.roots.existing(mask)
        return PredictSpec(**settings, trust=trust)


def _sent_mask(request: JobRequest, slides: int) -> str:
    mask = request.options.get("mask")
    if not isinstance(mask, dict):
        return ""
    if slides > 1:
        problem = f"One GeoJSON cannot be options.mask of {slides} slides."
        raise RequestError(400, problem, "Send a job for each slide, or name a folder of masks.")
    text = json.dumps(mask)
    tissue_of(SENT_MASK, text)  # what is no GeoJSON of areas is refused before it waits
    return text
