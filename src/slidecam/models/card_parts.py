"""What a card says of volumes, and of its heatmaps.

How slices become pictures, and how their probabilities become one call; what was measured of how
far the maps can be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Predicate, doc

from slidecam.class_names import normal_name
from slidecam.geometry import Axis  # noqa: TC001  (the settings read annotations at run time)
from slidecam.settings import shown
from slidecam.viewing import Window, WindowKind, has_middle

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from slidecam.settings import Complaints

PoolingKind = Literal["mean", "top-k", "max", "noisy-or"]

_DEVIATIONS = -2.0, 2.0
"""Black and white of a ``zscore`` window whose card has no numbers: those that everybody uses."""


@dataclass(frozen=True)
class Pooling:
    """How the probabilities of a volume's slices become those of the volume.

    Attributes
    ----------
    kind
        ``mean`` over the classified slices; ``top-k``: for each class the mean of its ``k`` most
        probable slices; ``max``: its most probable slice; ``noisy-or``: that a class is on one
        slice at least, as though each slice were seen by itself.
    k
        Slices of ``top-k``.
    negative
        The class that says that nothing is there ("no tumour"), or nothing. Most slices of a volume
        with a tumour show none, so that it is no finding of its own: ``top-k`` and ``max`` take the
        slices that are least of it, and average all classes over these; ``noisy-or`` calls it where
        all slices do, and shares what is left among the findings.
    """

    kind: PoolingKind = "mean"
    k: int = 5
    negative: str = ""

    def __str__(self) -> str:
        """Return it in words."""
        texts = {
            "mean": "mean over the classified slices",
            "noisy-or": "noisy-or over the classified slices",
            "max": "each class's most probable slice",
            "top-k": f"mean of each class's {self.k} most probable slices",
        }
        if self.negative:
            texts["max"] = f"the slice that is least {self.negative}"
            texts["top-k"] = f"mean of the {self.k} slices that are least {self.negative}"
        return texts[self.kind]

    def pool(
        self,
        probabilities: NDArray[np.float32],
        class_names: Sequence[str],
        *,
        exclusive: bool,
    ) -> NDArray[np.float64]:
        """Return the volume's probabilities, float64, (classes,); NaN where no slice has any.

        Parameters
        ----------
        probabilities
            float32, (slices, classes); slices with NaN are left out.
        class_names
            One name for each class, `negative` among them.
        exclusive
            Whether classes exclude each other: what is pooled adds up to 1 then.
        """
        known = probabilities[np.isfinite(probabilities).all(axis=1)].astype(np.float64)
        if not len(known):
            return np.full(probabilities.shape[1], np.nan)
        negative = None
        if self.negative:
            negative = list(class_names).index(self.negative)
        if self.kind == "noisy-or":
            return _noisy_or(known, negative, exclusive=exclusive)
        count = {"mean": len(known), "max": 1}.get(self.kind, min(self.k, len(known)))
        if negative is not None:
            least = np.argsort(known[:, negative], kind="stable")[:count]
            return np.asarray(known[least].mean(axis=0))
        pooled = np.sort(known, axis=0)[-count:].mean(axis=0)
        if exclusive:
            pooled = pooled / pooled.sum()
        return np.asarray(pooled)


def _noisy_or(
    known: NDArray[np.float64],
    negative: int | None,
    *,
    exclusive: bool,
) -> NDArray[np.float64]:
    """Return how likely each class is on one slice at least, (classes,)."""
    # By logarithms: the product of hundreds of small numbers is lost otherwise.
    with np.errstate(divide="ignore"):
        found = -np.expm1(np.log1p(-np.minimum(known, 1)).sum(axis=0))
        nothing = np.exp(np.log(known).sum(axis=0))
    if negative is not None:
        found[negative] = 0.0
        left = 1 - nothing[negative]
        pooled = left * found / max(float(found.sum()), np.finfo(float).tiny)
        pooled[negative] = nothing[negative]
        return np.asarray(pooled)
    if exclusive:
        found = found / found.sum()
    return np.asarray(found)


@dataclass(frozen=True)
class VolumeCard:
    """The card's ``volume``; without one, these defaults.

    Attributes
    ----------
    axis
        Along which slices are taken, unless ``--axis`` says another.
    slices
        Neighbouring slices in a picture; see `VolumeView`.
    window
        The intensities that become black and white.
    pooling
        How slices become one call.
    caveat
        What whoever reads the call of a volume must know, as a sentence: on what volumes it was
        measured, and how well it did.
    """

    axis: Axis = "axial"
    slices: int = 1
    window: Window = field(default_factory=Window)
    pooling: Pooling = field(default_factory=Pooling)
    caveat: str = ""


@dataclass(frozen=True)
class WindowKeys:
    """The keys of ``volume.window``; UsageError where they are no window."""

    kind: WindowKind
    low: float
    high: float

    def __post_init__(self) -> None:
        self.window()

    def window(self) -> Window:
        """Return the window."""
        return Window(self.kind, self.low, self.high)


@dataclass(frozen=True)
class PoolingKeys:
    """The keys of ``volume.pooling``."""

    kind: PoolingKind
    k: Annotated[int, Ge(1)] = Pooling.k
    negative: str = Pooling.negative


@dataclass(frozen=True)
class VolumeKeys:
    """The keys of ``volume``, and what may stand under each."""

    axis: Axis = VolumeCard.axis
    slices: Annotated[int, Predicate(has_middle), doc("an odd number of slices")] = 1
    window: WindowKeys = WindowKeys(Window.kind, Window.low, Window.high)
    pooling: PoolingKeys = PoolingKeys(Pooling.kind)
    caveat: str = VolumeCard.caveat

    def card(self) -> VolumeCard:
        """Return what they say, with the defaults of what they leave out."""
        keys = self.pooling
        pooling = Pooling(keys.kind, keys.k, normal_name(keys.negative))
        return VolumeCard(self.axis, self.slices, self.window.window(), pooling, self.caveat)

    def check(self, class_names: Sequence[str], activation: str, complaints: Complaints) -> None:
        """Complain of a negative class that the classifier does not have, or that excludes none."""
        negative = normal_name(self.pooling.negative)
        if not negative:
            return
        if negative not in map(normal_name, class_names):
            complaints.add(
                "volume.pooling.negative",
                f"is {shown(negative)}, which is none of its classes",
                f"Write one of its classes ({', '.join(class_names) or 'data.classes'}).",
            )
        elif activation != "softmax":
            complaints.add(
                "volume.pooling.negative",
                f"is {shown(negative)}, and classes of {activation} do not exclude each other",
                "Leave it out.",
            )


def with_ends(volume: object) -> object:
    """Return what stands under ``volume`` in JSON, with both ends of a window that needs none."""
    if not isinstance(volume, Mapping) or not isinstance(volume.get("window"), Mapping):
        return volume
    window: Mapping[str, Any] = volume["window"]
    kind = window.get("kind")
    if kind == "fixed":
        return volume
    low, high = Window.low, Window.high
    if kind == "zscore":
        low, high = _DEVIATIONS
    return {**volume, "window": {"low": low, "high": high, **window}}


def volume_object(card: VolumeCard) -> dict[str, object]:
    """Return what ``card.json`` holds under ``volume``."""
    pooling: dict[str, object] = {"kind": card.pooling.kind}
    if card.pooling.kind == "top-k":
        pooling["k"] = card.pooling.k
    if card.pooling.negative:
        pooling["negative"] = card.pooling.negative
    values: dict[str, object] = {
        "axis": card.axis,
        "slices": card.slices,
        "window": {
            "kind": card.window.kind,
            "low": card.window.low,
            "high": card.window.high,
        },
        "pooling": pooling,
    }
    if card.caveat:
        values["caveat"] = card.caveat
    return values


Count = Annotated[int, Ge(0)]


@dataclass(frozen=True)
class MapJudgement:
    """How one method's maps compare with random maps on the same tiles.

    Attributes
    ----------
    measures
        How many measures were made.
    better, worse
        By how many of them it was better, and worse, than chance would have it.
    """

    measures: Count
    better: Count
    worse: Count

    @property
    def is_faithful(self) -> bool:
        """Whether it was shown to be: better by more than half of the measures, worse by none."""
        return self.worse == 0 and 2 * self.better > self.measures

    def and_that(self, other: MapJudgement) -> MapJudgement:
        """Return both, added up."""
        return MapJudgement(
            self.measures + other.measures,
            self.better + other.better,
            self.worse + other.worse,
        )

    @property
    def words(self) -> str:
        """How it compares: ``better than a random map by 6 of 7 measures and worse by 1``."""
        words = f"better than a random map by {self.better} of {self.measures} measures"
        if self.worse:
            words += f" and worse by {self.worse}"
        return words


@dataclass(frozen=True)
class MapEvidence:
    """What a measurement found; ``heatmap_evidence`` on a card.

    Attributes
    ----------
    on
        On what, in words: ``24 validation pictures``.
    explained
        What the pictures were explained for, in words: ``each tile's own class``.
    methods
        By the methods' names, as in ``--heatmap``.
    """

    on: str
    explained: str
    methods: Mapping[str, MapJudgement] = field(default_factory=dict)

    def lead(self, methods: Sequence[str]) -> str | None:
        """Return which of some methods was shown to be faithful, by most measures.

        Of equals the first; None where none was.
        """
        best: str | None = None
        for name in methods:
            found = self.methods.get(name)
            if found is None or not found.is_faithful:
                continue
            if best is None or found.better > self.methods[best].better:
                best = name
        return best

    def said_of(self, methods: Sequence[str], title_of: Callable[[str], str]) -> str:
        """Return in one sentence what was measured of some methods; empty if of none."""
        judged = []
        for name, found in self.methods.items():
            if name in methods:
                judged.append(f"{title_of(name)} is {found.words}")
        if not judged:
            return ""
        return f"Measured on {self.on}, for {self.explained}: {'; '.join(judged)}."

    def to_json(self) -> dict[str, object]:
        """Return it as a card has it."""
        return asdict(self)
