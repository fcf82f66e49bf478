"""Every kind of bundle keeps the published contract, on either backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slidecam.models import open_bundle
from slidecam.models.contract import BundleCase, BundleContract

if TYPE_CHECKING:
    from models.conftest import MakeBundle, MakeCard, MakeZoo


@pytest.fixture(params=["eager", "folded"])
def backend(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


class TestPocketResNet(BundleContract):
    @pytest.fixture
    def case(self, make_saved: MakeBundle, backend: str) -> BundleCase:
        return BundleCase(make_saved(), "slidecam", has_map=True, backend=backend)


class TestSplitByName(BundleContract):
    @pytest.fixture
    def case(self, make_saved: MakeBundle, make_card: MakeCard, backend: str) -> BundleCase:
        card = make_card(split="stages.0", activation="none")
        return BundleCase(make_saved(card), "slidecam", has_map=True, backend=backend)


class TestGrey(BundleContract):
    @pytest.fixture
    def case(self, make_saved: MakeBundle, make_card: MakeCard, backend: str) -> BundleCase:
        card = make_card(channels=1, mean=(0.6,), std=(0.2,))
        return BundleCase(make_saved(card), "slidecam", has_map=True, backend=backend)


class TestTimm(BundleContract):
    @pytest.fixture
    def case(self, make_saved: MakeBundle, make_card: MakeCard, backend: str) -> BundleCase:
        card = make_card(1, architecture="timm/test_resnet", architecture_args={})
        return BundleCase(make_saved(card), "slidecam", has_map=True, backend=backend)


class TestTimmTokens(BundleContract):
    @pytest.fixture
    def case(self, make_saved: MakeBundle, make_card: MakeCard, backend: str) -> BundleCase:
        card = make_card(architecture="timm/test_vit", architecture_args={"img_size": 32})
        return BundleCase(make_saved(card), "slidecam", has_map=True, backend=backend)


class TestWsinferWeights(BundleContract):
    @pytest.fixture
    def case(self, make_zoo: MakeZoo, backend: str) -> BundleCase:
        return BundleCase(open_bundle(make_zoo()), "wsinfer", has_map=True, backend=backend)


class TestWsinferTorchScript(BundleContract):
    @pytest.fixture
    def case(self, make_zoo: MakeZoo) -> BundleCase:
        bundle = open_bundle(make_zoo(script=True), trust=True)
        return BundleCase(bundle, "wsinfer-torchscript", has_map=False, trust=True)
