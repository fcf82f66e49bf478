"""What names a patient, and paths written without it.

Nothing of a DICOM header is ever written but what a picture needs: shape, place, intensities. What
is left are names: files and folders are often called after the patient's number or the study's UID,
and an output folder after them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import TYPE_CHECKING

from slidecam.extras import brought
from slidecam.sources._dicom import first_dicom
from slidecam.sources._library import DECODING_ERRORS, Errors
from slidecam.sources._probe import fingerprint_of_files, stem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pydicom
    from pydicom.dataset import Dataset

    from slidecam.sources.source import SourceFacts
else:
    pydicom = brought("pydicom", "dicom")


HIDDEN = "hidden"
"""What stands where a part of a path held an identifier."""

SHORTEST = 4
"""Letters and digits from which on an identifier may lie between letters and digits in a word.

``Anna`` is one in ``AnnaT1``. Shorter ones must be a word of the name, between its other signs.
"""

CODE = 6
"""Of so many signs, letters and digits, an identifier is found in the midst of a word too."""

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

NUMBER = re.compile(r"\d{4,}")
"""What of a patient's number is one as a word: ``0042`` of ``P0042``."""

DATE = re.compile(r"(\d{4})(\d\d)(\d\d)")
WITH_TIME = re.compile(r"(\d{8})((?:[01]\d|2[0-3])(?:[0-5]\d){1,2})")
"""A date and the time of that day, as one number."""

MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august"),
    *("september", "october", "november", "december"),
)

PERSONAL = (
    "PatientName",
    "PatientID",
    "PatientMotherBirthName",
    "OtherPatientIDs",
    "OtherPatientNames",
    "MedicalRecordLocator",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "OperatorsName",
    "RequestingPhysician",
)
"""Whose words are a person's: those of a description (T1, MR, brain) are many folders'."""

TITLES = frozenset({"mr", "mrs", "ms", "dr", "md", "prof"})
"""Words of names that are nobody's."""

SPELT_OUT = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "å": "aa", "ø": "oe", "æ": "ae"}
)
"""How names are spelt where letters of theirs are not to be had."""


@dataclass(frozen=True)
class Identifiers:
    """What names a patient, as `plain` letters and digits.

    Attributes
    ----------
    anywhere
        What is one as the whole of a name, and as a part of it where it is of `SHORTEST` signs or
        more.
    words
        What is one as a whole word of a name, however short.
    """

    anywhere: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()


def _no_dicom() -> Errors:
    """Return what pydicom raises on a file that is none of DICOM."""
    return (*DECODING_ERRORS, pydicom.errors.InvalidDicomError)


def identifiers_of(path: Path) -> Identifiers:
    """Return what names the patient in a DICOM file; nothing where it is none.

    UsageError where pydicom is not installed.
    """
    no_dicom = _no_dicom()
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except no_dicom:
        return Identifiers()
    found: set[str] = set()
    for name in NAMING:
        value = str(header.get(name) or "")
        # Doe^Jane^^Dr. is a patient called Doe, Jane and both together, in either order.
        parts = re.split(r"[\^= ,]+", value)
        for part in (value, *parts, "".join(parts[1::-1])):
            spelt = unicodedata.normalize("NFC", part).casefold().translate(SPELT_OUT)
            found.update((plain(part), plain(spelt)))
        for number in LONG_NUMBER.findall(value):
            found.update((number, number.lstrip("0")))
        found.update(_orders_of(value))
    words = {*words_of_names(header), *_initials_of(str(header.get("PatientName") or ""))}
    words.update(NUMBER.findall(str(header.get("PatientID") or "")))
    return Identifiers(frozenset(found - {""}), frozenset(words))


def _initials_of(name: str) -> Iterator[str]:
    """Yield a family's name with the first letter of the given one, as files are called: jdoe."""
    family, given = [*map(str.strip, name.split("=", maxsplit=1)[0].split("^")), "", ""][:2]
    if not given or len(plain(family)) < SHORTEST - 1:
        return
    for spelt in (family, family.casefold().translate(SPELT_OUT)):
        initial = plain(given)[:1]
        yield from (initial + plain(spelt), plain(spelt) + initial)


def _orders_of(value: str) -> Iterator[str]:
    """Yield a DICOM date in the orders that people write it: 07031961, 731961, 610307, 7mar1961."""
    found = DATE.fullmatch(value.strip())
    if found is None or not 1 <= int(found[2]) <= len(MONTHS):
        return
    year, month, day = found.groups()
    named = MONTHS[int(month) - 1]
    spellings = [(year[2:], month, day)]
    for name in (named, named[:3]):
        for each in (day, str(int(day))):
            spellings += [(year, name, each), (year[2:], name, each)]
    for spelt, each in product((month, str(int(month))), (day, str(int(day)))):
        spellings.append((year, spelt, each))
    for spelling in spellings:
        yield from map("".join, permutations(spelling))


def words_of_names(header: Dataset) -> Iterator[str]:
    """Yield the words of persons' names and numbers, however short; `plain` letters and digits.

    A single sign is none: series are counted with those.
    """
    for name in PERSONAL:
        for word in re.split(r"[\W_]+", str(header.get(name) or "")):
            spelt = plain(word)
            if len(spelt) > 1 and spelt not in TITLES:
                yield spelt


def plain(text: str) -> str:
    """Return the letters and digits of a text, in lower case and without marks.

    ``VS-SEG_001`` is ``vs seg 001``.

    File systems keep ``ü`` as one sign or as two, and people leave its dots out.
    """
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKD", text.casefold()))


def names_patient(text: str, identifiers: Identifiers) -> bool:
    """Whether a name is an identifier, or has one as a part: ``anna_t1``, and not ``annabelle``."""
    bare = plain(text)
    codes = filter(_is_code, identifiers.anywhere)
    if bare in identifiers.anywhere or any(code in bare for code in codes):
        return True
    parts, begins, ends = _parts(text)
    for first in range(len(parts)):
        part = ""
        for last in range(first, len(parts)):
            part += parts[last]
            is_word = first in begins and last in ends
            if is_word and part in identifiers.words:
                return True
            known = part in identifiers.anywhere or part in identifiers.words
            if known and len(part) >= SHORTEST:
                return True
    return False


def _is_code(identifier: str) -> bool:
    """Whether an identifier is of letters and digits, and too long for an accident."""
    mixed = not (identifier.isalpha() or identifier.isdigit())
    return mixed and len(identifier) >= CODE


def _atoms(word: str) -> list[str]:
    """Return a word's numbers, a date before a time, and its letters from a capital on."""
    places = [0]
    for place in range(1, len(word)):
        before, here, after = word[place - 1], word[place], word[place + 1 : place + 2]
        if before.isdigit() != here.isdigit() or (
            here.isupper() and (not before.isupper() or after.islower())
        ):
            places.append(place)
    found: list[str] = []
    for start, stop in zip(places, [*places[1:], len(word)], strict=True):
        timed = WITH_TIME.fullmatch(word[start:stop])
        found += timed.groups() if timed else [word[start:stop]]
    return found


def _parts(text: str) -> tuple[list[str], set[int], set[int]]:
    """Return the `plain` parts of a name's words, and which of them begin and end a word."""
    parts: list[str] = []
    begins: set[int] = set()
    ends: set[int] = set()
    composed = unicodedata.normalize("NFC", text)
    for word in re.split(r"[\W_]+", composed):
        found = list(filter(None, map(plain, _atoms(word))))
        if found:
            begins.add(len(parts))
            parts += found
            ends.add(len(parts) - 1)
    return parts, begins, ends


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
