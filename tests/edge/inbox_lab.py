"""Several real nodes around one real hub, in one process: what they hand to each other goes over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keys.key_directory import KeyDirectory
from node.deadlines.tables import Deadlines
from node.link.hub_client import HubClient
from node.link.transport import Transport
from node.local.enrolment import enrol_node
from node.local.federation import Federation
from node.local.hub_session import HubSession
from node.local.inbox import Inbox
from node.local.lease import DirectoryLease
from node.local.pusher import Pusher
from node.local.recording import Command, Minting, Recorded
from node.local.service import LocalService
from node.local.shared import history_of
from node.local.signing import DirectoryKeys
from node.local.status import node_status
from node.store.complaint_keys import complaint_key
from node.store.local_records import HeldChange, HeldComplaint
from node.store.local_store import SqlLocalStore, open_local_store
from sync_protocol.complaint import ComplaintState
from sync_protocol.line import parse_change
from sync_protocol.values import AgencyId, ComplaintId, b64u_encode, format_timestamp
from tests.edge.hub_lab import Lab, LabRandomness

DESK = AgencyId("kementerian-panrb")  # of hub_lab's rules


@dataclass
class Peer:
    """One agency's node at work."""

    agency: AgencyId
    directory: Path
    store: SqlLocalStore
    service: LocalService
    pusher: Pusher
    inbox: Inbox
    link: HubClient

    async def receive(self, **data: Any) -> str:
        """A complaint of a citizen's, here."""
        facts = {
            "channel": "sms",
            "visibility": "public",
            "received_at": format_timestamp(self.pusher.clock.now_ms()),
        }
        command = Command("received", facts | data, {"text": "Jalan berlubang."}, role="reporter")
        return (await self.service.record(command)).recorded.complaint

    async def change(self, type_: str, complaint: str, said: str = "", **data: Any) -> Recorded:
        content = {"text": said} if said else {}
        return (await self.service.record(Command(type_, data, content, complaint=complaint))).recorded

    async def offer(self, complaint: str, to: AgencyId) -> Recorded:
        return await self.change("offered", complaint, reason="other_authority", to=str(to))

    async def accept(self, complaint: str) -> Recorded:
        return await self.change("accepted", complaint, offer=await self.offer_of(complaint))

    async def decline(self, complaint: str) -> Recorded:
        offer = await self.offer_of(complaint)
        return await self.change("declined", complaint, offer=offer, reason="not_in_jurisdiction")

    async def withdraw(self, complaint: str) -> Recorded:
        return await self.change("withdrawn", complaint, offer=await self.offer_of(complaint))

    async def offer_of(self, complaint: str) -> str:
        offer = (await self.state(complaint)).offer
        assert offer is not None, "it is not under offer here"
        return b64u_encode(offer)

    async def push(self) -> None:
        drained = await self.pusher.drain(60)
        assert drained.drained, await node_status(self.store, self.pusher.clock)

    async def sync(self) -> int:
        """Pushes what there is, and takes in what the hub tells; how many items."""
        await self.push()
        return await self.inbox.drain()

    async def held(self, complaint: str) -> HeldComplaint:
        held = await self.store.complaint(complaint_key(ComplaintId.parse(complaint)))
        assert held is not None
        return held

    async def state(self, complaint: str) -> ComplaintState:
        return (await self.held(complaint)).state

    async def history(self, complaint: str) -> list[HeldChange]:
        return await history_of(self.store, await self.held(complaint))

    async def types(self, complaint: str) -> list[str]:
        """What happened to it, as this node sees it; what was refused in brackets."""
        return [
            f"({parse_change(one.line).type})" if one.verdict else parse_change(one.line).type
            for one in await self.history(complaint)
        ]


@asynccontextmanager
async def peer(
    lab: Lab,
    agency: AgencyId,
    directory: Path,
    *,
    seed: int = 1,
    prefix: str = "X",
    deadlines: Deadlines | None = None,
    link_type: type[HubClient] = HubClient,
) -> AsyncIterator[Peer]:
    """A node in its directory, enrolled there unless it is already; with `deadlines` it measures what it records."""
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    clock: Any = lab.clock
    randomness = LabRandomness(seed)
    store = await open_local_store(directory / "node.db", create=True)
    key_directory = KeyDirectory(directory / "keys")
    keys = DirectoryKeys(key_directory)
    lease = DirectoryLease(directory)
    link = link_type(Transport(lab.url, clock=clock, randomness=randomness), agency, keys.current)
    try:
        if await store.identity() is None:
            await enrol_node(
                store,
                link,
                key_directory,
                clock,
                randomness,
                agency=agency,
                vkey=lab.vkey.format(),
                token=await lab.hub.invite(agency),
            )
        federation = Federation()
        pusher = Pusher(store, link, keys, clock, randomness, lease, agency=agency)
        inbox = Inbox(store, link, HubSession(store, link, keys, agency), federation, clock, agency)
        known = (federation, federation.is_agency, deadlines, federation.is_silent)
        minting = Minting(agency, prefix, clock, randomness, *known)
        async with LocalService(store, minting) as service:
            yield Peer(agency, directory, store, service, pusher, inbox, link)
    finally:
        lease.leave()
        await link.close()
        await store.close()


@asynccontextmanager
async def peers(lab: Lab, place: Path, agencies: Sequence[AgencyId]) -> AsyncIterator[list[Peer]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(peer(lab, agency, place / agency, seed=number + 1))
            for number, agency in enumerate(agencies)
        ]


async def settle_down(nodes: Sequence[Peer], lab: Lab) -> None:
    """Until nobody has anything to send or to take in any more."""
    for _ in range(50):
        for node in nodes:
            await node.push()
        await lab.hub.projector.catch_up()
        if not sum([await node.inbox.drain() for node in nodes]) and not await _unsent(nodes):
            return
    raise AssertionError("it does not come to rest")


async def _unsent(nodes: Sequence[Peer]) -> int:
    return sum([(await node.store.outbox()).unsent for node in nodes])
