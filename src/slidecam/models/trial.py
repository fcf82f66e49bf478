"""A trial of the backends on this machine, by which ``auto`` chooses; remembered on disk.

How fast a network runs hangs on its architecture and the size of its tiles, the processor and its
threads, the number format, and the versions of what runs it; not on its weights. So a trial counts
for all networks of one architecture, until one of these changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from slidecam.files import write_json
from slidecam.models.backends import AUTO, BACKENDS, UNTRIED
from slidecam.objects.kept import cache_folder
from slidecam.parsing import json_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slidecam.models.card import Card
    from slidecam.models.choice import Chosen, Trials
    from slidecam.models.splits import NetworkSplit, Precision

TILES, ROUNDS, SECONDS = 8, 3, 6.0
"""Of one batch, rounds in which each backend has its turn, and how long they may take in all."""

CLEARLY = 1.05
"""How many times as fast as `backends.UNTRIED` another backend has to be to be taken instead."""

_PREFIX = "trial-"


@dataclass(frozen=True)
class Trial:
    """What was measured of one architecture.

    Attributes
    ----------
    network, machine, precision
        What was tried, and where, in words.
    rates
        Tiles a second of the backbone and its head, by backend, of those that agree with the plain
        network.
    date
        When, ISO 8601.
    """

    network: str
    machine: str
    precision: str
    rates: Mapping[str, float]
    date: str

    @property
    def fastest(self) -> str:
        """The backend that is taken."""
        best = max(self.rates, key=lambda name: self.rates[name])
        usual = self.rates.get(UNTRIED, 0.0)
        if self.rates[best] < CLEARLY * usual:
            return UNTRIED
        return best

    @property
    def words(self) -> str:
        """The rates: ``openvino 42, folded 16 tiles a second``."""
        ranked = sorted(self.rates.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{name} {rate:.3g}" for name, rate in ranked)
        return f"{listed} tiles a second"

    def to_json(self) -> dict[str, Any]:
        """Return it as its file has it."""
        return {
            "network": self.network,
            "machine": self.machine,
            "precision": self.precision,
            "tiles at once": TILES,
            "tiles a second": dict(self.rates),
            "date": self.date,
        }


def trials_here() -> Iterator[Trial]:
    """Yield this machine's trials that are remembered; damaged ones are passed over."""
    for path in sorted(_folder().glob(f"{_PREFIX}*.json")):
        trial = _remembered(path)
        if trial is not None and trial.machine == machine_here():
            yield trial


def fastest(trials: Trials, card: Card) -> Chosen:
    """Return the way to run a network that is fastest here, by a trial made now or before.

    Only backends that are made in seconds have a trial; see `backends.Backend.quick`.
    """
    names = _candidates()
    facts = _facts(card, trials.precision, names)
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    path = _folder() / f"{_PREFIX}{digest}.json"
    trial, ways = _remembered(path), {}
    if trial is None:
        for name in names:
            ways[name] = trials.chosen(name)
        agreeing = {name: way.split for name, way in ways.items() if not way.notes}
        trial = _tried(agreeing, card, trials.precision)
        with suppress(OSError):  # a folder that nobody may write to: tried anew next time
            write_json(path, trial.to_json())
    name = trial.fastest
    chosen = ways.get(name) or trials.chosen(name)
    said = f"Backend {name} of {trial.words} ({TILES} at once, tried {trial.date[:10]})"
    note = f"{said}. --backend names another."
    return chosen.noting(note, *_left_out(ways, name))


def _left_out(ways: Mapping[str, Chosen], taken: str) -> Iterator[str]:
    for name, way in ways.items():
        if name != taken:
            yield from (*way.notes, *way.remarks)


def _candidates() -> list[str]:
    """Return the backends to try here, `backends.UNTRIED` first."""
    names = [UNTRIED]
    for name, backend in BACKENDS.items():
        tried = backend.quick and "cpu" in backend.devices and not backend.absent
        if tried and name not in {AUTO, UNTRIED}:
            names.append(name)
    return names


def _facts(card: Card, precision: Precision, names: list[str]) -> dict[str, Any]:
    versions = {}
    for name in names:
        for package in BACKENDS[name].packages:
            versions[package] = version(package)
    return {
        "network": [card.architecture, dict(card.architecture_args), card.split],
        "classes": len(card.class_names),
        "input": [card.channels, card.input_px],
        "machine": machine_here(),
        "precision": precision,
        "tiles": TILES,
        "backends": names,
        "versions": {**versions, "torch": torch.__version__},
    }


def machine_here() -> str:
    """Return the processor and the threads of it that torch uses, in words."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {torch.get_num_threads()} of {os.cpu_count()} threads"


def _tried(splits: Mapping[str, NetworkSplit], card: Card, precision: Precision) -> Trial:
    """Measure what is given, in turn; the least time of a batch counts, as others only add."""
    generator = torch.Generator().manual_seed(2)
    edge = card.input_px
    pixels = torch.randn(TILES, card.channels, edge, edge, generator=generator)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    best: dict[str, float] = {}
    begun = time.perf_counter()
    for turn in range(ROUNDS + 1):
        for name, split in splits.items():
            start = time.perf_counter()
            split(pixels, gradients=False)
            seconds = time.perf_counter() - start
            if turn:  # the first is slower, and no figure
                best[name] = min(seconds, best.get(name, seconds))
        if turn and time.perf_counter() - begun > SECONDS:
            break
    rates = {name: round(TILES / seconds, 3) for name, seconds in best.items()}
    network = f"{card.architecture} at {edge} px"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Trial(network, machine_here(), precision, rates, now)


def _folder() -> Path:
    return cache_folder("networks")


def _remembered(path: Path) -> Trial | None:
    """Return the trial of a file; None where it is none, or names backends that are gone."""
    try:
        read = json_in(path)
        rates = {str(name): float(rate) for name, rate in read["tiles a second"].items()}
        trial = Trial(read["network"], read["machine"], read["precision"], rates, read["date"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    if not rates or min(rates.values()) <= 0 or not rates.keys() <= BACKENDS.keys():
        return None
    return trial
