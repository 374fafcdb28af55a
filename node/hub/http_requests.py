"""Reading requests within limits, and answering (protocol §7). Everything here is about bytes on a connection."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web

from node.hub.http_auth import Gatekeeper, Reader, RequestHead, check_agency
from node.hub.hub import Hub
from sync_protocol.errors import Refused, Unavailable, malformed, too_large
from sync_protocol.limits import LINE_SLOWEST_BYTES_S
from sync_protocol.problems import PROBLEM_MEDIA_TYPE, problem_body
from sync_protocol.values import AgencyId, parse_integer
from sync_protocol.wire import format_body

HUB: Final = web.AppKey("hub", Hub)
GATEKEEPER: Final = web.AppKey("gatekeeper", Gatekeeper)
ADMISSION: Final = web.AppKey["Admission"]("admission")

IN_FLIGHT_MAX_BYTES: Final = 96 * 1024 * 1024  # bodies in memory; two of the largest sets are decompressed beside them
SMALL_BODY_MAX_BYTES: Final = 256 * 1024  # enrolment, statement
RETRY_AFTER_S: Final = 1
DIGITS_MAX: Final = 16  # 2^53 - 1 has sixteen; longer numbers are nobody's seq or size


class Admission:
    """How many bodies, and bytes of them, are in memory; beyond a limit callers are asked to come back."""

    def __init__(self, requests_max: int, bytes_max: int = IN_FLIGHT_MAX_BYTES) -> None:
        self._requests_max = requests_max
        self._bytes_max = bytes_max
        self.requests = 0
        self.bytes = 0

    @asynccontextmanager
    async def enter(self, length: int | None, limit: int) -> AsyncIterator[None]:
        """For a body of that length (None: not told) where `limit` is the largest that will be read.

        Raises Unavailable(busy) at once, before anything is read.
        """
        claimed = limit if length is None else min(length, limit)
        if self.requests >= self._requests_max or (self.requests and self.bytes + claimed > self._bytes_max):
            raise Unavailable("the hub takes in as much as it can", retry_after_s=RETRY_AFTER_S)
        self.requests += 1
        self.bytes += claimed
        try:
            yield
        finally:
            self.requests -= 1
            self.bytes -= claimed


async def read_body(request: web.Request, limit: int, timeout_s: float) -> bytes:
    """The whole body. Raises Refused (too-large, reading no further; malformed if it breaks off) or Unavailable.

    `timeout_s` is for a line that is silent; each byte that arrives earns the time that it takes on the slowest line.
    """
    if (request.content_length or 0) > limit:
        raise too_large("body", limit)
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s) as patience:
            begun_s = asyncio.get_running_loop().time()
            while piece := await request.content.readany():
                body += piece
                if len(body) > limit:
                    raise too_large("body", limit)
                patience.reschedule(begun_s + timeout_s + len(body) / LINE_SLOWEST_BYTES_S)
    except TimeoutError:
        raise Unavailable("the body came too slowly, or stopped coming", retry_after_s=5) from None
    except (web.RequestPayloadError, ConnectionError):
        raise malformed("the body broke off", "body") from None
    return bytes(body)


async def identify(request: web.Request, *, body: bytes | None = None) -> Reader:
    """Who asks. Raises Refused(unauthorised, …)."""
    hub = request.app[HUB]
    head = RequestHead(request.method, seen_url(request, hub.options.public_url), request.headers, body)
    return await request.app[GATEKEEPER].identify(head)


async def identify_for(request: web.Request, agency: str) -> Reader:
    """Who asks, if they may read this agency's."""
    reader = await identify(request)
    check_agency(reader, agency)
    return reader


def seen_url(request: web.Request, public_url: str | None) -> str:
    """The address as the caller wrote it: behind a proxy, the public one."""
    base = public_url or f"{request.scheme}://{request.host}"
    return base.rstrip("/") + request.raw_path


def agency_of(request: web.Request) -> AgencyId:
    """From the path."""
    return AgencyId.parse(request.match_info["agency"])


def integer(text: str, where: str, least: int = 0) -> int:
    """A decimal in one spelling. Raises Refused(malformed)."""
    if not text.isascii() or not text.isdigit() or len(text) > DIGITS_MAX or (text[0] == "0" and text != "0"):
        raise malformed("wants a whole number", where)
    return parse_integer(int(text), where, least=least)


def query_integer(request: web.Request, name: str, default: int | None = None, least: int = 0) -> int:
    """A number from the query. Raises Refused(malformed)."""
    values = request.query.getall(name, [])
    if not values and default is not None:
        return default
    if len(values) != 1:
        raise malformed("wants this number once", name)
    return integer(values[0], name, least)


def json_answer(body: msgspec.Struct | list[object] | dict[str, object], status: int = 200) -> web.Response:
    """A JSON body that nobody keeps."""
    return web.Response(
        body=format_body(body), status=status, content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def problem_answer(error: Refused | Unavailable) -> web.Response:
    """RFC 9457 (protocol §7.3)."""
    body = problem_body(error)
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or RETRY_AFTER_S)))
    status = body["status"]
    assert isinstance(status, int)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(body=format_body(body), status=status, content_type=PROBLEM_MEDIA_TYPE, headers=headers)
