"""What tells frames of one place apart, and what a volume is called by it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_description, dictionary_has_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydicom.dataset import Dataset

Value = str | float | tuple[float, ...] | None
Traits = tuple[tuple[str, Value], ...]

IMAGE_TYPE, COMPONENT, ECHO, B_VALUE = "image type", "component", "echo", "b"
DIRECTION, ACQUISITION = "direction", "acquisition"

_OF_FILES: Mapping[str, str] = MappingProxyType(
    {
        COMPONENT: "ComplexImageComponent",
        ECHO: "EchoTime",
        "inversion time": "InversionTime",
        "flip angle": "FlipAngle",
        B_VALUE: "DiffusionBValue",
        DIRECTION: "DiffusionGradientOrientation",
        "temporal position": "TemporalPositionIdentifier",
        "trigger time": "TriggerTime",
    }
)
_OF_GROUPS: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {
        COMPONENT: (("MRImageFrameTypeSequence",), "ComplexImageComponent"),
        ECHO: (("MREchoSequence",), "EffectiveEchoTime"),
        "inversion time": (("MRModifierSequence",), "InversionTimes"),
        "flip angle": (("MRTimingAndRelatedParametersSequence",), "FlipAngle"),
        B_VALUE: (("MRDiffusionSequence",), "DiffusionBValue"),
        DIRECTION: (
            ("MRDiffusionSequence", "DiffusionGradientDirectionSequence"),
            "DiffusionGradientOrientation",
        ),
        "temporal position": (("FrameContentSequence",), "TemporalPositionIndex"),
        "trigger time": (("CardiacSynchronizationSequence",), "NominalCardiacTriggerDelayTime"),
    }
)
"""The sequences that lead to what a frame says, and its name there."""

_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")
_VECTORS: Mapping[str, str] = MappingProxyType(
    {
        "energy window": "EnergyWindowVector",
        "detector": "DetectorVector",
        "rotation": "RotationVector",
        "R-R interval": "RRIntervalVector",
        "phase": "PhaseVector",
        "time slot": "TimeSlotVector",
        "angular view": "AngularViewVector",
        "time slice": "TimeSliceVector",
    }
)
_PRIVATE_B = ((0x0019, 0x100C), (0x2001, 0x1003))
"""Where Siemens and Philips write b-values of their own."""

_OF_PLACE = {0x00209057, 0x00200032, 0x00209056, 0x00209111, 0x00209113}
"""Dimensions that count places: in a stack, by position, stacks."""

_COMPONENTS: Mapping[str, str] = MappingProxyType(
    {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}
)


def traits_of_file(header: Dataset) -> Traits:
    """Return what a file says of all its frames, the most telling first."""
    found: list[tuple[str, Value]] = [(IMAGE_TYPE, _joined(header.get("ImageType")))]
    for name, keyword in _OF_FILES.items():
        value = _value(header.get(keyword))
        if name == B_VALUE and value is None:
            value = _private_b(header)
        found.append((name, value))
    found.append((ACQUISITION, _value(header.get("AcquisitionNumber"))))
    return tuple(found)


def _private_b(header: Dataset) -> Value:
    for tag in _PRIVATE_B:
        if tag in header:
            try:
                return float(header[tag].value)
            except (TypeError, ValueError):  # bytes of a kind that is not known
                return None
    return None


def traits_of_frame(header: Dataset, group: Callable[[str], Any]) -> Traits:
    """Return what the functional groups of a frame say of it, the most telling first."""
    types = [_joined(group(name).get("FrameType")) for name in _FRAME_TYPES]
    found: list[tuple[str, Value]] = [(IMAGE_TYPE, next(filter(None, types), None))]
    for name, (sequences, keyword) in _OF_GROUPS.items():
        place = group(sequences[0])
        for inner in sequences[1:]:
            place = (place.get(inner) or [{}])[0]
        found.append((name, _value(place.get(keyword))))
    content = group("FrameContentSequence")
    indices = _listed(content.get("DimensionIndexValues"))
    dimensions = [*(header.get("DimensionIndexSequence") or ())]
    for number, index in enumerate(indices):
        pointer = None
        if number < len(dimensions):
            pointer = dimensions[number].get("DimensionIndexPointer")
        if pointer not in _OF_PLACE:
            found.append((_dimension_name(pointer, number), float(index)))
    found.append((ACQUISITION, _value(content.get("FrameAcquisitionNumber"))))
    return tuple(found)


def _dimension_name(pointer: int | None, number: int) -> str:
    name = f"dimension {number + 1}:"
    if pointer is not None and dictionary_has_tag(pointer):
        name = f"{dictionary_description(pointer).lower()} of index"
    return name


def traits_of_vectors(header: Dataset, number: int) -> Traits:
    """Return what the vectors of nuclear medicine say of one frame."""
    found: list[tuple[str, Value]] = []
    for name, keyword in _VECTORS.items():
        values = _listed(header.get(keyword))
        if number < len(values):
            found.append((name, float(values[number])))
    return tuple(found)


def _listed(values: Any) -> Sequence[Any]:  # noqa: ANN401
    if values is None:
        return ()
    if isinstance(values, int | float | str):
        return (values,)
    return [*values]


def _joined(values: Any) -> str | None:  # noqa: ANN401
    if not values:
        return None
    return "\\".join(map(str, _listed(values)))


def _value(values: Any) -> Value:  # noqa: ANN401
    """Return one number, several, or a word; None for nothing."""
    if values is None or values in {"", b""}:
        return None
    if isinstance(values, str):
        return values
    numbers = tuple(round(float(value), 4) for value in _listed(values))
    if len(numbers) == 1:
        return numbers[0]
    return numbers


def name_of(trait: str, value: Value, values: Sequence[Value]) -> str:
    """Return what a volume is called whose frames have one of the ``values`` of a trait."""
    place = values.index(value) + 1
    if trait == IMAGE_TYPE:
        return _name_of_type(str(value or ""), [str(each or "") for each in values])
    if trait == COMPONENT:
        return str(value or "no component").lower()
    if trait == ECHO and isinstance(value, float):
        return f"echo {place}, {value:g} ms"
    if isinstance(value, float):
        return f"{trait} {value:g}"
    if value is None:
        return f"no {trait}"
    return f"{trait} {place}"


def _name_of_type(value: str, values: Sequence[str]) -> str:
    """Return the words of an image type that others have not."""
    shared = set.intersection(*(set(each.split("\\")) for each in values))
    own = [word for word in value.split("\\") if word not in shared]
    words = [_COMPONENTS.get(word, word) for word in own]
    return " ".join(words) or "no image type of its own"


def is_magnitude(value: Value) -> bool:
    """Whether an image type, or component, is that which is looked at."""
    return bool({"M", "MAGNITUDE"} & set(str(value).split("\\")))
