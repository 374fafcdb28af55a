"""The address that Kannel's smsbox calls for each SMS to 1708: `GET /sms` (get-url) or `POST /sms` (post-url).

Whoever calls is told apart by a shared secret, by their address, or both (`Gate`); without either the channel is off.
The answer is the text of the SMS that smsbox sends back. An answer that is not 200 says that the message was not
recorded, and smsbox asks again with the same id. What stood in a request is in no log.
"""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from typing import Final
from urllib.parse import unquote_to_bytes

from aiohttp import web

from node.channels.kannel_request import QUERY_MAX_BYTES, IncomingSms, read_parameters, read_sms
from node.channels.sms import SmsChannel
from node.local.http_middleware import OPEN_ROUTES, PAPERS
from node.local.http_problems import FORBIDDEN, UNSUPPORTED_TYPE
from node.local.http_requests import read_body
from node.web.callers import Network, address_of, is_within
from sync_protocol.errors import Refused, malformed

SMS_PATH: Final = "/sms"
PAPER: Final = "docs/channels.md"
BODY_TIMEOUT_S: Final = 20.0  # smsbox stands beside us or in the next room
LINE_MAX_BYTES: Final = QUERY_MAX_BYTES + 1_024  # method, path and version around the longest query
_FORM: Final = "application/x-www-form-urlencoded"
_SAID: Final = ("text/plain", "application/octet-stream")
#: What smsbox gives as headers with post-url, the last one with percent signs; what stands in the query goes first.
_HEADERS: Final = {"from": "X-Kannel-From", "to": "X-Kannel-To", "ts": "X-Kannel-Time", "udh": "X-Kannel-UDH"}


@dataclass(frozen=True, slots=True)
class Gate:
    """Who may call. `secret` "" and no `allowed`: nobody may."""

    secret: str
    allowed: tuple[Network, ...]

    @property
    def is_open(self) -> bool:
        """Whether the channel is on at all."""
        return bool(self.secret or self.allowed)

    def check(self, remote: str | None, secret: bytes) -> None:
        """Raises Refused(forbidden) for anybody else."""
        right_secret = not self.secret or compare_digest(self.secret.encode(), secret)
        right_place = not self.allowed or is_within(remote, self.allowed)
        if not (self.is_open and right_secret and right_place):
            raise Refused(FORBIDDEN, "only the SMS gateway of this node may call this address")


@dataclass(frozen=True, slots=True)
class KannelEndpoint:
    """The handler and what it stands on."""

    channel: SmsChannel
    gate: Gate

    async def take(self, request: web.Request) -> web.Response:
        """One SMS: 200 and the answer once it is recorded, or a problem."""
        query = request.raw_path.partition("?")[2].encode("utf-8", "surrogateescape")
        parameters = read_parameters(query)
        self.gate.check(address_of(request), parameters.get("secret", b""))
        sms = read_sms(parameters) if request.method == "GET" else await _read_posted(request, parameters)
        return web.Response(text=await self.channel.answer(sms), content_type="text/plain", charset="utf-8")


def add_routes(app: web.Application, channel: SmsChannel, gate: Gate) -> None:
    """Mounts the channel; it needs no token of the intake, it has its gate."""
    endpoint = KannelEndpoint(channel, gate)
    app[OPEN_ROUTES].add(SMS_PATH)
    app[PAPERS][SMS_PATH] = PAPER
    app.router.add_get(SMS_PATH, endpoint.take, allow_head=False)
    app.router.add_post(SMS_PATH, endpoint.take)


async def _read_posted(request: web.Request, parameters: dict[str, bytes]) -> IncomingSms:
    """A form with the same parameters, or the text itself with the others in query and headers."""
    kind = request.content_type
    if kind != _FORM and kind not in _SAID:
        step = {"next": f"Send Content-Type: {_FORM}, or {' or '.join(_SAID)}: {PAPER}."}
        raise Refused(UNSUPPORTED_TYPE, "an SMS comes as a form, or as text", where="Content-Type", members=step)
    body = await read_body(request, BODY_TIMEOUT_S, QUERY_MAX_BYTES)
    if kind == _FORM:
        form = read_parameters(body)
        if form.keys() & parameters.keys():
            raise malformed("may be given once, in the query or in the form", "query")
        return read_sms(parameters | form)
    headers = {
        name: unquote_to_bytes(value) if name == "udh" else value.encode("utf-8", "surrogateescape")
        for name, header in _HEADERS.items()
        if (value := request.headers.get(header)) is not None
    }
    return read_sms(headers | parameters, body, request.charset or "")
