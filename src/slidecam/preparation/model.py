"""A bundle on its device, with what is settled once for all slides of a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from slidecam.errors import WeightsError
from slidecam.inference import choose_device, find_batch_size, map_shape, request_maps
from slidecam.models import open_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.inference import MapRequest
    from slidecam.models import Bundle, Classifier
    from slidecam.preparation.spec import PredictSpec


@dataclass(frozen=True)
class LoadedModel:
    """A bundle on its device, with what was settled about maps and batches once for all slides."""

    bundle: Bundle
    classifier: Classifier
    request: MapRequest | None
    map_shape: tuple[int, int, int, int] | None
    batch_size: int

    @property
    def sees_pictures(self) -> bool:
        """Whether it classifies whole pictures, and not tiles of a slide at some spacing."""
        return self.bundle.card.spacing is None


def load_model(model: str | Path, spec: PredictSpec) -> LoadedModel:
    """Open a bundle, put its classifier on the device and settle maps and batch size."""
    bundle = open_bundle(model, trust=spec.trust)
    classifier = bundle.classifier(choose_device(spec.device), spec.precision, spec.backend)
    _prove(bundle, classifier)
    wishes = spec.heatmap, spec.heatmap_classes, spec.heatmap_against
    request = request_maps(bundle.card, *wishes, has_map=classifier.has_map)
    shape = map_shape(classifier, request)
    return LoadedModel(bundle, classifier, request, shape, spec.batch or find_batch_size(classifier, request))


def _prove(bundle: Bundle, classifier: Classifier) -> None:
    """Classify one grey tile: weights that have become not-a-number in training are found before the first slide."""
    edge = bundle.card.input_px
    grey = torch.full((1, edge, edge, 3), 128, dtype=torch.uint8, device=classifier.device)
    if not classifier.run(grey, gradients=False).logits.isfinite().all():
        raise WeightsError(bundle.path, "the logits of a grey tile are not finite numbers.", "Train or copy it again.")
