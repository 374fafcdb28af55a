"""A reader of the XML that GeoReport's documents are written in, independent of their writer."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

from node.channels.open311.documents import Document, Many, Value


def read_xml(raw: bytes) -> ElementTree.Element:
    """The root. A document type, which could define entities, is an error before anything is read."""
    assert b"<!" not in raw
    return ElementTree.fromstring(raw)


def spark(element: ElementTree.Element, shape: Value) -> Any:
    """What the Spark convention makes of an element: JSON's values, where `shape` says what has members or items."""
    assert not element.attrib
    if isinstance(shape, Many):
        assert {inner.tag for inner in element} <= {shape.item}
        assert len(element) == len(shape.values)
        return [spark(inner, value) for inner, value in zip(element, shape.values, strict=True)]
    if isinstance(shape, dict):
        assert [inner.tag for inner in element] == list(shape)
        return {inner.tag: spark(inner, shape[inner.tag]) for inner in element}
    assert not len(element)
    return _typed(element.text or "", shape)


def _typed(text: str, shape: Value) -> Any:
    if isinstance(shape, bool):
        return {"true": True, "false": False}[text]
    if isinstance(shape, int):
        return int(text)
    if isinstance(shape, Decimal):
        return float(text)
    return text or None


def same_in_xml(document: Document, raw: bytes) -> Any:
    """The document as its XML says it."""
    root = read_xml(raw)
    assert root.tag == document.root
    return spark(root, document.value)
