"""aiohttp's server, but what it cannot read as HTTP it does not repeat.

Its own answer to an overlong line or an unknown method quotes the first bytes of the request: a secret in the query, a
sender's number, a token. No middleware sees such a request. Here the answer is a problem (RFC 9457) of fixed words.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from sync_protocol.problems import PROBLEM_MEDIA_TYPE

_HEADERS: Final = {"Server": "simpul", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_UNREADABLE: Final = "This is not a request that can be read: its first line or a header is over a limit or ill-formed."
_SHORTER: Final = "Send HTTP/1.1 with a shorter address and shorter headers; long data belongs into the body of a POST."
_FAILED: Final = "The server failed before it answered."
_AGAIN: Final = "Send the same request again; if it stays, tell whoever runs this server."


class Runner(web.AppRunner):
    """An AppRunner whose server answers in our words; its options are the same."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Logs as aiohttp does, and raises ConnectionError where an answer has begun. Nothing of `message` is said."""
        super().handle_error(request, status, exc, message)
        is_theirs = status < 500
        body = {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": _UNREADABLE if is_theirs else _FAILED,
            "next": _SHORTER if is_theirs else _AGAIN,
        }
        response = web.Response(
            body=json.dumps(body).encode(), status=status, headers=_HEADERS, content_type=PROBLEM_MEDIA_TYPE
        )
        response.force_close()
        return response
