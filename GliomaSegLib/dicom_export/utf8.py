"""Headers in UTF-8, whatever character sets their source uses: what is exported holds the texts of both.

An object has one set of characters for the patient's name, which comes from the source, and the reviewer's, which does
not; ISO 2022 escapes (PS3.5 6.1.2.5) are also refused by libraries that write objects.
"""

from __future__ import annotations

from pydicom import DataElement, Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

UTF_8 = "ISO_IR 192"

_TEXTS = {"LO", "LT", "SH", "ST", "UC", "UT"}
"""Value representations whose characters are those of the Specific Character Set, beside names of persons."""


def in_utf8(header: Dataset) -> Dataset:
    """The same header with all texts as Unicode, to be stored in UTF-8; also those inside of sequences.

    Characters that the source's own character set does not explain become replacement characters.
    """
    header.decode()
    for element in header.iterall():
        _to_unicode(element)
    for dataset in _datasets(header):
        dataset.SpecificCharacterSet = UTF_8
    return header


def _to_unicode(element: DataElement) -> None:
    if element.VR == "PN":
        convert = _name
    elif element.VR in _TEXTS:
        convert = str
    else:
        return
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
