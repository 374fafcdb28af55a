"""What a POST says, read from its form: a new service request, or an update to one. Pure.

Codes go to the change line; words, the place and whoever speaks go to the content line, and nothing of the second ever
to the first (protocol §2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from node.channels.open311.moments import parse_moment
from node.channels.open311.queries import Pairs, one
from node.channels.open311.services import LISTS, SERVICE_CODE, Attribute, Service, Services
from sync_protocol.errors import Refused, malformed, too_large

FORM_MAX_BYTES: Final = (
    96 * 1024
)  # 4,000 characters of four bytes, percent-encoded, are 48 KiB; and as much for all else
FIELDS_MAX: Final = 200  # GeoReport has seventeen, and a service asks some more
DESCRIPTION_MAX: Final = 4_000  # GeoReport's own limit
WORDS_MAX: Final = 500  # an address, a name, an answer to a question: characters
URL_MAX: Final = 2_000  # what browsers send
API_KEY: Final = "api_key"
EXTERNAL_ID: Final = "external_id"
_PERSON: Final = ("email", "device_id", "account_id", "first_name", "last_name", "phone")
_COORDINATE: Final = re.compile(r"[+-]?\d{1,3}(?:\.\d{1,15})?", re.ASCII)
_PLACES: Final = Decimal("0.0000001")  # a centimetre
_NUMBER: Final = re.compile(r"[+-]?\d{1,18}(?:\.\d{1,18})?", re.ASCII)
_ATTRIBUTE: Final = re.compile(r"attribute\[([^\[\]]{1,64})\](?:\[\])?")
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NO_PLACE: Final = "a location is required: lat and long, address_string, or address_id"


@dataclass(frozen=True, slots=True)
class Report:
    """A new service request. `target` is the agency that was named, None for our own.

    `external_id` is the client's own number for it; `digest` is of everything that was sent but the key.
    """

    service: Service
    target: str | None
    content: Mapping[str, Any]
    external_id: str | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """What the reporter says to an answer. `token` is the tracking number, if it was given."""

    request_id: str
    token: str | None
    text: str
    external_id: str | None
    digest: bytes


def read_form(body: bytes) -> Pairs:
    """The fields of a form, in order; the empty ones are left out. Raises Refused (malformed, too-large)."""
    if len(body) > FORM_MAX_BYTES:
        raise too_large("body", FORM_MAX_BYTES)
    if body.count(b"&") >= FIELDS_MAX:
        raise too_large("form", FIELDS_MAX, "fields")
    try:
        pairs = parse_qsl(body.decode("utf-8"), encoding="utf-8", errors="strict")
    except ValueError:
        raise malformed("the body is no form in UTF-8", "body") from None
    if any(_CONTROL.search(name) or _CONTROL.search(value) for name, value in pairs):
        raise malformed("a field holds control characters", "body")
    return pairs


def read_report(form: Pairs, services: Services, jurisdiction: str | None) -> Report:
    """Raises Refused: not-found for a service that is not there, else malformed or too-large.

    What is wrong beside the service is told all at once, in the member `errors`.
    """
    code = one(form, SERVICE_CODE)
    if code is None:
        raise malformed(f"{SERVICE_CODE} is required", SERVICE_CODE)
    service = services.by_code(code, jurisdiction)
    errors: list[str] = []
    content: dict[str, Any] = {"title": service.name}
    for read in (_read_place, _read_words, _read_person):
        try:
            content |= read(form)
        except Refused as refused:
            errors.append(refused.detail)
    content |= _read_attributes(form, service, errors)
    if errors:
        raise Refused("malformed", errors[0], where="form", members={"errors": errors})
    return Report(service, services.target(service, jurisdiction), content, one(form, EXTERNAL_ID), _digest(form))


def read_reply(form: Pairs) -> Reply:
    """Raises Refused (malformed, too-large). `update_id` is the client's own number, as `external_id` is."""
    request_id = one(form, "service_request_id")
    if request_id is None:
        raise malformed("service_request_id is required", "service_request_id")
    text = _text(form, "description", DESCRIPTION_MAX)
    if text is None:
        raise malformed("description is required", "description")
    external_id = one(form, "update_id") or one(form, EXTERNAL_ID)
    return Reply(request_id, one(form, "token"), text, external_id, _digest(form))


def _digest(form: Pairs) -> bytes:
    """Of the fields, whatever their order."""
    said = sorted((name, value) for name, value in form if name != API_KEY)
    return sha256(msgspec.json.encode(said)).digest()


def _text(form: Pairs, name: str, most: int) -> str | None:
    text = one(form, name)
    if text is not None and len(text) > most:
        raise too_large(name, most, "characters")
    return text


def _read_place(form: Pairs) -> dict[str, Any]:
    found = {"lat": _coordinate(form, "lat", 90), "long": _coordinate(form, "long", 180)}
    if (found["lat"] is None) != (found["long"] is None):
        raise malformed("lat and long belong together", "lat")
    found |= {"place": _text(form, "address_string", WORDS_MAX), "address_id": _text(form, "address_id", WORDS_MAX)}
    if not any(found.values()):
        raise malformed(_NO_PLACE, "lat")
    return _given(found)


def _coordinate(form: Pairs, name: str, most: int) -> str | None:
    """In one spelling: strict JSON has no fractions, so that it is kept as text."""
    text = one(form, name)
    if text is None:
        return None
    if not _COORDINATE.fullmatch(text) or abs(Decimal(text)) > most:
        raise malformed(f"{name} is a decimal number of degrees, {most} at most", name)
    degrees = Decimal(text).quantize(_PLACES).normalize()
    return format(degrees or Decimal(0), "f")


def _read_words(form: Pairs) -> dict[str, Any]:
    return _given({"text": _text(form, "description", DESCRIPTION_MAX), "media_url": _text(form, "media_url", URL_MAX)})


def _read_person(form: Pairs) -> dict[str, Any]:
    person = _given({name: _text(form, name, WORDS_MAX) for name in _PERSON})
    return {"reporter": person} if person else {}


def _given(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _read_attributes(form: Pairs, service: Service, errors: list[str]) -> dict[str, Any]:
    answers: dict[str, list[str]] = {}
    for name, value in form:
        found = _ATTRIBUTE.fullmatch(name)
        if found:
            answers.setdefault(found[1], []).append(value.strip())
    asked = {attribute.code: attribute for attribute in service.attribute if attribute.variable}
    unknown = sorted(set(answers) - set(asked))
    errors += [f"attribute[{code}] is not one of service {service.code}" for code in unknown]
    for code, attribute in asked.items():
        wrong = _wrong_answer(attribute, answers.get(code, []))
        if wrong:
            errors.append(f"attribute[{code}] {wrong}")
    known = {code: values for code, values in answers.items() if code in asked}
    said = {code: values if asked[code].datatype == "multivaluelist" else values[0] for code, values in known.items()}
    return {"attributes": said} if said else {}


def _wrong_answer(attribute: Attribute, values: list[str]) -> str | None:
    """What is wrong with it, in words."""
    if not values:
        return "is required" if attribute.required else None
    if len(values) > 1 and attribute.datatype != "multivaluelist":
        return "was given more than once"
    if any(len(value) > (DESCRIPTION_MAX if attribute.datatype == "text" else WORDS_MAX) for value in values):
        return "is too long"
    if attribute.datatype == "string" and "\n" in values[0]:
        return "has a line break"
    if attribute.datatype in LISTS and not set(values) <= {option.key for option in attribute.values}:
        return "is none of the keys that may be chosen"
    if attribute.datatype == "number" and not _NUMBER.fullmatch(values[0]):
        return "is no number"
    if attribute.datatype == "datetime":
        try:
            parse_moment(values[0], attribute.code)
        except Refused as refused:
            return refused.detail
    return None
