"""The tables of a recipe as settings, and the recipe that they make."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence  # noqa: TC003  (read_settings reads the types of these dataclasses)
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from slidecam.geometry import COARSEST, FINEST
from slidecam.learning.data.picture_files import PictureSpec, compiled
from slidecam.learning.data.splitting import SplitSpec
from slidecam.models.channels import PerChannel  # noqa: TC001  (read_settings reads the types)
from slidecam.models.stain import StainMethod  # noqa: TC001  (as above)
from slidecam.settings import shown
from slidecam.viewing import PictureView, Profile

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.learning.data.augmentation import AugmentationSpec
    from slidecam.learning.published import Published
    from slidecam.models.card_parts import VolumeCard

Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Ge(0)]


@dataclass(frozen=True)
class ModelSpec:
    """The network and where its weights begin.

    Attributes
    ----------
    architecture, architecture_args
        As on a bundle's card: timm's name, or one of slidecam's own, and its keyword arguments.
    name
        What to call the classifier; empty for the recipe's name.
    weights
        ``none`` for random ones, ``file`` for ``--weights``, ``hub`` for timm's, which are fetched.
    weights_format
        Whose names the tensors of the file have; see `named_as_timm`.
    head_start
        Beside given weights the last layer is ``zero``, which shakes nothing, or ``random``.
    licence
        Under which the weights may be used.
    """

    architecture: str
    architecture_args: Mapping[str, object] = field(default_factory=dict)
    name: str = ""
    weights: Literal["none", "file", "hub"] = "none"
    weights_format: Literal["plain", "torchvision", "kimianet"] = "plain"
    head_start: Literal["zero", "random"] = "zero"
    licence: str = "not stated"


@dataclass(frozen=True)
class DataSpec:
    """The pictures, how they are parted and what the network sees of them.

    Attributes
    ----------
    classes
        Names in the order of the logits; empty for all that are found, sorted.
    group_pattern, group_folder, label_pattern, only_pattern
        How the patient or slide and the class are found in names, and which pictures are taken; see
        `PictureSpec`.
    train, val, test
        Shares of the pictures, where the data are not parted already.
    split_seed
        Another number gives another parting.
    duplicates
        What becomes of pictures that are there more than once, exactly or nearly: ``group`` keeps
        them in one part where the data are not parted already, and tells of them; ``drop`` keeps
        one of each; ``report`` only tells of them; ``ignore`` does not look.
    input_px, interpolation
        Edge of what the network sees, and how a picture is resized to it.
    spacing, tile_px
        µm per pixel and edge of tiles of a slide; both left out where a picture is the whole.
    image, plane, time, channels
        Which picture, plane and channels of files with several, as ``--image`` … of ``slidecam
        train``; see `PictureView`. Evaluating reads so too.
    window
        The samples that are black and white in grey of more than 8 bits: ``--window``.
    color_profile
        ``srgb`` applies ICC profiles; tiles that were cut with ``--profile srgb`` say so.
    stain, stain_reference
        Brings each tile's stains to those of a picture, or published ones, as `Stain` does.
    mean, std
        Normalisation on 0 to 1, of colours or of grey; left out for timm's own, else ImageNet's.
    repeat
        How often a training picture is seen in an epoch, by the first regular expression that
        matches its path below the data's folder.
    limit
        At most so many pictures of a class in each part, for a try; 0 takes all.
    memory_mb
        So much of decoded pictures is kept in memory.
    """

    classes: tuple[str, ...] = ()
    group_pattern: str = ""
    group_folder: bool = False
    label_pattern: str = ""
    only_pattern: str = ""
    train: Annotated[float, Gt(0), Le(1)] = 0.7
    val: Share = 0.15
    test: Share = 0.15
    split_seed: Count = 0
    duplicates: Literal["group", "drop", "report", "ignore"] = "group"
    input_px: Annotated[int, Ge(8), Le(4096)] = 224
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    spacing: Annotated[float, Ge(FINEST), Le(COARSEST)] | None = None
    tile_px: Annotated[int, Ge(1)] | None = None
    image: str | None = None
    plane: Annotated[int, Ge(1)] | None = None
    time: Annotated[int, Ge(1)] | None = None
    channels: tuple[str, ...] = ()
    color_profile: Profile | None = None
    window: str | None = None
    stain: StainMethod | None = None
    stain_reference: str | None = None
    mean: PerChannel | None = None
    std: tuple[Positive, Positive, Positive] | tuple[Positive] | None = None
    repeat: Mapping[str, Annotated[int, Ge(1)]] = field(default_factory=dict)
    limit: Count = 0
    memory_mb: Count = 4096

    @property
    def reading(self) -> PictureSpec:
        """How names are understood; DataSetError if a pattern is wrong."""
        return PictureSpec(
            self.classes,
            self.group_pattern,
            self.group_folder,
            self.label_pattern,
            self.only_pattern,
        )

    def times(self, names: Sequence[str]) -> list[int]:
        """Return how many times each picture is seen in an epoch.

        DataSetError if a pattern of `repeat` is wrong.
        """
        times = [1] * len(names)
        for text, count in reversed([*self.repeat.items()]):
            pattern = compiled("repeat", text)
            for place, name in enumerate(names):
                if pattern.search(name):
                    times[place] = count
        return times

    @property
    def seen(self) -> PictureView:
        """Which picture of a file is seen; UsageError if there is no such."""
        return PictureView(
            self.image, self.plane, self.time, self.channels, self.color_profile, self.window
        )

    @property
    def parting(self) -> SplitSpec:
        """How pictures are parted; DataSetError if the shares do not add up to 1."""
        return SplitSpec(self.train, self.val, self.test, self.split_seed)


@dataclass(frozen=True)
class FeatureSpec:
    """Training on the cached output of the network's frozen beginning.

    Attributes
    ----------
    cut
        Name of the first layer that is trained (``blocks.4``); everything that runs before it is
        frozen.
    copies
        Augmented versions of each training picture that are cached beside the plain one; 0 trains
        on the plain one.
    dtype
        What features are kept as; float16 halves memory and moves them by less than a thousandth.
    precision
        What the frozen beginning computes in. ``bf16`` moves features by about a hundredth; it is
        twice as fast on processors with AMX or AVX-512 BF16, and many times slower on others.
    memory_mb
        Beyond this they are kept in a memory-mapped file.
    """

    cut: str
    copies: Count = 8
    precision: Literal["fp32", "bf16"] = "fp32"
    dtype: Literal["float16", "float32"] = "float16"
    memory_mb: Count = 2048


@dataclass(frozen=True)
class GraphSpec:
    """How the graph is built and trained, with the study's values where it states them.

    Attributes
    ----------
    neighbours
        Cells of highest cosine similarity that each takes edges from; the study says no number.
    symmetric
        Whether edges go both ways, as in Kipf and Welling's graphs; else a cell hears its
        neighbours alone, so that a training cell hangs on the graph as a new one does.
    hidden, dropout
        Units between the convolutions, and the share of them that is left out in training.
    epochs, lr, weight_decay
        Of Adam on the whole graph at once.
    balance
        ``weights`` weighs the loss by class, ``none`` does not.
    keep
        The weights of the epoch with the lowest validation loss, or the last; the last where there
        is no validation.
    transductive
        Whether the transductive protocol is trained and measured as well.
    thumbnail_px
        Edge of the pictures of training cells that the bundle holds, for all to see; 0 for none.
    """

    neighbours: Annotated[int, Ge(1)] = 10
    symmetric: bool = False
    hidden: Annotated[int, Ge(1)] = 128
    dropout: Annotated[float, Ge(0), Le(0.99)] = 0.5
    epochs: Annotated[int, Ge(1)] = 400
    lr: Annotated[float, Gt(0)] = 1e-3
    weight_decay: Annotated[float, Ge(0)] = 0.0
    balance: Literal["weights", "none"] = "weights"
    keep: Literal["best", "last"] = "best"
    transductive: bool = True
    thumbnail_px: Annotated[int, Ge(0), Le(256)] = 0


@dataclass(frozen=True)
class TrainSpec:
    """How weights are found.

    Attributes
    ----------
    epochs, batch
        Times that all training pictures are seen, and how many at once.
    trainable
        ``all``, ``head``, names of layers (everything whose name begins so), or a number: the last
        so many layers that hold weights.
    batch_norm
        ``train`` lets the batch norms of what is trained follow the data; ``eval`` keeps all their
        statistics. Those of what is frozen are always kept.
    optimizer, lr, weight_decay, momentum
        torch's; ``momentum`` is SGD's.
    head_factor
        The classifier's last layer learns so many times faster.
    schedule, schedule_every, schedule_factor
        ``step`` multiplies the rate by the factor every so many epochs, ``plateau`` after so many
        without a lower validation loss; ``cosine`` lets it fall to the factor's share.
    warmup
        Epochs in which the rate rises from nothing.
    precision
        ``bf16`` and ``fp16`` compute what bears it in half precision (AMP); weights stay float32.
    clip
        Largest norm of a step's gradient; 0 leaves it.
    loss, focal_gamma, label_smoothing
        Cross-entropy or focal loss (Lin et al., ICCV 2017, eq. 4), with smoothed labels (Szegedy et
        al., CVPR 2016).
    balance, balance_strength
        Rare classes: ``weights`` in the loss, ``oversample`` them, ``none``, or ``prior``: the loss
        sees the logits plus so many log shares of the classes (Menon et al., ICLR 2021, eq. 10).
    mixup
        Beta distribution's parameter for mixing pairs (Zhang et al., ICLR 2018); 0 mixes nothing.
    ema
        Decay per step of the moving average of the weights that is validated and kept; 0 keeps the
        weights as they are.
    monitor, patience, min_epochs
        What tells the best epoch on validation data; training stops after ``patience`` epochs
        without a better one (0: never), but not before ``min_epochs``. ``last`` keeps the last
        epoch: of a few dozen pictures, the best of many epochs is the luckiest one.
    seed
        Of weights that begin at random, of order, augmentation and dropout.
    steps
        At most so many batches an epoch, for a try; 0 takes all.
    """

    epochs: Annotated[int, Ge(1)] = 20
    batch: Annotated[int, Ge(1)] = 32
    trainable: str | Annotated[int, Ge(1)] | tuple[str, ...] = "all"
    batch_norm: Literal["train", "eval"] = "train"
    optimizer: Literal["adam", "adamw", "adamax", "sgd"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: Annotated[float, Ge(0)] = 0.0
    momentum: Share = 0.9
    head_factor: Positive = 1.0
    schedule: Literal["none", "step", "cosine", "plateau"] = "none"
    schedule_every: Annotated[int, Ge(1)] = 7
    schedule_factor: Share = 0.1
    warmup: Annotated[float, Ge(0)] = 0.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    clip: Annotated[float, Ge(0)] = 0.0
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    focal_gamma: Annotated[float, Ge(0)] = 2.0
    label_smoothing: Annotated[float, Ge(0), Le(0.9)] = 0.0
    balance: Literal["none", "weights", "oversample", "prior"] = "none"
    balance_strength: Positive = 1.0
    mixup: Annotated[float, Ge(0)] = 0.0
    ema: Annotated[float, Ge(0), Le(0.99999)] = 0.0
    monitor: Literal["loss", "accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "last"] = (
        "loss"
    )
    patience: Count = 0
    min_epochs: Count = 0
    seed: Count = 0
    steps: Count = 0


@dataclass(frozen=True)
class Recipe:
    """A recipe that holds together.

    Attributes
    ----------
    path
        Its file.
    model, data, augment, features
        Its tables; ``features`` is None where there is none.
    phases
        What is trained, in this order; one phase where the recipe names none.
    table
        What was read, with what was set over it.
    graph
        How a graph of cells is trained on a frozen embedder; None for every other network.
    volume
        What the card says of volumes; None where the recipe says nothing of them.
    published
        What others reported of such a classifier; None where the recipe says nothing of it.
    """

    path: Path
    model: ModelSpec
    data: DataSpec
    augment: AugmentationSpec
    features: FeatureSpec | None
    phases: tuple[TrainSpec, ...]
    table: Mapping[str, Any]
    graph: GraphSpec | None = None
    volume: VolumeCard | None = None
    published: Published | None = None

    @property
    def name(self) -> str:
        """What the classifier is called."""
        return self.model.name or self.path.stem

    @property
    def digest(self) -> str:
        """SHA-256 of what the recipe says, whatever its comments and order."""
        return hashlib.sha256(json.dumps(self.table, sort_keys=True).encode()).hexdigest()

    @property
    def idle(self) -> tuple[str, ...]:
        """A sentence for each key that is written and that another one leaves without effect."""
        found = _idle("model", self.table, [self.model]) + _idle(
            "augment", self.table, [self.augment]
        )
        found += _idle("train", self.table, self.phases)
        for number, phase in enumerate(self.table.get("phase", ())):
            found += _idle(f"phase.{number}", {f"phase.{number}": phase}, [self.phases[number]])
        return tuple(found)


_IDLE: Mapping[str, tuple[str, tuple[object, ...]]] = MappingProxyType(
    {
        "weights_format": ("weights", ("none", "hub")),
        "head_start": ("weights", ("none",)),
        "fill": ("is_bent", (False,)),
        "fill_value": ("fill", ("nearest", "reflect")),
        "momentum": ("optimizer", ("adam", "adamw", "adamax")),
        "focal_gamma": ("loss", ("cross-entropy",)),
        "balance_strength": ("balance", ("none", "weights", "oversample")),
        "schedule_every": ("schedule", ("none", "cosine")),
        "schedule_factor": ("schedule", ("none",)),
        "min_epochs": ("patience", (0,)),
    }
)
"""Keys that have no effect, and with which values of which other key."""


def _idle(name: str, tables: Mapping[str, Any], settings: Sequence[object]) -> list[str]:
    """Return what is to be said of a table's keys that none of its settings heeds."""
    sentences = []
    for key in tables.get(name, ()):
        other, values = _IDLE.get(key, ("", ()))
        found = [getattr(each, other, None) for each in settings]
        if other and all(value in values for value in found):
            reason = f"with {other} = {shown(found[0])}"
            if other == "is_bent":
                reason = "without rotation, shift, shear or scale"
            sentences.append(f"{name}.{key} has no effect {reason}.")
    return sentences
