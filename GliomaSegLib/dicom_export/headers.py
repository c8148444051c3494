"""Headers of the source as exported objects take them over: texts in UTF-8, and no value that DICOM forbids.

An object has one set of characters for the patient's name, which comes from the source, and the reviewer's, which does
not; ISO 2022 escapes (PS3.5 6.1.2.5) are also refused by libraries that write objects. A forbidden value (sex ``W``,
birth date ``19600000``) would make the new object invalid, and archives refuse those.
"""

from __future__ import annotations

from datetime import datetime

from pydicom import DataElement, Dataset, config
from pydicom.datadict import keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, DT, MAX_VALUE_LEN, TM, DSfloat, PersonName, validate_value

UTF_8 = "ISO_IR 192"

_TEXTS = {"LO", "LT", "SH", "ST", "UC", "UT"}
"""Value representations whose characters are those of the Specific Character Set, beside names of persons."""

_CHECKED = _TEXTS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "PN", "TM", "UI", "UR"}
_DATES = {"DA": DA, "DT": DT, "TM": TM}
_ENUMERATED = {"PatientSex": {"", "M", "F", "O"}}
_IDENTIFIERS = {"PatientID", "IssuerOfPatientID", "AccessionNumber", "StudyID"}
"""Texts that are worth nothing when they are cut."""


def usable(header: Dataset) -> tuple[str, ...]:
    """Change a header in place so that its values can stand in a new object; the keywords of those that are now empty.

    Numbers with too many digits are rounded and long texts cut, but for identifiers. Characters that the source's own
    character set does not explain become replacement characters.
    """
    emptied = _without_forbidden(header)
    header.decode()
    for element in header.iterall():
        _to_unicode(element)
    for dataset in _datasets(header):
        dataset.SpecificCharacterSet = UTF_8
    return tuple(sorted(emptied))


def time_zone(header: Dataset) -> str:
    """The offset from UTC of the header's dates and times, as ``+0100``; empty where it is not known.

    A source that does not state it was made where this machine is, unless the machine runs in UTC, as servers do
    anywhere.
    """
    stated = str(header.get("TimezoneOffsetFromUTC", "")).strip()
    here = datetime.now().astimezone().strftime("%z")[:5]
    return stated or ("" if here == "+0000" else here)


def _without_forbidden(dataset: Dataset) -> set[str]:
    """Empty what the standard forbids, also inside of sequences; the keywords."""
    emptied = set()
    for tag in list(dataset.keys()):
        keyword = keyword_for_tag(tag) or str(tag)
        try:
            element = dataset[tag]
        except (ValueError, TypeError, OverflowError, NotImplementedError):  # no number, or an unknown representation
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
    try:
        for one in _values(element):
            text = one.original_string if hasattr(one, "original_string") else str(one)
            validate_value(element.VR, text, config.RAISE)
            if element.VR in _DATES:
                _DATES[element.VR](text)  # the 31st of February
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _mended(element: DataElement, keyword: str) -> object:
    if element.VR == "DS":
        try:
            return [DSfloat(float(str(one)), auto_format=True) for one in _values(element)]
        except ValueError:
            return None
    if element.VR in _TEXTS and keyword not in _IDENTIFIERS:
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
    """Without the bytes that it was read from, which are in the source's characters."""
    return PersonName(str(value))


def _datasets(header: Dataset) -> list[Dataset]:
    """The header, and every item of its sequences that names a character set of its own."""
    items = [item for element in header.iterall() if element.VR == "SQ" for item in element.value]
    return [header, *(item for item in items if "SpecificCharacterSet" in item)]
