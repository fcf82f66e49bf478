"""What a client may ask for: the bodies of requests, held against their types all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen

from slidecam.options import options_of
from slidecam.server.http_errors import SEE, RequestError
from slidecam.settings import Complaints, hints_of, json_schema, read_settings, read_values

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
"""The type of each option of a job, by name; a field that is left out says why itself."""


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
    asked = read_settings(JobRequest, body, "", complaints)
    options = body.get("options", {}) if isinstance(body, Mapping) else {}
    values: dict[str, Any] = {}
    if isinstance(options, Mapping):
        known = _without_others(options, complaints)
        values = read_values(JOB_OPTIONS, known, "options", complaints)
    if asked is None or complaints.lines:
        raise RequestError(400, " ".join(complaints.lines), SEE)
    return JobRequest(asked.slides, asked.out, asked.model, values)


def _without_others(options: Mapping[str, Any], complaints: Complaints) -> dict[str, Any]:
    """Return the options without those that only other doors have; say why there are none here."""
    kept = dict(options)
    for each in options_of():
        reason = each.shown.without.get("server")
        if reason is not None and each.name in kept:
            del kept[each.name]
            complaints.add(
                f"options.{each.name}", "is no option of a job", f"{reason.capitalize()}."
            )
    return kept


def request_schema() -> dict[str, Any]:
    """Return the JSON schema of `JobRequest`."""
    options = options_of("server")
    schema = json_schema(
        "JobRequest", hints_of(JobRequest), {"out": None, "model": None, "options": {}}, {}
    )
    schema["properties"]["options"] = json_schema(
        "JobOptions",
        JOB_OPTIONS,
        {each.name: None if each.name in OTHERWISE else each.default for each in options},
        {each.name: each.shown.help for each in options},
    )
    return schema
