"""Around every request of the intake: an id, a bound in time, problems for errors, metrics, one log line.

A log line holds the route's pattern, never the address as it was typed, and nothing of a body.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import hdrs, web
from structlog.contextvars import bound_contextvars

from node.local.http_problems import KIND, answer_to
from node.local.http_requests import TOKEN_NAME
from node.local.metrics import LocalMetrics
from node.local.ports import LocalStore
from node.local.tokens import check_bearer
from node.logs import wordless_logger
from node.ports import Clock, Randomness

#: Patterns of the routes that ask for no bearer token: public ones, and those of channels that ask in their own way.
OPEN_ROUTES: Final = web.AppKey("open_routes", set[str])
#: Patterns of the routes that /openapi.json does not describe, and the paper that does.
PAPERS: Final = web.AppKey("papers", dict[str, str])
REQUEST_TIMEOUT_S: Final = 60.0  # a disk that hangs must not hold a connection for ever
NO_ROUTE: Final = "none"
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "simpul",
}


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger("simpul.intake")


server_log: Final = wordless_logger("simpul.intake.http", "intake.http")


def observing(
    metrics: LocalMetrics, clock: Clock, randomness: Randomness, patient: frozenset[str] = frozenset()
) -> Any:
    """The outermost: whatever happens inside leaves as an answer with the headers above.

    `patient` are routes whose handlers bound their time themselves.
    """

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        started_s = clock.monotonic_s()
        request_id = randomness.bytes(8).hex()
        with bound_contextvars(request_id=request_id):
            limit_s = None if _route_of(request) in patient else REQUEST_TIMEOUT_S
            response = await _answer(request, handler, limit_s)
            seconds = clock.monotonic_s() - started_s
            method = request.method if request.method in hdrs.METH_ALL else "other"
            route = _route_of(request)
            metrics.requests.labels(method, route, str(response.status)).inc()
            metrics.seconds.labels(route).observe(seconds)
            _log_answer(request, method, route, response, seconds)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)  # a file brings a stricter policy of its own
        response.headers["X-Request-Id"] = request_id
        return response

    return observe


def authorising(store: LocalStore) -> Any:
    """Before a body is read: a living token, except on the OPEN_ROUTES and where there is no route at all."""

    @web.middleware
    async def authorise(request: web.Request, handler: Handler) -> web.StreamResponse:
        route = _route_of(request)
        if route not in request.app[OPEN_ROUTES] and route != NO_ROUTE:
            token = await check_bearer(store, request.headers.getall("Authorization", []))
            request[TOKEN_NAME] = token.name
        return await handler(request)

    return authorise


async def _answer(request: web.Request, handler: Handler, limit_s: float | None) -> web.StreamResponse:
    try:
        async with asyncio.timeout(limit_s):
            return await handler(request)
    except Exception as error:  # noqa: BLE001 - the last door: whatever it is becomes a problem without its words
        return answer_to(error, request.app[PAPERS].get(_route_of(request)))


def _route_of(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return NO_ROUTE if resource is None else resource.canonical


def _log_answer(request: web.Request, method: str, route: str, response: web.StreamResponse, seconds: float) -> None:
    facts: dict[str, object] = {"method": method, "route": route, "status": response.status, "ms": round(seconds * 1e3)}
    if TOKEN_NAME in request:
        facts["client"] = request[TOKEN_NAME]
    if KIND in response:
        facts["problem"] = response[KIND]
    is_quiet = method in ("GET", "HEAD") and response.status < 400
    (log.debug if is_quiet else log.info)("intake.request", **facts)
