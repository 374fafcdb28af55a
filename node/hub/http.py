"""The hub's HTTP application: routes, problems, one log line a decision (protocol §7).

Handlers read, call one function and map the outcome; what is refused becomes a problem here, in one place. A log line
holds the route's pattern and names that the log has anyway, never what was typed into an address or a body.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import hdrs, web

from node.connections import CONNECTIONS, Connections
from node.guessing import Guessing
from node.hub import (
    http_agencies,
    http_deadlines,
    http_files,
    http_inbox,
    http_log,
    http_projection,
    http_queries,
    http_submit,
    http_tracking,
)
from node.hub.admission import Admission, TurnedAway
from node.hub.files import HubFiles
from node.hub.http_auth import Gatekeeper
from node.hub.http_requests import ADMISSION, GATEKEEPER, HUB, PASS, PASSES, expect_later, problem_answer
from node.hub.hub import Hub
from node.hub.metrics import CONTENT_TYPE, Metrics
from node.hub.openapi import hub_document
from node.hub.passes import Passes
from node.logs import places_of, wordless_logger, words_of
from sync_protocol.errors import Corrupt, Refused, Unavailable
from sync_protocol.problems import PROBLEM_MEDIA_TYPE, Recovering
from sync_protocol.statement import Role
from sync_protocol.wire import ADMISSION_HEADER, format_body

METRICS: Final = web.AppKey("metrics", Metrics)
HEADER_MAX_BYTES: Final = 4_096  # of one field: two signature fields and a token have under 2 KiB
HEADERS_MAX: Final = 48  # a node sends ten; proxies add theirs. Both bound what one connection may keep in memory
SEQ_DIGITS_MAX: Final = 9  # more sets than any agency makes, fewer digits than any number of a person
CALLER_GONE: Final = 499  # in the metrics alone, by the number that nginx has for it
_ALLOWED: Final = "Use one of the methods that the header Allow names."
_COMPARE: Final = "Compare the request with /openapi.json."
_LATER: Final = "Send the same request again later; nothing is recorded twice."

LOST_PERHAPS: Final = frozenset({"unknown-agency", "unknown-key", "revoked-key", "bad-token"})
LOG_ROUTES: Final = ("/v1/", "/checkpoint", "/tile/")
RECOVERY_ROUTES: Final = frozenset({"/v1/recovery", "/v1/agencies/{agency}/change-sets/{seq}"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/checkpoint", http_log.get_checkpoint),
    ("GET", "/tile/{path:.+}", http_log.get_tile),
    ("GET", "/healthz", http_log.get_health),
    ("GET", "/v1/hub", http_log.get_hub),
    ("GET", "/v1/consistency", http_log.get_consistency),
    ("GET", "/v1/agencies", http_log.get_agencies),
    ("POST", "/v1/enrolments", http_submit.post_enrolment),
    ("POST", "/v1/statements", http_submit.post_statement),
    ("POST", "/v1/recovery", http_submit.post_recovery),
    ("PUT", "/v1/agencies/{agency}/change-sets/{seq}", http_submit.put_change_set),
    ("GET", "/v1/agencies/{agency}/head", http_agencies.get_head),
    ("GET", "/v1/agencies/{agency}/change-sets", http_agencies.get_change_sets),
    ("GET", "/v1/agencies/{agency}/change-sets/{seq}", http_agencies.get_change_set),
    ("GET", "/v1/agencies/{agency}/change-sets/{seq}/receipt", http_agencies.get_receipt),
    ("GET", "/v1/agencies/{agency}/keys", http_agencies.get_keys),
    ("GET", "/v1/agencies/{agency}/statements", http_agencies.get_statements),
    ("GET", "/v1/agencies/{agency}/verdicts", http_agencies.get_verdicts),
    ("PUT", "/v1/agencies/{agency}/files/{file}", http_files.put_file),
    ("GET", "/v1/agencies/{agency}/files/{file}", http_files.get_file),
    ("GET", "/v1/agencies/{agency}/inbox", http_inbox.get_inbox),
    ("GET", "/v1/complaints/{complaint}", http_projection.get_complaint),
    ("GET", "/v1/complaints/{complaint}/evidence", http_inbox.get_evidence),
    ("GET", "/v1/agencies/{agency}/complaints", http_queries.get_complaints),
    ("GET", "/v1/track/{number}", http_tracking.get_tracked),
    ("GET", "/v1/totals", http_queries.get_totals),
    ("GET", "/v1/silent", http_queries.get_silent),
    ("GET", "/v1/overdue", http_deadlines.get_overdue),
    ("GET", "/v1/deadlines", http_deadlines.get_deadlines),
)

_logger = structlog.get_logger("simpul.hub.http")


def build_app(hub: Hub, files: HubFiles | None = None) -> web.Application:
    """The application of an opened hub; without `files` it keeps none.

    Run it with `RUNNER_OPTIONS`: bodies are decompressed by us, within limits.
    """
    app = web.Application(middlewares=[_answer_problems], client_max_size=1)
    app[HUB] = hub
    if files is not None:
        app[http_files.FILES] = files
    app[http_tracking.GUESSING] = Guessing(hub.clock)
    app[GATEKEEPER] = Gatekeeper(hub.log, hub.clock)
    app[METRICS] = metrics = Metrics(hub)
    app[CONNECTIONS] = connections = Connections(hub.options.connections_max)
    app[ADMISSION] = Admission(hub.options.admission, hub.clock, hub.randomness, metrics.turned_away)
    metrics.watch(app[ADMISSION], connections)
    app[PASSES] = Passes(hub.speaking(Role.LOG), hub.clock)
    for method, path, handler in ROUTES:
        app.router.add_route(method, path, handler, expect_handler=expect_later if method in ("PUT", "POST") else None)
        if method == "GET":
            app.router.add_route("HEAD", path, handler)
    app.on_shutdown.append(http_inbox.end_waiting)
    app.router.add_get("/metrics", _get_metrics)
    app.router.add_get("/openapi.json", _get_openapi)
    return app


RUNNER_OPTIONS: Final[dict[str, Any]] = {
    "auto_decompress": False,
    "access_log": None,
    "handle_signals": False,
    "logger": wordless_logger("simpul.hub.http", "not http"),
    "max_headers": HEADERS_MAX,
    "max_field_size": HEADER_MAX_BYTES,
    "max_line_size": HEADER_MAX_BYTES,
}


@web.middleware
async def _answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error of ours is a problem of §7.3; a defect of the program is a 500 that says nothing."""
    started = time.perf_counter()
    connections, connection = request.app[CONNECTIONS], request.protocol
    connections.begin(connection)
    try:
        return await _answered(request, handler, started)
    finally:
        connections.end(connection)


async def _answered(request: web.Request, handler: Handler, started: float) -> web.StreamResponse:
    try:
        _check_known(request)
        response = await handler(request)
    except (Refused, Unavailable) as error:
        error = _as_known(request, error)
        response = problem_answer(error)
        _close_if_unread(request, response)
        _log_refusal(request, error)
    except web.HTTPException as error:
        response = _other(error.status, error.reason, _ALLOWED if error.status == 405 else _COMPARE)
        response.headers.update({name: value for name, value in error.headers.items() if name == "Allow"})
    except Corrupt as error:
        _logger.critical("corrupt", detail=error.detail, next=error.next_step, **_names(request))
        response = _other(500, "The hub's state contradicts itself; its operator was told.", _LATER)
    except Exception as error:  # noqa: BLE001 - the last door
        response = _failed(request, error)
    if PASS in request:
        response.headers[ADMISSION_HEADER] = request[PASS]
    _count(request, response, time.perf_counter() - started)
    return response


def _failed(request: web.Request, error: Exception) -> web.Response:
    """A defect is told to the operator. A line of the caller's that broke is none: nobody hears the answer."""
    if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
        return _other(CALLER_GONE, "The caller went away.", _LATER)
    _logger.critical("failed", error=words_of(error), at=places_of(error), **_names(request))
    return _other(500, "The hub failed; its operator was told.", _LATER)


def _check_known(request: web.Request) -> None:
    """A hub whose whole log is lost has nothing to show, not even its name. Raises Recovering."""
    hub = request.app[HUB]
    if not hub.log.size and _route(request).startswith(LOG_ROUTES) and _route(request) not in RECOVERY_ROUTES:
        hub.log.check_signing()


def _as_known(request: web.Request, error: Refused | Unavailable) -> Refused | Unavailable:
    """While recovering, what is not known may have been lost (§10.6): no node shall take that for a refusal."""
    log = request.app[HUB].log
    if log.recovering is None or not isinstance(error, Refused) or error.kind not in LOST_PERHAPS:
        return error
    return Recovering(log.recovering, size=log.size, retry_after_s=60)


def _close_if_unread(request: web.Request, response: web.StreamResponse) -> None:
    """What is left of a body that was refused half-way is not read: the connection ends with the answer."""
    if request.can_read_body and not request.content.is_eof():
        response.force_close()


def _log_refusal(request: web.Request, error: Refused | Unavailable) -> None:
    """The kind and the part that is wrong. The detail is for the caller: it may quote the caller."""
    if isinstance(error, TurnedAway):
        return  # the admission tells that it began; the metrics tell how often: a flood must not fill the log as well
    if isinstance(error, Refused):
        _logger.info("refused", kind=error.kind, where=error.where, **_names(request))
    else:
        _logger.info("refused", kind="recovering" if isinstance(error, Recovering) else "busy", **_names(request))


def _names(request: web.Request) -> dict[str, object]:
    """Method and route; agency and seq if they are some: a NIK has the form of both."""
    names: dict[str, object] = {"method": _method(request), "route": _route(request)}
    agency, seq = request.match_info.get("agency", ""), request.match_info.get("seq", "")
    if request.app[HUB].log.roster.agency(agency) is not None:
        names["agency"] = agency
    if seq.isascii() and seq.isdigit() and len(seq) <= SEQ_DIGITS_MAX:
        names["seq"] = int(seq)
    return names


def _method(request: web.Request) -> str:
    return request.method if request.method in hdrs.METH_ALL else "other"


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "none"


def _other(status: int, reason: str, next_step: str) -> web.Response:
    """What is not in §7.3: no such path, no such method, our own failure."""
    if status == 404:
        return problem_answer(Refused("not-found", "there is nothing at this address"))
    body = {"type": "about:blank", "title": reason, "status": status, "detail": reason, "next": next_step}
    return web.Response(body=format_body(body), status=status, content_type=PROBLEM_MEDIA_TYPE)


def _count(request: web.Request, response: web.StreamResponse, seconds: float) -> None:
    route = _route(request)
    if route != "none":
        route = f"{_method(request)} {route}"
    metrics = request.app[METRICS]
    metrics.requests.labels(route, str(response.status)).inc()
    metrics.seconds.labels(route).observe(seconds)


async def _get_metrics(request: web.Request) -> web.Response:
    return web.Response(body=request.app[METRICS].text(), headers={"Content-Type": CONTENT_TYPE})


async def _get_openapi(_request: web.Request) -> web.Response:
    return web.Response(body=format_body(hub_document()), content_type="application/json")
