"""What every explanation must keep, as a test suite to inherit from.

It lives in the package so that a method in another project can be tested as ours are. It imports no
pytest: pytest collects the ``test_`` methods of the class that inherits from it.
"""

# ruff: noqa: S101 - asserting is what a test suite is for
# ruff: noqa: D102 - a test's name is its claim

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from slidecam.errors import ExplanationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor, nn

    from slidecam.explain.catalogue import Method
    from slidecam.explain.explainer import Explainer, Explanation
    from slidecam.models import Classifier

_TILES = 3
_LOGIT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class ExplainerCase:
    """One method on one classifier for the contract to try.

    Attributes
    ----------
    method
        As in the catalogue.
    classifier
        A small one, on the CPU.
    spec
        The method's settings; None for its defaults.
    classes
        Which logits to explain.
    tolerance
        How far a tile's map may move when other tiles stand beside it, by the largest value in it.
    """

    method: Method
    classifier: Classifier
    spec: object = None
    classes: tuple[int, ...] = (0, 1)
    tolerance: float = 1e-6
    _found: list[Explanation] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def explanation(self) -> Explanation:
        """What a new explainer makes of the contract's tiles.

        It is made once for all promises that look at it: a fixture that returns the same case for
        each of them saves their time.
        """
        if not self._found:
            self._found.append(self.explain(_tiles(self)))
        return self._found[0]

    def explainer(self, classifier: Classifier | None = None) -> Explainer:
        """Return a new explainer, of another classifier if one is given."""
        spec = self.spec
        if self.spec is None:
            spec = self.method.spec()
        return self.method.make(classifier or self.classifier, spec)

    def explain(self, tiles: Tensor) -> Explanation:
        """Return what a new explainer makes of some tiles."""
        with self.explainer() as explainer:
            return explainer.explain(tiles, self.classes)


class ExplainerContract:
    """The promises of `Explainer` and `Method`; inherit and provide the fixture ``case``.

    Examples
    --------
    >>> class TestMyMethod(ExplainerContract):
    ...     @pytest.fixture
    ...     def case(self):
    ...         return ExplainerCase(my_module.METHOD, classifier_for(network, card, cpu))
    """

    def test_there_is_a_map_for_each_tile_and_class(self, case: ExplainerCase) -> None:
        found = case.explanation
        assert found.method == case.method.name
        assert found.maps.shape[:2] == (_TILES, len(case.classes))
        assert found.maps.ndim == 4  # noqa: PLR2004  (tiles, classes, rows, columns)
        assert found.maps.dtype == torch.float32
        assert not found.maps.requires_grad
        assert found.passes >= 1

    def test_logits_are_the_classifiers(self, case: ExplainerCase) -> None:
        logits, tiles = case.explanation.logits, _tiles(case)
        expected = case.classifier.run(tiles, gradients=False).logits
        assert logits.dtype == torch.float32
        assert not logits.requires_grad
        assert logits.shape == expected.shape
        assert float((logits - expected).abs().max()) <= _LOGIT_TOLERANCE * max(
            1.0, float(expected.abs().max())
        )

    def test_facts_are_plain_json(self, case: ExplainerCase) -> None:
        facts = dict(case.explanation.facts)
        assert json.loads(json.dumps(facts, allow_nan=False)).keys() == facts.keys()

    def test_maps_are_finite_and_have_the_sign_they_state(self, case: ExplainerCase) -> None:
        maps = case.explanation.maps
        assert bool(maps.isfinite().all())
        assert float(maps.abs().max()) > 0, "a method that shows nothing keeps every other promise"
        assert case.method.signed or float(maps.min()) >= 0

    def test_tiles_of_one_colour_have_finite_maps(self, case: ExplainerCase) -> None:
        edge = case.classifier.card.input_px
        flat = torch.tensor([0, 128, 255], dtype=torch.uint8)[:, None, None, None].expand(
            -1, edge, edge, 3
        )
        maps = case.explain(flat.contiguous()).maps
        assert bool(maps.isfinite().all())
        assert case.method.signed or float(maps.min()) >= 0

    def test_a_tile_has_one_map_in_whatever_batch(self, case: ExplainerCase) -> None:
        tiles = _tiles(case)
        together = case.explanation.maps
        alone = torch.cat([case.explain(tile[None]).maps for tile in tiles])
        _assert_same(together, alone, case.tolerance)

    def test_a_tile_has_one_map_in_whatever_order(self, case: ExplainerCase) -> None:
        tiles, order = _tiles(case), [2, 0, 1]
        _assert_same(case.explain(tiles[order]).maps, case.explanation.maps[order], case.tolerance)

    def test_a_tile_has_one_map_each_time(self, case: ExplainerCase) -> None:
        tiles = _tiles(case)
        first = case.explanation.maps
        with case.explainer() as explainer:
            assert torch.equal(explainer.explain(tiles, case.classes).maps, first)
            assert torch.equal(explainer.explain(tiles, case.classes).maps, first)

    def test_a_class_has_one_map_among_whatever_others(self, case: ExplainerCase) -> None:
        tiles, together = _tiles(case), case.explanation.maps
        for place, index in enumerate(case.classes):
            alone = replace(case, classes=(index,)).explain(tiles).maps
            _assert_same(alone[:, 0], together[:, place], case.tolerance)

    def test_no_trace_is_left(self, case: ExplainerCase) -> None:
        tiles, before = _tiles(case), _Traces(case.classifier.network)
        case.explain(tiles)
        assert torch.equal(tiles, _tiles(case))
        before.assert_same()

    def test_no_trace_is_left_by_an_exception_inside(self, case: ExplainerCase) -> None:
        before = _Traces(case.classifier.network)
        _assert_raises(_Interruptedly, lambda: _interrupted(case))
        before.assert_same()

    def test_no_trace_is_left_by_work_that_is_cancelled(self, case: ExplainerCase) -> None:
        before = _Traces(case.classifier.network)
        with case.explainer() as explainer:
            work = explainer.steps(_tiles(case), case.classes)
            next(work)
            work.close()
        before.assert_same()

    def test_no_trace_is_left_by_tiles_that_the_network_refuses(self, case: ExplainerCase) -> None:
        before, wrong = (
            _Traces(case.classifier.network),
            torch.zeros((1, 5, 5, 4), dtype=torch.uint8),
        )
        _assert_raises(
            (ExplanationError, IndexError, RuntimeError, ValueError),
            lambda: case.explain(wrong),
        )
        before.assert_same()

    def test_it_works_on_a_frozen_network_whatever_the_callers_modes(
        self,
        case: ExplainerCase,
    ) -> None:
        assert not any(
            parameter.requires_grad for parameter in case.classifier.network.parameters()
        )
        expected = case.explanation.maps
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            _assert_same(case.explain(_tiles(case)).maps, expected, case.tolerance)
            assert not torch.is_grad_enabled()
            assert torch.is_autocast_enabled("cpu")

    def test_the_callers_random_state_decides_nothing(self, case: ExplainerCase) -> None:
        first = case.explanation.maps
        before = (
            torch.get_rng_state(),
            np.random.get_state(),  # noqa: NPY002
            random.getstate(),
        )
        try:
            for seed in (torch.manual_seed, np.random.seed, random.seed):
                seed(11)
            assert torch.equal(case.explain(_tiles(case)).maps, first)
        finally:
            torch.set_rng_state(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
            random.setstate(before[2])

    def test_steps_say_how_far_the_work_is(self, case: ExplainerCase) -> None:
        with case.explainer() as explainer:
            steps = list(explainer.steps(_tiles(case), case.classes))
        assert steps
        for phase in {step.phase for step in steps}:
            done = [step.done for step in steps if step.phase == phase]
            assert done == sorted(done)
        assert all(0 <= step.done <= step.total for step in steps if step.total)

    def test_classes_that_are_not_there_are_refused(self, case: ExplainerCase) -> None:
        there = len(case.classifier.card.class_names)
        wrong = [replace(case, classes=classes) for classes in ((there,), (-1,), ())]
        for one in wrong:
            _assert_raises(ExplanationError, partial(one.explain, _tiles(case)))

    def test_a_classifier_without_a_map_is_refused_if_one_is_needed(
        self,
        case: ExplainerCase,
    ) -> None:
        without = replace(case.classifier, has_map=False)

        def explain() -> Explanation:
            with case.explainer(without) as explainer:
                return explainer.explain(_tiles(case), case.classes)

        if case.method.needs_map:
            _assert_raises(ExplanationError, explain)
        else:
            assert explain().maps.shape[:2] == (_TILES, len(case.classes))


class _Interruptedly(Exception):  # noqa: N818  (no error of the program's)
    pass


class _Traces:
    """All that an explanation could leave behind in a network, in torch, in NumPy and in Python."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.values = {name: value.clone() for name, value in network.state_dict().items()}
        self.modules = {name: _facts_of(module) for name, module in network.named_modules()}
        self.flags = {
            name: (p.requires_grad, p.grad is None) for name, p in network.named_parameters()
        }
        self.modes = _modes()
        self.random = _random_states()

    def assert_same(self) -> None:
        """Assert that everything is as it was."""
        now = _Traces(self.network)
        assert now.modules == self.modules, (
            "a module, its mode, a hook or an attribute of it changed"
        )
        assert now.flags == self.flags, "a parameter's flag or gradient changed"
        assert now.modes == self.modes, "a mode of torch changed"
        assert now.random == self.random, "a random state changed"
        assert all(torch.equal(now.values[name], value) for name, value in self.values.items())


def _facts_of(module: nn.Module) -> tuple[Any, ...]:
    hooks = [key for key, value in vars(module).items() if "hooks" in key and value]
    own = {key: id(value) for key, value in vars(module).items() if callable(value)}
    return id(module), type(module), module.training, sorted(vars(module)), hooks, own


def _modes() -> tuple[Any, ...]:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )


def _random_states() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  (the global one is meant)
    return (
        torch.get_rng_state().tolist(),
        (kind, np.asarray(keys).tolist(), *rest),
        random.getstate(),
    )


def _interrupted(case: ExplainerCase) -> None:
    with case.explainer() as explainer:
        next(explainer.steps(_tiles(case), case.classes))
        raise _Interruptedly


def _tiles(case: ExplainerCase) -> Tensor:
    """Return tiles with an object in each, and unlike each other."""
    edge, generator = case.classifier.card.input_px, torch.Generator().manual_seed(1)
    tiles = torch.randint(60, 200, (_TILES, edge, edge, 3), dtype=torch.uint8, generator=generator)
    for number, tile in enumerate(tiles):
        tile[edge // 4 * number :, : edge // (2 + number)] = torch.tensor(
            [40 * number, 20, 250 - 90 * number]
        )
    return tiles


def _assert_same(maps: Tensor, expected: Tensor, tolerance: float) -> None:
    assert maps.shape == expected.shape
    assert float((maps - expected).abs().max()) <= tolerance * max(
        float(expected.abs().max()), 1e-30
    )


def _assert_raises(
    kinds: type[Exception] | Sequence[type[Exception]],
    work: Callable[[], object],
) -> None:
    wanted = (kinds,) if isinstance(kinds, type) else tuple(kinds)
    try:
        work()
    except wanted:
        return
    raise AssertionError(f"none of {', '.join(kind.__name__ for kind in wanted)} was raised")
