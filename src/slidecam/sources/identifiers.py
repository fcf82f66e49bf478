"""What names a patient, and paths written without it.

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
        header = dcmread(path, stop_before_pixels=True, force=True)
    except NO_DICOM:
        return frozenset()
    found: set[str] = set()
    for name in NAMING:
        value = str(header.get(name) or "")
        # Doe^Jane^^Dr. is a patient called Doe, Jane and both together.
        for part in (value, *re.split(r"[\^= ,]+", value)):
            spelt = unicodedata.normalize("NFC", part).casefold().translate(SPELT_OUT)
            found.update((plain(part), plain(spelt)))
        found.update(map(plain, LONG_NUMBER.findall(value)))
    return frozenset(found - {""})


def plain(text: str) -> str:
    """Return the letters and digits of a text, in lower case and without marks.

    ``VS-SEG_001`` is ``vs seg 001``.

    File systems keep ``ü`` as one sign or as two, and people leave its dots out.
    """
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKD", text.casefold()))


def names_patient(text: str, identifiers: frozenset[str]) -> bool:
    """Whether a name is an identifier, or holds one that is long enough to be no accident."""
    bare = plain(text)
    long = [each for each in identifiers if len(each) >= SHORTEST]
    return bare in identifiers or any(each in bare for each in long)


def hidden_parts(path: Path) -> tuple[str, ...]:
    """Return the parts of the path to a DICOM file or folder that name its patient."""
    file = first_dicom(path)
    if file is None:
        return ()
    known = identifiers_of(file)

    def is_named(part: str) -> bool:
        return names_patient(stem_of(Path(part)), known) or names_patient(part, known)

    return tuple(filter(is_named, path.parts))


def public_name(path: Path) -> str:
    """Return a name for outputs that is of the pixels and not of the patient."""
    return f"dicom-{fingerprint_of_files([first_dicom(path) or path])[:8]}"


def public_path(path: str, hidden: tuple[str, ...]) -> str:
    """Return a path with `HIDDEN` for its parts that name a patient."""
    if not hidden:
        return path
    parts = list(Path(path).parts)
    for place, part in enumerate(parts):
        if part in hidden:
            parts[place] = HIDDEN
    return str(Path(*parts))


def shown_source(facts: SourceFacts, path: Path, *, keep: bool) -> SourceFacts:
    """Return the facts of a series with a name and a path that may be written."""
    if keep:
        return facts
    hidden, name = hidden_parts(path), facts.name
    if not hidden:
        return facts
    if path.name in hidden:
        name = public_name(path)
    return replace(facts, path=public_path(facts.path, hidden), name=name)
