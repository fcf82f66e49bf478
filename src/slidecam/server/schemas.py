"""What a client may ask for: the bodies of requests, checked field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Strict(BaseModel):
    """A body in which a key that nobody knows is an error, and not a setting without effect."""

    model_config = ConfigDict(extra="forbid")


class JobOptions(_Strict):
    """How slides are classified: the options of ``slidecam predict`` of the same names."""

    heatmap: Text | None = None
    heatmap_classes: list[Text] = []
    heatmap_against: Text | None = None
    heatmap_scale: dict[str, tuple[Number, Number]] = {}
    heatmap_threshold: Text = "otsu"
    heatmap_threshold_scope: Literal["slide", "tile"] = "slide"
    mpp: Number | None = None
    spacings: dict[str, Number] = {}
    shown: dict[str, tuple[int, int]] = {}
    overlap: Number = 0.0
    grid: Literal["slidecam", "wsinfer"] = "slidecam"
    edge: Literal["pad", "drop"] = "pad"
    min_tissue: Number = 0.1
    mask: Text | dict[str, Any] | None = None
    existing: Literal["refuse", "resume", "overwrite"] = "refuse"
    reader: Text | None = None
    batch: int | None = None
    device: Text | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    outputs: list[Text] = []
    ngff: Literal["0.4", "0.5"] = "0.4"
    axis: Literal["axial", "coronal", "sagittal"] | None = None
    volume: Text | None = None
    keep_identifiers: bool = False


class JobRequest(_Strict):
    """Slides to classify, where the results go, and with which bundle."""

    slides: Annotated[list[Text], Field(min_length=1, max_length=10_000)]
    out: Text | None = None
    model: Text | None = None
    options: JobOptions = JobOptions()
