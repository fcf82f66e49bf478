"""What tells frames of one place apart, and what a volume is called by it."""

from __future__ import annotations

import math
import re
import struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_description, dictionary_has_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydicom.dataset import Dataset

Value = str | float | tuple[float, ...] | None
Traits = tuple[tuple[str, Value], ...]

IMAGE_TYPE, COMPONENT, ECHO, B_VALUE = "image type", "component", "echo", "b"
DIRECTION, ACQUISITION, KERNEL = "direction", "acquisition", "kernel"

_OF_FILES: Mapping[str, str] = MappingProxyType(
    {
        "patient": "PatientID",
        COMPONENT: "ComplexImageComponent",
        ECHO: "EchoTime",
        "inversion time": "InversionTime",
        "flip angle": "FlipAngle",
        B_VALUE: "DiffusionBValue",
        DIRECTION: "DiffusionGradientOrientation",
        "temporal position": "TemporalPositionIdentifier",
        "trigger time": "TriggerTime",
        "cardiac phase": "NominalPercentageOfCardiacPhase",
        "frame reference time": "FrameReferenceTime",
        "echo number": "EchoNumbers",
        "tube voltage": "KVP",
        KERNEL: "ConvolutionKernel",
        "sequence": "SequenceName",
        "TR": "RepetitionTime",
        "averages": "NumberOfAverages",
        "coil": "ReceiveCoilName",
        "contrast agent": "ContrastBolusAgent",
        "slice thickness": "SliceThickness",
        "frame of reference": "FrameOfReferenceUID",
        "study": "StudyInstanceUID",
        "photometric interpretation": "PhotometricInterpretation",
        "bits": "BitsAllocated",
        "unit": "Units",
        "rescale type": "RescaleType",
    }
)
MEANINGS = ("photometric interpretation", "unit", "rescale type")
"""What says what a sample means, and no number that is read turns into another's."""

SCALES = frozenset({*MEANINGS, "bits", "rescaling"})
"""What says on which scale samples are."""

TIMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "moment of acquisition": ("AcquisitionDateTime",),
        "acquisition time": ("AcquisitionDate", "AcquisitionTime"),
        "content time": ("ContentDate", "ContentTime"),
        "series time": ("SeriesDate", "SeriesTime"),
        "study time": ("StudyDate", "StudyTime"),
    }
)
"""What differs from slice to slice as a rule, so that it is asked last."""

_FRAME_TIMES: Mapping[str, str] = MappingProxyType(
    {"acquisition time": "FrameAcquisitionDateTime", "content time": "FrameReferenceDateTime"}
)

_OF_ONE_SLICE = {
    *("trigger time", "frame reference time", "time offset", ACQUISITION),
    *TIMES,
}
"""What differs among the slices of one volume where they were taken in turns."""

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
        "stack": (("FrameContentSequence",), "StackID"),
        "temporal position": (("FrameContentSequence",), "TemporalPositionIndex"),
        "trigger time": (("CardiacSynchronizationSequence",), "NominalCardiacTriggerDelayTime"),
        "cardiac phase": (("CardiacSynchronizationSequence",), "NominalPercentageOfCardiacPhase"),
        "time offset": (("TemporalPositionSequence",), "TemporalPositionTimeOffset"),
        "tube voltage": (("CTXRayDetailsSequence",), "KVP"),
        KERNEL: (("CTReconstructionSequence",), "ConvolutionKernel"),
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
Private = tuple[str, int, int]
_PRIVATE_B: tuple[Private, ...] = (
    ("SIEMENS MR HEADER", 0x0019, 0x0C),
    ("Philips Imaging DD 001", 0x2001, 0x03),
    ("GEMS_PARM_01", 0x0043, 0x39),
    ("Image Private Header", 0x0065, 0x09),
)
"""Where Siemens, Philips, GE and United Imaging write b-values of their own."""

_PRIVATE_DIRECTIONS: tuple[tuple[Private, ...], ...] = (
    (("SIEMENS MR HEADER", 0x0019, 0x0E),),
    tuple(("GEMS_ACQU_01", 0x0019, element) for element in (0xBB, 0xBC, 0xBD)),
    (("Image Private Header", 0x0065, 0x37),),
)
"""Where Siemens, GE (one number each) and United Imaging write a gradient's direction."""

_PRIVATE_COMPONENT: Private = ("GEMS_PARM_01", 0x0043, 0x2F)
_OF_GE = ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")
"""Where GE writes what a picture is of a complex one, and what its numbers mean."""

_GE_FLAG = 1_000_000_000
"""What GE adds to b-values of diffusion in all directions."""

_OF_PLACE = {0x00209057, 0x00200032, 0x00209056, 0x00209111, 0x00209113}
"""Dimensions that count places: in a stack, by position, stacks."""

_COMPONENTS: Mapping[str, str] = MappingProxyType(
    {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary"}
)


_CREATORS = range(0x10, 0x100)
"""Elements of a group that say whose a block of it is."""


def traits_of_file(header: Dataset) -> Traits:
    """Return what a file says of all its frames, the most telling first."""
    found: dict[str, Value] = {IMAGE_TYPE: _joined(header.get("ImageType"))}
    for name, keyword in _OF_FILES.items():
        found[name] = _value(header.get(keyword))
    if found[B_VALUE] is None:
        found[B_VALUE] = _private_b(header)
    if found[DIRECTION] is None:
        found[DIRECTION] = _private_direction(header)
    if found[COMPONENT] is None:
        found[COMPONENT] = _private_component(header)
    found["rescaling"] = ("none", "stated")["RescaleSlope" in header]
    found[ACQUISITION] = _value(header.get("AcquisitionNumber"))
    for name, keywords in TIMES.items():
        found[name] = "".join(str(header.get(keyword) or "") for keyword in keywords)
    return tuple(found.items())


def with_b_value(traits: Traits, b_value: float | None) -> Traits:
    """Return traits with a b-value, where they have none of their own."""
    found = dict(traits)
    if found.get(B_VALUE) is None:
        found[B_VALUE] = b_value
    return tuple(found.items())


def private(header: Dataset, creator: str, group: int, element: int) -> Any:  # noqa: ANN401
    """Return a vendor's own value by whose it is, or None.

    Where no block of the group says whose it is, as some that remove names leave it, it is looked
    for where the vendor has it as a rule.
    """
    blocks: dict[str, int] = {}
    # The few tags that there are, and not all that there could be: a series has thousands of files.
    for tag in sorted(header.keys()):
        if tag.group == group and tag.element in _CREATORS:
            blocks.setdefault(str(header[tag].value).strip(), tag.element)
    block = blocks.get(creator)
    if not blocks:
        block = 0x10
    if block is None or (group, (block << 8) + element) not in header:
        return None
    return header[group, (block << 8) + element].value


def _private_b(header: Dataset) -> Value:
    for place in _PRIVATE_B:
        numbers = _numbers(private(header, *place))
        if numbers:
            return round(numbers[0] % _GE_FLAG, 4)
    return None


def _private_component(header: Dataset) -> Value:
    numbers = _numbers(private(header, *_PRIVATE_COMPONENT))
    if numbers and numbers[0] in range(len(_OF_GE)):
        return _OF_GE[int(numbers[0])]
    return None


def _private_direction(header: Dataset) -> Value:
    for places in _PRIVATE_DIRECTIONS:
        numbers: list[float] = []
        for place in places:
            numbers += _numbers(private(header, *place))
        if len(numbers) == 3:  # noqa: PLR2004  (x, y, z)
            return _value(tuple(numbers))
    return None


def _numbers(values: Any) -> list[float]:  # noqa: ANN401
    """Return numbers that a vendor wrote, whose kind the file need not say; nothing of others."""
    if isinstance(values, bytes):
        values = _of_bytes(values)
    try:
        return [*filter(math.isfinite, map(float, _listed(values)))]
    except (TypeError, ValueError):
        return []


def _of_bytes(content: bytes) -> Sequence[Any]:
    """Return numbers that are written as a text, else those of the usual lengths."""
    text = content.decode("latin-1").strip(" \0")
    if re.fullmatch(r"[-+.\dEe\\ ]+", text):
        return text.split("\\")
    kind = {4: "<f", 8: "<d", 24: "<3d"}.get(len(content))
    if kind is None:
        return ()
    return struct.unpack(kind, content)


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
    for name, keyword in _FRAME_TIMES.items():
        found.append((name, str(content.get(keyword) or "")))
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
    several = _listed(values)
    try:
        numbers = tuple(round(float(value), 4) for value in several)
    except (TypeError, ValueError):  # words, or an element that is there and empty
        return _joined(values)
    if isinstance(values, str) or not numbers:
        return _joined(values)
    if len(numbers) == 1:
        return numbers[0]
    return numbers


def tells_volumes(trait: str) -> bool:
    """Whether what differs in a trait is of several volumes, wherever it lies."""
    return trait not in _OF_ONE_SLICE


def name_of(trait: str, value: Value, values: Sequence[Value]) -> str:
    """Return what a volume is called whose frames have one of the ``values`` of a trait."""
    place = values.index(value) + 1
    if trait == IMAGE_TYPE:
        return _name_of_type(str(value or ""), [str(each or "") for each in values])
    if trait in {KERNEL, COMPONENT}:
        named = {KERNEL: f"{KERNEL} {value}", COMPONENT: str(value).lower()}
        return {True: named[trait], False: f"no {trait}"}[bool(value)]
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
