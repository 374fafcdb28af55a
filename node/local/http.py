"""The intake's REST API: a handler reads, calls one function, maps the outcome (protocol §2, §9.3).

What changes something may carry an Idempotency-Key and may then be repeated for ever: the same request gets the same
answer, recorded in the same transaction as the change. The document at /openapi.json is made from the types that read
the requests and write the answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from aiohttp import web

from node.local.abroad import Abroad
from node.local.api_answers import detail_of, summary_of
from node.local.api_commands import change_command, explained, received_command
from node.local.api_types import (
    ANY_CHANGE_REQUEST,
    ChangeRequest,
    ComplaintPage,
    Health,
    NewComplaint,
)
from node.local.escalation_book import EscalationBook
from node.local.evidence import check_words, find_complaint
from node.local.files import FILE_MISSING, NodeFiles
from node.local.http_escalations import ESCALATIONS_ROUTE, EscalationRoutes
from node.local.http_files import FILE_ROUTES, add_routes
from node.local.http_middleware import OPEN_ROUTES, PAPERS, authorising, observing, server_log
from node.local.http_problems import BODY_MAX_BYTES, STALE, STORAGE, problem
from node.local.http_requests import convert, format_next, read_fields, read_filter, request_key
from node.local.http_tracking import TRACKING_ROUTE, Tracking
from node.local.metrics import METRICS_CONTENT_TYPE, LocalMetrics
from node.local.openapi import openapi_document
from node.local.ports import LocalStore
from node.local.recording import Command, Outcome
from node.local.service import LocalService
from node.local.shared import history_of
from node.local.status import find_freshness, node_status
from node.local.suggestions import RoutingRules, Suggestions
from node.ports import Clock, Randomness
from sync_protocol.errors import Refused
from sync_protocol.line import readable_content

BODY_TIMEOUT_S: Final = 20.0  # 128 KiB over the slowest mobile line; who needs longer holds a connection for nothing
STALE_AFTER_S: Final = 25 * 3_600  # an idle node's heartbeat is due every 24 hours; an hour to get through
REFUSED_AFTER_S: Final = 15 * 60  # an operator who sets the clock or asks for a key needs less
HEADERS_MAX_BYTES: Final = 8_192  # a token and a key are some hundred bytes
NOT_WRITTEN: Final = "what was to be recorded could not be written"
NOT_WRITTEN_NEXT: Final = (
    "Nothing new is recorded. Make room where this node's directory is, and see that the disk is mounted and can be"
    " written; its log says what failed. What was answered is kept, and intake goes on by itself."
)
PUBLIC: Final = frozenset({"/healthz", "/metrics", "/openapi.json", TRACKING_ROUTE})

#: For web.AppRunner: bodies are not decompressed behind our back, connections say nothing on their own.
RUNNER_OPTIONS: Final[dict[str, Any]] = {
    "auto_decompress": False,
    "access_log": None,
    "logger": server_log,
    "handle_signals": False,
    "max_field_size": HEADERS_MAX_BYTES,
    "max_line_size": HEADERS_MAX_BYTES,
}


@dataclass(frozen=True, slots=True)
class Intake:
    """The handlers and what they stand on."""

    service: LocalService
    store: LocalStore
    clock: Clock
    metrics: LocalMetrics
    document: bytes
    body_timeout_s: float
    stale_after_s: float
    refused_after_s: float
    files: NodeFiles | None
    is_pusher_failing: Callable[[], bool]
    abroad: Abroad
    routing: RoutingRules

    async def create(self, request: web.Request) -> web.Response:
        """`POST /v1/complaints`."""
        fields = await read_fields(request, self.body_timeout_s)
        command = received_command(convert(fields, NewComplaint), self.clock.now_ms())
        keyed = replace(command, request=request_key(request, "create", fields))
        outcome = await self.service.record(keyed)
        return self._recorded(outcome, {"Location": f"/v1/complaints/{outcome.recorded.complaint}"})

    async def change(self, request: web.Request) -> web.Response:
        """`POST /v1/complaints/{complaint}/changes`."""
        fields = await read_fields(request, self.body_timeout_s)
        wanted: ChangeRequest = convert(fields, ANY_CHANGE_REQUEST)
        try:
            await self.abroad.prepare(fields, request.match_info["complaint"])
            held = await find_complaint(self.store, request.match_info["complaint"])
            command = change_command(wanted, held.id)
            keyed = replace(command, request=request_key(request, f"change {held.id}", fields))
            async with self._with_its_file(keyed):
                outcome = await self.service.record(keyed)
        except Refused as refused:
            raise explained(refused, str(fields["type"])) from None
        return self._recorded(outcome, {})

    @asynccontextmanager
    async def _with_its_file(self, command: Command) -> AsyncIterator[None]:
        """An `attached` needs its file here; a repeat of one that was recorded needs it no more."""
        if command.type != "attached" or (command.request and await self.store.answer(command.request.key)):
            yield
        elif self.files is None:
            raise Refused(FILE_MISSING, "this node keeps no files")
        else:
            async with self.files.naming(command.content or {}, command.data):
                yield

    async def list(self, request: web.Request) -> web.Response:
        """`GET /v1/complaints`."""
        now_ms = self.clock.now_ms()
        wanted = read_filter(request, str(self.service.minting.agency), now_ms)
        found = await self.store.complaints(replace(wanted, limit=wanted.limit + 1))
        shown = found[: wanted.limit]
        more = format_next(wanted, shown[-1]) if len(found) > len(shown) else None
        return _json(ComplaintPage(items=[summary_of(one, now_ms) for one in shown], next=more))

    async def detail(self, request: web.Request) -> web.Response:
        """`GET /v1/complaints/{complaint}`: by id or tracking number."""
        held = await find_complaint(self.store, request.match_info["complaint"])
        await check_words(self.store)
        return _json(detail_of(held, await history_of(self.store, held), self.clock.now_ms()))

    async def suggestions(self, request: web.Request) -> web.Response:
        """`GET /v1/complaints/{complaint}/suggestions`: where it may belong, by config/routing.toml."""
        held = await find_complaint(self.store, request.match_info["complaint"])
        history = await history_of(self.store, held)
        said = (readable_content(history[0].content) if history else None) or {}
        texts = [value for name in ("title", "text") if isinstance(value := said.get(name), str)]
        found = self.routing.suggest(held.state, texts, self.service.minting.is_agency)
        return _json(Suggestions(suggestions=found))

    async def status(self, _request: web.Request) -> web.Response:
        """`GET /v1/status`."""
        found = await node_status(self.store, self.clock)
        if self.service.is_failing:
            found = msgspec.structs.replace(found, troubles=[f"{NOT_WRITTEN}. {NOT_WRITTEN_NEXT}", *found.troubles])
        return _json(found)

    async def health(self, _request: web.Request) -> web.Response:
        """`GET /healthz`: health is the age of the last end-to-end receipt, never "the process runs"."""
        found = await find_freshness(
            self.store, self.clock, stale_after_s=self.stale_after_s, refused_after_s=self.refused_after_s
        )
        if self.service.is_failing:
            told = {"last_receipt_age_s": found.last_receipt_age_s, "next": NOT_WRITTEN_NEXT}
            return problem(STORAGE, NOT_WRITTEN, members=told)
        members: dict[str, object] = {"last_receipt_age_s": found.last_receipt_age_s}
        if self.is_pusher_failing():
            found = replace(found, reason="the pusher cannot use this node's disk, database or keys")
            members["next"] = "See the log of this node; it goes on by itself once disk, database and keys can be used."
        if found.reason is None and found.last_receipt_age_s is not None:
            return _json(Health(status="fresh", last_receipt_age_s=found.last_receipt_age_s))
        return problem(STALE, found.reason or "", members=members)

    async def show_metrics(self, _request: web.Request) -> web.Response:
        """`GET /metrics`."""
        text = self.metrics.render(await node_status(self.store, self.clock))
        return web.Response(body=text, headers={"Content-Type": METRICS_CONTENT_TYPE})

    async def openapi(self, _request: web.Request) -> web.Response:
        """`GET /openapi.json`."""
        return web.Response(body=self.document, content_type="application/json")

    def _recorded(self, outcome: Outcome, headers: dict[str, str]) -> web.Response:
        """201 however often it is asked: a repeat cannot be told from the first answer but by one header."""
        response = _json(outcome.recorded, status=201)
        response.headers.update(headers)
        if outcome.is_repeat:
            response.headers["Idempotency-Replayed"] = "true"
        else:
            self.metrics.recorded.labels(outcome.recorded.type).inc()
        return response


def build_app(
    service: LocalService,
    store: LocalStore,
    clock: Clock,
    randomness: Randomness,
    *,
    metrics: LocalMetrics | None = None,
    body_timeout_s: float = BODY_TIMEOUT_S,
    stale_after_s: float = STALE_AFTER_S,
    refused_after_s: float = REFUSED_AFTER_S,
    files: NodeFiles | None = None,
    is_pusher_failing: Callable[[], bool] = lambda: False,
    abroad: Abroad | None = None,
    routing: RoutingRules | None = None,
    escalations: EscalationBook | None = None,
) -> web.Application:
    """The aiohttp application; the caller runs it (RUNNER_OPTIONS) and keeps `service` open around it.

    `abroad` asks the hub before what depends on others is recorded; without it what is known here has to do.
    `routing` are the rules of suggestions; without them none is made. Without `files` nothing can be
    attached. Without `escalations` there is nothing of the desk's.
    """
    counted = metrics or LocalMetrics()
    document = msgspec.json.encode(openapi_document())
    intake = Intake(
        *(service, store, clock, counted, document, body_timeout_s, stale_after_s, refused_after_s),
        files,
        is_pusher_failing,
        abroad or Abroad(),
        routing or RoutingRules(0, ()),
    )
    app = web.Application(
        middlewares=[observing(counted, clock, randomness, FILE_ROUTES), authorising(store)],
        client_max_size=BODY_MAX_BYTES,
    )
    app[OPEN_ROUTES], app[PAPERS] = set(PUBLIC), {}
    app.router.add_post("/v1/complaints", intake.create)
    app.router.add_get("/v1/complaints", intake.list)
    app.router.add_get("/v1/complaints/{complaint}", intake.detail)
    app.router.add_get("/v1/complaints/{complaint}/suggestions", intake.suggestions)
    app.router.add_post("/v1/complaints/{complaint}/changes", intake.change)
    if files is not None:
        add_routes(app, files, store)
    app.router.add_get(TRACKING_ROUTE, Tracking(store, clock, str(service.minting.agency)).show)
    if escalations is not None:
        app.router.add_get(ESCALATIONS_ROUTE, EscalationRoutes(escalations).list)
    app.router.add_get("/v1/status", intake.status)
    app.router.add_get("/healthz", intake.health)
    app.router.add_get("/metrics", intake.show_metrics)
    app.router.add_get("/openapi.json", intake.openapi)
    return app


def _json(body: msgspec.Struct, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")
