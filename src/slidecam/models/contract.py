"""What every kind of bundle and every backend must keep, as test suites to inherit from.

They live in the package so that those of another project can be tested as ours are. It imports no
pytest: pytest collects the ``test_`` methods of the class that inherits from it.
"""

# ruff: noqa: S101 - asserting is what a test suite is for
# ruff: noqa: D102 - a test's name is its claim

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from slidecam.errors import ExplanationError
from slidecam.models.bundle import Bundle, Kind, open_bundle
from slidecam.models.channels import COLOURS, luma
from slidecam.models.choice import BF16_AGREEMENT
from slidecam.models.classifier import Classifier, classifier_for, normalised
from slidecam.models.variants import AGREEMENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from slidecam.models.card import Card
    from slidecam.models.splits import Precision


_CPU = torch.device("cpu")
_TILES = 3
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class BundleCase:
    """One bundle for the contract to try.

    Attributes
    ----------
    bundle, kind
        An opened one, and the kind it must be.
    trust
        Whether opening it takes trust.
    has_map
        Whether its classifier can be explained.
    backend
        What runs it.
    """

    bundle: Bundle
    kind: Kind
    has_map: bool
    trust: bool = False
    backend: str = "folded"


class BundleContract:
    """The promises of `Bundle` and `Classifier`; inherit and provide the fixture ``case``.

    Examples
    --------
    >>> class TestMyBundle(BundleContract):
    ...     @pytest.fixture
    ...     def case(self, tmp_path):
    ...         return BundleCase(open_bundle("mine"), "slidecam", has_map=True)
    """

    def test_it_opens_again_as_the_same(self, case: BundleCase) -> None:
        again = open_bundle(case.bundle.path, trust=case.trust)
        assert again.kind == case.kind
        assert again == case.bundle
        assert again.digest == case.bundle.digest

    def test_there_is_one_logit_and_one_colour_for_each_class(self, case: BundleCase) -> None:
        passed = _classifier(case).run(_tiles(case), gradients=False)
        classes = case.bundle.card.class_names
        assert passed.logits.shape == (_TILES, len(classes))
        assert passed.logits.dtype == torch.float32
        assert len(case.bundle.card.class_colors) == len(classes)

    def test_probabilities_are_what_the_card_says(self, case: BundleCase) -> None:
        classifier = _classifier(case)
        logits = classifier.run(_tiles(case), gradients=False).logits
        probabilities, activation = (
            classifier.probabilities(logits),
            case.bundle.card.activation,
        )
        assert probabilities.shape == logits.shape
        if activation == "none":
            assert torch.equal(probabilities, logits)
            return
        assert float(probabilities.min()) >= 0
        assert float(probabilities.max()) <= 1
        if activation == "softmax":
            torch.testing.assert_close(probabilities.sum(1), torch.ones(_TILES))

    def test_the_network_decides_by_what_it_sees(self, case: BundleCase) -> None:
        logits = _classifier(case).run(_tiles(case), gradients=False).logits
        assert not torch.allclose(logits[0], logits[1])

    def test_a_tile_has_one_answer_in_whatever_batch(self, case: BundleCase) -> None:
        classifier, tiles = _classifier(case), _tiles(case)
        together = classifier.run(tiles, gradients=False).logits
        alone = torch.cat([classifier.run(tile[None], gradients=False).logits for tile in tiles])
        assert _largest_difference(together, alone) <= _TOLERANCE

    def test_a_tile_has_one_answer_each_time(self, case: BundleCase) -> None:
        classifier, tiles = _classifier(case), _tiles(case)
        first = classifier.run(tiles, gradients=False).logits
        assert torch.equal(first, classifier.run(tiles, gradients=False).logits)
        assert torch.equal(first, _classifier(case).run(tiles, gradients=False).logits)

    def test_it_computes_what_its_network_computes(self, case: BundleCase) -> None:
        classifier, tiles, card = _classifier(case), _tiles(case), case.bundle.card
        mean, std = (torch.tensor(values)[:, None, None] for values in (card.mean, card.std))
        with torch.no_grad():
            seen = tiles if card.channels == COLOURS else luma(tiles)
            plain = case.bundle.network()((seen.permute(0, 3, 1, 2) / 255 - mean) / std)
        assert (
            _largest_difference(classifier.run(tiles, gradients=False).logits, plain) <= _TOLERANCE
        )

    def test_the_map_is_a_leaf_that_the_logits_hang_on(self, case: BundleCase) -> None:
        classifier, tiles = _classifier(case), _tiles(case)
        assert classifier.has_map == case.has_map
        if not case.has_map:
            assert classifier.run(tiles, gradients=False).activation is None
            _assert_refused(lambda: classifier.run(tiles, gradients=True))
            return
        passed = classifier.run(tiles, gradients=True)
        assert passed.activation is not None
        assert passed.activation.ndim == 4  # noqa: PLR2004  (tiles, channels, rows, columns)
        assert passed.activation.shape[0] == _TILES
        assert passed.activation.dtype == torch.float32
        assert passed.activation.is_leaf
        (gradient,) = torch.autograd.grad(passed.logits.sum(), passed.activation)
        assert gradient.shape == passed.activation.shape

    def test_logits_are_the_same_with_and_without_gradients(self, case: BundleCase) -> None:
        classifier, tiles = _classifier(case), _tiles(case)
        plain = classifier.run(tiles, gradients=False)
        assert not plain.logits.requires_grad
        if case.has_map:
            assert torch.equal(plain.logits, classifier.run(tiles, gradients=True).logits.detach())

    def test_the_whole_network_says_what_its_halves_say(self, case: BundleCase) -> None:
        classifier, tiles = _classifier(case), _tiles(case)
        passed = classifier.run(tiles, gradients=False)
        whole = classifier.logits_of(normalised(tiles, case.bundle.card))
        assert whole.dtype == torch.float32
        assert not whole.requires_grad
        assert _largest_difference(whole, passed.logits) <= _TOLERANCE

    def test_the_head_sees_the_map_through_what_it_is_sent_through(self, case: BundleCase) -> None:
        classifier, tiles = _classifier(case), _tiles(case)
        if not case.has_map:
            _assert_refused(
                lambda: classifier.run(tiles, gradients=False, through=torch.zeros_like),
            )
            return
        plain = classifier.run(tiles, gradients=False)
        same = classifier.run(tiles, gradients=False, through=torch.clone)
        dark = classifier.run(tiles, gradients=False, through=torch.zeros_like)
        assert torch.equal(same.logits, plain.logits)
        assert not torch.allclose(dark.logits, plain.logits)
        assert dark.activation is not None
        assert plain.activation is not None
        assert torch.equal(dark.activation, plain.activation)

    def test_a_linear_head_gives_the_logits(self, case: BundleCase) -> None:
        classifier, tiles = _classifier(case), _tiles(case)
        head, passed = classifier.linear_head, classifier.run(tiles, gradients=False)
        if head is None:
            return
        assert passed.activation is not None
        assert head.weight.shape == (passed.logits.shape[1], passed.activation.shape[1])
        assert _largest_difference(head.logits(passed.activation), passed.logits) <= _TOLERANCE

    def test_a_pass_leaves_no_trace(self, case: BundleCase) -> None:
        classifier, tiles = _classifier(case), _tiles(case)
        before, state = tiles.clone(), torch.get_rng_state()
        classifier.run(tiles, gradients=case.has_map)
        assert torch.equal(tiles, before)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")


def _classifier(case: BundleCase) -> Classifier:
    return case.bundle.classifier(backend=case.backend)


def _tiles(case: BundleCase) -> Tensor:
    return _noise(case.bundle.card.input_px)


def _noise(edge: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randint(0, 256, (_TILES, edge, edge, 3), dtype=torch.uint8, generator=generator)
    return noise // torch.tensor([1, 2, 4], dtype=torch.uint8)[:, None, None, None]


def _largest_difference(these: Tensor, those: Tensor) -> float:
    return float((these - those).abs().max())


def _assert_refused(work: Callable[[], object]) -> None:
    try:
        work()
    except ExplanationError:
        return
    raise AssertionError("what takes a map was not refused without one")


@dataclass(frozen=True)
class BackendCase:
    """One network on one backend for the contract to try.

    Attributes
    ----------
    backend, precision
        Its name in `backends.BACKENDS`, and the number format.
    network, card
        In eval mode; it has a map, and tiles of noise differ by their logits.
    """

    backend: str
    network: nn.Module
    card: Card
    precision: Precision = "fp32"

    @property
    def tolerance(self) -> float:
        """How far values may be from the plain network's, relative to the largest."""
        if self.precision == "fp32":
            return AGREEMENT
        return BF16_AGREEMENT

    @cached_property
    def as_given(self) -> dict[str, Tensor]:
        """The network's weights, before the backend saw it."""
        return {name: value.clone() for name, value in self.network.state_dict().items()}

    @cached_property
    def found(self) -> Classifier:
        """The network's classifier by the backend."""
        assert self.as_given
        return classifier_for(self.network, self.card, _CPU, self.precision, self.backend)

    @cached_property
    def plain(self) -> Classifier:
        """The network's classifier as it is, in float32."""
        return classifier_for(self.network, self.card, _CPU, backend="eager")

    def tiles(self) -> Tensor:
        """Return tiles of noise of three brightnesses, uint8 (B, H, W, 3)."""
        return _noise(self.card.input_px)


class BackendContract:
    """The promises of `backends.Backend`; inherit and provide the fixture ``case``.

    Examples
    --------
    >>> class TestMyBackend(BackendContract):
    ...     @pytest.fixture
    ...     def case(self):
    ...         return BackendCase("mine", my_network, my_card)
    """

    def test_it_runs_the_network_itself(self, case: BackendCase) -> None:
        assert case.found.notes == (), "nothing was left out"
        assert case.found.has_map
        assert case.found.backend.endswith(case.precision)

    def test_its_probabilities_are_the_plain_networks(self, case: BackendCase) -> None:
        pair = []
        for classifier in (case.found, case.plain):
            logits = classifier.run(case.tiles(), gradients=False).logits
            pair.append(classifier.probabilities(logits))
        assert _largest_difference(*pair) <= case.tolerance

    def test_its_maps_and_their_gradients_are_the_plain_networks(self, case: BackendCase) -> None:
        for index in range(len(case.card.class_names)):
            found = _with_gradient(case.found, case.tiles(), index)
            expected = _with_gradient(case.plain, case.tiles(), index)
            for values, plain in zip(found, expected, strict=True):
                bound = case.tolerance * float(plain.abs().max())
                assert _largest_difference(values, plain) <= bound

    def test_a_tile_has_one_answer_in_a_batch_of_any_size(self, case: BackendCase) -> None:
        tiles = case.tiles()
        together = case.found.run(tiles, gradients=False).logits
        bound = case.tolerance * float(together.abs().max())
        for count in (2, 3):
            parts = [case.found.run(part, gradients=False).logits for part in tiles.chunk(count)]
            assert _largest_difference(together, torch.cat(parts)) <= bound

    def test_the_same_tiles_have_the_same_answer_again(self, case: BackendCase) -> None:
        classifier, tiles = case.found, case.tiles()
        first = classifier.run(tiles, gradients=False)
        kept = first.logits.clone()
        classifier.run(tiles.flip(0), gradients=False)
        assert torch.equal(first.logits, kept), "a later pass does not change an earlier one"
        assert torch.equal(classifier.run(tiles, gradients=False).logits, kept)

    def test_threads_side_by_side_have_the_same_answer(self, case: BackendCase) -> None:
        classifier, tiles = case.found, case.tiles()
        here = classifier.run(tiles, gradients=case.found.has_map).logits
        with ThreadPoolExecutor(2) as threads:
            passes = threads.map(lambda _: classifier.run(tiles, gradients=False).logits, range(4))
            assert all(torch.equal(there, here) for there in passes)

    def test_the_network_and_its_surroundings_are_left_as_they_were(
        self, case: BackendCase
    ) -> None:
        state = torch.get_rng_state()
        case.found.run(case.tiles(), gradients=True)
        after = case.network.state_dict()
        assert all(torch.equal(after[name], value) for name, value in case.as_given.items())
        assert not any(module._forward_pre_hooks for module in case.network.modules())  # noqa: SLF001
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")


def _with_gradient(classifier: Classifier, tiles: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """Return the activation and the gradient of one class's logits there."""
    passed = classifier.run(tiles, gradients=True)
    assert passed.activation is not None
    (gradient,) = torch.autograd.grad(passed.logits[:, index].sum(), passed.activation)
    return passed.activation.detach(), gradient
