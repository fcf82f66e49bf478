"""A bundle on its device, with what is settled once for all slides of a call."""

from __future__ import annotations

import platform
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError
from threading import Lock
from typing import TYPE_CHECKING, Any

from slidecam.errors import UsageError, WeightsError
from slidecam.explain.map_request import request_maps
from slidecam.models import open_bundle
from slidecam.models.backends import choose_device
from slidecam.registry import deferred, version_of
from slidecam.sources import reader_packages
from slidecam.store import read_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from slidecam import inference
    from slidecam.explain.map_request import MapRequest
    from slidecam.models import Bundle, Classifier
    from slidecam.models.splits import Precision
    from slidecam.runs.record import RunRecord
    from slidecam.runs.spec import PredictSpec
else:
    torch, inference = map(deferred, ("torch", "slidecam.inference"))

PACKAGES = ("slidecam", "torch", "timm", "numpy", "zarr", "openvino")
"""Whose versions `run.json` records beside the readers': each can move a result's last digits."""

KEPT_WARM = 2
"""Classifiers that a long-lived program keeps on their devices, where memory is scarce."""


@dataclass(frozen=True)
class LoadedModel:
    """A bundle on its device, with what was settled about maps and batches once for all slides."""

    bundle: Bundle
    classifier: Classifier
    request: MapRequest | None
    map_shape: tuple[int, int, int, int] | None
    batch_size: int

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that heatmaps are made by."""
        if self.request is None:
            return ()
        return self.request.methods

    @property
    def machine(self) -> dict[str, str]:
        """On what it runs; and why by this backend, where that was chosen or another left out."""
        found = {"system": platform.platform(), "python": platform.python_version()}
        if self.classifier.notes:
            found["backend"] = " ".join(self.classifier.notes)
        return found

    @property
    def sees_pictures(self) -> bool:
        """Whether it classifies whole pictures, and not tiles of a slide at some spacing."""
        return self.bundle.card.spacing is None

    @property
    def mapped(self) -> dict[str, Any]:
        """Which maps a run keeps, as its plan has them."""
        names, request = self.bundle.card.class_names, self.request
        if request is None:
            return {"heatmap": None, "heatmap classes": [], "heatmap against": None}
        against = None
        if request.against is not None:
            against = names[request.against]
        return {
            "heatmap": list(request.raw),
            "heatmap classes": [names[index] for index in request.classes],
            "heatmap against": against,
        }


@dataclass(frozen=True)
class RunsBy:
    """What runs the network, settled once for all processes of a call.

    Attributes
    ----------
    backend
        Its name: of ``auto``, which one that came to where it was settled.
    words
        As `Classifier.backend` has it.
    notes
        How it came to that, for the record: `Classifier.notes`.
    """

    backend: str
    words: str
    notes: tuple[str, ...]

    @classmethod
    def of(cls, classifier: Classifier) -> RunsBy:
        """Return what runs a classifier."""
        return cls(classifier.backend_name, classifier.backend, classifier.notes)

    def kept_by(self, found: Classifier) -> Classifier:
        """Return a classifier whose record says the same wherever it is written.

        UsageError if it is run by something else.
        """
        if found.backend == self.words:
            return replace(found, notes=self.notes)
        notes = "".join(f" {note}" for note in found.notes)
        raise UsageError(
            f"{platform.node()} runs the network by {found.backend}, and this call runs it by"
            f" {self.words}.{notes}",
            "Install the same packages on all machines, or name another --backend.",
        )


class WarmClassifiers:
    """The classifiers that were used last, ready on their devices.

    This is for programs that live longer than one call.

    A bundle's digest is over its card and weights, so that a bundle that was changed on disk is
    loaded anew. Any thread may use it; what it returns is to be used by one at a time.

    Parameters
    ----------
    most
        How many are kept.
    """

    def __init__(self, most: int = KEPT_WARM) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[str, str, str, str], Classifier] = OrderedDict()
        self._lock = Lock()

    def classifier(
        self, bundle: Bundle, device: torch.device, precision: Precision, backend: str
    ) -> Classifier:
        """Return a bundle's classifier, proven by one tile when it is loaded.

        See `Bundle.classifier`.
        """
        key = bundle.digest, str(device), precision, backend
        with self._lock:
            if key not in self._kept:
                self._kept[key] = _proven(bundle, bundle.classifier(device, precision, backend))
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return self._kept[key]


def load_model(
    model: str | Path,
    spec: PredictSpec,
    warm: WarmClassifiers | None = None,
    settled: RunsBy | None = None,
) -> LoadedModel:
    """Open a bundle, put its classifier on the device and settle maps and batch size.

    ``warm`` may hold the classifier already, and keeps it for the next call; ``settled`` is what
    runs the network, where another process has settled that.
    """
    bundle = open_bundle(model, trust=spec.trust)
    warm = warm or WarmClassifiers(1)
    backend = spec.backend
    if settled is not None:
        backend = settled.backend
    classifier = warm.classifier(bundle, choose_device(spec.device), spec.precision, backend)
    if settled is not None:
        classifier = settled.kept_by(classifier)
    request = request_maps(
        bundle.card,
        spec.heatmap,
        spec.heatmap_classes,
        spec.heatmap_against,
        has_map=classifier.has_map,
        linear=classifier.linear_head is not None,
        cause=classifier.no_map,
    )
    shape = inference.map_shape(classifier, request)
    return LoadedModel(
        bundle,
        classifier,
        request,
        shape,
        spec.batch or inference.find_batch_size(classifier, request),
    )


def batch_size_of(folder: Path, model: LoadedModel, spec: PredictSpec) -> int:
    """Return how many tiles a batch has: of a run that is resumed, as many as before."""
    # A run goes on with the batches it was begun with, or its last digits would depend on where it
    # was cut off.
    if spec.existing != "resume" or spec.batch is not None:
        return model.batch_size
    stored = _digest_begun(folder).get("batch size")
    if isinstance(stored, int) and stored > 0:
        return stored
    return model.batch_size


def with_usual_maps(
    folder: Path, model: LoadedModel, spec: PredictSpec, *, volume: bool
) -> LoadedModel:
    """Return the model with the maps that one source gets where the call names no method.

    A volume gets those of the method that leads: their painting, voxel by voxel, is most of its
    time. A run that is resumed goes on with the methods that it was begun with: which ones are
    usual has changed from version to version, and changes with what a card says of them.
    """
    request, shape = model.request, model.map_shape
    if spec.heatmap is not None or request is None or shape is None:
        return model
    methods = request.methods
    if volume:
        methods = methods[:1]
    if spec.existing == "resume":
        methods = _methods_begun(folder, request) or methods
    return replace(
        model, request=replace(request, methods=methods), map_shape=(len(methods), *shape[1:])
    )


def _methods_begun(folder: Path, request: MapRequest) -> tuple[str, ...]:
    """Return the usual methods that a run was begun with; none where there is no such run."""
    stored = _digest_begun(folder).get("heatmap") or ()
    if not set(stored) <= set(request.raw):
        return ()
    return tuple(stored)


def versions() -> dict[str, str]:
    """Return the versions of what classifies and what reads; a reader may lack its library."""
    found: dict[str, str] = {}
    for package in (*PACKAGES, *reader_packages()):
        with suppress(PackageNotFoundError):
            found[package] = version_of(package)
    return found


@cache
def _version_of_torch() -> str:
    return version_of("torch")


def _digest_begun(folder: Path) -> Mapping[str, Any]:
    """Return what decided the results of the run in a folder; nothing where there is none."""
    attributes = read_attributes(folder)
    if "complete" not in attributes:
        return {}
    digest: Mapping[str, Any] = attributes["digest"]
    return digest


def begun_elsewhere(record: RunRecord | None, model: LoadedModel, done: int) -> tuple[str, ...]:
    """Return in words where a run was begun whose ``done`` tiles are kept, if not as it goes on."""
    if record is None or not done:
        return ()
    now = {"device": str(model.classifier.device), "torch": _version_of_torch()}
    then = {"device": record.device, "torch": record.versions.get("torch", "")}
    changed = []
    for key, value in now.items():
        if then[key] not in {"", value}:
            changed.append(f"{key} {then[key]}, now {value}")
    if not changed:
        return ()
    begun = f"This run was begun with {' and '.join(changed)}"
    return (f"{begun}; the last digits of its tiles may differ.",)


def _proven(bundle: Bundle, classifier: Classifier) -> Classifier:
    """Classify one grey tile.

    Weights that have become not-a-number in training are found before the first slide.
    """
    edge = bundle.card.input_px
    grey = torch.full((1, edge, edge, 3), 128, dtype=torch.uint8, device=classifier.device)
    if not classifier.run(grey, gradients=False).logits.isfinite().all():
        raise WeightsError(
            bundle.path,
            "The logits of a grey tile are not finite numbers.",
            "Train or copy it again.",
        )
    return classifier
