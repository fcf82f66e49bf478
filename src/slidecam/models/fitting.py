"""Where in a file the weights of one network lie, under whatever names, and what the rest is.

Names and shapes are matched with the network's own. What is not found is an error, never a layer of
chance; what is left out is named.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slidecam.errors import WeightsError
from slidecam.models.weights import COUNTER, SHOWN, few, shape_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

_NO_LAYERS = (
    *("criterion", "loss", "metric", "train_", "val_", "valid_", "test_", "optimizer"),
    *("opt.", "lr_scheduler", "scaler", "amp", "callbacks", "loops"),
)
"""What names of tensors begin with that training code keeps beside a network."""

_AVERAGES = frozenset(("ema", "swa", "averaged", "average"))
"""Parts of names that a moving average of a network's weights has."""

_NESTINGS = ("state_dict.", "model_state_dict.", "model.", "net.", "weights.")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_WRAPPERS = ("state_dict.", "model_state_dict.", "model.", "net.", "module.", "_orig_mod.")
_IN_LAYERS = frozenset(("weight", "bias", "running_mean", "running_var", "gamma", "beta"))
DENSE_BACKBONE = "backbone."
DENSE_LAYERS = ("head.0.", "head.3.")
"""What `DenseHead` calls its parts."""

_MATRIX = 2
"""Axes of a tensor that could be a layer whatever it is called."""


@dataclass(frozen=True)
class FittedWeights:
    """The weights of one network out of a file that may hold more.

    Attributes
    ----------
    tensors
        By their names in the network.
    prefix
        What their names begin with in the file.
    left
        Names in the file that are not this network's.
    hidden
        Units of the hidden layer of a head that the network itself has not, whose tensors are named
        as `DenseHead` names them; None where it is the network's own.
    readings
        What had to be decided, a sentence each.
    """

    tensors: dict[str, Tensor]
    prefix: str = ""
    left: tuple[str, ...] = ()
    hidden: int | None = None
    readings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What is looked for in a file.

    Attributes
    ----------
    tensors
        The network's own, by name.
    classifier
        Names of its layers that give logits, each with its dot.
    classes
        How many.
    embedding
        Length of the vector that the classifier is given; None where that is not known.
    """

    tensors: Mapping[str, Tensor]
    classifier: tuple[str, ...] = ()
    classes: int = 0
    embedding: int | None = None

    @property
    def backbone(self) -> dict[str, Tensor]:
        """All but the classifier."""
        inner = self.classifier or ("\0",)
        return {name: each for name, each in self.tensors.items() if not name.startswith(inner)}


def network_tensors(tensors: Mapping[str, Tensor], tables: Sequence[str]) -> dict[str, Tensor]:
    """Return a file's tensors without the table and the prefix that all of them are under."""
    for nesting in _NESTINGS:
        if nesting in tables and all(name.startswith(tuple(tables)) for name in tensors):
            return _without_prefix(_below(tensors, nesting))
    return _without_prefix(dict(tensors))


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return _without_prefix(_below(tensors, prefix))
    return tensors


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    inside = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors[name] for name in inside}


def fitted(
    tensors: Mapping[str, Tensor],
    wanted: Wanted,
    path: Path,
    prefix: str | None = None,
) -> FittedWeights:
    """Return a network's weights out of a file's, wherever in it they lie.

    Parameters
    ----------
    tensors, path
        As the file has them, and the file.
    wanted
        The network.
    prefix
        What the names begin with; None to look for it. Names that fit nowhere are left as they are,
        for `load_strictly` to tell of.

    Raises
    ------
    WeightsError
        If several networks in the file fit and none is the others' moving average, no name begins
        with ``prefix``, the file holds other tensors beside the network which may be a part of it,
        or a head that no network here has.
    """
    whole = _whole_networks(tensors, wanted.tensors)
    if prefix is not None:
        chosen = _prefix_meant(prefix, tensors, whole, path)
        if chosen not in whole:
            reheaded = _with_own_head(tensors, wanted, path, [chosen])
            return reheaded or _sorted_out(tensors, wanted.tensors, chosen, whole)[0]
        return _sorted_out(tensors, wanted.tensors, chosen, whole)[0]
    if not whole:
        reheaded = _with_own_head(tensors, wanted, path, None)
        return reheaded or FittedWeights(_renamed_nearest(tensors, wanted.tensors))
    chosen, readings = _chosen(whole, tensors, wanted.tensors, path)
    found, doubtful = _sorted_out(tensors, wanted.tensors, chosen, whole)
    if doubtful:
        listed = "; ".join(few(doubtful))
        under = f"under {chosen!r} " if chosen else ""
        problem = f"Beside the network {under}the weights hold what may be a part of it: {listed}."
        remedy = "Name the architecture that has them too, or pass --weights-prefix"
        raise WeightsError(path, problem, f"{remedy} {chosen or repr('')} to leave them out.")
    return replace(found, readings=readings + found.readings)


def _sorted_out(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    prefix: str,
    whole: Sequence[str],
) -> tuple[FittedWeights, list[str]]:
    """Return what of a file is a network's, and the names outside it that may be layers.

    What lies within it and may be a layer is left to `load_strictly`, which refuses it.
    """
    others: set[str] = set()
    for other in whole:
        if other != prefix:
            others.update(f"{other}{name}" for name in expected)
    own, left, doubtful = {}, [], []
    for name, tensor in tensors.items():
        inner = name.removeprefix(prefix)
        inside = name.startswith(prefix)
        if inside and inner in expected:
            own[inner] = tensor
            continue
        strange = name not in others and _may_be_layer(name, tensor)
        if strange and inside:
            own[inner] = tensor
            continue
        left.append(name)
        if strange:
            doubtful.append(name)
    readings = _left_out(left)
    return FittedWeights(own, prefix, tuple(left), readings=readings), doubtful


def _left_out(names: Sequence[str]) -> tuple[str, ...]:
    if not names:
        return ()
    said = f"Left out of the file, which is not the network's: {len(names)} of its tensors"
    return (f"{said} ({'; '.join(few(list(names)))}). --weights-prefix names another network.",)


def _may_be_layer(name: str, tensor: Tensor) -> bool:
    """Whether a tensor beside a network could be a part of it, by its name and axes."""
    bare = name
    while bare.startswith(_WRAPPERS):
        bare = bare.partition(".")[2]
    if bare.startswith(_NO_LAYERS) or bare.endswith(COUNTER):
        return False
    module, _dot, leaf = bare.rpartition(".")
    return tensor.ndim >= _MATRIX or bool(module and leaf in _IN_LAYERS)


def _prefix_meant(
    prefix: str,
    tensors: Mapping[str, Tensor],
    whole: Sequence[str],
    path: Path,
) -> str:
    """Return a prefix as the file has it, where it was said without the table that it lies in."""
    if any(name.startswith(prefix) for name in tensors) and (prefix or "" in whole or not whole):
        return prefix
    places = set()
    for name in tensors:
        table, found, _rest = name.partition(f".{prefix}")
        if found and "." not in table:
            places.add(f"{table}.{prefix}")
    if len(places) == 1:
        return places.pop()
    begins = ", ".join(sorted({name.partition(".")[0] + "." for name in tensors})[:SHOWN])
    problem = f"No name in the weights begins with {prefix!r}: they begin with {begins}."
    raise WeightsError(path, problem, "Correct --weights-prefix.")


def _chosen(
    whole: Sequence[str],
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    path: Path,
) -> tuple[str, tuple[str, ...]]:
    """Return the prefix of one of several networks, and what was decided."""
    fitting = [prefix for prefix in whole if not _misfits(prefix, tensors, expected)]
    candidates = fitting or list(whole)
    if len(candidates) == 1:
        return candidates[0], ()
    where = ", ".join(map(repr, candidates))
    averages = list(filter(_is_average, candidates))
    if len(averages) == 1:
        said = f"The file holds the network {len(candidates)} times, under {where}"
        return averages[0], (
            f"{said}: the average, {averages[0]!r}, was taken. --weights-prefix takes another.",
        )
    problem = f"The weights hold {len(candidates)} networks that fit; their names begin with"
    raise WeightsError(path, f"{problem} {where}.", "Pass one of these as --weights-prefix.")


def _is_average(prefix: str) -> bool:
    return not _AVERAGES.isdisjoint(re.split(r"[._]", prefix.lower()))


def _misfits(
    prefix: str,
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
) -> list[str]:
    found = []
    for name, tensor in expected.items():
        given = tensors.get(f"{prefix}{name}")
        if given is not None and given.shape != tensor.shape:
            found.append(name)
    return found


def _whole_networks(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return the prefixes under which every name of the network lies."""
    wanted = [name for name in expected if not name.endswith(COUNTER)]
    longest = max(wanted, key=len)
    found = []
    for name in tensors:
        prefix = name.removesuffix(longest)
        if prefix == name or not (not prefix or prefix.endswith(".")):
            continue
        if all(f"{prefix}{each}" in tensors for each in wanted):
            found.append(prefix)
    return found


def _with_own_head(
    tensors: Mapping[str, Tensor],
    wanted: Wanted,
    path: Path,
    places: Sequence[str] | None,
) -> FittedWeights | None:
    """Return a backbone and the head behind it, where that has names or a layer of its own.

    None where there is no whole backbone, or nothing behind it: what is missing is told then.
    """
    backbone = wanted.backbone
    if wanted.embedding is None or len(wanted.classifier) != 1:
        return None
    whole = _whole_networks(tensors, backbone)
    if places is not None:
        whole = [prefix for prefix in whole if prefix in places]
    if not whole:
        return None
    chosen, readings = _chosen(whole, tensors, backbone, path)
    found, doubtful = _sorted_out(tensors, backbone, chosen, whole)
    head = set(doubtful)
    for name in found.tensors.keys() - backbone.keys():
        if name in wanted.tensors:
            return None
        head.add(f"{chosen}{name}")
    if not head:
        return None
    own = {name: tensor for name, tensor in found.tensors.items() if name in backbone}
    left = tuple(name for name in found.left if name not in head)
    readings += _left_out(left)
    behind = {name: tensor for name, tensor in tensors.items() if name in head}
    return _with_head(FittedWeights(own, chosen, left, readings=readings), behind, wanted, path)


def _with_head(
    backbone: FittedWeights,
    behind: Mapping[str, Tensor],
    wanted: Wanted,
    path: Path,
) -> FittedWeights:
    """Return a backbone with what lies behind it under the names that a network here has for it."""
    under = f" under {backbone.prefix!r}" if backbone.prefix else ""
    layers = _linear_layers(behind)
    if len(layers) == 1:
        (layer,) = layers
        own = dict(backbone.tensors)
        for leaf, tensor in layers[layer].items():
            own[f"{wanted.classifier[0]}{leaf}"] = tensor
        said = f"The classifier is {layer!r} in the file, beside the backbone{under}"
        readings = (*backbone.readings, f"{said}; --weights-prefix reads another network.")
        return replace(backbone, tensors=own, readings=readings)
    hidden = _hidden_units(layers, wanted)
    if hidden is None:
        listed = []
        for name, tensor in behind.items():
            listed.append(f"{name} ({shape_in_words(tensor)})")
        problem = f"Behind the backbone{under} lies a head of no kind here"
        raise WeightsError(
            path,
            f"{problem}: {'; '.join(few(listed))}.",
            f"Heads are one linear layer of {wanted.classes} classes, or two with an activation"
            " between; of others save a TorchScript program for --model with --trust.",
        )
    own = {f"{DENSE_BACKBONE}{name}": tensor for name, tensor in backbone.tensors.items()}
    for place, layer in zip(DENSE_LAYERS, layers, strict=True):
        for leaf, tensor in layers[layer].items():
            own[f"{place}{leaf}"] = tensor
    return replace(backbone, tensors=own, hidden=hidden)


def _linear_layers(head: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return a head's linear layers by name; nothing where it has other layers."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in head.items():
        module, _dot, leaf = name.rpartition(".")
        layers.setdefault(module, {})[leaf] = tensor
    for leaves in layers.values():
        weight = leaves.get("weight")
        if weight is None or weight.ndim != _MATRIX or leaves.keys() - {"weight", "bias"}:
            return {}
    return layers


def _hidden_units(layers: Mapping[str, Mapping[str, Tensor]], wanted: Wanted) -> int | None:
    """Return the units between two layers that take an embedding to the classes, else None."""
    if len(layers) != len(DENSE_LAYERS):
        return None
    first, last = (leaves["weight"] for leaves in layers.values())
    hidden = len(first)
    expected = ((hidden, wanted.embedding), (wanted.classes, hidden))
    if (tuple(first.shape), tuple(last.shape)) != expected:
        return None
    return hidden


def _renamed_nearest(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return tensors without the prefix that most of a network lies under, where there is one.

    What is missing and what is too much is told by names that people know then.
    """
    prefixes: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        for place in range(1, len(parts)):
            if ".".join(parts[place:]) in expected:
                prefixes[".".join(parts[:place]) + "."] += 1
    for prefix, count in prefixes.most_common(1):
        if 2 * count > len(expected):
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return dict(tensors)
