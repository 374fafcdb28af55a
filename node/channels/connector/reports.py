"""`POST /v1/connectors/{system}/reports` and `…/replies`: what another system reports, recorded once.

Their number and their dates are kept: `source` {system, id} on the change line, so that a complaint is found by the
number that the citizen has. A report that names a `state` is one of an older time (`imported`); any other is new.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from node.channels.connector.settings import Connector
from node.channels.connector.signature import HEADER, verify
from node.local.api_types import ApiBody, Text, Title
from node.local.arrival import check_arrival
from node.local.http_requests import convert
from node.local.recording import Command, Outcome, RequestKey
from node.local.service import LocalService
from node.store.complaint_keys import complaint_of
from sync_protocol import change_types as ct
from sync_protocol.errors import Refused
from sync_protocol.strict_json import parse_object

REPORTS: Final = "/v1/connectors/{system}/reports"
REPLIES: Final = "/v1/connectors/{system}/replies"
PAPER: Final = "docs/channels-connectors.md"
MESSAGE_MAX_BYTES: Final = 128 * 1024  # as a body of the intake
_SAID: Final = ("title", "text", "place", "occurred_at", "reporter")
_NEITHER: Final = ("id", *_SAID)

SourceId = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
ReadBody = Callable[[web.Request], Awaitable[bytes]]


class Report(ApiBody, frozen=True, kw_only=True):
    """A complaint of another system: its number there, what is known of it, and what was said."""

    id: SourceId
    received_at: ct.Timestamp
    text: Text
    channel: ct.Channel = "other"
    visibility: ct.Visibility = "public"
    title: Title | None = None
    place: Text | None = None
    occurred_at: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    reporter: dict[str, Annotated[str, msgspec.Meta(max_length=500)]] | None = None
    class_: ct.ComplaintClass | None = msgspec.field(default=None, name="class")
    category: ct.Code | None = None
    area: ct.Area | None = None
    state: ct.StateLabel | None = None
    closed_at: ct.Timestamp | None = None
    closed_by: ct.Closer | None = None
    reason: ct.Code | None = None


class Reply(ApiBody, frozen=True, kw_only=True):
    """What a reporter says to an answer, there: `message` is the number of the reply itself."""

    id: SourceId
    message: SourceId
    text: Text


class Reports:
    """The handlers. `read_body` reads within limits; what is raised here is answered as the intake's problems are."""

    def __init__(self, service: LocalService, connectors: Mapping[str, Connector], read_body: ReadBody) -> None:
        self._service = service
        self._connectors = connectors
        self._read_body = read_body

    async def report(self, request: web.Request) -> web.Response:
        """A complaint. The same number again with the same words is the same complaint.

        Raises Refused(malformed) for one that came in in the future, or ended before it came in.
        """
        system, fields = await self._read(request)
        report: Report = convert(fields, Report)
        check_arrival(report.received_at, report.closed_at, self._service.minting.clock.now_ms())
        given: dict[str, Any] = msgspec.to_builtins(report)
        data: dict[str, object] = {name: value for name, value in given.items() if name not in _NEITHER}
        source = {"system": system, "id": report.id}
        data |= {"source": source, "channel": report.channel, "visibility": report.visibility}
        said: dict[str, object] = {name: given[name] for name in _SAID if name in given}
        type_ = "received" if report.state is None else "imported"
        request_key = _request_key(system, f"report {report.id}", given)
        command = Command(type_, data, said, role="reporter", once_for=(system, report.id), request=request_key)
        return _answer(await self._service.record(command))

    async def reply(self, request: web.Request) -> web.Response:
        """To an answer. Raises Refused: not-found for a number that is not here, change-refused."""
        system, fields = await self._read(request)
        reply: Reply = convert(fields, Reply)
        complaint = await self._complaint(system, reply.id)
        key = _request_key(system, f"reply {reply.message}", fields)
        command = Command("replied", {}, {"text": reply.text}, complaint, role="reporter", request=key)
        return _answer(await self._service.record(command))

    async def _read(self, request: web.Request) -> tuple[str, dict[str, Any]]:
        """The system that signed, and what it says. Raises Refused."""
        connector = self._connectors.get(request.match_info["system"])
        if connector is None:
            raise Refused("not-found", "no system of that name is connected", where="system")
        body = await self._read_body(request)
        now_s = self._service.minting.clock.now_ms() // 1000
        verify(connector.secret, request.headers.get(HEADER), body, now_s)
        return connector.system, parse_object(body, where="body")

    async def _complaint(self, system: str, number: str) -> str:
        """Our own first: what others minted may claim any number."""
        found = await self._service.store.sources([(system, number)])
        if not found:
            raise Refused("not-found", "no complaint has that number of that system", where="id")
        return str(complaint_of(found[system, number]))


def _request_key(system: str, what: str, fields: Mapping[str, Any]) -> RequestKey:
    said = msgspec.json.encode(dict(fields), order="deterministic")
    return RequestKey(sha256(f"connector\n{system}\n{what}".encode()).digest(), sha256(said).digest())


def _answer(outcome: Outcome) -> web.Response:
    body = msgspec.json.encode(outcome.recorded)
    response = web.Response(body=body, status=201, content_type="application/json")
    if outcome.is_repeat:
        response.headers["Idempotency-Replayed"] = "true"
    return response
