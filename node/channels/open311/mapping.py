"""A complaint as a service request. Pure: facts in, what may be shown to everybody out.

Nothing here knows a name, a telephone number or anything else about a person: `Said` has no member for it. What was
said is shown of complaints that are public in what they say; of confidential ones, whoever has the number sees facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from node.channels.open311.documents import Document, Many, Value, clean
from node.channels.open311.moments import format_moment, moment_of
from node.channels.open311.queries import CLOSED, OPEN
from node.channels.open311.reports import DESCRIPTION_MAX
from node.channels.open311.services import LISTS, Attribute, Service, Services, ServiceTable
from sync_protocol.change_types import CONFIDENTIAL
from sync_protocol.transitions import State

SPECIFICATION: Final = "http://wiki.open311.org/GeoReport_v2"
UPDATES_ROOT: Final = "service_request_updates"
_ENDED: Final = frozenset({State.CLOSED, State.ARCHIVED})
_CUT: Final = "…"

STATE_WORDS: Final[Mapping[State, str]] = {
    State.RECEIVED: "Diterima, menunggu verifikasi / Received, to be verified",
    State.AWAITING_INFORMATION: "Menunggu kelengkapan informasi dari pelapor / Waiting for information of the reporter",
    State.VERIFIED: "Terverifikasi / Verified",
    State.ASSIGNED: "Didisposisikan ke unit / Assigned to a unit",
    State.IN_PROGRESS: "Sedang ditindaklanjuti / In progress",
    State.ANSWERED: "Sudah dijawab, menunggu pelapor / Answered, the reporter may reply",
    State.ON_HOLD: "Ditunda / On hold",
    State.CLOSED: "Selesai / Closed",
    State.ARCHIVED: "Diarsipkan / Archived",
}

#: Types of change that are told as updates, in words; where the reporter or the agency speaks, their words stand.
UPDATE_WORDS: Final[Mapping[str, str]] = {
    "received": STATE_WORDS[State.RECEIVED],
    "information_requested": STATE_WORDS[State.AWAITING_INFORMATION],
    "information_supplied": "Informasi dilengkapi / Information supplied",
    "verified": STATE_WORDS[State.VERIFIED],
    "assigned": STATE_WORDS[State.ASSIGNED],
    "started": STATE_WORDS[State.IN_PROGRESS],
    "answered": STATE_WORDS[State.ANSWERED],
    "replied": "Pelapor membalas / The reporter replied",
    "held": STATE_WORDS[State.ON_HOLD],
    "resumed": "Dilanjutkan / Resumed",
    "closed": STATE_WORDS[State.CLOSED],
    "archived": STATE_WORDS[State.ARCHIVED],
    "reopened": "Dibuka kembali / Reopened",
    "accepted": "Diterima instansi lain / Taken over by another agency",
    "directed": "Diteruskan ke instansi lain / Directed to another agency",
}
PUBLIC_WORDS: Final = frozenset({"answered", "replied"})  # the others are notes between officers and the reporter


@dataclass(frozen=True, slots=True)
class Said:
    """What of the words everybody may read."""

    text: str | None = None
    place: str | None = None
    address_id: str | None = None
    lat: Decimal | None = None
    long: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a complaint where it is asked for. Times are milliseconds, but for timestamps."""

    id: str
    owner: str
    state: State
    category: str | None
    visibility: str
    received_at: str
    updated_ms: int | None
    closed_at: str | None
    expected_ms: int | None
    said: Said = field(default_factory=Said)


@dataclass(frozen=True, slots=True)
class Update:
    """One change that everybody may hear of. `text` is what was said with it, if that is public."""

    id: str
    request_id: str
    type: str
    at: str
    is_closed: bool
    text: str | None


def status_of(state: State) -> str:
    """`open` or `closed`."""
    return CLOSED if state in _ENDED else OPEN


def is_listed(visibility: str) -> bool:
    """Whether it may stand in a list."""
    return visibility not in CONFIDENTIAL


def service_request(facts: Facts, services: Services, name_of: Callable[[str], str]) -> dict[str, Value]:
    """The members in GeoReport's order; what is not known is null."""
    service = services.of_complaint(facts.category, facts.owner)
    said = facts.said if is_listed(facts.visibility) else Said()
    updated = format_moment(facts.updated_ms) if facts.updated_ms is not None else None
    if facts.closed_at is not None:
        updated = moment_of(facts.closed_at)
    return {
        "service_request_id": facts.id,
        "status": status_of(facts.state),
        "status_notes": STATE_WORDS[facts.state],
        "service_name": clean(service.name),
        "service_code": service.code,
        "description": _bounded(said.text),
        "agency_responsible": clean(name_of(facts.owner)),
        "service_notice": clean(service.notice),
        "requested_datetime": moment_of(facts.received_at),
        "updated_datetime": updated,
        "expected_datetime": None if facts.expected_ms is None else format_moment(facts.expected_ms),
        "address": clean(said.place or ""),
        "address_id": clean(said.address_id or ""),
        "zipcode": None,
        "lat": said.lat,
        "long": said.long,
        "media_url": None,
    }


def _bounded(text: str | None) -> str | None:
    """GeoReport's limit is counted in characters; other channels take in longer ones."""
    cleaned = clean(text or "")
    if cleaned is None or len(cleaned) <= DESCRIPTION_MAX:
        return cleaned
    return cleaned[: DESCRIPTION_MAX - len(_CUT)] + _CUT


def requests_document(requests: Sequence[Mapping[str, Value]]) -> Document:
    """Service requests, or what is said of one."""
    return Document("service_requests", Many("request", requests))


def updates_document(updates: Sequence[Update]) -> Document:
    """Updates in the form of the extension that GeoReport servers share."""
    return Document(UPDATES_ROOT, Many("request_update", [_update(one) for one in updates]))


def _update(update: Update) -> dict[str, Value]:
    return {
        "update_id": update.id,
        "service_request_id": update.request_id,
        "status": CLOSED if update.is_closed else OPEN,
        "updated_datetime": moment_of(update.at),
        "description": _bounded(update.text) or UPDATE_WORDS[update.type],
    }


def services_document(found: Sequence[Service]) -> Document:
    """What may be reported."""
    return Document("services", Many("service", [_service(one) for one in found]))


def _service(service: Service) -> dict[str, Value]:
    return {
        "service_code": service.code,
        "service_name": clean(service.name),
        "description": clean(service.description),
        "metadata": bool(service.attribute),
        "type": service.type,
        "keywords": clean(", ".join(service.keywords)),
        "group": clean(service.group),
    }


def definition_document(service: Service) -> Document:
    """What a service asks."""
    attributes = [_attribute(order, one) for order, one in enumerate(service.attribute, start=1)]
    return Document("service_definition", {"service_code": service.code, "attributes": Many("attribute", attributes)})


def _attribute(order: int, attribute: Attribute) -> dict[str, Value]:
    asked: dict[str, Value] = {
        "variable": attribute.variable,
        "code": attribute.code,
        "datatype": attribute.datatype,
        "required": attribute.required,
        "datatype_description": clean(attribute.datatype_description),
        "order": order,
        "description": clean(attribute.description),
    }
    if attribute.datatype in LISTS:
        options: list[Value] = [{"key": clean(one.key), "name": clean(one.name)} for one in attribute.values]
        asked["values"] = Many("value", options)
    return asked


def errors_document(status: int, errors: Sequence[str]) -> Document:
    """What is wrong, in one or several sentences."""
    told: list[Value] = [{"code": status, "description": clean(text)} for text in errors]
    return Document("errors", Many("error", told))


def discovery_document(table: ServiceTable, urls: Sequence[str]) -> Document:
    """Where which GeoReport endpoints are, in which formats."""
    changed = f"{table.changed.isoformat()}T00:00:00Z"
    endpoints: list[Value] = [
        {
            "specification": SPECIFICATION,
            "url": clean(url),
            "changeset": changed,
            "type": table.stage,
            "formats": Many("format", ["text/xml", "application/json"]),
        }
        for url in urls
    ]
    return Document(
        "discovery",
        {
            "changeset": changed,
            "contact": clean(table.contact),
            "key_service": clean(table.key_service),
            "endpoints": Many("endpoint", endpoints),
        },
    )


def said_of(content: Mapping[str, Any], before: Said) -> Said:
    """What a content line adds; what it leaves out stays. Whatever has another type than we write is left out."""

    def words(name: str, otherwise: str | None) -> str | None:
        value = content.get(name)
        return value if isinstance(value, str) and value else otherwise

    def degrees(name: str, otherwise: Decimal | None) -> Decimal | None:
        value = _degrees(content.get(name))
        return otherwise if value is None else value  # zero is a place: Pontianak lies on the equator

    return Said(
        text=words("text", None) or before.text or words("title", None),
        place=words("place", before.place),
        address_id=words("address_id", before.address_id),
        lat=degrees("lat", before.lat),
        long=degrees("long", before.long),
    )


def _degrees(value: object) -> Decimal | None:
    """Only in the spelling that reports.py writes: what stands on a line may come from another program."""
    if not isinstance(value, str) or len(value) > 12:
        return None
    try:
        degrees = Decimal(value)
    except ArithmeticError:
        return None
    return degrees if degrees.is_finite() and format(degrees, "f") == value and abs(degrees) <= 180 else None
