"""The hub's HTTP application without a connection: requests as aiohttp would hand them over, answers as bytes.

The application, its router, middlewares, admission and handlers are the real ones; only sockets and the parser of
HTTP are left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

BUFFER_BYTES = 1 << 26  # a body lies there as a whole


@dataclass(frozen=True)
class Request:
    """What a caller sends. `is_cut`: the connection broke where the body ends."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    is_cut: bool = False
    address: str = ""


@dataclass(frozen=True)
class Reply:
    """What comes back, whole."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class _Connection:
    """What the application asks of a connection."""

    ssl_context = None
    sockname = None
    connected = True

    def __init__(self, address: str) -> None:
        self.peername = (address, 1)

    def pause_reading(self) -> None:
        """Everything is there already."""

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Everything is there already."""


class _Writer:
    output_size = 0

    async def write(self, _chunk: bytes) -> None:
        """`100 Continue`: nobody waits for it here."""

    async def drain(self) -> None:
        """Nothing is on its way."""


async def answer(app: web.Application, request: Request) -> Reply:
    """What the application answers; a defect of it is a 500, as on a line."""
    loop = asyncio.get_running_loop()
    connection = cast("Any", _Connection(request.address))
    payload = StreamReader(connection, BUFFER_BYTES, loop=loop)
    if request.body:
        payload.feed_data(request.body)
    if request.is_cut:
        payload.set_exception(web.RequestPayloadError("the line broke"))
    else:
        payload.feed_eof()
    url = URL(request.url, encoded=True)
    length = {"Content-Length": str(len(request.body) + request.is_cut)} if request.method in ("PUT", "POST") else {}
    headers = CIMultiDictProxy(CIMultiDict({"Host": url.authority, **length, **request.headers}))
    raw_headers = tuple((name.encode(), value.encode()) for name, value in headers.items())
    path = url.raw_path_qs
    message = RawRequestMessage(
        request.method, path, HttpVersion11, headers, raw_headers, False, None, False, False, URL(path, encoded=True)
    )
    made = web.Request(message, payload, connection, cast("Any", _Writer()), cast("Any", None), loop)
    response = await app._handle(made)
    body = cast("web.Response", response).body
    return Reply(response.status, dict(response.headers), body if isinstance(body, bytes) else b"")
