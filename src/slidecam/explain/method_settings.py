"""The settings of each method: what a person may set, light to read; formulas live elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from slidecam.thresholds import Threshold

EPSILON = 1e-6
"""pytorch-grad-cam's, absolute.

Squared gradients are of its size, so another value is another method.
"""

GAMMA = 1.0
"""Finer-CAM's comparison strength; at 1 the map is of the difference between both logits."""


@dataclass(frozen=True)
class NoSettings:
    """The settings of a method that has none."""


@dataclass(frozen=True)
class GradCamPlusPlusSpec:
    """Settings of Grad-CAM++.

    Attributes
    ----------
    eps
        Added to the denominator of alpha. It is absolute and as large as squared gradients are, so
        that the map depends on it; the default is pytorch-grad-cam's.
    """

    eps: float = EPSILON


@dataclass(frozen=True)
class FinerCamSpec:
    """Settings of Finer-CAM.

    Attributes
    ----------
    against
        Name of the class that the others are compared with, or its index; None for the other one of
        two. Where it is the very class that is explained, each tile's is compared with the
        likeliest other one.
    gamma
        How strongly: 0 is Grad-CAM, 1 the difference between both logits.
    """

    against: str | int | None = None
    gamma: float = GAMMA


Scope = Literal["tile", "batch"]


@dataclass(frozen=True)
class DtGradCamSpec:
    """Settings of DT Grad-CAM.

    Attributes
    ----------
    threshold
        The rule by which the threshold is found.
    scope
        Over what: every tile has a threshold of its own, or all tiles that are given together have
        one for each class. A whole slide's is found when its heatmap is painted.
    """

    threshold: Threshold = field(default_factory=Threshold)
    scope: Scope = "tile"


Weights = Literal["increase", "official", "pytorch-grad-cam"]


@dataclass(frozen=True)
class ScoreCamSpec:
    """How Score-CAM is computed.

    Attributes
    ----------
    weights
        What a channel weighs. The rule decides what the map shows. ``increase``: the probability of
        the class for the tile masked by the channel, less that for a tile of nothing but the mean
        colour, as the paper defines it. ``official``: without the second term, as in the authors'
        code. ``pytorch-grad-cam``: the softmax, over channels, of the class's logit, as in the
        paper's algorithm and that library.

        A network that is shown next to nothing still spreads its probability over the classes, so
        that under the last two rules every channel speaks for every class, and a tile without the
        class glows like one with it. On 90 tiles of the sample slide the average precision of raw
        maps, cell by cell against the true regions of the three classes, was 0.98, 0.75 and 0.92
        under ``increase``, and 0.46, 0.47, 0.44 and 0.54, 0.46, 0.43 under the others. Where the
        mean colour alone is taken for the class, ``increase`` shows nothing; the facts tell.
    batch
        Masked tiles in one pass. 16 is best on a CPU; a GPU likes more.
    """

    weights: Weights = "increase"
    batch: int = 16


@dataclass(frozen=True)
class ClusteredScoreCamSpec(ScoreCamSpec):
    """How clustered Score-CAM is computed; see `ScoreCamSpec` for the rest.

    Attributes
    ----------
    clusters
        Channels that are scored on each tile.
    check
        For how many tiles, from the first, the exact map is computed as well and the correlation
        told. It costs one pass for each channel.
    """

    clusters: int = 32
    check: int = 0


@dataclass(frozen=True)
class AblationCamSpec:
    """How Ablation-CAM is computed.

    Attributes
    ----------
    batch
        Ablated copies of a tile's activation in one pass.
    """

    batch: int = 32


@dataclass(frozen=True)
class KernelPcaSpec:
    """How KPCA-CAM projects activations.

    Attributes
    ----------
    kernel
        scikit-learn's name of it.
    gamma
        Its width; None for one over the number of channels.
    """

    kernel: Literal["linear", "poly", "rbf", "sigmoid", "cosine"] = "sigmoid"
    gamma: float | None = None


@dataclass(frozen=True)
class FemSpec:
    """Which places FEM counts.

    Those more than ``k`` standard deviations above their channel's mean.
    """

    k: float = 2.0


@dataclass(frozen=True)
class OcclusionSpec:
    """Settings of occlusion.

    Attributes
    ----------
    window, stride
        Edge of the window and its step, as shares of the tile's edge.
    baseline
        What the window shows instead; see `baselines`.
    batch
        Covered tiles in one pass.
    """

    window: float = 1 / 7
    stride: float = 1 / 14
    baseline: str = "zero"
    batch: int = 16


@dataclass(frozen=True)
class IntegratedGradientsSpec:
    """Settings of integrated gradients.

    Attributes
    ----------
    samples
        Points on the way from the baseline to the tile (Gauss-Legendre).
    baseline
        Where the way begins; see `baselines`.
    batch
        Points in one pass.
    """

    samples: int = 50
    baseline: str = "zero"
    batch: int = 16


@dataclass(frozen=True)
class SmoothGradSpec:
    """Settings of SmoothGrad.

    Attributes
    ----------
    samples
        Noisy copies of the tile.
    noise
        Standard deviation of the noise, as a share of the tile's range of values; the paper uses
        0.1 to 0.2.
    seed
        Of the noise.
    batch
        Copies in one pass.
    """

    samples: int = 25
    noise: float = 0.15
    seed: int = 0
    batch: int = 16


@dataclass(frozen=True)
class GradientShapSpec:
    """Settings of gradient SHAP.

    Attributes
    ----------
    samples
        Random points, spread evenly over the baselines.
    baselines
        What the tile is compared with; see `baselines`. A real background set is seldom at hand
        where a bundle is.
    noise
        Standard deviation of noise on the tile, as a share of its range; 0 leaves the attributions
        complete but for the sampling.
    seed
        Of the random numbers.
    batch
        Points in one pass.
    """

    samples: int = 64
    baselines: tuple[str, ...] = ("zero", "blur")
    noise: float = 0.0
    seed: int = 0
    batch: int = 16


@dataclass(frozen=True)
class DeepShapSpec:
    """Settings of DeepSHAP.

    Attributes
    ----------
    baselines
        What the tile is compared with; see `baselines`.
    """

    baselines: tuple[str, ...] = ("zero", "blur")


Target = Literal["probability", "logit"]


AVERAGE = "average"
"""The baseline of lime's own image explainer: every superpixel's mean colour."""


@dataclass(frozen=True)
class LimeSpec:
    """Settings of LIME.

    Attributes
    ----------
    segments, compactness, sigma
        Of SLIC: about how many superpixels, how round, and how blurred the tile is before it is cut
        up.
    samples
        Random coverings for each seed.
    baseline
        What covered superpixels show: ``average``, their own mean colour, or one of `baselines`.
    kernel
        Width of the kernel that weighs a covering by how much of the tile it leaves, in cosine
        distance.
    ridge
        Penalty of the linear model.
    target
        What is modelled: the class's ``logit``, or its ``probability`` as in the paper, which
        hardly moves where it is near 0 or 1.
    seeds
        LIME is known for maps that change from seed to seed. So many are computed; the map is the
        first one's, and the correlation between them is said.
    seed
        The first of the seeds.
    batch
        Covered tiles in one pass.
    """

    segments: int = 50
    compactness: float = 10.0
    sigma: float = 1.0
    samples: int = 500
    baseline: str = AVERAGE
    kernel: float = 0.25
    ridge: float = 1.0
    target: Target = "logit"
    seeds: int = 2
    seed: int = 0
    batch: int = 16


@dataclass(frozen=True)
class PartitionShapSpec:
    """Settings of partition SHAP.

    Attributes
    ----------
    cells
        Cells along a tile's edge, beyond which rectangles are not halved.
    evaluations
        Covered tiles at most; what is not halved by then shares its value evenly among its cells.
    baseline
        What covered rectangles show; see `baselines`.
    batch
        Covered tiles in one pass.
    """

    cells: int = 28
    evaluations: int = 500
    baseline: str = "blur"
    batch: int = 16
