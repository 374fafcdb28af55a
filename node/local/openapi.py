"""The OpenAPI 3.1 document of the intake, made from the types that read the requests and write the answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, get_args

import msgspec

from node.deadlines.slot import DUE_WORDS
from node.local.api_commands import OF_OTHERS
from node.local.api_types import (
    ANY_CHANGE_REQUEST,
    CHANGE_REQUESTS,
    LIST_MAX,
    ComplaintDetail,
    ComplaintPage,
    Health,
    NewComplaint,
    ProblemBody,
)
from node.local.escalation_types import EscalationPage
from node.local.http_escalations import ESCALATIONS_ROUTE, escalations_operation
from node.local.http_files import UploadState
from node.local.http_problems import LOCAL_PROBLEMS
from node.local.http_requests import KEY_MAX_CHARACTERS, PAGE_DEFAULT, WHERE
from node.local.http_tracking import TRACKING_ROUTE
from node.local.metrics import METRICS_CONTENT_TYPE
from node.local.openapi_files import file_paths
from node.local.openapi_patterns import add_patterns
from node.local.recording import Recorded
from node.local.status import NodeStatus
from node.local.suggestions import Suggestions
from node.tracked import Tracked
from sync_protocol.change_types import Actor, Source, StateLabel
from sync_protocol.problems import PROBLEM_MEDIA_TYPE, PROBLEM_PREFIX

API_VERSION: Final = "1.0.0"
_REF: Final = "#/components/schemas/{name}"
_TEXT: Final = {"type": "string"}
_COMPLAINT: Final = {
    "name": "complaint",
    "in": "path",
    "required": True,
    "schema": _TEXT,
    "description": "`<agency>:<uuid>`, or the tracking number; in a tracking number case and hyphens do not count.",
}
_IDEMPOTENCY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_MAX_CHARACTERS, "pattern": "^[ -~]+$"},
    "description": "Make one for each new request (a UUID, or the channel's own message id) and send it again with "
    "every repeat: the same key with the same body gets the same answer, for ever, and is recorded once; with another "
    "body it is refused. Without it a repeat is a second complaint or change. What was refused is not remembered.",
}
_REPLAYED: Final = {
    "description": "true: nothing was recorded now, this is the answer that was given before",
    "schema": {"enum": ["true"]},
}
_NEW_EXAMPLE: Final = {
    "channel": "whatsapp",
    "title": "Lampu jalan padam",
    "text": "Lampu jalan di depan pasar sudah tiga malam padam.",
    "place": "Depan Pasar Grogolan",
    "category": "penerangan-jalan",
    "visibility": "anonymous",
}
_CHANGE_EXAMPLES: Final = {
    "verified": {"value": {"type": "verified", "class": "complaint_ordinary", "rev": 1}},
    "assigned": {"value": {"type": "assigned", "unit": "dinas-perhubungan", "note": "Mohon ditindaklanjuti."}},
    "answered": {"value": {"type": "answered", "text": "Lampu sudah diganti."}},
    "closed": {"value": {"type": "closed", "by": "officer", "reason": "solved"}},
}


def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1, as plain JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Simpul local node: intake",
            "version": API_VERSION,
            "description": "Complaints of one agency: taken in, worked on, and sent to the national hub by itself. "
            "A request is recorded durably before it is answered. Codes go where everybody may see them; "
            "what citizens say and who they are belongs into the members for words, nowhere else.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": {
            "/v1/complaints": {"get": _list(), "post": _create()},
            "/v1/complaints/{complaint}": {"get": _read()},
            "/v1/complaints/{complaint}/suggestions": {"get": _suggest()},
            "/v1/complaints/{complaint}/changes": {"post": _change()},
            **file_paths(_problem),
            ESCALATIONS_ROUTE: {"get": escalations_operation(_answers)},
            "/v1/status": {"get": _status()},
            TRACKING_ROUTE: {"get": _track()},
            "/healthz": {"get": _health()},
            "/metrics": {"get": _public("metrics", "Figures for Prometheus", METRICS_CONTENT_TYPE, _TEXT, 500, 503)},
            "/openapi.json": {"get": _public("openapi", "This document", "application/json", {"type": "object"})},
        },
        "components": {"schemas": _schemas(), "securitySchemes": {"token": _token()}},
    }


def _schemas() -> dict[str, Any]:
    kinds = [
        NewComplaint,
        ANY_CHANGE_REQUEST,
        Recorded,
        ComplaintPage,
        ComplaintDetail,
        NodeStatus,
        Health,
        UploadState,
        Tracked,
        Suggestions,
        EscalationPage,
    ]
    schemas, components = msgspec.json.schema_components([*kinds, ProblemBody], ref_template=_REF)
    components["ChangeRequest"] = schemas[1]
    bodies: list[type[msgspec.Struct]] = [NewComplaint, Actor, Source, *CHANGE_REQUESTS.values()]
    for body in bodies:
        add_patterns(components[body.__name__], body)
    kinds_of_problems = sorted(PROBLEM_PREFIX + kind for kind in LOCAL_PROBLEMS)
    components["ProblemBody"]["properties"]["type"]["enum"] = kinds_of_problems
    return components


def _token() -> dict[str, str]:
    made = "Made with `simpul node token create DIR NAME`, shown once; ended with `simpul node token revoke`."
    return {"type": "http", "scheme": "bearer", "description": made}


def _create() -> dict[str, Any]:
    answers = _answers(201, "Recorded durably", "Recorded", 401, 408, 413, 415, 422, 500, 503)
    answers["201"]["headers"] = {
        "Location": {"description": "where the complaint is", "schema": {"type": "string"}},
        "Idempotency-Replayed": _REPLAYED,
    }
    return {
        "operationId": "createComplaint",
        "summary": "Take in a complaint",
        "description": "With a `source` that this node knows already, that complaint is the answer.",
        "parameters": [_IDEMPOTENCY],
        "requestBody": _body("NewComplaint", {"example": _NEW_EXAMPLE}),
        "responses": answers,
    }


def _change() -> dict[str, Any]:
    answers = _answers(201, "Recorded durably", "Recorded", 401, 404, 408, 409, 413, 415, 422, 500, 503)
    answers["201"]["headers"] = {"Idempotency-Replayed": _REPLAYED}
    return {
        "operationId": "changeComplaint",
        "summary": "Record a change to a complaint",
        "description": "Which change is possible in which state: docs/lifecycle.md. With `rev` it is refused if "
        "somebody else changed the complaint since that rev was read. "
        f"{', '.join(f'`{name}`' for name in sorted(OF_OTHERS))} depend on other agencies, too: the log's order "
        "decides, and what lost a race is shown with its verdict in the complaint's history.",
        "parameters": [_COMPLAINT, _IDEMPOTENCY],
        "requestBody": _body("ChangeRequest", {"examples": _CHANGE_EXAMPLES}),
        "responses": answers,
    }


def _list() -> dict[str, Any]:
    states = {"type": "array", "items": {"enum": list(get_args(StateLabel))}}
    limit = {"type": "integer", "minimum": 1, "maximum": LIST_MAX, "default": PAGE_DEFAULT}
    return {
        "operationId": "listComplaints",
        "summary": "Complaints, newest first, or what is due",
        "description": "What comes in while one turns the pages stands before the first page and moves none of them.",
        "parameters": [
            _query("state", states, "any of these; may be given several times"),
            _query("where", {"enum": [*WHERE], "default": WHERE[0]}, "owned by this agency, offered to it, or neither"),
            _query("unit", _TEXT, "the unit that has it"),
            _query("source_system", _TEXT, "another system; with source_id"),
            _query("source_id", _TEXT, "the number there, exact"),
            _query("tracking", _TEXT, "tracking number; case, blanks and hyphens do not count"),
            _query("due", {"enum": list(DUE_WORDS)}, "what is overdue, or due within two days: the earliest first"),
            _query("after", _TEXT, "`next` of the page before"),
            _query("limit", limit, "complaints on a page"),
        ],
        "responses": _answers(200, "A page", "ComplaintPage", 401, 422, 500, 503),
    }


def _read() -> dict[str, Any]:
    return {
        "operationId": "readComplaint",
        "summary": "A complaint with its history",
        "parameters": [_COMPLAINT],
        "responses": _answers(200, "The complaint", "ComplaintDetail", 401, 404, 500, 503),
    }


def _status() -> dict[str, Any]:
    return {
        "operationId": "status",
        "summary": "How far this node and the hub have come, and what is in the way",
        "responses": _answers(200, "The status", "NodeStatus", 401, 500, 503),
    }


def _health() -> dict[str, Any]:
    summary = "Whether a receipt of the hub is fresh; no token, no detail"
    return {
        "operationId": "health",
        "summary": summary,
        "security": [],
        "responses": _answers(200, "The newest receipt is fresh", "Health", 500, 503),
    }


def _public(operation: str, summary: str, media_type: str, schema: dict[str, Any], *problems: int) -> dict[str, Any]:
    """A call that needs no token."""
    answer = {"description": summary, "content": {media_type: {"schema": schema}}}
    return {
        "operationId": operation,
        "summary": summary,
        "security": [],
        "responses": {"200": answer} | {str(status): _problem(status) for status in problems},
    }


def _suggest() -> dict[str, Any]:
    return {
        "operationId": "suggestAgencies",
        "summary": "Where a complaint may belong",
        "description": "By explicit rules with a version, each with its reason. Nothing is offered because of it.",
        "parameters": [_COMPLAINT],
        "responses": _answers(200, "Agencies, in the order of the rules", "Suggestions", 401, 404, 500, 503),
    }


def _track() -> dict[str, Any]:
    number = {"name": "number", "in": "path", "required": True, "schema": _TEXT, "description": "as a person types it"}
    call = _public(
        "track", "A complaint, for whoever has its tracking number", "application/json", _ref("Tracked"), 503
    )
    return call | {"parameters": [number], "responses": call["responses"] | {"404": _problem(404)}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=name)}


def _body(name: str, examples: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": _ref(name)} | examples}}


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _answers(status: int, description: str, name: str, *problems: int) -> dict[str, Any]:
    good = {"description": description, "content": {"application/json": {"schema": _ref(name)}}}
    return {str(status): good} | {str(code): _problem(code) for code in problems}


def _problem(status: int) -> dict[str, Any]:
    return {
        "description": _titles(row.title for row in LOCAL_PROBLEMS.values() if row.status == status),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": _ref("ProblemBody")}},
    }


def _titles(titles: Iterable[str]) -> str:
    return " · ".join(sorted(titles))
