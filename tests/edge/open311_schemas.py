"""GeoReport's documents as JSON schemas, restated from the specification's published ones: same members, same types."""

from __future__ import annotations

from typing import Any


def _maybe(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    # Stricter than the published ones, which allow members that nobody has heard of.
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _many(items: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "array", "items": items}


TEXT = {"type": "string"}
MOMENT = {"type": "string", "format": "date-time"}
NUMBER = {"type": "number"}

REQUEST = _object(
    ["service_request_id", "status", "service_code", "requested_datetime"],
    {
        "service_request_id": TEXT,
        "status": {"enum": ["open", "closed"]},
        "status_notes": _maybe(TEXT),
        "service_name": _maybe(TEXT),
        "service_code": TEXT,
        "description": _maybe({"type": "string", "maxLength": 4_000}),
        "agency_responsible": _maybe(TEXT),
        "service_notice": _maybe(TEXT),
        "requested_datetime": MOMENT,
        "updated_datetime": _maybe(MOMENT),
        "expected_datetime": _maybe(MOMENT),
        "address": _maybe(TEXT),
        "address_id": _maybe(TEXT),
        "zipcode": _maybe(TEXT),
        "lat": _maybe(NUMBER),
        "long": _maybe(NUMBER),
        "media_url": _maybe({"type": "string", "format": "uri"}),
    },
)
SERVICE = _object(
    ["service_code", "service_name", "metadata", "type"],
    {
        "service_code": TEXT,
        "service_name": TEXT,
        "description": _maybe(TEXT),
        "metadata": {"type": "boolean"},
        "type": {"enum": ["realtime", "batch", "blackbox"]},
        "keywords": _maybe(TEXT),
        "group": _maybe(TEXT),
    },
)
ATTRIBUTE = _object(
    ["variable", "code", "datatype", "required"],
    {
        "variable": {"type": "boolean"},
        "code": TEXT,
        "datatype": {"enum": ["string", "number", "datetime", "text", "singlevaluelist", "multivaluelist"]},
        "required": {"type": "boolean"},
        "datatype_description": _maybe(TEXT),
        "order": _maybe({"type": "integer"}),
        "description": _maybe(TEXT),
        "values": {"type": "array", "items": _object(["key", "name"], {"key": TEXT, "name": TEXT})},
    },
)
DEFINITION = _object(
    ["service_code", "attributes"], {"service_code": TEXT, "attributes": {"type": "array", "items": ATTRIBUTE}}
)
RECEIPT = _object(
    [],
    {"service_request_id": TEXT, "token": TEXT, "service_notice": _maybe(TEXT), "account_id": _maybe(TEXT)},
)
TOKEN = _object(["service_request_id", "token"], {"service_request_id": TEXT, "token": TEXT})
UPDATE = _object(
    ["update_id", "service_request_id", "status", "updated_datetime", "description"],
    {
        "update_id": TEXT,
        "service_request_id": TEXT,
        "status": {"enum": ["open", "closed"]},
        "updated_datetime": MOMENT,
        "description": TEXT,
    },
)
ERROR = _object(["code", "description"], {"code": {"type": "integer"}, "description": TEXT})
ENDPOINT = _object(
    ["specification", "url", "changeset", "type", "formats"],
    {
        "specification": {"type": "string", "format": "uri"},
        "url": {"type": "string", "format": "uri"},
        "changeset": MOMENT,
        "type": {"enum": ["production", "test", "acceptance"]},
        "formats": {"type": "array", "items": {"enum": ["text/xml", "application/json"]}, "minItems": 1},
    },
)
DISCOVERY = _object(
    ["changeset", "contact", "key_service", "endpoints"],
    {
        "changeset": MOMENT,
        "contact": _maybe(TEXT),
        "key_service": _maybe(TEXT),
        "endpoints": {"type": "array", "items": ENDPOINT, "minItems": 1},
    },
)

#: Name of a document -> its schema.
SCHEMAS: dict[str, dict[str, Any]] = {
    "requests": _many(REQUEST),
    "services": _many(SERVICE),
    "definition": DEFINITION,
    "receipt": _many(RECEIPT) | {"minItems": 1, "maxItems": 1},
    "token": _many(TOKEN) | {"minItems": 1, "maxItems": 1},
    "updates": _many(UPDATE),
    "errors": _many(ERROR) | {"minItems": 1},
    "discovery": DISCOVERY,
}
