"""The intake's REST API (issue part D): a handler reads, calls one function, maps the outcome.

Everything under /v1 needs a token. Everything that changes something needs an Idempotency-Key and may be repeated with
it for ever. The document at /openapi.json is made from the same types that read the requests.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from node.local.api_answers import detail_of, summary_of
from node.local.api_types import (
    ANY_CHANGE_REQUEST,
    LIST_MAX,
    ChangeRequest,
    ComplaintPage,
    Health,
    NewComplaint,
    default_role,
    done_and_said,
)
from node.local.http_problems import BODY_MAX_BYTES, KEY_MISSING, problems
from node.local.metrics import METRICS_CONTENT_TYPE, LocalMetrics
from node.local.openapi import openapi_document
from node.local.ports import LocalStore
from node.local.recording import Command, Outcome, RequestKey
from node.local.service import LocalService
from node.local.status import node_status
from node.local.tokens import check_bearer
from node.ports import Clock
from node.store.local_records import ComplaintFilter, HeldComplaint, complaint_key
from sync_protocol.complaint import State
from sync_protocol.errors import Refused, malformed
from sync_protocol.strict_json import parse_object
from sync_protocol.values import ComplaintId, format_timestamp, parse_source_id, parse_tracking

KEY_MAX_CHARACTERS: Final = 255
PAGE_DEFAULT: Final = 50
_TOKEN_NAME: Final = web.RequestKey("token_name", str)

T = TypeVar("T")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Intake:
    """The handlers and what they stand on."""

    service: LocalService
    store: LocalStore
    clock: Clock
    metrics: LocalMetrics
    document: bytes

    async def create(self, request: web.Request) -> web.Response:
        """`POST /v1/complaints`."""
        body = await request.read()
        new = _read(body, NewComplaint)
        command = _received(new, self.clock.now_ms(), _request_key(request, body))
        outcome = await self.service.record(command)
        location = f"/v1/complaints/{outcome.recorded.complaint}"
        return _recorded(outcome, headers={"Location": location})

    async def change(self, request: web.Request) -> web.Response:
        """`POST /v1/complaints/{complaint}/changes`."""
        body = await request.read()
        wanted: ChangeRequest = _read(body, ANY_CHANGE_REQUEST)
        change_type, data, content = done_and_said(wanted)
        actor = wanted.actor
        command = Command(
            type=change_type,
            data=data,
            content=content,
            complaint=ComplaintId.parse(request.match_info["complaint"]),
            role=default_role(change_type) if actor is None else actor.role,
            unit=None if actor is None else actor.unit,
            expected_rev=wanted.expected_rev,
            request=_request_key(request, body),
        )
        return _recorded(await self.service.record(command))

    async def list(self, request: web.Request) -> web.Response:
        """`GET /v1/complaints`."""
        wanted = _filter(request)
        found = await self.store.complaints(wanted)
        more = _cursor(found[-1].no) if len(found) == wanted.limit else None
        return _json(ComplaintPage(items=[summary_of(one) for one in found], next=more))

    async def detail(self, request: web.Request) -> web.Response:
        """`GET /v1/complaints/{complaint}`: by id or tracking number."""
        held = await self._find(request.match_info["complaint"])
        return _json(detail_of(held, await self.store.complaint_changes(held.no)))

    async def health(self, _request: web.Request) -> web.Response:
        """`GET /healthz`."""
        await self.store.identity()
        return _json(Health(status="ok"))

    async def show_metrics(self, _request: web.Request) -> web.Response:
        """`GET /metrics`."""
        text = self.metrics.render(await node_status(self.store, self.clock))
        return web.Response(body=text, headers={"Content-Type": METRICS_CONTENT_TYPE})

    async def openapi(self, _request: web.Request) -> web.Response:
        """`GET /openapi.json`."""
        return web.Response(body=self.document, content_type="application/json")

    async def _find(self, name: str) -> HeldComplaint:
        if ":" in name:
            held = await self.store.complaint(complaint_key(ComplaintId.parse(name)))
        else:
            found = await self.store.complaints(ComplaintFilter(tracking=parse_tracking(name), limit=1))
            held = found[0] if found else None
        if held is None:
            raise Refused("not-found", "this node holds no such complaint")
        return held


def build_app(
    service: LocalService, store: LocalStore, clock: Clock, *, metrics: LocalMetrics | None = None
) -> web.Application:
    """The aiohttp application; the caller runs it and keeps `service` open around it."""
    counted = metrics or LocalMetrics()
    intake = Intake(service, store, clock, counted, msgspec.json.encode(openapi_document()))
    app = web.Application(
        middlewares=[_counting(counted, clock), problems, _authorising(store)], client_max_size=BODY_MAX_BYTES
    )
    app.router.add_post("/v1/complaints", intake.create)
    app.router.add_get("/v1/complaints", intake.list)
    app.router.add_get("/v1/complaints/{complaint}", intake.detail)
    app.router.add_post("/v1/complaints/{complaint}/changes", intake.change)
    app.router.add_get("/openapi.json", intake.openapi)
    app.router.add_get("/healthz", intake.health)
    app.router.add_get("/metrics", intake.show_metrics)
    return app


def _counting(metrics: LocalMetrics, clock: Clock) -> Any:
    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        started_s = clock.monotonic_s()
        response = await handler(request)
        resource = request.match_info.route.resource
        route = "unknown" if resource is None else resource.canonical
        metrics.requests.labels(request.method, route, str(response.status)).inc()
        metrics.seconds.labels(route).observe(clock.monotonic_s() - started_s)
        return response

    return count


def _authorising(store: LocalStore) -> Any:
    @web.middleware
    async def authorise(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/v1/"):
            token = await check_bearer(store, request.headers.get("Authorization"))
            request[_TOKEN_NAME] = token.name
        return await handler(request)

    return authorise


def _read(body: bytes, kind: Any) -> Any:
    """A body as one of the request types. Raises Refused(malformed), naming the member."""
    fields = parse_object(body, where="body")
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `")
        where = path.rstrip("`").removeprefix("$").removeprefix(".") or "body"
        raise malformed(detail, where) from None


def _received(new: NewComplaint, now_ms: int, request: RequestKey) -> Command:
    said = {name: getattr(new, name) for name in ("title", "text", "place", "occurred_at", "reporter")}
    done = {
        "channel": new.channel,
        "visibility": new.visibility,
        "class": new.class_,
        "category": new.category,
        "area": new.area,
        "received_at": new.received_at or format_timestamp(now_ms),
        "source": None if new.source is None else {"id": new.source.id, "system": new.source.system},
    }
    return Command(
        type="received",
        data={name: value for name, value in done.items() if value is not None},
        content={name: value for name, value in said.items() if value is not None},
        role="reporter" if new.actor is None else new.actor.role,
        unit=None if new.actor is None else new.actor.unit,
        once_for=None if new.source is None else (new.source.system, new.source.id),
        request=request,
    )


def _request_key(request: web.Request, body: bytes) -> RequestKey:
    """Raises Refused(idempotency-key-missing, malformed)."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        raise Refused(KEY_MISSING, "without it, a request whose answer was lost could not be repeated")
    if not 1 <= len(key) <= KEY_MAX_CHARACTERS or not key.isprintable():
        raise malformed("wants 1 to 255 printable characters", "Idempotency-Key")
    who = sha256(f"{request[_TOKEN_NAME]}\n{key}".encode("utf-8", "surrogateescape")).digest()
    what = sha256(f"{request.method} {request.path}\n".encode() + body).digest()
    return RequestKey(who, what)


def _filter(request: web.Request) -> ComplaintFilter:
    """Raises Refused(malformed) for a parameter that is not known or not of its form."""
    query = request.query
    unknown = set(query).difference(("state", "unit", "source", "source_system", "tracking", "after", "limit"))
    if unknown:
        raise malformed("not a parameter of this call", min(unknown))
    return ComplaintFilter(
        states=[_state(name) for name in query.getall("state", [])],
        unit=query.get("unit"),
        source_system=query.get("source_system"),
        source_id=parse_source_id(query["source"], "source") if "source" in query else None,
        tracking=parse_tracking(query["tracking"]) if "tracking" in query else None,
        before_no=_before(query["after"]) if "after" in query else None,
        limit=_limit(query.get("limit", str(PAGE_DEFAULT))),
    )


def _state(name: str) -> State:
    try:
        return State[name.upper()]
    except KeyError:
        raise malformed("not a state of a complaint", "state") from None


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= LIST_MAX:
        raise malformed(f"wants a number from 1 to {LIST_MAX}", "limit")
    return int(text)


def _cursor(number: int) -> str:
    return urlsafe_b64encode(number.to_bytes(8, "big")).decode("ascii").rstrip("=")


def _before(cursor: str) -> int:
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=")
    except ValueError:
        raise malformed("not a cursor that this node gave", "after") from None
    if len(raw) != 8:
        raise malformed("not a cursor that this node gave", "after")
    return int.from_bytes(raw, "big") & (2**63 - 1)


def _recorded(outcome: Outcome, *, headers: dict[str, str] | None = None) -> web.Response:
    response = _json(outcome.recorded, status=201)
    response.headers.update(headers or {})
    if outcome.is_repeat:
        response.headers["Idempotency-Replayed"] = "true"
    return response


def _json(body: msgspec.Struct, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
