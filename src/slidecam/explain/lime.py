"""LIME: a linear model of what the classifier says when superpixels are covered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from skimage.segmentation import slic
from sklearn.linear_model import Ridge

from slidecam.errors import ExplanationError
from slidecam.explain.baselines import BASELINES, Parts, check_baselines, logits_of_parts
from slidecam.explain.explainer import Explainer, Explanation, check_classes, check_least
from slidecam.explain.method_settings import AVERAGE, LimeSpec, Target
from slidecam.models.classifier import normalised
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.models import Classifier


@dataclass(frozen=True, eq=False)
class LinearFit:
    """Weights (K', superpixels) of the linear model and the share (K',) of variance it explains."""

    weights: NDArray[np.float64]
    explained: NDArray[np.float64]


class Lime(Explainer):
    """LIME over SLIC superpixels; all classes come from the same coverings.

    Notes
    -----
    Ribeiro et al., *"Why should I trust you?"*, KDD 2016 (arXiv:1602.04938), equations 1 and 2,
    with the settings of the authors' image explainer: each superpixel is covered with probability
    1/2, a covering ``z`` weighs ``exp(-d² / 2 kernel²)`` with ``d`` its cosine distance from the
    uncovered tile, and ridge regression gives each superpixel's weight. The first sample is the
    uncovered tile.
    """

    name, title = "lime", "LIME"

    def __init__(self, classifier: Classifier, spec: LimeSpec) -> None:
        super().__init__(classifier)
        _check(spec)
        self.spec = spec

    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain tile by tile; see `Explainer.steps`."""
        check_classes(self.classifier, classes)
        total = len(pixels) * self.spec.seeds * self.spec.samples
        maps, logits, tile_facts = [], [], []
        for number, tile in enumerate(pixels.split(1)):  # type: ignore[no-untyped-call]
            parts = self._parts(tile)
            fits = []
            for which in range(self.spec.seeds):
                done = (number * self.spec.seeds + which) * self.spec.samples
                seed = self.spec.seed + which
                fits.append((yield from self._fit(parts, seed, list(classes), done, total)))
            passed = self.classifier.run_normalised(parts.picture[None], gradients=False)
            logits.append(passed.logits)
            weights = torch.from_numpy(fits[0].weights).float()
            maps.append(parts.painted(weights.to(pixels.device)))
            tile_facts.append(_facts_of_fits(parts, fits))
        facts = asdict(self.spec)
        for key in tile_facts[0]:
            facts[key] = min(each[key] for each in tile_facts)
        passes = self.spec.seeds * self.spec.samples + 1
        return Explanation(self.name, torch.cat(logits), torch.stack(maps), passes, facts)

    def _parts(self, tile: Tensor) -> Parts:
        spec, picture = self.spec, normalised(tile, self.classifier.card)[0]
        labels = slic(
            tile[0].cpu().numpy(),
            n_segments=spec.segments,
            compactness=spec.compactness,
            sigma=spec.sigma,
            start_label=0,
            channel_axis=-1,
        )
        # Numbered anew: SLIC may leave a number out.
        _labels, anew = np.unique(labels, return_inverse=True)
        numbers = torch.from_numpy(anew.reshape(labels.shape)).to(tile.device)
        if spec.baseline == AVERAGE:
            return Parts(picture, _averages(picture, numbers), numbers)
        return Parts(picture, BASELINES[spec.baseline](picture), numbers)

    def _fit(
        self,
        parts: Parts,
        seed: int,
        classes: list[int],
        done: int,
        total: int,
    ) -> Generator[Step, None, LinearFit]:
        draw = np.random.default_rng(seed)
        shown = draw.integers(0, 2, (self.spec.samples, len(parts)), dtype=np.uint8).astype(bool)
        shown[0] = True
        which = torch.from_numpy(shown).to(parts.picture.device)
        found = []
        for some in which.split(self.spec.batch):  # type: ignore[no-untyped-call]
            found.append(logits_of_parts(self.classifier, parts, some))
            done += len(some)
            yield Step(self.title, done, total)
        scores = torch.cat(found)
        if self.spec.target == "probability":
            scores = self.classifier.probabilities(scores)
        return fit_linear(shown, scores[:, classes].double().cpu().numpy(), self.spec)


def fit_linear(shown: NDArray[np.bool_], scores: NDArray[np.float64], spec: LimeSpec) -> LinearFit:
    """Return the weighted ridge regression of scores (samples, K') on what is shown.

    ``shown`` is bool (samples, superpixels).
    """
    weights = coverage_weights(shown, spec.kernel)
    model = Ridge(alpha=spec.ridge).fit(shown.astype(np.float64), scores, sample_weight=weights)
    average = partial(np.average, axis=0, weights=weights)
    rest = average((scores - model.predict(shown).reshape(scores.shape)) ** 2)
    spread = average((scores - average(scores)) ** 2)
    explained = 1 - np.divide(rest, spread, out=np.ones_like(rest), where=spread > 0)
    return LinearFit(np.atleast_2d(model.coef_), explained)


def coverage_weights(shown: NDArray[np.bool_], kernel: float) -> NDArray[np.float64]:
    """Return what each covering weighs, (samples,): less, the more of the tile is covered."""
    # The cosine of a row of 0 and 1 with a row of 1 is the root of its mean; a wholly covered tile
    # has distance 1.
    distance = 1 - np.sqrt(shown.mean(1))
    weights: NDArray[np.float64] = np.exp(-0.5 * (distance / kernel) ** 2)
    return weights


def _averages(picture: Tensor, labels: Tensor) -> Tensor:
    flat, parts = labels.flatten(), int(labels.max()) + 1
    sums = picture.new_zeros((len(picture), parts)).index_add_(1, flat, picture.flatten(1))
    return (sums / torch.bincount(flat, minlength=parts))[:, labels]


def _facts_of_fits(parts: Parts, fits: Sequence[LinearFit]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "superpixels": len(parts),
        "explained variance": float(min(fit.explained.min() for fit in fits)),
    }
    if len(fits) > 1:
        facts["between-seed correlation"] = min(between_seeds(fits[0], other) for other in fits[1:])
    return facts


def between_seeds(one: LinearFit, other: LinearFit) -> float:
    """Return the lowest correlation of two seeds' weights over classes.

    0 where one of them is constant.
    """
    found = []
    for pair in zip(one.weights, other.weights, strict=True):
        varies = min(map(np.ptp, pair)) > 0
        found.append(float(np.corrcoef(pair)[0, 1]) if varies else 0.0)
    return min(found)


def _check(spec: LimeSpec) -> None:
    if spec.baseline != AVERAGE:
        check_baselines([spec.baseline])
    if spec.target not in get_args(Target):
        problem = f"LIME's target {spec.target!r} is not known."
        raise ExplanationError(problem, "Use probability or logit.")
    check_least("LIME", spec, segments=1, samples=1, seeds=1, batch=1, seed=0, sigma=0, ridge=0)
    check_least("LIME", spec, above=True, compactness=0, kernel=0)
