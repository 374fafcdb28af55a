"""The OpenAPI 3.1 document of the intake, made from the types that read the requests and write the answers."""

from __future__ import annotations

from typing import Any, Final, get_args

import msgspec

from node.local.api_types import (
    ANY_CHANGE_REQUEST,
    LIST_MAX,
    ComplaintDetail,
    ComplaintPage,
    Health,
    NewComplaint,
    ProblemBody,
)
from node.local.recording import Recorded
from sync_protocol.change_types import StateLabel
from sync_protocol.problems import PROBLEM_MEDIA_TYPE

API_VERSION: Final = "1.0.0"
_REF: Final = "#/components/schemas/{name}"
_COMPLAINT: Final = {
    "name": "complaint",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "`<agency>:<uuid>`; reading also takes the tracking number",
}
_IDEMPOTENCY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key with the same body gets the same answer, for ever; with another body it is refused.",
}
_CODES: Final = {
    400: "not readable, or Idempotency-Key is missing",
    401: "no token, or not a living one",
    404: "there is no such complaint",
    409: "not possible in the state that the complaint is in (`verdict`)",
    413: "over a limit",
    422: "not of the form that is asked for (`where`), or the Idempotency-Key was used for another request",
    500: "an error of this program",
    503: "busy, or the database cannot be written; Retry-After",
}


def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1, as plain JSON values."""
    kinds = [NewComplaint, ANY_CHANGE_REQUEST, Recorded, ComplaintPage, ComplaintDetail, Health, ProblemBody]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    components["ChangeRequest"] = schemas[1]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Simpul local node: intake",
            "version": API_VERSION,
            "description": "Complaints of one agency: taken in, worked on, and sent to the national hub by itself.",
        },
        "security": [{"token": []}],
        "paths": {
            "/v1/complaints": {"get": _list(), "post": _create()},
            "/v1/complaints/{complaint}": {"get": _read()},
            "/v1/complaints/{complaint}/changes": {"post": _change()},
            "/openapi.json": {"get": _open("openapi", "This document", "application/json", {"type": "object"})},
            "/healthz": {"get": _open("health", "Whether this node answers", "application/json", _ref("Health"))},
            "/metrics": {"get": _open("metrics", "Figures for Prometheus", "text/plain", {"type": "string"})},
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _create() -> dict[str, Any]:
    return {
        "operationId": "createComplaint",
        "summary": "Take in a complaint",
        "description": "With a `source` that this node knows already, that complaint is the answer.",
        "parameters": [_IDEMPOTENCY],
        "requestBody": _body("NewComplaint"),
        "responses": _answers(201, "Recorded durably", "Recorded", 400, 401, 409, 413, 422, 500, 503),
    }


def _change() -> dict[str, Any]:
    return {
        "operationId": "changeComplaint",
        "summary": "Record a change to a complaint",
        "parameters": [_COMPLAINT, _IDEMPOTENCY],
        "requestBody": _body("ChangeRequest"),
        "responses": _answers(201, "Recorded durably", "Recorded", 400, 401, 404, 409, 413, 422, 500, 503),
    }


def _list() -> dict[str, Any]:
    text = {"type": "string"}
    parameters = [
        _query("state", {"type": "array", "items": {"enum": list(get_args(StateLabel))}}, "any of these"),
        _query("unit", text, "the unit that has it"),
        _query("source", text, "number in another system, exact"),
        _query("source_system", text, "the other system"),
        _query("tracking", text, "tracking number; case, blanks and hyphens do not count"),
        _query("after", text, "`next` of the page before"),
        _query("limit", {"type": "integer", "minimum": 1, "maximum": LIST_MAX}, "complaints on a page"),
    ]
    return {
        "operationId": "listComplaints",
        "summary": "Complaints, newest first",
        "parameters": parameters,
        "responses": _answers(200, "A page", "ComplaintPage", 401, 422, 500, 503),
    }


def _read() -> dict[str, Any]:
    return {
        "operationId": "readComplaint",
        "summary": "A complaint with its history",
        "parameters": [_COMPLAINT],
        "responses": _answers(200, "The complaint", "ComplaintDetail", 401, 404, 422, 500, 503),
    }


def _open(operation: str, summary: str, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    """A call that needs no token."""
    answer = {"description": summary, "content": {media_type: {"schema": schema}}}
    return {
        "operationId": operation,
        "summary": summary,
        "security": [],
        "responses": {"200": answer, "default": _problem("anything else")},
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}


def _body(name: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": _ref(name)}}}


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {PROBLEM_MEDIA_TYPE: {"schema": _ref("ProblemBody")}}}


def _answers(status: int, description: str, name: str, *problems: int) -> dict[str, Any]:
    good = {"description": description, "content": {"application/json": {"schema": _ref(name)}}}
    return {str(status): good, **{str(code): _problem(_CODES[code]) for code in problems}}
