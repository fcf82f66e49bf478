"""What a training is given and needs before its first epoch, beside pictures.

The call, a network with its first weights, a card, a device.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from slidecam.errors import CardError, DataSetError, RecipeError, UsageError
from slidecam.learning.data.augmentation import augment
from slidecam.learning.data.picture_tables import tile_set_facts
from slidecam.learning.data.pixels import read_picture
from slidecam.learning.training.optimisation import head_names
from slidecam.models.architectures import build_network, full_name
from slidecam.models.bundle_maker import normalisation_of
from slidecam.models.card import Card
from slidecam.models.channels import channels_of
from slidecam.models.classifier import normalised, scaled
from slidecam.models.light_timm import timm
from slidecam.models.pretrained import INNER, load_pretrained
from slidecam.models.stain import Stain, restained, stain_of
from slidecam.models.weights import check_weights_file, file_digest
from slidecam.viewing import PictureView

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from slidecam.learning.calibration import Calibration
    from slidecam.learning.data.augmentation import AugmentationSpec
    from slidecam.learning.data.pixels import Pictures
    from slidecam.learning.recipes.tables import ModelSpec, Recipe


FEWEST_OF_REFERENCE, MOST_OF_REFERENCE = 100, 4096**2
"""Pixels of a reference of stains.

Fewer have no 99th percentile; more take memory (200 bytes each) that no tile is worth.
"""

_HUB_REFUSALS = (OSError, RuntimeError, ValueError)
"""What timm raises where the hub has no such weights or cannot be reached."""


@dataclass(frozen=True)
class StartingWeights:
    """Where a network begins.

    Attributes
    ----------
    file
        The file of ``--weights``, or None.
    trust
        Whether it may be a pickle.
    """

    file: Path | None = None
    trust: bool = False


def network_for(
    recipe: Recipe,
    classes: int,
    weights: StartingWeights,
) -> nn.Module:
    """Return the network of a recipe with its first weights, in eval mode, on the CPU.

    Weights that begin at random depend on the recipe's seed alone.

    Raises
    ------
    RecipeError
        If the network cannot be built from its arguments.
    UsageError
        If the recipe begins from a file and none is given, or the other way round.
    WeightsError, UntrustedCodeError
        If the file does not fit or may not be opened.
    """
    model = recipe.model
    check_weights(recipe, weights)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.phases[0].seed)
            network = build_network(
                full_name(model.architecture),
                model.architecture_args,
                classes,
                recipe.path,
            )
    except CardError as error:
        problem = error.problem.replace('"architecture_args"', "model.architecture_args")
        raise RecipeError(problem, "Correct model.architecture_args.") from error
    _refuse_other_size(network, recipe)
    if weights.file is not None:
        load_pretrained(
            network,
            weights.file,
            weights_format=model.weights_format,
            trust=weights.trust,
        )
    elif model.weights == "hub":
        _load_from_hub(network, model)
    if model.weights != "none" and model.head_start == "zero":
        _rest_last_layer(network)
    return network


def _refuse_other_size(network: nn.Module, recipe: Recipe) -> None:
    """Refuse pictures of another size than a network of fixed size is made for."""
    made_for, shown = getattr(network, "input_px", None), recipe.data.input_px
    if isinstance(made_for, int) and made_for != shown:
        raise RecipeError(
            f"{recipe.model.architecture} is made for pictures of {made_for} px, and"
            f" data.input_px is {shown}.",
            f"Set both alike (--set model.architecture_args.input_px={shown}).",
            recipe.path,
        )


def check_weights(recipe: Recipe, weights: StartingWeights) -> None:
    """Refuse a file that the recipe does not want, a missing one, and one that may not be opened.

    Raises
    ------
    UsageError
        If the recipe begins from a file and none is given, or the other way round.
    WeightsError, UntrustedCodeError
        If the file is not there, of no kind that is known, or a pickle that is not trusted.
    """
    kind = recipe.model.weights
    if kind == "file" and weights.file is None:
        raise UsageError(
            "the recipe begins from weights in a file, and none is given.",
            'Pass --weights FILE, or --set model.weights="none" to begin at random.',
            recipe.path,
        )
    if kind != "file" and weights.file is not None:
        raise UsageError(
            f'--weights is given, and the recipe says model.weights = "{kind}".',
            'Pass --set model.weights="file" as well, or leave --weights out.',
            recipe.path,
        )
    if weights.file is not None:
        check_weights_file(weights.file, trust=weights.trust)


def with_tile_size(recipe: Recipe, data: Path) -> Recipe:
    """Return the recipe with spacing, size and colours of tiles, as in ``tile_set.json``.

    Raises
    ------
    DataSetError
        If the recipe says otherwise.
    """
    tiles = tile_set_facts(data)
    if tiles is None:
        return recipe
    facts: dict[str, Any] = {"spacing": tiles.spacing, "tile_px": tiles.tile_px}
    if tiles.color_profile == "srgb" or recipe.data.color_profile is not None:
        facts["color_profile"] = tiles.color_profile or "ignore"
    for key, value in facts.items():
        if getattr(recipe.data, key) not in {None, value}:
            raise DataSetError(
                f"the tiles have a {key} of {value}, and {recipe.path} says"
                f" {getattr(recipe.data, key)}.",
                f"Leave data.{key} out of the recipe, or cut tiles anew with slidecam tiles.",
                data,
            )
    table = {**recipe.table, "data": {**recipe.table.get("data", {}), **facts}}
    return replace(recipe, data=replace(recipe.data, **facts), table=table)


def card_for(
    recipe: Recipe,
    network: nn.Module,
    class_names: tuple[str, ...],
) -> Card:
    """Return the card of what a recipe makes, as far as it is known before training."""
    data, model = recipe.data, recipe.model
    channels = channels_of(network, model.architecture_args)
    mean, std = normalisation_of(getattr(network, INNER, network), channels)
    return Card(
        name=recipe.name,
        architecture=full_name(model.architecture),
        architecture_args=model.architecture_args,
        class_names=class_names,
        activation="softmax",
        tile_px=data.tile_px or data.input_px,
        spacing=data.spacing,
        input_px=data.input_px,
        interpolation=data.interpolation,
        color_profile=data.color_profile or "ignore",
        stain=_stain_of(recipe),
        mean=data.mean or mean,
        std=data.std or std,
        channels=channels,
        licence=model.licence,
        volume=recipe.volume,
    )


def _stain_of(recipe: Recipe) -> Stain | None:
    """Return how a recipe's pictures are recoloured; RecipeError if its reference is of no use."""
    data = recipe.data
    if data.stain is None:
        if data.stain_reference is not None:
            problem = "data.stain_reference changes nothing without data.stain."
            raise RecipeError(problem, 'Write stain = "macenko" or "reinhard".', recipe.path)
        return None
    if data.stain_reference is None:
        return Stain(data.stain)
    path = Path(data.stain_reference)
    try:
        picture = read_picture(path, seen=PictureView(profile=data.color_profile))
    except DataSetError as error:
        problem = f"data.stain_reference cannot be read: {error.clause}."
        raise RecipeError(problem, "Name a picture of stained tissue.") from error
    width, height = picture.size
    if not FEWEST_OF_REFERENCE <= width * height <= MOST_OF_REFERENCE:
        problem = (
            f"data.stain_reference has {width} x {height} pixels, and {FEWEST_OF_REFERENCE:,} to"
            f" {MOST_OF_REFERENCE:,} are wanted."
        )
        raise RecipeError(problem, "Name a tile of stained tissue.", path)
    found = stain_of(torch.from_numpy(np.array(picture)), data.stain)
    if found is None:
        problem = "data.stain_reference shows no two stains that could be told apart."
        raise RecipeError(problem, "Name a picture of stained tissue.", path)
    return found


def calibrated(card: Card, found: Calibration) -> Card:
    """Return a card with what its probabilities were found to need, and why if that is nothing."""
    facts: dict[str, object] = {"pictures": found.pictures}
    if found.note:
        facts["note"] = found.note
    return replace(
        card,
        temperature=found.temperature,
        class_biases=found.biases,
        calibrated_on=found.pictures,
        provenance={**card.provenance, "calibration": facts},
    )


def weights_facts(recipe: Recipe, weights: StartingWeights) -> dict[str, Any]:
    """Return where the first weights come from, for the provenance."""
    if weights.file is not None:
        return {"file": weights.file.name, "sha256": file_digest(weights.file)}
    return {"from": "timm's hub" if recipe.model.weights == "hub" else "random"}


def _rest_last_layer(network: nn.Module) -> None:
    """Set the last layer to zero.

    All classes are equally likely then, and the first gradients are small.
    """
    last = head_names(network)[-1].rpartition(".")[0]
    with torch.no_grad():
        for parameter in network.get_submodule(last).parameters():
            parameter.zero_()


def _load_from_hub(network: nn.Module, model: ModelSpec) -> None:
    target: Any = getattr(network, INNER, network)
    stated = getattr(target, "pretrained_cfg", None) or {}
    create: Callable[..., nn.Module] = timm.create_model
    try:
        fetched = create(
            stated.get("architecture", ""),
            pretrained=True,
            num_classes=0,
            in_chans=channels_of(target, {}),  # of one, timm sums the first convolution
        ).state_dict()
    except _HUB_REFUSALS as error:
        problem = (
            f"timm's hub gave no weights for {model.architecture}: {str(error).splitlines()[0]}."
        )
        raise UsageError(problem, 'Pass --weights FILE and --set model.weights="file".') from error
    target.load_state_dict(fetched, strict=False)


@dataclass(frozen=True, eq=False)
class PixelInputs:
    """`Inputs` of a network that sees pixels.

    Attributes
    ----------
    pictures
        Where they come from.
    card
        How they are normalised.
    augmentation
        What is done to them in training.
    device
        Where they are wanted.
    changed
        bool, (pictures,): which are augmented; None for all.
    """

    pictures: Pictures
    card: Card
    augmentation: AugmentationSpec
    device: torch.device
    changed: NDArray[np.bool_] | None = None

    def training(
        self,
        rows: NDArray[np.int64],
        epoch: int,  # noqa: ARG002  (each epoch draws anew)
        generator: torch.Generator,
    ) -> Tensor:
        """Return augmented pictures (B, 3, H, W); see `Inputs`."""
        pixels = restained(self.pictures.batch(rows).to(self.device), self.card.stain)
        if self.changed is None:
            return scaled(augment(pixels, self.augmentation, generator), self.card)
        some = torch.from_numpy(self.changed[rows]).to(self.device)
        pixels[some] = augment(pixels[some], self.augmentation, generator)
        return scaled(pixels, self.card)

    def plain(self, rows: NDArray[np.int64]) -> Tensor:
        """Return pictures (B, 3, H, W); see `Inputs`."""
        return normalised(self.pictures.batch(rows).to(self.device), self.card)


@dataclass(frozen=True)
class TrainingCall:
    """What a training is given beside its recipe.

    Attributes
    ----------
    out
        Folder for what it makes.
    weights
        Where the network begins.
    existing
        Where a training was begun in ``out``: ``refuse``, ``resume`` or ``overwrite`` it.
    device
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    cache
        Folder where features are kept for other trainings on the same pictures; None keeps them
        while this one lasts.
    pages
        Whether measures get pages and figures beside their records.
    share
        Whether those trainings part the pictures otherwise, as folds do: all pictures have
        augmented copies then.
    tensorboard
        Whether every epoch's figures are written for TensorBoard as well.
    """

    out: Path
    weights: StartingWeights = field(default_factory=StartingWeights)
    existing: str = "refuse"
    device: str = "auto"
    cache: Path | None = None
    pages: bool = True
    share: bool = False
    tensorboard: bool = False
