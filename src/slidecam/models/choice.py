"""Which of a backend's ways to run a network is taken: the first that agrees with it.

A way that leaves torch has to agree by its logits, its activation and the gradients of a backward
pass through the head, for two tiles and for one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from slidecam.errors import SlidecamError
from slidecam.models.backends import AUTO, BACKENDS, UNTRIED
from slidecam.models.variants import AGREEMENT, REFUSALS, Variant, agrees, close
from slidecam.registry import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from slidecam.models.splits import ClassifierPass, NetworkSplit, Precision

BF16_AGREEMENT, BF16_TIMES = 5e-2, 2.0
"""How far what runs elsewhere in bf16 may be from the plain network, relative to the largest value,
and by how many times what torch's own bf16 is; the wider holds.

Usual is 1e-2, as a number is exact to 4e-3; networks of many thin layers are further off.
"""


@dataclass(frozen=True)
class Chosen:
    """The way that is taken.

    Attributes
    ----------
    name
        The backend that it is of, one of `BACKENDS` and never `backends.AUTO`.
    variant, split
        It, and the network cut in two by it, in the precision asked for.
    notes
        What was left out before and why, as sentences.
    remarks
        What else came up while it was made: a conversion that was kept and damaged.
    """

    name: str
    variant: Variant
    split: NetworkSplit
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def noting(self, *notes: str) -> Chosen:
        """Return the same with more notes."""
        return replace(self, notes=(*self.notes, *notes))


@dataclass(frozen=True)
class Trials:
    """What ways to run a network are tried on.

    Attributes
    ----------
    plain
        The network as it is.
    probe
        Two normalised tiles (2, C, H, W).
    reference
        The plain network's pass over them.
    precision
        The one asked for.
    """

    plain: Variant
    probe: Tensor
    reference: ClassifierPass
    precision: Precision

    def chosen(self, backend: str) -> Chosen:
        """Return the first way of a backend that agrees, else the network as it is."""
        name = UNTRIED if backend == AUTO else backend
        causes: dict[str, str] = {}
        remarks: dict[str, None] = {}
        try:
            with BACKENDS.boundary(backend):
                for variant in resolve(BACKENDS[backend].variants)(self.plain, self.probe):
                    found = self._tried(variant)
                    remarks |= dict.fromkeys(variant.remarks)
                    if not isinstance(found, str):
                        # Another attempt at the same way: nothing is left out then.
                        causes.pop(variant.words, None)
                        left = self._left_out(causes.values(), variant)
                        return Chosen(name, variant, found, left, tuple(remarks))
                    if found:
                        causes[variant.words] = f"backend {backend}: {found}"
        except SlidecamError as error:
            causes[backend] = error.clause
        split = self.plain.split(self.precision)
        left = self._left_out(causes.values(), self.plain)
        return Chosen(name, self.plain, split, left, tuple(remarks))

    def _left_out(self, causes: Iterable[str], taken: Variant) -> tuple[str, ...]:
        run = f"by {taken.words}"
        if taken is self.plain:
            run = "as it is"
        return tuple(f"Left out: {cause}. The network runs {run}." for cause in causes)

    def _tried(self, variant: Variant) -> NetworkSplit | str:
        """Return a variant's split; or why it is not used, in a clause that may be empty."""
        if variant.runner is None:
            if agrees(variant, self.probe, self.reference):
                return variant.split(self.precision)
            return ""
        try:
            split = variant.split(self.precision)
            return self._difference(split, variant) or split
        except REFUSALS as error:
            return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")

    def _difference(self, split: NetworkSplit, variant: Variant) -> str:
        """Return in what a split differs from the plain network; an empty text if in nothing."""
        tolerance = self._tolerance(variant)
        expected = self.reference
        mapped = expected.activation is not None
        passed = split(self.probe, gradients=mapped)
        if (passed.activation is None) is mapped:
            return "it has no activation map"
        if not close(passed.logits.detach(), expected.logits, tolerance):
            return "its logits are others than the network's"
        alone = split(self.probe[:1], gradients=False)
        if not close(alone.logits, expected.logits[:1], tolerance):
            return "it gives one tile other logits than two"
        if not mapped:
            return ""
        again = replace(variant, runner=None).split("fp32")(self.probe, gradients=True)
        pairs = zip(_moved(passed), _moved(again), strict=True)
        if not all(close(found, plain, tolerance) for found, plain in pairs):
            return "its activation map or the gradients there are others than the network's"
        return ""

    def _tolerance(self, variant: Variant) -> float:
        if self.precision == "fp32":
            return AGREEMENT
        low = replace(variant, runner=None).split("bf16")(self.probe, gradients=False)
        expected = self.reference.logits
        off = float((low.logits - expected).abs().max() / expected.abs().max())
        return max(BF16_AGREEMENT, BF16_TIMES * off)


def _moved(passed: ClassifierPass) -> tuple[Tensor, Tensor]:
    """Return the activation, and the gradient there of each tile's first logit."""
    assert passed.activation is not None  # noqa: S101  (asked for with gradients)
    (gradient,) = torch.autograd.grad(passed.logits[:, 0].sum(), passed.activation)
    return passed.activation.detach(), gradient
