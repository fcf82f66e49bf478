"""pytorch-grad-cam's maps through our passes equal its own.

They are raw, finite and without its side effects.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

import slidecam
from slidecam.errors import ExplanationError
from slidecam.explain.catalogue import CATALOGUE
from slidecam.explain.contract import ExplainerCase, ExplainerContract
from slidecam.explain.method_settings import FemSpec, KernelPcaSpec
from slidecam.models import classifier_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import nn

    from slidecam.explain.explainer import Explanation
    from small_networks import MakeSmall, Small

CLASSES = (0, 2)
METHODS = [method for method in CATALOGUE.own if "grad-cam" in method.packages]
BY_NAME = {method.name: method for method in METHODS}
THEIRS: Mapping[str, Any] = {
    "xgradcam": pytorch_grad_cam.XGradCAM,
    "gradcam-elementwise": pytorch_grad_cam.GradCAMElementWise,
    "seg-eigencam": pytorch_grad_cam.SegEigenCAM,
    "shapley-cam": pytorch_grad_cam.ShapleyCAM,
    "kpca-cam": pytorch_grad_cam.KPCA_CAM,
    "fem": pytorch_grad_cam.FEM,
}
NETWORKS = (
    pytest.param("resnet18 of 9 places", marks=pytest.mark.slow),
    "sequential",
    "simple",
)
MULTIPLE = 3


def explained(name: str, small: Small, backend: Any, count: int = MULTIPLE) -> Explanation:
    method = BY_NAME[name]
    return method.make(small.classifier(backend), method.spec()).explain(
        small.tiles(count), CLASSES
    )


def their_maps(
    library: Any, network: nn.Module, layer: nn.Module, pixels: torch.Tensor, index: int
) -> NDArray[Any]:
    with library(network, [layer]) as cam:
        maps: NDArray[Any] = cam(
            input_tensor=pixels, targets=[ClassifierOutputTarget(index)] * len(pixels)
        )
        # ShapleyCAM's gradients may be views, which the library cannot let go of by itself.
        cam.activations_and_grads.gradients = []
    return maps


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", THEIRS)
def test_maps_equal_pytorch_grad_cams(
    small: MakeSmall,
    hooked: Callable[[nn.Module, Small], nn.Module],
    as_theirs: Callable[[torch.Tensor, int], NDArray[Any]],
    name: str,
    network: str,
) -> None:
    case = small(network)
    plain = case.network()
    layer = hooked(plain, case)
    ours = {backend: explained(name, case, backend).maps for backend in ("eager", "folded")}
    for place, index in enumerate(CLASSES):
        theirs = their_maps(THEIRS[name], plain, layer, case.scaled(MULTIPLE), index)
        assert theirs.max() > 0.9, "a map of zeros would agree with anything"
        assert np.abs(as_theirs(ours["eager"][:, place], case.edge) - theirs).max() <= 1e-5
        assert np.abs(as_theirs(ours["folded"][:, place], case.edge) - theirs).max() <= 1e-4


@pytest.mark.parametrize("network", NETWORKS)
def test_eigen_grad_cam_is_pytorch_grad_cams_turned_by_the_evidence(
    small: MakeSmall, network: str
) -> None:
    case = small(network)
    classifier = case.classifier("eager")
    maps = explained("eigen-gradcam", case, "eager").maps
    turned = 0
    for tile in range(MULTIPLE):
        passed = classifier.run(case.tiles(MULTIPLE)[tile : tile + 1], gradients=True)
        assert passed.activation is not None
        for place, index in enumerate(CLASSES):
            (gradient,) = torch.autograd.grad(
                passed.logits[0, index], passed.activation, retain_graph=True
            )
            terms = np.asarray((gradient * passed.activation.detach())[0].double())
            places = terms.reshape(len(terms), -1).T
            principal = np.linalg.svd(places - places.mean(0))[2][0]
            projected = (places - places.mean(0)) @ principal
            sign = np.sign(np.corrcoef(projected, places.sum(1))[0, 1])
            turned += sign < 0
            expected = np.maximum(sign * projected, 0).reshape(terms.shape[1:])
            assert np.abs(np.asarray(maps[tile, place]) - expected).max() <= 1e-4 * expected.max()
    assert turned, "the sign that LAPACK leaves was right by chance each time"


def test_maps_are_raw_and_not_scaled_by_tile(small: MakeSmall) -> None:
    case = small("sequential")
    for name in BY_NAME:
        peaks = explained(name, case, "eager").maps.amax((2, 3))
        assert len(set(peaks[:, 0].tolist())) == MULTIPLE, name
        assert float((peaks - 1).abs().max()) > 1e-3, name


def test_shapley_cam_of_a_linear_head_is_grad_cam(small: MakeSmall) -> None:
    case = small("pocket")
    head = case.classifier("eager").linear_head
    activation = case.classifier("eager").run(case.tiles(MULTIPLE), gradients=False).activation
    assert head is not None
    assert activation is not None
    grad_cam = (
        torch.einsum("bchw,kc->bkhw", activation, head.weight[list(CLASSES)])
        / activation[0, 0].numel()
    )
    torch.testing.assert_close(
        explained("shapley-cam", case, "eager").maps, grad_cam.clamp_min(0), atol=1e-6, rtol=1e-5
    )


def test_methods_without_a_class_say_so_and_show_every_class_the_same(small: MakeSmall) -> None:
    case = small("sequential")
    for name in BY_NAME:
        found = explained(name, case, "eager")
        same = torch.equal(found.maps[:, 0], found.maps[:, 1])
        assert same is ("class" in found.facts) is (name in {"kpca-cam", "fem"})


def test_settings_reach_the_library_and_the_facts(small: MakeSmall) -> None:
    case = small("sequential")
    for name, spec, other in (
        ("fem", FemSpec(), FemSpec(0.5)),
        ("kpca-cam", KernelPcaSpec(), KernelPcaSpec("linear")),
    ):
        one, two = (
            BY_NAME[name].make(case.classifier(), s).explain(case.tiles(1), CLASSES)
            for s in (spec, other)
        )
        assert not torch.allclose(one.maps, two.maps)
        assert one.facts != two.facts
    assert two.facts["kernel"] == "linear"


def test_numbers_that_are_not_finite_become_nothing(small: MakeSmall) -> None:
    explainer: Any = BY_NAME["xgradcam"].make(
        small("pocket").classifier(), BY_NAME["xgradcam"].spec()
    )
    activation = np.array([[[[1.0, -1.0 - 1e-7]], [[1.0, 2.0]]]], dtype=np.float64)
    with np.errstate(all="ignore"):
        found = explainer._map(activation, np.ones_like(activation))
    assert torch.isfinite(found).all()


def test_kernels_of_large_maps_leave_numpys_random_state_alone(small: MakeSmall) -> None:
    case = small("pocket")
    explainer: Any = BY_NAME["kpca-cam"].make(case.classifier(), KernelPcaSpec())
    activation = np.random.default_rng(0).random((1, 6, 17, 17), dtype=np.float32)
    before = np.random.get_state()  # noqa: NPY002  (the one that scikit-learn draws from)
    first = explainer._map(activation, None)
    after = np.random.get_state()  # noqa: NPY002
    assert str(before) == str(after)
    np.random.seed(5)  # noqa: NPY002
    assert torch.equal(explainer._map(activation, None), first)
    np.random.set_state(before)  # noqa: NPY002


def test_it_is_the_only_room_that_knows_the_library() -> None:
    source = Path(slidecam.__file__).parent
    imported = re.compile(r"^\s*(from|import) pytorch_grad_cam", re.MULTILINE)
    assert {
        path.name for path in source.rglob("*.py") if imported.search(path.read_text("utf-8"))
    } == {"library_cams.py"}


def test_a_classifier_without_a_map_is_refused(small: MakeSmall) -> None:
    case = small("sequential")
    whole = classifier_for(case.network(), replace(case.card, split=None), torch.device("cpu"))
    for method in METHODS:
        with pytest.raises(ExplanationError, match="no activation map"):
            method.make(whole, method.spec()).explain(case.tiles(1), CLASSES)


class TestAtANamedLayer(ExplainerContract):
    @pytest.fixture(params=list(BY_NAME))
    def case(self, request: pytest.FixtureRequest, small: MakeSmall) -> ExplainerCase:
        return ExplainerCase(BY_NAME[request.param], small("sequential").classifier())


class TestDearOnesOnTokens(ExplainerContract):
    @pytest.fixture(params=["eigen-gradcam", "seg-eigencam", "kpca-cam"])
    def case(self, request: pytest.FixtureRequest, small: MakeSmall) -> ExplainerCase:
        return ExplainerCase(BY_NAME[request.param], small("vit").classifier())
