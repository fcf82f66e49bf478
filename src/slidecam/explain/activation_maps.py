"""Class-activation maps.

The activation's channels, weighted by what the logits' gradients say of them.

All of them come from one pass of the backbone (`MapPlan`), each class's gradient from one backward
pass through the head, and with a linear head from none. Maps are raw: scaled to nothing, so that
tiles and classes compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from slidecam.errors import ExplanationError
from slidecam.explain.catalogue import Needs, method_for, slide_methods
from slidecam.explain.explainer import (
    Gradients,
    check_classes,
    check_map,
    class_gradients,
    no_gradients,
)
from slidecam.explain.method_settings import EPSILON, GAMMA
from slidecam.models.splits import arithmetic
from slidecam.registry import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from slidecam.models import Classifier, ClassifierPass
    from slidecam.models.linear_head import LinearHead


def evidence(given: Gradients) -> Tensor:
    """Return class-activation maps (B, K', h, w).

    What each place adds to the logit, for and against.

    Notes
    -----
    Zhou et al., *Learning Deep Features for Discriminative Localization*, CVPR 2016
    (arXiv:1512.04150), equation 2, ``Σ W A`` over channels, in the logit's own unit: for a linear
    head on the average, whose weight is the gradient times the number of places,
    ``logit = mean(evidence) + bias`` exactly. For other heads it means nothing.
    """
    return given.summed(given.gradient) * given.places


def grad_cam(given: Gradients) -> Tensor:
    """Return Grad-CAM maps (B, K', h, w), at least 0.

    Notes
    -----
    Selvaraju et al., *Grad-CAM*, ICCV 2017 (arXiv:1610.02391), equations 1 and 2: the channel ``A``
    weighs the mean of ``g = dY/dA`` over places, ``Y`` the logit, and the map is ``relu(Σ w A)``
    over channels.
    """
    return given.summed(given.gradient.mean((3, 4), keepdim=True)).clamp_min(0)


def grad_cam_plus_plus(given: Gradients, eps: float = EPSILON) -> Tensor:
    """Return Grad-CAM++ maps (B, K', h, w), at least 0.

    Notes
    -----
    Chattopadhyay et al., *Grad-CAM++*, WACV 2018 (arXiv:1710.11063), equations 10 and 19, with the
    logit ``Y`` of the class as the score, and ``g = dY/dA`` the gradient of channel ``A`` at one
    place: ``alpha = g² / (2 g² + g³ ΣA)``, where the sum runs over the channel's places, and 0
    where ``g`` is 0; the channel weighs ``w = Σ alpha · relu(g)``; the map is ``relu(Σ w A)`` over
    channels. ``eps`` keeps the denominator from 0.
    """
    gradient, squared = given.gradient, given.gradient.square()
    total = given.activation.sum((2, 3))[:, None, :, None, None]
    alpha = squared / (2 * squared + total * squared * gradient + eps)
    # Where the gradient is 0, alpha may be 0/0 if eps is; the term is 0 then, whatever alpha is.
    weights = torch.where(gradient > 0, alpha * gradient, 0.0).sum((3, 4), keepdim=True)
    return given.summed(weights * given.repeats).clamp_min(0)


def hires_cam(given: Gradients) -> Tensor:
    """Return HiResCAM maps (B, K', h, w), at least 0.

    Notes
    -----
    Draelos and Carin, *Use HiResCAM instead of Grad-CAM* (arXiv:2011.08891), equation 3:
    ``relu(Σ g A)`` over channels, place by place.
    """
    return given.summed(given.gradient).clamp_min(0)


def layer_cam(given: Gradients) -> Tensor:
    """Return LayerCAM maps (B, K', h, w), at least 0.

    Notes
    -----
    Jiang et al., *LayerCAM*, IEEE TIP 2021, equations 6 to 8: ``relu(Σ relu(g) A)`` over channels,
    place by place.
    """
    return given.summed(given.gradient.clamp_min(0)).clamp_min(0)


def finer_cam(given: Gradients, gamma: float = GAMMA) -> Tensor:
    """Return Finer-CAM maps (B, K', h, w), at least 0.

    What speaks for the class rather than for its rival.

    Notes
    -----
    Zhang et al., *Finer-CAM*, CVPR 2025 (arXiv:2501.11309): Grad-CAM with ``Y - gamma Y'`` as the
    score, ``Y'`` the rival's logit. The rival is named, not chosen tile by tile, so that maps
    compare across a slide.
    """
    if given.rival is None:
        problem = "Finer-CAM compares two classes, and one was given."
        raise ExplanationError(problem, "Name the other one.")
    weights = given.gradient.mean((3, 4), keepdim=True)
    rivals = given.rival.mean((3, 4), keepdim=True)
    return given.summed(weights - gamma * rivals).clamp_min(0)


def eigen_cam(activation: Tensor) -> Tensor:
    """Return EigenCAM maps (B, h, w), at least 0, of activations (B, C, h, w).

    They know of no class.

    Notes
    -----
    Muhammad and Yeasin, *Eigen-CAM*, IJCNN 2020 (arXiv:2008.00299): the places' activations on
    their first principal component, centred as in pytorch-grad-cam. A component has no sign of its
    own. It is turned so that its farthest place is positive, as in Chung and Ying, *Seg-Eigen-CAM*,
    Applied Sciences 15 (2025) 7562, equation 13.

    The component is found by the smaller of both covariances, in float64, so that it does not hang
    on the batch.
    """
    # A bad tile must not take its batch with it.
    places = activation.flatten(2).transpose(1, 2).double().nan_to_num()
    places = places - places.mean(1, keepdim=True)
    if places.shape[1] <= places.shape[2]:
        values, vectors = torch.linalg.eigh(places @ places.mT)
        projected = vectors[..., -1] * values[..., -1:].clamp_min(0).sqrt()
    else:
        vectors = torch.linalg.eigh(places.mT @ places).eigenvectors
        projected = (places @ vectors[..., -1:])[..., 0]
    upside_down = projected.amin(1, keepdim=True).abs() > projected.amax(1, keepdim=True)
    turned = torch.where(upside_down, -projected, projected)
    return turned.reshape(len(activation), *activation.shape[2:]).float().clamp_min(0)


def eigen_cam_of_all(given: Gradients) -> Tensor:
    """Return EigenCAM maps (B, 1, h, w), which know of no class; see `eigen_cam`."""
    return eigen_cam(given.activation)[:, None]


@dataclass(frozen=True)
class CheapMap:
    """A map that costs next to nothing beside a prediction, and so is made for whole slides.

    Attributes
    ----------
    title
        As people read it.
    compute
        Returns raw maps (B, K', h, w), float32.
    signed
        Whether negative values mean evidence against the class; else maps are at least 0.
    needs
        What it cannot do without, beside the activation: a linear head, a rival for each class, or
        gradients. ``nothing`` is the same map for every class.
    """

    title: str
    compute: Callable[[Gradients], Tensor]
    signed: bool = False
    needs: Needs = "gradients"


def cheap_maps() -> dict[str, CheapMap]:
    """Return the catalogue's maps for whole slides, by their methods' names."""
    return {name: cheap_map(name) for name, method in slide_methods().items() if method.slide_map}


def cheap_map(name: str) -> CheapMap:
    """Return the map of the method called ``name``, which has one."""
    method = method_for(name)
    return CheapMap(method.title, resolve(method.slide_map), method.signed, method.needs)


@dataclass(frozen=True)
class MapPlan:
    """Which maps are made of every pass of one classifier.

    Attributes
    ----------
    maps
        The methods.
    classes
        Indices of the logits to explain: the same for every tile.
    rivals
        For each class the one that it is compared with; None if no method compares.
    head
        The classifier's linear head; None if it has another.
    """

    maps: tuple[CheapMap, ...]
    classes: tuple[int, ...]
    rivals: tuple[int, ...] | None = None
    head: LinearHead | None = None

    @property
    def signed(self) -> tuple[bool, ...]:
        """For each method whether its maps are signed."""
        return tuple(one.signed for one in self.maps)

    @property
    def gradients(self) -> bool:
        """Whether passes must be made with gradients."""
        return self.head is None and not self._of_no_class

    def __call__(self, classifier_pass: ClassifierPass) -> Tensor:
        """Return raw maps of a pass.

        Parameters
        ----------
        classifier_pass
            Of the planned classifier, with gradients where `gradients` says so. It can be explained
            again afterwards.

        Returns
        -------
        Tensor
            (B, M, K', h, w), float32: for each tile, method and class.

        Raises
        ------
        ExplanationError
            If the pass has no activation map, or no gradients where they are needed.
        """
        maps: list[list[Tensor]] = [[] for _ in self.maps]
        with arithmetic(classifier_pass.logits.device, "fp32"):
            for number, given in enumerate(self._given(classifier_pass)):
                for one, found in zip(self.maps, maps, strict=True):
                    if number == 0 or one.needs != "nothing":
                        found.append(one.compute(given))
        classes = len(self.classes)
        stacked = [torch.cat(found, 1).expand(-1, classes, -1, -1) for found in maps]
        return torch.stack(stacked, 1)

    @property
    def _of_no_class(self) -> bool:
        return all(one.needs == "nothing" for one in self.maps)

    def _given(self, classifier_pass: ClassifierPass) -> Iterable[Gradients]:
        if self._of_no_class:
            return [no_gradients(classifier_pass)]
        return class_gradients(classifier_pass, self.classes, self.rivals, self.head)


def plan_maps(
    classifier: Classifier,
    methods: Sequence[str],
    classes: Sequence[int],
    against: int | None = None,
) -> MapPlan:
    """Return the plan to make some cheap maps of a classifier.

    Parameters
    ----------
    classifier
        On its device.
    methods
        Names in `cheap_maps`.
    classes
        Indices of the logits to explain.
    against
        The class that the others are compared with, for Finer-CAM; None for the other one of two.

    Raises
    ------
    ExplanationError
        If there is no such method or class, or the classifier lacks what a method needs.
    """
    known = cheap_maps()
    remedy = f"Use one of {', '.join(known)}."
    if not methods:
        raise ExplanationError("no method was named.", remedy)
    for name in methods:
        if name not in known:
            raise ExplanationError(f"{name!r} is no map for whole slides.", remedy)
    return plan_of(classifier, [known[name] for name in methods], classes, against)


def plan_of(
    classifier: Classifier,
    maps: Sequence[CheapMap],
    classes: Sequence[int],
    against: int | None = None,
) -> MapPlan:
    """Return what `plan_maps` does, of maps that may have settings of their own."""
    check_classes(classifier, classes)
    check_map(classifier)
    needs = {one.needs for one in maps}
    if "linear head" in needs and classifier.linear_head is None:
        name = classifier.card.name
        raise ExplanationError(
            f"CAM: {name} has more than a linear layer behind its map, so that no place has"
            " evidence.",
            "Use hirescam or gradcam.",
        )
    rivals = None
    if "rivals" in needs:
        rivals = _rivals(classifier, classes, against)
    return MapPlan(tuple(maps), tuple(classes), rivals, classifier.linear_head)


def check_rival(classifier: Classifier, against: int | None) -> None:
    """Refuse a classifier without two classes to compare, or no word which; ExplanationError."""
    count = len(classifier.card.class_names)
    problem = f"Finer-CAM compares two classes, and {classifier.card.name} has {count}."
    if count == 1:
        raise ExplanationError(problem, "Use gradcam or hirescam, which explain one class alone.")
    if against is not None:
        check_classes(classifier, [against])
    elif count != 2:  # noqa: PLR2004  (a class and the other one)
        raise ExplanationError(problem, "Name the class to compare with (--against).")


def _rivals(classifier: Classifier, classes: Sequence[int], against: int | None) -> tuple[int, ...]:
    check_rival(classifier, against)
    if against is None:
        return tuple(1 - index for index in classes)
    if against in classes:
        problem = f"Finer-CAM cannot compare {classifier.card.class_names[against]!r} with itself."
        remedy = "Leave that class out of those to explain, or name another with --against."
        raise ExplanationError(problem, remedy)
    return (against,) * len(classes)
