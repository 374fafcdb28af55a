"""What GeoReport answers, as XML and as JSON from one and the same value (the Spark convention).

An object's members become elements by their names, the members of a list become elements of the list's one name. What
is null is an empty element. There is nothing in our XML but elements and text: no attribute, no namespace, no entity
but the five of XML itself. Nothing here reads XML, and neither does anything else of this program.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeAlias
from xml.sax.saxutils import escape

import msgspec

XML: Final = "xml"
JSON: Final = "json"
MEDIA_TYPES: Final[Mapping[str, str]] = {XML: "text/xml", JSON: "application/json"}
_HEAD: Final = '<?xml version="1.0" encoding="utf-8"?>\n'
# Whatever XML 1.0 has no character for, escaped or not; lone surrogates would not even be UTF-8.
_NOT_XML: Final = re.compile("[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Many:
    """A list whose members are called `item` in XML."""

    item: str
    values: Sequence[Value]


Value: TypeAlias = "str | bool | int | Decimal | Many | Mapping[str, Value] | None"


@dataclass(frozen=True, slots=True)
class Document:
    """What is answered. `root` is its name, which only XML shows."""

    root: str
    value: Value

    def write(self, form: str) -> bytes:
        """UTF-8."""
        return to_xml(self) if form == XML else to_json(self)


def clean(text: str) -> str | None:
    """The text as both forms can carry it: line breaks as LF, U+FFFD for what is no character of XML, None if empty.

    A reader of XML takes CR for a line break, and would stop at a control character, so that the forms would differ.
    """
    return _NOT_XML.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n")) or None


def to_xml(document: Document) -> bytes:
    """With declaration."""
    pieces = [_HEAD]
    _write(document.root, document.value, pieces)
    return "".join(pieces).encode("utf-8")


def _write(name: str, value: Value, pieces: list[str]) -> None:
    pieces.append(f"<{name}>")
    if isinstance(value, Mapping):
        for member, inner in value.items():
            _write(member, inner, pieces)
    elif isinstance(value, Many):
        for inner in value.values:
            _write(value.item, inner, pieces)
    else:
        pieces.append(escape(_text(value)))
    pieces.append(f"</{name}>")


def _text(value: str | bool | int | Decimal | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def to_json(document: Document) -> bytes:
    """The root has no name in JSON."""
    return msgspec.json.encode(_plain(document.value))


def _plain(value: Value) -> Any:
    if isinstance(value, Mapping):
        return {member: _plain(inner) for member, inner in value.items()}
    if isinstance(value, Many):
        return [_plain(inner) for inner in value.values]
    # Digits as they were given: a float would write some of them otherwise.
    return msgspec.Raw(format(value, "f").encode("ascii")) if isinstance(value, Decimal) else value
