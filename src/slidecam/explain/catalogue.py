"""Every explanation that there is, by name: one entry of a table for each.

To add one, write an `Explainer`, its settings and an entry in `METHODS`; elsewhere an entry point
of ``slidecam.explainers`` that names a `Method`. What it names is imported when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from slidecam.errors import ExplanationError
from slidecam.registry import Entry, Registry, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from slidecam.explain.explainer import Explainer, Gradients
    from slidecam.models import Classifier

Unit = Literal["logits", "logits per place", "logits per pixel", "target", "no unit"]
"""``per``: shares of a sum. ``target``: what the method's setting of that name says."""

Needs = Literal["gradients", "linear head", "rivals", "nothing"]


@dataclass(frozen=True)
class Method(Entry):
    """One entry of the catalogue; what it names is given as ``module:attribute``, or is there.

    Attributes
    ----------
    title
        As people read it (``Score-CAM``); ``name`` is as in ``--methods`` (``score-cam``).
    settings, explainer
        The dataclass of its settings, all with defaults; what a classifier is explained by.
    signed
        Whether negative values mean evidence against the class; else maps are at least 0.
    needs_map
        Whether it works only where `Classifier.has_map`.
    costly
        Whether it costs many passes: for single tiles, not for whole slides.
    slide_map
        What returns raw maps (B, K', h, w), float32, of a batch in the prediction's own pass.
    needs
        What ``slide_map`` needs beside the activation; of ``nothing`` all classes' map is one.
    unit
        What a raw value is counted in, one of `Unit`.
    thresholds
        The method whose raw maps this one keeps above a threshold, on slides when painted; or "".
    """

    title: str
    settings: type[Any] | str
    explainer: Callable[[Classifier, Any], Explainer] | str
    signed: bool = False
    needs_map: bool = True
    costly: bool = True
    slide_map: Callable[[Gradients], Tensor] | str | None = None
    needs: Needs = "gradients"
    unit: Unit = "no unit"
    thresholds: str = ""

    @property
    def spec(self) -> type[Any]:
        """The dataclass of its settings."""
        return cast("type[Any]", resolve(self.settings))

    @property
    def for_slides(self) -> bool:
        """Whether whole slides can be mapped by it."""
        return self.slide_map is not None or bool(self.thresholds)

    @property
    def compares(self) -> bool:
        """Whether it explains a class against another one."""
        return self.needs == "rivals"

    @property
    def raw(self) -> str:
        """The name of the method whose raw maps are kept for it."""
        return self.thresholds or self.name

    def make(self, classifier: Classifier, settings: object) -> Explainer:
        """Return the explainer of a classifier under given settings."""
        self.refuse_absent()
        return cast("Explainer", resolve(self.explainer)(classifier, settings))


_HERE = "slidecam.explain"
_SETTINGS = f"{_HERE}.method_settings"
_PLAIN = f"{_SETTINGS}:NoSettings"
_FORMULAS = f"{_HERE}.activation_maps"
_MAPS = f"{_HERE}.map_methods"
_LIBRARY = f"{_HERE}.library_cams"
_PIXELS = f"{_HERE}.attributions"

METHODS: tuple[Method, ...] = (
    Method(
        "cam",
        "CAM",
        _PLAIN,
        f"{_MAPS}:cam",
        signed=True,
        costly=False,
        slide_map=f"{_FORMULAS}:evidence",
        needs="linear head",
        unit="logits",
        help="what each place adds to the class's logit, for it and against it",
    ),
    Method(
        "gradcam",
        "Grad-CAM",
        _PLAIN,
        f"{_MAPS}:gradcam",
        costly=False,
        slide_map=f"{_FORMULAS}:grad_cam",
        unit="logits per place",
        help="where channels are active that raise the class on average",
    ),
    Method(
        "gradcam++",
        "Grad-CAM++",
        f"{_SETTINGS}:GradCamPlusPlusSpec",
        f"{_MAPS}:gradcam_plus_plus",
        costly=False,
        slide_map=f"{_FORMULAS}:grad_cam_plus_plus",
        help="mostly activation of the channels that raise the class anywhere",
    ),
    Method(
        "hirescam",
        "HiResCAM",
        _PLAIN,
        f"{_MAPS}:hirescam",
        costly=False,
        slide_map=f"{_FORMULAS}:hires_cam",
        unit="logits per place",
        help="what each place adds to the logit for the class, gradient times activation",
    ),
    Method(
        "layercam",
        "LayerCAM",
        _PLAIN,
        f"{_MAPS}:layercam",
        costly=False,
        slide_map=f"{_FORMULAS}:layer_cam",
        unit="logits per place",
        help="what places add by channels that raise the class there",
    ),
    Method(
        "eigencam",
        "EigenCAM",
        _PLAIN,
        f"{_MAPS}:eigencam",
        costly=False,
        slide_map=f"{_FORMULAS}:eigen_cam_of_all",
        needs="nothing",
        help="the activation's first principal component, of no class",
    ),
    Method(
        "finer-cam",
        "Finer-CAM",
        f"{_SETTINGS}:FinerCamSpec",
        f"{_MAPS}:FinerCam",
        costly=False,
        slide_map=f"{_FORMULAS}:finer_cam",
        needs="rivals",
        unit="logits per place",
        help="what speaks for a class against another one",
    ),
    Method(
        "dt-gradcam",
        "DT Grad-CAM",
        f"{_SETTINGS}:DtGradCamSpec",
        f"{_MAPS}:DtGradCam",
        costly=False,
        thresholds="gradcam",
        unit="logits per place",
        help="Grad-CAM above a threshold found from the map",
    ),
    Method(
        "xgradcam",
        "XGrad-CAM",
        _PLAIN,
        f"{_LIBRARY}:xgradcam",
        costly=False,
        packages=("grad-cam",),
        unit="logits per place",
        help="gradients weighted by the activation's share",
    ),
    Method(
        "gradcam-elementwise",
        "Grad-CAM, element-wise",
        _PLAIN,
        f"{_LIBRARY}:gradcam_elementwise",
        costly=False,
        packages=("grad-cam",),
        unit="logits per place",
        help="positive products of gradient and activation",
    ),
    Method(
        "eigen-gradcam",
        "EigenGradCAM",
        _PLAIN,
        f"{_LIBRARY}:eigen_gradcam",
        packages=("grad-cam",),
        help="first principal component of gradient times activation",
    ),
    Method(
        "seg-eigencam",
        "Seg-Eigen-CAM",
        _PLAIN,
        f"{_LIBRARY}:seg_eigencam",
        packages=("grad-cam",),
        help="EigenGradCAM with the gradients' signs",
    ),
    Method(
        "shapley-cam",
        "ShapleyCAM",
        _PLAIN,
        f"{_LIBRARY}:shapley_cam",
        costly=False,
        packages=("grad-cam",),
        help="gradients with their second-order part",
    ),
    Method(
        "kpca-cam",
        "KPCA-CAM",
        f"{_SETTINGS}:KernelPcaSpec",
        f"{_LIBRARY}:kpca_cam",
        packages=("grad-cam", "scikit-learn"),
        help="first kernel principal component, of no class",
    ),
    Method(
        "fem",
        "FEM",
        f"{_SETTINGS}:FemSpec",
        f"{_LIBRARY}:fem",
        costly=False,
        packages=("grad-cam",),
        help="places of unusually strong activation, of no class",
    ),
    Method(
        "ablation-cam",
        "Ablation-CAM",
        f"{_SETTINGS}:AblationCamSpec",
        f"{_HERE}.ablation_cam:AblationCam",
        help="channels weighted by what the logit loses without them",
    ),
    Method(
        "fullgrad",
        "FullGrad",
        _PLAIN,
        f"{_HERE}.full_grad:FullGrad",
        needs_map=False,
        help="gradients of the input and of every bias",
    ),
    Method(
        "score-cam-clustered",
        "Score-CAM, clustered",
        f"{_SETTINGS}:ClusteredScoreCamSpec",
        f"{_HERE}.score_cam:ClusteredScoreCam",
        help="Score-CAM of groups of channels",
    ),
    Method(
        "score-cam",
        "Score-CAM",
        f"{_SETTINGS}:ScoreCamSpec",
        f"{_HERE}.score_cam:ScoreCam",
        help="channels weighted by the score of the tile behind them",
    ),
    Method(
        "occlusion",
        "Occlusion",
        f"{_SETTINGS}:OcclusionSpec",
        f"{_PIXELS}:OcclusionExplainer",
        signed=True,
        needs_map=False,
        packages=("captum",),
        unit="logits",
        help="what the logit loses where the tile is covered",
    ),
    Method(
        "integrated-gradients",
        "Integrated gradients",
        f"{_SETTINGS}:IntegratedGradientsSpec",
        f"{_PIXELS}:IntegratedGradientsExplainer",
        signed=True,
        needs_map=False,
        packages=("captum",),
        unit="logits per pixel",
        help="gradients summed on the way from a baseline",
    ),
    Method(
        "smoothgrad",
        "SmoothGrad",
        f"{_SETTINGS}:SmoothGradSpec",
        f"{_PIXELS}:SmoothGradExplainer",
        signed=True,
        needs_map=False,
        packages=("captum",),
        help="the mean gradient of noisy copies",
    ),
    Method(
        "gradient-shap",
        "Gradient SHAP",
        f"{_SETTINGS}:GradientShapSpec",
        f"{_PIXELS}:GradientShap",
        signed=True,
        needs_map=False,
        unit="logits per pixel",
        help="expected gradients between baselines and the tile",
    ),
    Method(
        "deep-shap",
        "DeepSHAP",
        f"{_SETTINGS}:DeepShapSpec",
        f"{_HERE}.deep_shap:DeepShap",
        signed=True,
        needs_map=False,
        unit="logits per pixel",
        help="what pixels add to the gain over baselines, by DeepLIFT",
    ),
    Method(
        "lime",
        "LIME",
        f"{_SETTINGS}:LimeSpec",
        f"{_HERE}.lime:Lime",
        signed=True,
        needs_map=False,
        packages=("scikit-image", "scikit-learn"),
        unit="target",
        help="a linear model of which superpixels matter",
    ),
    Method(
        "partition-shap",
        "Partition SHAP",
        f"{_SETTINGS}:PartitionShapSpec",
        f"{_HERE}.partition_shap:PartitionShap",
        signed=True,
        needs_map=False,
        unit="logits per place",
        help="Owen values of nested rectangles",
    ),
)
"""Ours, in the order in which they are listed to people: the cheap ones first."""

CATALOGUE: Registry[Method] = Registry("slidecam.explainers", Method, METHODS)
"""Every method by the name that ``--methods`` knows it by."""


def method_for(name: str) -> Method:
    """Return the method called ``name``; ExplanationError, listing the names, if there is none."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    raise ExplanationError(f"there is no explanation called {name!r}.", CATALOGUE.remedy(name))


NO_METHOD = "none"
"""In place of heatmap methods: slides are classified and not mapped."""


def slide_methods() -> dict[str, Method]:
    """Return the methods that whole slides can be mapped by, which ``--heatmap`` takes, by name."""
    return {name: method for name, method in CATALOGUE.items() if method.for_slides}


def heatmap_methods(text: str) -> tuple[str, ...]:
    """Return the methods that ``--heatmap`` names, each once; none for `NO_METHOD`.

    Raises
    ------
    ExplanationError
        If one is not for whole slides, or `NO_METHOD` stands among others.
    """
    names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",")))
    if names == (NO_METHOD,):
        return ()
    known = slide_methods()
    for name in names:
        if name == NO_METHOD:
            raise ExplanationError(
                f"{NO_METHOD!r} was named beside heatmap methods.",
                "Name the methods, or none alone.",
            )
        if name not in known:
            raise ExplanationError(
                f"There is no heatmap method {name!r} for whole slides.",
                f"Use {NO_METHOD}, or some of {', '.join(known)}, separated by commas.",
            )
    return names


def title_of(name: str) -> str:
    """Return a method's title; its name where it is not installed here, as in others' runs."""
    if name in CATALOGUE:
        return CATALOGUE[name].title
    return name
