"""The hub's API as an OpenAPI 3.1 document; the schemas are made from the very types that are read and written."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec

from node.deadlines.overdue import OverduePage
from node.deadlines.slot import DUE_WORDS
from node.hub.complaint_lists import LIST_STATES
from node.hub.health import HubHealth
from node.hub.http_deadlines import DeadlineFigures
from node.hub.http_inbox import WAIT_MAX_S
from node.hub.http_queries import AGENCIES_DEFAULT, AGENCIES_MAX, PAGE_DEFAULT, PAGE_MAX
from node.tracked import Tracked
from sync_protocol.change_types import CLASSES
from sync_protocol.evidence import EvidenceFile
from sync_protocol.figures import FIGURES, UNCLASSIFIED
from sync_protocol.problems import PROBLEM_MEDIA_TYPE, PROBLEMS
from sync_protocol.set_pages import SET_PAGE_MEDIA_TYPE
from sync_protocol.wire import (
    CHANGE_SET_MEDIA_TYPE,
    PROTOCOL_VERSION,
    AgencyLine,
    ComplaintPage,
    ConsistencyAnswer,
    EnrolmentRequest,
    Entered,
    FileArrival,
    HeadAnswer,
    HubDescription,
    InboxPage,
    KeySet,
    RecoveryAnswer,
    RecoveryRequest,
    SilentAgencies,
    StatementLine,
    StatementRequest,
    Totals,
    VerdictPage,
)

_JSON: Final = "application/json"
_TEXT: Final = "text/plain"
_BYTES: Final = "application/octet-stream"
_OPEN: Final[tuple[str, ...]] = ()
_READERS: Final = ("agency", "auditor")

# name -> (in, required, schema)
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "agency": {"in": "path", "schema": {"type": "string", "maxLength": 64}},
    "seq": {"in": "path", "schema": {"type": "integer", "minimum": 1}},
    "complaint": {"in": "path", "schema": {"type": "string"}},
    "number": {"in": "path", "schema": {"type": "string", "maxLength": 64}},
    "path": {"in": "path", "schema": {"type": "string"}},
    "file": {"in": "path", "description": "SHA-256, base64url", "schema": {"type": "string", "maxLength": 43}},
    "of_seq": {"name": "seq", "in": "query", "schema": {"type": "integer", "minimum": 1}},
    "content_range": {
        "name": "Content-Range",
        "in": "header",
        "description": "bytes first-last/length of the body; bytes */length, without a body, asks for the offset",
        "schema": {"type": "string", "maxLength": 64},
    },
    "from": {"in": "query", "schema": {"type": "integer", "minimum": 0}},
    "from_seq": {"name": "from", "in": "query", "required": True, "schema": {"type": "integer", "minimum": 1}},
    "to": {"in": "query", "schema": {"type": "integer", "minimum": 0}},
    "list_state": {"name": "state", "in": "query", "schema": {"enum": [*LIST_STATES], "default": "open"}},
    "due": {"in": "query", "schema": {"enum": [*DUE_WORDS]}},
    "after": {"in": "query", "schema": {"type": "string", "minLength": 18, "maxLength": 18}},
    "place_after": {"name": "after", "in": "query", "schema": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+$"}},
    "wait": {"in": "query", "schema": {"type": "integer", "minimum": 0, "maximum": WAIT_MAX_S, "default": 0}},
    "limit": {
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT},
    },
    "figure": {"in": "query", "schema": {"enum": [*FIGURES]}},
    "query_agency": {"name": "agency", "in": "query", "schema": {"type": "string", "maxLength": 64}},
    "state": {"in": "query", "schema": {"enum": [label for label in LIST_STATES if label not in ("open", "all")]}},
    "agency_after": {"name": "after", "in": "query", "schema": {"type": "string", "maxLength": 64}},
    "agency_limit": {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": AGENCIES_MAX, "default": AGENCIES_DEFAULT},
    },
    "class": {"in": "query", "schema": {"enum": [*CLASSES, UNCLASSIFIED]}},
    "by": {"in": "query", "description": "agency, state, class, joined by commas", "schema": {"type": "string"}},
    "longer_than_s": {"in": "query", "schema": {"type": "integer", "minimum": 0}},
}


@dataclass(frozen=True)
class _Call:
    method: str
    path: str
    summary: str
    answer: Any
    media: str = _JSON
    who: tuple[str, ...] = _OPEN
    body: Any = None
    body_media: str = _JSON
    query: tuple[str, ...] = ()
    enters: bool = False
    gathers: bool = False
    comes_in_pieces: bool = False


_CALLS: Final = (
    _Call("get", "/checkpoint", "The newest checkpoint, a C2SP signed note.", None, media=_TEXT),
    _Call("get", "/tile/{path}", "A C2SP hash tile or entry bundle.", None, media=_BYTES),
    _Call("get", "/healthz", "Whether sets are taken in, published and folded.", HubHealth),
    _Call("get", "/metrics", "Figures for Prometheus.", None, media=_TEXT),
    _Call("get", "/openapi.json", "This document.", dict[str, Any]),
    _Call("get", "/v1/hub", "Who this hub is.", HubDescription),
    _Call("get", "/v1/consistency", "That the log only grew.", ConsistencyAnswer, query=("from", "to")),
    _Call("get", "/v1/agencies", "All agencies and their heads.", list[AgencyLine]),
    _Call("post", "/v1/enrolments", "Enrol with a one-time token.", Entered, body=EnrolmentRequest, enters=True),
    _Call("post", "/v1/statements", "A rotation or revocation.", Entered, body=StatementRequest, enters=True),
    _Call("post", "/v1/recovery", "What a restored hub lost.", RecoveryAnswer, who=("agency",), body=RecoveryRequest),
    _Call(
        "put",
        "/v1/agencies/{agency}/change-sets/{seq}",
        "Push a change set; it is its own authority.",
        Entered,
        body=bytes,
        body_media=CHANGE_SET_MEDIA_TYPE,
        query=("from",),
        enters=True,
        gathers=True,
    ),
    _Call("get", "/v1/agencies/{agency}/head", "The newest accepted set.", HeadAnswer, who=_READERS),
    _Call(
        "get",
        "/v1/agencies/{agency}/change-sets",
        "Change sets from a seq on, each with its receipt.",
        None,
        media=SET_PAGE_MEDIA_TYPE,
        who=_READERS,
        query=("from_seq",),
    ),
    _Call(
        "get",
        "/v1/agencies/{agency}/change-sets/{seq}",
        "A change set.",
        None,
        media=CHANGE_SET_MEDIA_TYPE,
        who=_READERS,
    ),
    _Call(
        "get",
        "/v1/agencies/{agency}/change-sets/{seq}/receipt",
        "Its receipt, a C2SP tlog-proof.",
        None,
        media=_TEXT,
        who=_READERS,
    ),
    _Call("get", "/v1/agencies/{agency}/keys", "Every key it ever had (JWKS).", KeySet),
    _Call("get", "/v1/agencies/{agency}/statements", "What concerns it in the log.", list[StatementLine]),
    _Call(
        "get",
        "/v1/agencies/{agency}/verdicts",
        "What the fold refused.",
        VerdictPage,
        who=_READERS,
        query=("from",),
    ),
    _Call(
        "put",
        "/v1/agencies/{agency}/files/{file}",
        "A piece of a file that an applied change names.",
        FileArrival,
        who=("agency",),
        body=bytes,
        body_media=_BYTES,
        query=("of_seq", "content_range"),
        comes_in_pieces=True,
    ),
    _Call(
        "get",
        "/v1/agencies/{agency}/files/{file}",
        "A file of a complaint that concerns the agency.",
        None,
        media=_BYTES,
        who=_READERS,
    ),
    _Call(
        "get",
        "/v1/agencies/{agency}/inbox",
        "What the agency is told: complaints offered and sent to it, others' changes, refusals of its own.",
        InboxPage,
        who=("agency",),
        query=("place_after", "wait"),
    ),
    _Call("get", "/v1/complaints/{complaint}", "One complaint.", dict[str, Any], who=_READERS),
    _Call(
        "get",
        "/v1/complaints/{complaint}/evidence",
        "All that happened to a complaint, with its proofs.",
        EvidenceFile,
        who=("agency",),
    ),
    _Call(
        "get",
        "/v1/agencies/{agency}/complaints",
        "What it owns, overdue first.",
        ComplaintPage,
        who=_READERS,
        query=("list_state", "due", "after", "limit"),
    ),
    _Call(
        "get",
        "/v1/totals",
        "The figures, or sums of them.",
        Totals,
        who=_READERS,
        query=("figure", "query_agency", "state", "class", "by", "agency_after", "agency_limit"),
    ),
    _Call("get", "/v1/track/{number}", "A complaint, for whoever has its tracking number.", Tracked),
    _Call("get", "/v1/silent", "Who has not been heard of.", SilentAgencies, who=_READERS, query=("longer_than_s",)),
    _Call("get", "/v1/overdue", "What is overdue, of all.", OverduePage, who=_READERS, query=("after", "limit")),
    _Call(
        "get",
        "/v1/deadlines",
        "What was done in time, by agency and duty.",
        DeadlineFigures,
        who=_READERS,
        query=("query_agency", "agency_after", "agency_limit"),
    ),
)


@lru_cache(maxsize=1)
def hub_document() -> dict[str, Any]:
    """The document; the same object each time: do not change it."""
    types = [kind for call in _CALLS for kind in (call.answer, call.body) if kind not in (None, bytes)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, Any] = {}
    for call in _CALLS:
        paths.setdefault(call.path, {})[call.method] = _operation(call, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Simpul hub",
            "version": str(PROTOCOL_VERSION),
            "description": "Takes in signed change sets, proves what it holds. docs/protocol.md is the specification.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {
                "agency": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Signature",
                    "description": "RFC 9421: Ed25519, keyid = kid, tag simpul-1, @method and @target-uri covered.",
                },
                "auditor": {"type": "http", "scheme": "bearer"},
            },
        },
    }


_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457. `type` ends in one of: " + ", ".join(PROBLEMS),
    "required": ["type", "title", "status", "detail", "next"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "next": {"type": "string"},
    },
}


def _operation(call: _Call, by_type: dict[str, Any]) -> dict[str, Any]:
    content = {call.media: {"schema": by_type[repr(call.answer)]}} if call.answer is not None else {call.media: {}}
    problem = {"content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    responses: dict[str, Any] = {"200": {"description": call.summary, "content": content}}
    if call.enters:
        responses["201"] = {"description": "New in the log.", "content": content}
    if call.gathers:
        taken = {_JSON: {"schema": by_type[repr(RecoveryAnswer)]}}
        responses["202"] = {"description": "Taken in by a hub that lost it; no receipt.", "content": taken}
    if call.comes_in_pieces:
        responses["202"] = {"description": "Go on from the offset.", "content": content}
    responses["default"] = {"description": "A problem.", **problem}
    operation: dict[str, Any] = {
        "operationId": _name(call),
        "summary": call.summary,
        "parameters": [_parameter(name) for name in (*_path_names(call.path), *call.query)],
        "security": [{name: []} for name in call.who],
        "responses": responses,
    }
    if call.body is not None:
        schema = {} if call.body is bytes else {"schema": by_type[repr(call.body)]}
        operation["requestBody"] = {"required": True, "content": {call.body_media: schema}}
    return operation


def _parameter(name: str) -> dict[str, Any]:
    parameter = _PARAMETERS[name]
    return {"name": name, "required": parameter["in"] == "path" or name == "to", **parameter}


def _path_names(path: str) -> list[str]:
    return [part.strip("{}") for part in path.split("/") if part.startswith("{")]


def _name(call: _Call) -> str:
    words = [part.strip("{}") for part in call.path.replace(".", "_").split("/") if part not in ("", "v1")]
    return "_".join((call.method, *words)).replace("-", "_")
