"""Attributions to single pixels: gradients at the input, and what is lost when a window is covered.

Occlusion, integrated gradients and SmoothGrad are captum's; expected gradients are few lines of our
own, since captum's hold all samples in memory at once. Every tile is explained alone, from the same
random numbers: an explanation does not depend on what else was in the batch.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import torch

from slidecam.errors import ExplanationError
from slidecam.explain.baselines import BASELINES, check_baselines
from slidecam.explain.explainer import Explainer, Explanation, check_classes, check_least
from slidecam.explain.method_settings import (
    DeepShapSpec,
    GradientShapSpec,
    IntegratedGradientsSpec,
    OcclusionSpec,
    SmoothGradSpec,
)
from slidecam.extras import brought
from slidecam.models.classifier import normalised
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from captum import attr
    from torch import Tensor

    from slidecam.models import Classifier
else:
    attr = brought("captum.attr", "explain")


Spec = TypeVar(
    "Spec",
    bound=(
        OcclusionSpec | IntegratedGradientsSpec | SmoothGradSpec | GradientShapSpec | DeepShapSpec
    ),
)


class Attribution(Explainer, Generic[Spec]):
    """A method that gives every pixel a signed share; tiles and classes are taken one by one."""

    title: ClassVar[str]
    name: ClassVar[str]
    complete: ClassVar[bool] = True
    """Whether shares add up to what the logit gained over the baseline, but for a gap."""

    def __init__(self, classifier: Classifier, spec: Spec) -> None:
        super().__init__(classifier)
        self.spec = spec

    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain tile by tile, class by class; see `Explainer.steps`."""
        check_classes(self.classifier, classes)
        maps, logits, gaps = [], [], []
        total = len(pixels) * len(classes)
        for tile in pixels.split(1):  # type: ignore[no-untyped-call]
            picture = normalised(tile, self.classifier.card)
            logits.append(self.classifier.logits_of(picture))
            for index in classes:
                shares, gap = self.attributed(picture, index)
                maps.append(shares.detach().sum(0))
                gaps.append(abs(gap))
                yield Step(self.title, len(maps), total)
        stacked = torch.stack(maps).view(len(pixels), len(classes), *maps[0].shape)
        facts = asdict(self.spec)
        if self.complete:
            facts["completeness gap"] = max(gaps)  # in logits, the largest of all tiles
        passes = self.passes(pixels.shape[1])
        return Explanation(self.name, torch.cat(logits), stacked, passes, facts)

    @abstractmethod
    def attributed(self, picture: Tensor, index: int) -> tuple[Tensor, float]:
        """Return shares (C, H, W) of logit ``index`` of one tile, and their gap.

        The tile is normalised, (1, C, H, W).

        The gap is how far the shares' sum is from what the logit gained over the baseline.
        """

    @abstractmethod
    def passes(self, edge: int) -> int:
        """Return the forward passes for one tile of ``edge`` px and one class."""

    def _gain(self, picture: Tensor, baseline: Tensor, index: int) -> float:
        logits = self.classifier.logits_of(torch.cat([picture.detach(), baseline]))
        return float(logits[0, index] - logits[1:, index].mean())


class OcclusionExplainer(Attribution[OcclusionSpec]):
    """What the logit loses when a window of the tile is covered, averaged over a pixel's windows.

    Notes
    -----
    Zeiler and Fergus, *Visualizing and understanding convolutional networks*, ECCV 2014
    (arXiv:1311.2901), section 4.2. Computed by captum.
    """

    title, name, complete = "Occlusion", "occlusion", False

    def __init__(self, classifier: Classifier, spec: OcclusionSpec) -> None:
        check_baselines([spec.baseline])
        _check_range("window", spec.window, 0, 1)
        _check_range("stride", spec.stride, 0, spec.window)
        check_least(self.title, spec, batch=1)
        super().__init__(classifier, spec)

    def attributed(self, picture: Tensor, index: int) -> tuple[Tensor, float]:
        """Return the losses, an equal part for each channel.

        They are no shares of the logit, and have no gap.
        """
        window, stride = self._window(picture.shape[-1])
        losses = attr.Occlusion(self.classifier.logits_of).attribute(
            picture,
            sliding_window_shapes=(len(picture[0]), window, window),
            strides=(len(picture[0]), stride, stride),
            baselines=BASELINES[self.spec.baseline](picture[0])[None],
            target=index,
            perturbations_per_eval=self.spec.batch,
        )
        return losses[0].float() / len(picture[0]), 0.0

    def passes(self, edge: int) -> int:
        """Return the windows of a tile, and the tile itself."""
        window, stride = self._window(edge)
        return 1 + (1 + -(-(edge - window) // stride)) ** 2

    def _window(self, edge: int) -> tuple[int, int]:
        return max(1, round(edge * self.spec.window)), max(1, round(edge * self.spec.stride))


class IntegratedGradientsExplainer(Attribution[IntegratedGradientsSpec]):
    """Gradients along the straight way from a baseline to the tile, times that way.

    Notes
    -----
    Sundararajan et al., *Axiomatic attribution for deep networks*, ICML 2017 (arXiv:1703.01365),
    equation 1: ``(x - x') ∫ ∂F(x' + t (x - x')) / ∂x dt``, ``t`` from 0 to 1. Computed by captum.
    """

    title, name = "Integrated gradients", "integrated-gradients"

    def __init__(self, classifier: Classifier, spec: IntegratedGradientsSpec) -> None:
        check_baselines([spec.baseline])
        _check_range("samples", spec.samples, 0, 10_000)
        check_least(self.title, spec, batch=1)
        super().__init__(classifier, spec)

    def attributed(self, picture: Tensor, index: int) -> tuple[Tensor, float]:
        """Return the shares; they sum to the gain over the baseline but for integration error."""
        baseline = BASELINES[self.spec.baseline](picture[0])[None]
        found = attr.IntegratedGradients(self.classifier.logits_of).attribute(
            picture.clone().requires_grad_(),
            baselines=baseline,
            target=index,
            n_steps=self.spec.samples,
            internal_batch_size=self.spec.batch,
        )
        shares = found[0].detach().float()
        return shares, float(shares.sum()) - self._gain(picture, baseline, index)

    def passes(self, edge: int) -> int:  # noqa: ARG002  (the same for every size)
        """Return the points on the way, the tile and the baseline."""
        return self.spec.samples + 2


class SmoothGradExplainer(Attribution[SmoothGradSpec]):
    """The gradient at the input, averaged over noisy copies of the tile.

    Notes
    -----
    Smilkov et al., *SmoothGrad*, 2017 (arXiv:1706.03825). Signed, not squared and not absolute.
    Computed by captum.
    """

    title, name, complete = "SmoothGrad", "smoothgrad", False

    def __init__(self, classifier: Classifier, spec: SmoothGradSpec) -> None:
        _check_range("samples", spec.samples, 0, 10_000)
        check_least(self.title, spec, noise=0, seed=0, batch=1)
        super().__init__(classifier, spec)

    def attributed(self, picture: Tensor, index: int) -> tuple[Tensor, float]:
        """Return the mean gradient; it is no share of the logit, and has no gap."""
        deviation = self.spec.noise * float(picture.max() - picture.min())
        devices = []
        if picture.device.type == "cuda":
            devices = [picture.device]
        # captum draws from torch's global state, which is as before afterwards.
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.spec.seed)
            noisy = attr.NoiseTunnel(attr.Saliency(self.classifier.logits_of))
            gradients = noisy.attribute(
                picture.clone().requires_grad_(),
                nt_type="smoothgrad",
                nt_samples=self.spec.samples,
                nt_samples_batch_size=min(self.spec.batch, self.spec.samples),
                stdevs=deviation,
                target=index,
                abs=False,
            )
        return gradients[0].float(), 0.0

    def passes(self, edge: int) -> int:  # noqa: ARG002  (the same for every size)
        """Return the copies, and the tile itself."""
        return self.spec.samples + 1


class GradientShap(Attribution[GradientShapSpec]):
    """Expected gradients: integrated ones over several baselines, by random points on the ways.

    Notes
    -----
    Erion et al., *Improving performance of deep learning models with axiomatic attribution priors
    and expected gradients*, 2021 (arXiv:1906.10670), equation 3; `GradientExplainer` of Lundberg's
    shap: ``E[(x - x') ∂F(x' + t (x - x')) / ∂x]`` over baselines ``x'`` and ``t`` uniform on 0-1.
    The random ``t`` are stratified: one in each of equally wide parts of 0-1, which is as unbiased
    and converges faster.
    """

    title, name = "Gradient SHAP", "gradient-shap"

    def __init__(self, classifier: Classifier, spec: GradientShapSpec) -> None:
        check_baselines(spec.baselines)
        _check_range("samples", spec.samples, 0, 10_000)
        _check_range("baselines", len(spec.baselines), 0, spec.samples)
        check_least(self.title, spec, noise=0, seed=0, batch=1)
        super().__init__(classifier, spec)

    def attributed(self, picture: Tensor, index: int) -> tuple[Tensor, float]:
        """Return the shares; they add up to the mean gain over the baselines.

        They do so but for the sampling's error.
        """
        generator = torch.Generator().manual_seed(self.spec.seed)
        baselines = torch.stack([BASELINES[name](picture[0]) for name in self.spec.baselines])
        shares, each = torch.zeros_like(picture[0]), self._per_baseline
        for baseline in baselines:
            alphas = (torch.arange(each) + torch.rand(each, generator=generator)) / each
            for some in alphas.split(self.spec.batch):  # type: ignore[no-untyped-call]
                points = some.to(picture.device)
                shares += self._weighted(picture, baseline, points, index, generator)
        shares /= each * len(baselines)
        return shares, float(shares.sum()) - self._gain(picture, baselines, index)

    def _weighted(
        self,
        picture: Tensor,
        baseline: Tensor,
        alphas: Tensor,
        index: int,
        draw: torch.Generator,
    ) -> Tensor:
        """Return the sum over some points of the gradient there times the way."""
        start = picture.expand(len(alphas), -1, -1, -1)
        if self.spec.noise:
            noise = torch.randn(start.shape, generator=draw).to(picture.device)
            start = start + noise * self.spec.noise * (picture.max() - picture.min())
        way = start - baseline
        points = (baseline + alphas[:, None, None, None] * way).requires_grad_()
        with torch.enable_grad():
            score = self.classifier.logits_of(points)[:, index].sum()
            (gradient,) = torch.autograd.grad(score, points)
        return (gradient * way).sum(0)

    @property
    def _per_baseline(self) -> int:
        return -(-self.spec.samples // len(self.spec.baselines))

    def passes(self, edge: int) -> int:  # noqa: ARG002  (the same for every size)
        """Return the points, the tile and the baselines."""
        return (self._per_baseline + 1) * len(self.spec.baselines) + 1


def _check_range(name: str, value: float, above: float, highest: float) -> None:
    if not above < value <= highest:
        remedy = f"Use more than {above:g}, up to {highest:g}."
        raise ExplanationError(f"The {name} {value:g} is out of range.", remedy)
