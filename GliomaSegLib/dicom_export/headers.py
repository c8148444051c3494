"""Prepares source headers for exported objects: texts in UTF-8, and no value that DICOM forbids.

An object has one character set for the patient's name, from the source, and the reviewer's, which is not; libraries
that write objects also refuse ISO 2022 escapes (PS3.5 6.1.2.5). A forbidden value (sex ``W``, birth date ``19600000``)
would make the new object invalid, and archives refuse those.
"""

from __future__ import annotations

import re
from datetime import datetime

from pydicom import DataElement, Dataset, config
from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, DT, MAX_VALUE_LEN, TM, DSfloat, PersonName, validate_value

UTF_8 = "ISO_IR 192"

_TEXTS = {"LO", "LT", "SH", "ST", "UC", "UT"}
"""Value representations, besides PN, that use the Specific Character Set."""

_CHECKED = _TEXTS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "PN", "TM", "UR"}
"""UIDs (UI) are not: an object must refer to its source by the UIDs that this has, also by malformed ones."""

_DATES = {"DA": DA, "DT": DT, "TM": TM}
_ENUMERATED = {"PatientSex": {"", "M", "F", "O"}}
_WHOLE = {"PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID", "TimezoneOffsetFromUTC"}
"""Texts that must not be truncated."""

_ZONE = re.compile(r"[+-](0\d|1[0-4])[0-5]\d|")


def usable(header: Dataset) -> tuple[str, ...]:
    """Change a header in place so that its values are valid in a new object; returns the keywords of emptied values.

    Numbers with too many digits are rounded and long texts truncated, except identifiers and time zones. Characters
    that are invalid in the source's character set become replacement characters.
    """
    emptied = _without_forbidden(header)
    header.decode()
    for element in header.iterall():
        _to_unicode(element)
    for dataset in _datasets(header):
        dataset.SpecificCharacterSet = UTF_8
    return tuple(sorted(emptied))


def time_zone(header: Dataset) -> str:
    """The UTC offset of the header's dates and times, as ``+0100``; empty if it is not known.

    If it is not stated, it is that of this machine on the day of the study (summer time), unless the machine runs in
    UTC, as servers anywhere do.
    """
    stated = str(header.get("TimezoneOffsetFromUTC") or "").strip()
    try:
        day = datetime.strptime(str(header.get("StudyDate")), "%Y%m%d")
        here = day.replace(hour=12).astimezone().strftime("%z")[:5]
    except (ValueError, OverflowError, OSError):
        here = datetime.now().astimezone().strftime("%z")[:5]
    return stated or ("" if here == "+0000" else here)


def _without_forbidden(dataset: Dataset) -> set[str]:
    """Empty the values that the standard forbids, also in sequences; returns their keywords."""
    emptied = set()
    for tag in list(dataset.keys()):
        keyword = keyword_for_tag(tag) or str(tag)
        try:
            element = dataset[tag]
        except (ValueError, TypeError, OverflowError, NotImplementedError):  # not a number, or an unknown VR
            raw = dataset.get_item(tag)
            dataset[tag] = DataElement(tag, getattr(raw, "VR", None) or "UN", None)
            emptied.add(keyword)
            continue
        if element.VR == "SQ":
            emptied |= set().union(*(_without_forbidden(item) for item in element.value or ()))
        elif element.VR in _CHECKED and keyword != "SpecificCharacterSet" and not _is_allowed(element, keyword):
            element.value = _mended(element, keyword)
            if not element.value:
                emptied.add(keyword)
    return emptied


def _values(element: DataElement) -> list[object]:
    many = isinstance(element.value, MultiValue | list)
    return [one for one in (element.value if many else [element.value]) if one not in (None, "")]


def _is_allowed(element: DataElement, keyword: str) -> bool:
    if not set(map(str, _values(element))) <= _ENUMERATED.get(keyword, set(map(str, _values(element)))):
        return False
    if keyword == "TimezoneOffsetFromUTC" and not _ZONE.fullmatch(str(element.value or "").strip()):
        return False
    try:
        for one in _values(element):
            text = one.original_string if hasattr(one, "original_string") else str(one)
            validate_value(element.VR, text, config.RAISE)
            if element.VR in _DATES:
                _DATES[element.VR](text)  # refuses 31 February
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _mended(element: DataElement, keyword: str) -> object:
    if element.VR == "DS":
        try:
            return [DSfloat(float(str(one)), auto_format=True) for one in _values(element)]
        except ValueError:
            return None
    if element.VR in _TEXTS and keyword not in _WHOLE:
        longest = MAX_VALUE_LEN.get(element.VR)
        return [str(one)[:longest].rstrip() for one in _values(element)]
    return None


def _to_unicode(element: DataElement) -> None:
    if element.VR != "PN" and element.VR not in _TEXTS:
        return
    convert = _name if element.VR == "PN" else str
    value = element.value
    if isinstance(value, MultiValue | list):
        element.value = [convert(one) for one in value]
    elif value:
        element.value = convert(value)


def _name(value: PersonName | str) -> PersonName:
    """A copy without the original bytes, which are in the source's character set."""
    return PersonName(str(value))


def _datasets(header: Dataset) -> list[Dataset]:
    """The header, and every item of its sequences that names a character set of its own."""
    items = [item for element in header.iterall() if element.VR == "SQ" for item in element.value]
    return [header, *(item for item in items if "SpecificCharacterSet" in item)]
