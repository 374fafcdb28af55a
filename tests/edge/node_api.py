"""A local node's REST API as a client meets it: a real server on a free port, a real database file."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
from aiohttp import web

from node.deadlines.tables import Deadlines
from node.files.limits import FileLimits
from node.files.store import FileStore
from node.local.escalation_book import EscalationBook
from node.local.files import NodeFiles
from node.local.http import RUNNER_OPTIONS, build_app
from node.local.ports import LocalStore
from node.local.recording import Minting
from node.local.service import LocalService
from node.local.tokens import create_token
from node.serving import listening
from node.store.local_records import Acknowledgement, NodeIdentity, Seen, SignedSet
from node.store.local_store import SqlLocalStore
from node.system import SystemClock, SystemRandomness
from sync_protocol.backoff import Schedule
from sync_protocol.values import AgencyId, Digest
from tests.edge.file_samples import jpeg

AGENCY = AgencyId("33.75")
PROBLEM = "urn:simpul:problem:"
FILE_LIMITS = FileLimits(file_max=1024 * 1024, store_max=8 * 1024 * 1024, free_min=0)
COMPLAINT: Mapping[str, Any] = {
    "channel": "web",
    "title": "Lampu jalan padam",
    "text": "Sudah tiga malam lampu jalan padam, kata Bu Sri.",
    "place": "Depan Pasar Grogolan",
    "occurred_at": "tadi malam",
    "reporter": {"name": "Sri Wahyuni", "phone": "081234567890"},
    "visibility": "anonymous",
    "class": "complaint_ordinary",
    "category": "penerangan-jalan",
    "area": "33.75.01",
}


class MovableClock(SystemClock):
    """The machine's clock, as much later as a test says."""

    def __init__(self) -> None:
        self.later_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.later_ms


class FaultyStore:
    """The real store, until `error` is set: then every call, or `only` one, fails with it before it does anything.

    `calls` counts what was asked of it, whether it failed or not.
    """

    def __init__(self, real: LocalStore) -> None:
        self._real = real
        self.error: Exception | None = None
        self.only: str | None = None
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        if self.error is not None and self.only in (None, name):
            raise self.error
        return getattr(self._real, name)


@dataclass
class Answer:
    """What came back, read to the end."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    body: Any

    @property
    def kind(self) -> str:
        """The kind of a problem, which must be one to the letter."""
        assert self.headers["Content-Type"].startswith("application/problem+json")
        assert self.body["status"] == self.status
        assert self.body["type"].startswith(PROBLEM)
        assert self.body["title"]
        assert self.body["detail"]
        assert self.body["next"]
        return str(self.body["type"].removeprefix(PROBLEM))


@dataclass
class Api:
    """A client with a token, and the parts behind the server that tests look at."""

    url: str
    token: str
    session: aiohttp.ClientSession
    store: SqlLocalStore
    faults: FaultyStore
    clock: MovableClock
    file: Path
    files: NodeFiles
    service: LocalService

    async def call(
        self, method: str, path: str, *, json: Any = None, data: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request with the token, unless the headers bring or withhold (empty) their own."""
        all_headers = {"Authorization": f"Bearer {self.token}"} | dict(headers or {})
        if data is not None and "Content-Type" not in all_headers:
            all_headers["Content-Type"] = "application/json"
        kept = {name: value for name, value in all_headers.items() if value}
        async with self.session.request(method, self.url + path, json=json, data=data, headers=kept) as response:
            raw = await response.read()
            is_json = response.headers.get("Content-Type", "").startswith(("application/json", "application/problem"))
            return Answer(
                response.status, response.headers, raw, await response.json(content_type=None) if is_json else None
            )

    async def post(self, path: str, body: Any, *, key: str | None = None, **headers: str) -> Answer:
        """A POST of JSON, or of bytes as they are."""
        if key is not None:
            headers["Idempotency-Key"] = key
        if isinstance(body, bytes):
            return await self.call("POST", path, data=body, headers=headers)
        return await self.call("POST", path, json=body, headers=headers)

    async def get(self, path: str, **headers: str) -> Answer:
        """A GET."""
        return await self.call("GET", path, headers=headers)

    async def create(self, **members: Any) -> Any:
        """A complaint, with some members of its own; what was answered."""
        answer = await self.post("/v1/complaints", dict(COMPLAINT) | members)
        assert answer.status == 201, answer.body
        return answer.body

    async def change(self, complaint: str, change_type: str, **members: Any) -> Answer:
        """A change to it."""
        return await self.post(f"/v1/complaints/{complaint}/changes", {"type": change_type} | members)

    async def acknowledge_everything(self, *, index: int = 1) -> None:
        """As if the hub had taken in all that is unsent, and given its receipt."""
        end = await self.store.chain_end()
        lines = (await self.store.cuttable(100_000)).lines
        last_no = lines[-1][0] if lines else end.last_no
        signed = SignedSet(
            1, end.seq + 1, Digest(bytes(32)), "kid", len(lines), len(lines), self.clock.now_ms(), "", b"", b""
        )
        assert await self.store.cut(lambda _: (signed, last_no), 0)
        receipt = Acknowledgement(end.seq + 1, signed.digest, index, b"", 0, 0, self.clock.now_ms(), None)
        await self.store.acknowledge(receipt, Schedule())

    async def stored_changes(self) -> list[tuple[bytes, bytes | None]]:
        """Every change line and content line in the database, in order of recording."""
        async with self.store.transaction() as transaction:
            return [(change.line, change.content) for change, _ in await transaction.changes(0)]


@asynccontextmanager
async def serving(
    place: Path,
    prepare: Callable[[web.Application, LocalService], None] = lambda _app, _service: None,
    deadlines: Deadlines | None = None,
    *,
    file_limits: FileLimits = FILE_LIMITS,
    **options: Any,
) -> AsyncIterator[Api]:
    """An enrolled node that serves; `options` are those of build_app, `prepare` is called before it runs.

    With `deadlines` it measures what it records.
    """
    clock, randomness = MovableClock(), SystemRandomness()
    file = place / "node.db"
    real = await SqlLocalStore.create(file)
    try:
        seen = Seen(1, Digest(bytes(32)), bytes(64), b"")
        await real.enrol(NodeIdentity(AGENCY, "hub.example/log", "vkey", Digest(bytes(32)), clock.now_ms()), [], seen)
        token = await create_token(real, clock, randomness, "loket-1")
        faults = FaultyStore(real)
        store = cast("LocalStore", faults)
        async with LocalService(store, Minting(AGENCY, "PKL", clock, randomness, deadlines=deadlines)) as service:
            files = NodeFiles(FileStore(place / "files", file_limits), real, clock, randomness)
            book = EscalationBook(place / "escalations", lambda: False)
            parts: dict[str, Any] = {"files": files, "escalations": book} | options
            app = build_app(service, store, clock, randomness, **parts)
            prepare(app, service)
            async with (
                listening(app, "127.0.0.1", 0, options=RUNNER_OPTIONS) as url,
                aiohttp.ClientSession() as session,
            ):
                yield Api(url, token, session, real, faults, clock, file, files, service)
    finally:
        await real.close()


def photograph(api: Api, data: bytes | None = None) -> dict[str, Any]:
    """A photograph that is at the node, as an `attached` change names it."""
    stored = api.files.store.add([jpeg() if data is None else data])
    assert stored is not None
    return {"bytes": stored.bytes, "media_type": "image/jpeg", "file": stored.digest.b64u}
