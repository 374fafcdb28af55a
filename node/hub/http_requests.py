"""Reading requests within limits, and answering (protocol §7). Everything here is about bytes on a connection.

A body is read when it was admitted (admission.py), and not before, as far as that is ours to say.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from aiohttp import HttpVersion11, web

from node.hub.admission import FIRST_BYTES, Admission, Stay
from node.hub.http_auth import Gatekeeper, Reader, RequestHead, check_agency
from node.hub.hub import Hub
from node.hub.passes import Passes
from node.hub.turns import Caller
from node.web.callers import address_of
from sync_protocol.errors import Refused, Unavailable, malformed, too_large
from sync_protocol.limits import LINE_SLOWEST_BYTES_S
from sync_protocol.problems import PROBLEM_MEDIA_TYPE, problem_body
from sync_protocol.values import AgencyId, parse_integer
from sync_protocol.wire import ADMISSION_HEADER, format_body

HUB: Final = web.AppKey("hub", Hub)
GATEKEEPER: Final = web.AppKey("gatekeeper", Gatekeeper)
ADMISSION: Final = web.AppKey("admission", Admission)
PASSES: Final = web.AppKey("passes", Passes)

SMALL_BODY_MAX_BYTES: Final = 256 * 1024  # enrolment, statement
RETRY_AFTER_S: Final = 1
DIGITS_MAX: Final = 16  # 2^53 - 1 has sixteen; longer numbers are nobody's seq or size
PASS: Final = web.RequestKey("simpul-pass", str)  # the one that goes along with the answer

Look = Callable[[bytes], Awaitable[bool]]
"""Judges the first FIRST_BYTES of a longer body, and waits for room for the rest; whether that is to be kept."""


def caller_of(request: web.Request, agency: str) -> Caller:
    """In whose share this counts: the agency's, if it shows a pass; else the strangers'."""
    if request.app[HUB].log.roster.agency(agency) is None:
        return Caller("", address_of(request) or "")
    is_proven = request.app[PASSES].holds(request.headers.get(ADMISSION_HEADER), agency)
    return Caller(agency, address_of(request) or "", is_proven)


@asynccontextmanager
async def admitted(request: web.Request, caller: Caller, limit: int) -> AsyncIterator[Stay]:
    """Waits for the request's turn; a caller that waits for `100 Continue` gets it then. Raises Unavailable."""
    is_held = False

    def hold() -> int:
        nonlocal is_held
        is_held = not request.content.is_eof()
        if is_held:
            request.protocol.pause_reading()
        return request.content.total_bytes

    length = request.content_length
    async with request.app[ADMISSION].enter(caller, limit if length is None else min(length, limit), hold) as stay:
        if is_held:
            request.protocol.resume_reading()
        if request.headers.get("Expect", "").lower() == "100-continue" and request.version == HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # nothing of the answer itself was written yet
        yield stay


async def expect_later(request: web.Request) -> None:
    """In place of aiohttp's handler of `Expect`, which asks for the body before anybody looked at the request."""
    if request.version == HttpVersion11 and request.headers.get("Expect", "").lower() != "100-continue":
        raise web.HTTPExpectationFailed


async def read_body(request: web.Request, stay: Stay, limit: int, timeout_s: float, look: Look | None = None) -> bytes:
    """The whole body, or what of it is to be kept.

    Raises Refused (too-large, reading no further; malformed if it breaks off; whatever `look` raises) or Unavailable.
    `timeout_s` is for a line that is silent; each byte that arrives earns the time that it takes on the slowest line.
    """
    if (request.content_length or 0) > limit:
        raise too_large("body", limit)
    reading = _Reading(request, stay, limit, timeout_s, look)
    try:
        async with asyncio.timeout(timeout_s) as patience:
            stay.give_way = partial(reading.give_way, patience)
            return await reading.run(patience)
    except TimeoutError:
        if reading.is_hurried:
            raise request.app[ADMISSION].slow(stay.caller) from None
        raise Unavailable("the body came too slowly, or stopped coming", retry_after_s=5) from None
    except (web.RequestPayloadError, ConnectionError):
        raise malformed("the body broke off", "body") from None
    finally:
        stay.give_way = None


@dataclass(slots=True)
class _Reading:
    request: web.Request
    stay: Stay
    limit: int
    timeout_s: float
    look: Look | None
    is_hurried: bool = False

    def give_way(self, patience: asyncio.Timeout) -> None:
        """Others wait: this ends now."""
        self.is_hurried = True
        patience.reschedule(asyncio.get_running_loop().time())

    async def run(self, patience: asyncio.Timeout) -> bytes:
        body, size, is_kept = bytearray(), 0, True
        now_s = asyncio.get_running_loop().time
        begun_s = now_s()
        while piece := await self.request.content.readany():
            if self.is_hurried:  # before the patience that has run out is set anew
                raise TimeoutError
            size += len(piece)
            if size > self.limit:
                raise too_large("body", self.limit)
            if is_kept:
                body += piece
            self.stay.heard(now_s())
            if self.look is not None and size > FIRST_BYTES:
                patience.reschedule(None)  # what others make us wait for is not this line's silence
                is_kept, self.look = await self.look(bytes(body)), None
                begun_s = now_s() - size / LINE_SLOWEST_BYTES_S
            if not self.is_hurried:  # meanwhile, by others
                patience.reschedule(begun_s + self.timeout_s + size / LINE_SLOWEST_BYTES_S)
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
    if reader.agency is not None:
        give_pass(request, reader.agency)
    return reader


def give_pass(request: web.Request, agency: str) -> None:
    """With the answer: this agency has just proved itself."""
    request[PASS] = request.app[PASSES].issue(agency)


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


def problem_answer(error: Refused | Unavailable, members: Mapping[str, object] | None = None) -> web.Response:
    """RFC 9457 (protocol §7.3), with `members` beside its own."""
    body = {**(members or {}), **problem_body(error)}
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or RETRY_AFTER_S)))
    status = body["status"]
    assert isinstance(status, int)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.Response(body=format_body(body), status=status, content_type=PROBLEM_MEDIA_TYPE, headers=headers)
