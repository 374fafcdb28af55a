"""Lines that deliver everything more than once and out of order, and count it.

Whatever is asked is asked again: at once, after what came later, and in the end all over again, newest first. Each
answer must be the first one; what must not have come of it is looked at by whoever plays (checks.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec

from node.link.hub_client import HubClient
from node.link.transport import Transport
from sync_protocol.ed25519 import Signer
from sync_protocol.evidence import EvidenceFile
from sync_protocol.wire import Entered, InboxPage


@dataclass
class Count:
    """Of one kind of message: how many there were, and how often they were delivered."""

    messages: int = 0
    deliveries: int = 0

    def note(self, deliveries: int, *, messages: int = 0) -> None:
        """So many more."""
        self.messages += messages
        self.deliveries += deliveries


class TwiceLink(HubClient):
    """The way to the hub: each set is put there twice, with a late copy of the one before it in between.

    A node has one set under way at a time, so that the first copy of a set never comes before that of the one before.
    """

    def __init__(self, transport: Transport, agency: str, signer: Callable[[], Signer]) -> None:
        super().__init__(transport, agency, signer)
        self.sets: dict[int, tuple[bytes, int, int]] = {}  # by number: bytes, checkpoint known, place in the log
        self.deliveries = 0
        self.pushed_at_ms = 0

    async def push(self, seq: int, body: bytes, from_size: int) -> Entered:
        first = await self._deliver(seq, body, from_size)
        self.sets[seq] = (body, from_size, first.index)
        self.pushed_at_ms = self._now_ms()
        if seq - 1 in self.sets:
            await self._again(seq - 1)
        second = await self._deliver(seq, body, from_size)
        assert second.index == first.index, "a set has two places in the log"
        return second

    async def push_all_again(self) -> None:
        """Every set once more, the newest first."""
        for seq in sorted(self.sets, reverse=True):
            await self._again(seq)

    async def _deliver(self, seq: int, body: bytes, from_size: int) -> Entered:
        self.deliveries += 1
        return await super().push(seq, body, from_size)

    async def _again(self, seq: int) -> None:
        body, from_size, index = self.sets[seq]
        assert (await self._deliver(seq, body, from_size)).index == index, "a set that came late has another place"


@dataclass
class StaleLink:
    """An InboxLink whose pages come when another reader has taken them in, and more; each is read twice."""

    link: HubClient
    meanwhile: Callable[[], Awaitable[object]]
    count: Count

    async def inbox(self, after: str, wait_s: float) -> InboxPage:
        page, again = [await self.link.inbox(after, wait_s) for _ in range(2)]
        assert places_of(page) == places_of(again), "the same place of an inbox tells two stories"
        await self.meanwhile()
        self.count.note(3 * len(page.items), messages=len(page.items))  # the reader meanwhile read them as well
        return page

    async def evidence(self, complaint: str) -> EvidenceFile:
        return await self.link.evidence(complaint)

    async def agencies(self) -> set[str]:
        return await self.link.agencies()


def places_of(page: InboxPage) -> list[tuple[str, str, str | None]]:
    """What a page tells, without its proofs: those are as of the log's size."""
    return [(item.place, item.note, item.complaint) for item in page.items]


@dataclass(frozen=True)
class Sent:
    """One request, and what was answered first."""

    method: str
    path: str
    body: Mapping[str, Any] | None
    headers: Mapping[str, str]
    answer: bytes


@dataclass
class TwiceClient:
    """A client of one server whose requests all come twice, and old ones again between new ones."""

    url: str
    session: aiohttp.ClientSession
    counts: dict[str, Count] = field(default_factory=lambda: {"GET": Count(), "POST": Count()})
    sent: list[Sent] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
        """The answer, which is 2xx and each time the same."""
        wanted = Sent(method, path, body, headers or {}, b"")
        first = await self._deliver(wanted)
        kept = Sent(method, path, body, headers or {}, first)
        if self.sent:
            await self._repeat(self.sent[len(self.sent) // 2])
        await self._repeat(kept)
        self.sent.append(kept)
        self.counts[method].note(0, messages=1)
        return first

    async def read(self, path: str, headers: Mapping[str, str] | None = None) -> Any:
        """A question, asked once: its answer may be another one later."""
        return msgspec.json.decode(await self.read_text(path, headers))

    async def read_text(self, path: str, headers: Mapping[str, str] | None = None) -> str:
        """The same for an answer in words."""
        async with self.session.get(self.url + path, headers=headers) as response:
            assert response.status == 200, await response.text()
            return await response.text()

    async def ask_all_again(self) -> None:
        """Everything once more, the newest first."""
        for one in reversed(self.sent):
            await self._repeat(one)

    async def _repeat(self, sent: Sent) -> None:
        assert await self._deliver(sent, is_repeat=True) == sent.answer, f"{sent.path} is answered in two ways"

    async def _deliver(self, sent: Sent, *, is_repeat: bool = False) -> bytes:
        self.counts[sent.method].note(1)
        async with self.session.request(
            sent.method, self.url + sent.path, json=sent.body, headers=sent.headers
        ) as response:
            answer = await response.read()
            assert response.status in (200, 201), answer
            if sent.method == "POST":
                assert ("Idempotency-Replayed" in response.headers) is is_repeat, f"{sent.path} was done twice"
            return answer
