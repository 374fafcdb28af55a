"""The calls of GeoReport, answered on a desk; nothing here knows of HTTP servers (see http.py).

Every answer is a document in the form that the address ends with, errors too. The statuses are GeoReport's: 404 for
what is not there, 403 for a key that is missing or wrong, 400 for any other request that cannot be fulfilled; and 503
where it is our own trouble, so that a client knows to come back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import quote

from node.channels.open311.documents import MEDIA_TYPES, XML, Document, Value, clean
from node.channels.open311.mapping import (
    Update,
    definition_document,
    discovery_document,
    errors_document,
    requests_document,
    services_document,
    updates_document,
)
from node.channels.open311.queries import Pairs, RequestsWanted, one, read_wanted
from node.channels.open311.reports import API_KEY, Reply, Report, read_form, read_reply, read_report
from node.channels.open311.services import JURISDICTION, Services
from node.ports import Clock
from sync_protocol.errors import Refused, Unavailable, malformed

TAIL_MAX_CHARACTERS: Final = 200  # a complaint's id has 101 at most, a token fewer
READERS_MAX: Final = 4  # answers put together at the same time, of up to 1,000 requests each; the others wait
WAITING_MAX: Final = 64  # who would wait longer than a few seconds is told so at once
RETRY_AFTER_S: Final = 2
GENERAL: Final = "the request cannot be fulfilled: compare its address and method with the GeoReport v2 specification"

SERVICES, REQUESTS, TOKENS = "services", "requests", "tokens"
UPDATES: Final = "servicerequestupdates"
DISCOVERY: Final = "discovery"
_STATUS: Final[Mapping[str, int]] = {"not-found": 404, "unauthorised": 403}


class Elsewhere(Exception):
    """This desk does not do that; `url` is the endpoint that does."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


@dataclass(frozen=True, slots=True)
class Taken:
    """What a POST is answered. `is_repeat`: it was recorded before, by an equal request."""

    document: Document
    is_repeat: bool = False


class Desk(Protocol):
    """Where complaints are. What it refuses is raised as Refused, what another endpoint does as Elsewhere."""

    #: Further endpoints that discovery names.
    others: Sequence[str]

    async def requests(self, wanted: RequestsWanted) -> list[Mapping[str, Value]]:
        """Public ones, newest first. Raises Refused(malformed) where too many would have to be looked through."""
        ...

    async def request(self, name: str, jurisdiction: str | None) -> Mapping[str, Value]:
        """One, by its id, or by a tracking number; without words if it is confidential. Raises Refused(not-found)."""
        ...

    async def request_id(self, token: str, jurisdiction: str | None) -> str:
        """The id that a token stands for. Raises Refused(not-found)."""
        ...

    async def updates(self, wanted: RequestsWanted) -> list[Update]:
        """What happened to public requests in the time that is asked for, oldest first."""
        ...

    def check_takes_in(self) -> None:
        """Before a body is read. Raises Elsewhere or Refused where nothing can be posted."""
        ...

    async def client(self, api_key: str | None) -> str:
        """The client whose key this is. Raises Refused(unauthorised)."""
        ...

    async def report(self, client: str, report: Report, key: str | None) -> Taken:
        """Durable when it returns. `key` makes it repeatable."""
        ...

    async def reply(self, client: str, reply: Reply, key: str | None) -> Taken:
        """The same for what the reporter says to an answer."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `tail` is the address after the endpoint's, with its ending; `url` the endpoint's own address.

    `key` is the Idempotency-Key; `read_body` gives the body, which must be a form, or raises Refused.
    """

    method: str
    tail: str
    query: Pairs
    raw_query: str
    url: str
    key: str | None
    read_body: Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int
    form: str
    document: Document
    headers: Mapping[str, str] = field(default_factory=dict)


class Endpoint:
    """See the module."""

    def __init__(self, desk: Desk, services: Services, clock: Clock) -> None:
        self._desk = desk
        self._services = services
        self._clock = clock
        self._reading = asyncio.Semaphore(READERS_MAX)
        self._waiting = 0

    async def answer(self, call: Call) -> Answer:
        """Whatever was asked. Raises what the desk raises beside Refused, Unavailable and Elsewhere."""
        path, form = _split(call.tail)
        try:
            return await self._answer(call, path, form)
        except Refused as refused:
            status = _STATUS.get(refused.kind, 400)
            several = refused.members.get("errors")
            return failed(status, form, several if isinstance(several, list) else [refused.detail])
        except Unavailable as error:
            answer = failed(503, form, [error.detail])
            return Answer(503, form, answer.document, {"Retry-After": str(max(1, round(error.retry_after_s or 1)))})
        except Elsewhere as elsewhere:
            url = f"{elsewhere.url}/{quote(path)}.{form}" + (f"?{call.raw_query}" if call.raw_query else "")
            return Answer(307, form, errors_document(307, [f"this is done at {elsewhere.url}"]), {"Location": url})

    async def _answer(self, call: Call, path: str, form: str) -> Answer:
        if form not in MEDIA_TYPES:
            raise malformed("an address ends with .xml or .json", "format")
        name, _, rest = path.partition("/")
        calls: dict[str, Callable[[], Awaitable[Answer]]] = {}
        if name == DISCOVERY and not rest:
            calls["GET"] = lambda: self._discovery(call)
        elif name == SERVICES:
            calls["GET"] = lambda: self._get_services(call, rest)
        elif name == REQUESTS and not rest:
            calls |= {"GET": lambda: self._get_requests(call), "POST": lambda: self._post_request(call)}
        elif name == REQUESTS:
            calls["GET"] = lambda: self._get_request(call, rest)
        elif name == TOKENS and rest:
            calls["GET"] = lambda: self._get_token(call, rest)
        elif name == UPDATES and not rest:
            calls |= {"GET": lambda: self._get_updates(call), "POST": lambda: self._post_update(call)}
        else:
            raise Refused("not-found", "there is no such resource", where="address")
        method = "GET" if call.method == "HEAD" else call.method
        if method not in calls:
            return failed(400, form, [GENERAL], {"Allow": ", ".join(sorted(calls))})
        answer = await calls[method]()
        return Answer(answer.status, form, answer.document, answer.headers)

    def _jurisdiction(self, pairs: Pairs) -> str | None:
        return self._services.jurisdiction(one(pairs, JURISDICTION))

    async def _discovery(self, call: Call) -> Answer:
        table = self._services.table
        return _good(discovery_document(table, [table.url or call.url, *self._desk.others]))

    async def _get_services(self, call: Call, code: str) -> Answer:
        jurisdiction = self._jurisdiction(call.query)
        if code:
            return _good(definition_document(self._services.by_code(code, jurisdiction)))
        return _good(services_document(self._services.of(jurisdiction)))

    async def _get_requests(self, call: Call) -> Answer:
        wanted = self._wanted(call)
        async with self._turn():
            return _good(requests_document(await self._desk.requests(wanted)))

    async def _get_request(self, call: Call, name: str) -> Answer:
        return _good(requests_document([await self._desk.request(name, self._jurisdiction(call.query))]))

    async def _get_token(self, call: Call, token: str) -> Answer:
        found = await self._desk.request_id(token, self._jurisdiction(call.query))
        return _good(requests_document([{"service_request_id": found, "token": clean(token)}]))

    async def _get_updates(self, call: Call) -> Answer:
        wanted = self._wanted(call)
        async with self._turn():
            return _good(updates_document(await self._desk.updates(wanted)))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Everybody may ask, and officers shall not wait for that. Raises Unavailable."""
        if self._waiting >= WAITING_MAX:
            raise Unavailable("too many ask at once", retry_after_s=RETRY_AFTER_S)
        self._waiting += 1
        try:
            async with self._reading:
                yield
        finally:
            self._waiting -= 1

    def _wanted(self, call: Call) -> RequestsWanted:
        return read_wanted(call.query, self._jurisdiction(call.query), self._clock.now_ms())

    async def _post_request(self, call: Call) -> Answer:
        client, fields = await self._admit(call)
        report = read_report(fields, self._services, self._jurisdiction(fields))
        return _taken(await self._desk.report(client, report, call.key))

    async def _post_update(self, call: Call) -> Answer:
        client, fields = await self._admit(call)
        self._jurisdiction(fields)
        reply = read_reply(fields)
        return _taken(await self._desk.reply(client, reply, call.key))

    async def _admit(self, call: Call) -> tuple[str, Pairs]:
        """Who posts, and the form; the key is looked at before anything else that stands in it.

        Some clients put key and jurisdiction into the address: what is there counts where the form says nothing.
        """
        self._desk.check_takes_in()
        fields = read_form(await call.read_body())
        named = {name for name, _ in fields}
        fields = [*fields, *(two for two in call.query if two[0] in (API_KEY, JURISDICTION) and two[0] not in named)]
        return await self._desk.client(one(fields, API_KEY)), fields


def failed(status: int, form: str, errors: Sequence[str], headers: Mapping[str, str] | None = None) -> Answer:
    """An answer that says what is wrong; in XML where the address names no form that we know."""
    known = form if form in MEDIA_TYPES else XML
    return Answer(status, known, errors_document(status, errors), headers or {})


def _good(document: Document) -> Answer:
    return Answer(200, XML, document)


def _taken(taken: Taken) -> Answer:
    return Answer(200, XML, taken.document, {"Idempotency-Replayed": "true"} if taken.is_repeat else {})


def _split(tail: str) -> tuple[str, str]:
    """Path and form. Ids hold full stops: the form is what stands behind the last."""
    if len(tail) > TAIL_MAX_CHARACTERS:
        return "", XML
    path, _, form = tail.rpartition(".")
    return path, form
