"""What names a patient, and paths told without it.

Nothing of a DICOM header is ever written but what a picture needs: shape, place, intensities. What
is left are names: files and folders are often called after the patient's number or the study's UID,
and an output folder after them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from slidecam.sources._dicom import first_dicom
from slidecam.sources._library import DECODING_ERRORS, Errors
from slidecam.sources._probe import fingerprint_of_files, stem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slidecam.sources.source import SourceFacts

NO_DICOM: Errors = (*DECODING_ERRORS, InvalidDicomError)

HIDDEN = "hidden"
"""What stands where a part of a path held an identifier."""

SHORTEST = 4
"""Letters and digits from which on an identifier is found inside of a longer name.

Shorter ones must be all of it.
"""

NAMING = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientMotherBirthName",
    "OtherPatientIDs",
    "OtherPatientNames",
    "IssuerOfPatientID",
    "MedicalRecordLocator",
    "AccessionNumber",
    "StudyID",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "RequestingPhysician",
    "StationName",
    "DeviceSerialNumber",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
    "StudyDescription",
    "StudyDate",
    "SeriesDate",
    "AcquisitionDate",
    "ContentDate",
)

LONG_NUMBER = re.compile(r"\d{5,}")
"""What of an identifier is one by itself.

Folders are called after the number in ``PID987654321``.
"""

SPELT_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "å": "aa", "ø": "oe", "æ": "ae"}
)
"""How names are spelt where letters of theirs are not to be had."""


def identifiers_of(path: Path) -> frozenset[str]:
    """Return what names the patient in a DICOM file, as `plain` letters and digits.

    Nothing where it is none.
    """
    try:
        header = dcmread(path, stop_before_pixels=True)
    except NO_DICOM:
        return frozenset()
    values = [str(header.get(name) or "") for name in NAMING]
    # Doe^Jane^^Dr. is a patient called Doe, Jane and both together.
    parts = [part for value in values for part in re.split(r"[\^= ,]+", value)]
    named = [*values, *parts]
    numbers = [number for value in values for number in LONG_NUMBER.findall(value)]
    spelt = [unicodedata.normalize("NFC", each).casefold().translate(SPELT_OUT) for each in named]
    return frozenset(filter(None, map(plain, [*named, *numbers, *spelt])))


def plain(text: str) -> str:
    """Return the letters and digits of a text, in lower case and without marks.

    ``VS-SEG_001`` is ``vs seg 001``.

    File systems keep ``ü`` as one sign or as two, and people leave its dots out.
    """
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKD", text.casefold()))


def names_patient(text: str, identifiers: frozenset[str]) -> bool:
    """Whether a name is an identifier, or holds one that is long enough to be no accident."""
    bare = plain(text)
    return bare in identifiers or any(
        len(each) >= SHORTEST and each in bare for each in identifiers
    )


def hidden_parts(path: Path) -> tuple[str, ...]:
    """Return the parts of the path to a DICOM file or folder that name its patient."""
    file = first_dicom(path)
    if file is None:
        return ()
    known = identifiers_of(file)
    return tuple(
        part
        for part in path.parts
        if names_patient(stem_of(Path(part)), known) or names_patient(part, known)
    )


def public_name(path: Path) -> str:
    """Return a name for outputs that is of the pixels and not of the patient."""
    return f"dicom-{fingerprint_of_files([first_dicom(path) or path])[:8]}"


def public_path(path: str, hidden: tuple[str, ...]) -> str:
    """Return a path with `HIDDEN` for its parts that name a patient."""
    if not hidden:
        return path
    return str(Path(*_told(Path(path), hidden)))


def _told(path: Path, hidden: tuple[str, ...]) -> Iterator[str]:
    return (HIDDEN if part in hidden else part for part in path.parts)


def shown_source(facts: SourceFacts, path: Path, *, keep: bool) -> SourceFacts:
    """Return the facts of a series with a name and a path that may be told."""
    hidden = () if keep else hidden_parts(path)
    if not hidden:
        return facts
    if path.name in hidden:
        name = public_name(path)
    else:
        name = facts.name
    return replace(facts, path=public_path(facts.path, hidden), name=name)
