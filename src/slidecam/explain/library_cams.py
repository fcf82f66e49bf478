"""The rest of pytorch-grad-cam's family, by that library's own formulas, behind our contract.

The library is given what it would have computed, one tile's activation and gradients, from a pass
of ours; it never sees the network. So what it would do to a network (every parameter's ``.grad``
filled, eval mode, hooks, a graph kept alive) and to a map (scaled by tile to 0-1, twice) does not
happen, its aliasing of activations on a CPU does not either, and any classifier of ours will do:
frozen, folded, channels last, of tokens, cut at a named layer.

Of grad-cam 1.5.7 are left out:

- CAM's kin that we compute ourselves, for all classes and tiles in one pass (`activation_maps`):
  Grad-CAM, Grad-CAM++, HiResCAM, LayerCAM, EigenCAM, FinerCAM; and `score_cam`, `ablation_cam` and
  `full_grad`, each of which says why.
- RandomCAM: it is no explanation, but what explanations are compared with (`faithfulness`).
- RefineCAM and SESS: they multiply or paste together maps that were each scaled to 0-1, so that no
  raw map is left.
- Guided backpropagation: it puts other rectifiers into the network, and shows edges whatever the
  network has learned (Adebayo et al., NeurIPS 2018). Sobel "CAM" looks at no network at all.
- Deep feature factorisation: it finds concepts in a picture, and no map of a class.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pytorch_grad_cam import (
    FEM,
    KPCA_CAM,
    EigenGradCAM,
    GradCAMElementWise,
    SegEigenCAM,
    ShapleyCAM,
    XGradCAM,
)
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from slidecam.explain.explainer import (
    CLASSLESS,
    Explainer,
    Explanation,
    activation_of,
    check_classes,
    check_least,
    check_map,
)
from slidecam.explain.method_settings import FemSpec, KernelPcaSpec
from slidecam.models.splits import arithmetic
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from slidecam.models import Classifier, ClassifierPass


@dataclass(frozen=True)
class _Recipe:
    """One method of the library's.

    Attributes
    ----------
    name, title
        As in the catalogue.
    library
        The class whose formula is used; it is made with the settings' fields as keywords.
    gradients
        What the formula is given: no gradients (it knows of no class), a class's, or a class's that
        can be derived once more.
    turned
        Whether the map has no sign of its own, and is turned by the evidence.
    """

    name: str
    title: str
    library: type[Any]
    gradients: Literal["none", "first", "second"] = "first"
    turned: bool = False


class LibraryCam(Explainer):
    """One of pytorch-grad-cam's methods; each below; see its source for the formulas.

    A map is what the library computes before it scales anything, cut at 0 as it does.
    EigenGradCAM's is a principal component, which has no sign of its own, and which the library
    leaves as LAPACK gives it: here it is turned so that it grows with the evidence ``Σ g A`` over
    channels. Where a formula divides by next to nothing and gives no finite number, the map is 0.

    Tiles are explained one by one, so that a tile's map does not hang on its neighbours.
    """

    def __init__(self, recipe: _Recipe, classifier: Classifier, spec: object) -> None:
        super().__init__(classifier)
        self._recipe = recipe
        _check(recipe, spec)
        self._settings = asdict(spec)  # type: ignore[call-overload]  # each recipe's own dataclass
        stand_in = _StandIn(classifier.device)
        self._library = recipe.library(stand_in, [stand_in.layer], **self._settings)
        self._library.activations_and_grads.release()

    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain tiles one by one; see `Explainer.steps`."""
        check_classes(self.classifier, classes)
        check_map(self.classifier)
        logits, maps = [], []
        for number, tile in enumerate(pixels[:, None]):
            # Gradients are wanted whatever the caller's modes are.
            with torch.enable_grad(), arithmetic(self.classifier.device, "fp32"):
                passed, found = self._explained(tile, classes)
            logits.append(passed.logits.detach())
            maps.append(found)
            yield Step(self._recipe.title, number + 1, len(pixels))
        passes = 1
        if self._recipe.gradients == "second":
            passes = len(classes)
        return Explanation(
            method=self._recipe.name,
            logits=torch.cat(logits),
            maps=torch.stack(maps),
            passes=passes,
            facts=self._facts(),
        )

    def _explained(self, tile: Tensor, classes: Sequence[int]) -> tuple[ClassifierPass, Tensor]:
        """Return a pass over one tile, and its maps (K', h, w)."""
        if self._recipe.gradients == "second":
            # The library frees a pass's graph, and the faster kernels of attention can be derived
            # once only.
            with sdpa_kernel(SDPBackend.MATH):
                passes = [self.classifier.run(tile, gradients=True) for _ in classes]
                pairs = map(_twice_derivable, passes, classes)
                return passes[0], torch.stack([self._map(*pair) for pair in pairs])
        passed = self.classifier.run(tile, gradients=self._recipe.gradients == "first")
        if self._recipe.gradients == "none":
            activation = _array(activation_of(passed).detach())
            return passed, self._map(activation, None).expand(len(classes), -1, -1)
        return passed, torch.stack([self._map(*_as_arrays(passed, index)) for index in classes])

    def _map(self, activation: Any, gradient: Any) -> Tensor:  # noqa: ANN401  (arrays, or tensors with a graph)
        """Return the map (h, w) of a tile's activation and gradient (1, C, h, w)."""
        if _same_everywhere(activation):
            return torch.zeros(activation.shape[2:], device=self.classifier.device)
        with _numpys_random_state_kept():
            raw = self._library.get_cam_image(
                None, None, None, activation, gradient, eigen_smooth=False
            )[0]
        if self._recipe.turned:
            raw = _turned_by(raw, (activation * gradient).sum(1)[0])
        finite = np.nan_to_num(raw, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
        return torch.from_numpy(finite.astype(np.float32)).to(self.classifier.device)

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"library": f"grad-cam {version('grad-cam')}"}
        if self._recipe.gradients == "none":
            facts |= CLASSLESS
        facts |= self._settings
        return facts


def _check(recipe: _Recipe, spec: object) -> None:
    if isinstance(spec, FemSpec):
        check_least(recipe.title, spec, k=0)
    if isinstance(spec, KernelPcaSpec) and spec.gamma is not None:
        check_least(recipe.title, spec, above=True, gamma=0)


class _StandIn(nn.Module):
    """What the library is given for a network.

    It asks a parameter's device and hooks a layer, and runs nothing.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.nothing = nn.Parameter(torch.zeros(0, device=device), requires_grad=False)


def _as_arrays(passed: ClassifierPass, index: int) -> tuple[Any, Any]:
    leaf = activation_of(passed)
    (gradient,) = torch.autograd.grad(passed.logits[0, index], leaf, retain_graph=True)
    return _array(leaf.detach()), _array(gradient)


def _twice_derivable(passed: ClassifierPass, index: int) -> tuple[Tensor, Tensor]:
    leaf = activation_of(passed)
    (gradient,) = torch.autograd.grad(passed.logits[0, index], leaf, create_graph=True)
    # A linear head's gradient hangs on nothing, and the library derives it without asking.
    return leaf, gradient + 0 * leaf


def _array(values: Tensor) -> Any:  # noqa: ANN401  (an array of the library's)
    return values.contiguous().cpu().numpy()


def _same_everywhere(activation: Any) -> bool:  # noqa: ANN401  (an array or a tensor)
    """Whether no channel changes from place to place.

    There is nothing to see, and to project, then.
    """
    flat = activation.reshape(activation.shape[1], -1)
    return bool((flat == flat[:, :1]).all())


def _turned_by(raw: Any, evidence: Any) -> Any:  # noqa: ANN401  (arrays)
    """Return the map (h, w), or its negative if that grows with the evidence (h, w)."""
    together = (raw - raw.mean()) * (evidence - evidence.mean())
    if together.sum() < 0:
        return -raw
    return raw


@contextmanager
def _numpys_random_state_kept() -> Iterator[None]:
    """Seed NumPy's global generator inside, and put it back.

    Scikit-learn's solver for large kernels draws from it.
    """
    state = np.random.get_state()  # noqa: NPY002  (it is the one that is drawn from)
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


xgradcam = partial(LibraryCam, _Recipe("xgradcam", "XGrad-CAM", XGradCAM))
"""Fu et al. 2020, arXiv:2008.02312."""

gradcam_elementwise = partial(
    LibraryCam,
    _Recipe("gradcam-elementwise", "Grad-CAM, element-wise", GradCAMElementWise),
)

eigen_gradcam = partial(
    LibraryCam,
    _Recipe("eigen-gradcam", "EigenGradCAM", EigenGradCAM, turned=True),
)
"""Muhammad and Yeasin 2020, after arXiv:2008.00299."""

seg_eigencam = partial(LibraryCam, _Recipe("seg-eigencam", "Seg-Eigen-CAM", SegEigenCAM))
"""Chung and Ying 2025, doi 10.3390/app15137562."""

shapley_cam = partial(LibraryCam, _Recipe("shapley-cam", "ShapleyCAM", ShapleyCAM, "second"))
"""Cai 2025, arXiv:2501.06261."""

kpca_cam = partial(LibraryCam, _Recipe("kpca-cam", "KPCA-CAM", KPCA_CAM, "none"))
"""Karmani et al. 2024, arXiv:2410.00267."""

fem = partial(LibraryCam, _Recipe("fem", "FEM", FEM, "none"))
"""Fuad et al. 2020, hal-02963298."""
