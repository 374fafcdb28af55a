"""A real hub on a free port with a real database, and agencies that push to it: for the tests of the hub's edge."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from keys import ceremony
from keys.signer import Ed25519Signer
from node.deadlines.tables import Deadlines
from node.files.limits import FileLimits
from node.files.store import FileStore
from node.hub.file_turn import FileTurn
from node.hub.files import HubFiles
from node.hub.http import RUNNER_OPTIONS, build_app
from node.hub.hub import Hub
from node.hub.options import HubOptions
from node.hub.statements import RulesDraft
from node.serving import listening
from node.wiring.hub import table_digest
from node.wiring.hub_databases import hub_exists
from node.wiring.hub_parts import create_hub, hub_ports, open_hub
from sync_protocol.change_set import ChangeSet, build_change_set, draft_change_set
from sync_protocol.checkpoint import OpenCheckpoint, open_checkpoint
from sync_protocol.compression import compress_frames
from sync_protocol.line import format_change, format_content
from sync_protocol.note import VerifierKey, vkey_for
from sync_protocol.statement import Role
from sync_protocol.values import AgencyId, Digest, format_timestamp, format_tracking, make_uuid7

ORIGIN = "hub.example/log"
START_MS = 1_770_000_000_000
FILE_LIMITS = FileLimits(file_max=1024 * 1024, store_max=8 * 1024 * 1024, free_min=0)
RULES = RulesDraft(
    desk=AgencyId("kementerian-panrb"),
    deadlines=table_digest("deadlines.toml"),
    calendar=table_digest("calendar.toml"),
)


class LabClock:
    """Wall time that stands until it is moved; sleeping is real."""

    def __init__(self) -> None:
        self.at_ms = START_MS

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class LabRandomness:
    """Repeatable."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def fraction(self) -> float:
        return self._random.random()


@dataclass
class Answer:
    """Status, headers and body of one HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def kind(self) -> str:
        """The problem's kind."""
        return str(self.json["type"]).removeprefix("urn:simpul:problem:")


@dataclass
class Lab:
    """One running hub. `url` ends without a slash."""

    directory: Path
    clock: LabClock
    randomness: LabRandomness
    vkey: VerifierKey
    hub: Hub
    url: str
    session: aiohttp.ClientSession
    files: HubFiles
    agencies: dict[str, Agency] = field(default_factory=dict)

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        async with self.session.request(method, self.url + path, **options) as response:
            return Answer(response.status, dict(response.headers), await response.read())

    async def checkpoint(self) -> OpenCheckpoint:
        """The published checkpoint, opened with the hub's own keys."""
        answer = await self.call("GET", "/checkpoint")
        return open_checkpoint(answer.body, self.hub.log.roster.vkeys, ORIGIN)

    async def enrol(self, code: str) -> Agency:
        """An agency with a fresh key."""
        agency = Agency(self, AgencyId(code), self.new_key())
        await agency.enrol(await self.hub.invite(agency.code))
        self.agencies[code] = agency
        return agency

    def new_key(self) -> Ed25519Signer:
        return Ed25519Signer.generate(self.randomness.bytes(32))


@dataclass
class Agency:
    """A stand-in for a local node: no outbox, no retries, and free to misbehave."""

    lab: Lab
    code: AgencyId
    signer: Ed25519Signer
    epoch: int = 1
    seq: int = 0
    prev: Digest = field(default_factory=lambda: Digest(bytes(32)))

    def request(self, token: str) -> bytes:
        asked = ceremony.request_enrolment(
            origin=ORIGIN, agency=self.code, token=token, signer=self.signer, sealing_public_key=b"s" * 32
        )
        return msgspec.json.encode(asked)

    async def enrol(self, token: str) -> Answer:
        answer = await self.lab.call("POST", "/v1/enrolments", data=self.request(token))
        assert answer.status == 201, answer.body
        self.restart_chain()
        return answer

    def restart_chain(self) -> None:
        """Goes on from what the hub holds."""
        record = self.lab.hub.log.roster.agency(self.code)
        assert record is not None
        head = self.lab.hub.log.heads.get(self.code)
        self.seq, self.prev = (0, record.enrolment) if head is None else (head.seq, head.digest)

    def complaint(self) -> str:
        """A fresh complaint id."""
        return f"{self.code}:{self.uuid()}"

    def uuid(self) -> str:
        bits = int.from_bytes(self.lab.randomness.bytes(10), "big") >> 6
        return make_uuid7(self.lab.clock.at_ms, bits)

    def received(self, complaint: str) -> bytes:
        """The change line of a new complaint, with content."""
        at = format_timestamp(self.lab.clock.at_ms)
        bits = int.from_bytes(self.lab.randomness.bytes(8), "big") >> 4
        data = {
            "category": "roads",
            "channel": "sms",
            "class": "complaint_ordinary",
            "received_at": at,
            "tracking": format_tracking("PKL", bits),
            "visibility": "anonymous",
        }
        return self.change(complaint, "received", data, rev=1, content=True)

    def change(
        self, complaint: str, type_: str, data: dict[str, Any] | None = None, *, rev: int, content: bool = False
    ) -> bytes:
        return format_change(
            id=self.uuid(),
            complaint=complaint,
            rev=rev,
            type=type_,
            at=format_timestamp(self.lab.clock.at_ms),
            role="officer",
            unit=None,
            data=data or {},
            content=content,
        )

    def content(self, text: str = "Jalan berlubang di depan pasar.") -> bytes:
        return format_content({"title": "Jalan rusak", "text": text}, self.lab.randomness.bytes(16))

    def cut(
        self,
        changes: Sequence[bytes] | int = 1,
        contents: Sequence[bytes] | None = None,
        **members: Any,
    ) -> ChangeSet:
        """A set after the newest one, not pushed. A number makes so many new complaints; `members` overrides."""
        if isinstance(changes, int):
            changes = [self.received(self.complaint()) for _ in range(changes)]
        if contents is None:
            contents = [self.content() for line in changes if b',"content":1,' in line]
        seen = open_checkpoint(self.lab.hub.log.published.note, self.lab.hub.log.roster.vkeys, ORIGIN)
        fields = {
            "agency": self.code,
            "epoch": self.epoch,
            "seq": self.seq + 1,
            "prev": self.prev,
            "at": self.lab.clock.at_ms,
            "seen_size": seen.checkpoint.size,
            "seen_root": Digest(seen.checkpoint.root),
            "seen_sig": seen.signature,
        }
        signer = members.pop("signer", self.signer)
        return build_change_set(draft_change_set(changes, contents), signer, **{**fields, **members})

    def took(self, change_set: ChangeSet) -> None:
        """The hub accepted it."""
        self.seq, self.prev = change_set.manifest.manifest.seq, change_set.manifest.digest

    async def push(self, change_set: ChangeSet, *, query: str = "") -> Answer:
        """Sends a set in its two frames to where its manifest says."""
        body = b"".join(compress_frames(change_set.head, change_set.contents))
        return await self.send(body, change_set.manifest.manifest.seq, query=query)

    async def send(self, body: Any, seq: int, *, encoding: str | None = "zstd", query: str = "") -> Answer:
        headers = {} if encoding is None else {"Content-Encoding": encoding}
        path = f"/v1/agencies/{self.code}/change-sets/{seq}{query}"
        return await self.lab.call("PUT", path, data=body, headers=headers)

    async def push_new(self, changes: Sequence[bytes] | int = 1, contents: Sequence[bytes] | None = None) -> Answer:
        """Cuts, pushes, and goes on from there."""
        change_set = self.cut(changes, contents)
        answer = await self.push(change_set)
        assert answer.status == 201, answer.body
        self.took(change_set)
        return answer


def options_for(directory: Path, **changed: Any) -> HubOptions:
    return HubOptions(directory=directory / "hub", **changed)


@asynccontextmanager
async def running_hub(
    directory: Path,
    *,
    clock: LabClock | None = None,
    seed: int = 1,
    prepare: Callable[[web.Application, Hub], None] = lambda _app, _hub: None,
    file_limits: FileLimits = FILE_LIMITS,
    deadlines: Deadlines | None = None,
    **changed: Any,
) -> AsyncIterator[Lab]:
    """A hub in `directory`, made if it is not there, serving on a free port; with other deadlines if they are given.

    `prepare` is called before it runs.
    """
    clock, randomness = clock or LabClock(), LabRandomness(seed)
    options = options_for(directory, **changed)
    if not await hub_exists(options):
        await create_hub(options, origin=ORIGIN, rules=RULES, clock=clock, randomness=randomness)
    if deadlines is None:
        hub = await open_hub(options, clock=clock, randomness=randomness)
    else:
        ports = await hub_ports(options, clock=clock, randomness=randomness, create=False)
        hub = await Hub.open(options, replace(ports, deadlines=deadlines))
    folder = directory / "hub" / "files"
    files = HubFiles(hub, FileStore(folder, file_limits), FileTurn(folder / "turn.lock"))
    try:
        await hub.start()
        application = build_app(hub, files)
        prepare(application, hub)
        async with (
            listening(application, "127.0.0.1", 0, options=RUNNER_OPTIONS) as url,
            aiohttp.ClientSession(auto_decompress=False) as session,
        ):
            vkey = hub.log.roster.vkey if hub.log.size else vkey_for(ORIGIN, hub.signer(Role.LOG).public_key)
            yield Lab(directory, clock, randomness, vkey, hub, url, session, files)
    finally:
        files.close()
        await hub.close()


async def projected(lab: Lab) -> None:
    """Waits until everything that is published is projected."""
    async with asyncio.timeout(20):
        while (await lab.hub.projection.cursor()).size < lab.hub.log.size:  # noqa: ASYNC110 - another task's work
            await asyncio.sleep(0.01)


__all__ = ["ORIGIN", "Agency", "Answer", "Lab", "LabClock", "Role", "options_for", "projected", "running_hub"]
