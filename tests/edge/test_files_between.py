"""Files on their way from a real node to a real hub and back, over lines that break (protocol §13.5, §13.6)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.files.limits import FileLimits
from node.files.store import FileStore
from node.link.hub_client import HubClient
from node.local.file_fetching import PIECE_BYTES, FileFetching
from node.local.file_ports import FileLink
from node.local.file_sending import ASK_AGAIN_MS, FileSending
from node.local.files import NodeFiles
from node.local.recording import Command
from node.local.signing import DirectoryKeys
from node.store.complaint_keys import complaint_key
from node.store.local_records import HeldComplaint
from sync_protocol.attachment import ContentRange
from sync_protocol.backoff import DAY_MS
from sync_protocol.errors import Refused, Unavailable
from sync_protocol.limits import FILE_PIECE_MAX_BYTES
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import AgencyId, Digest, b64u_encode, format_timestamp
from tests.edge.file_samples import big_jpeg, jpeg
from tests.edge.hub_lab import FILE_LIMITS, Lab, LabRandomness, projected, running_hub
from tests.edge.inbox_lab import peers, settle_down
from tests.edge.test_node_with_hub import AGENCY, LiveNode, live_node

LOST = Unavailable("the line broke")
Fault = Callable[[int], bool]


class BadLine:
    """The real link, until `fault` says of the n-th call that its request, or its answer, is lost."""

    def __init__(self, link: FileLink) -> None:
        self._link = link
        self.calls = 0
        self.lose_request: Fault = lambda _: False
        self.lose_answer: Fault = lambda _: False

    async def send_file_piece(self, file: bytes, seq: int, place: ContentRange, data: bytes) -> int:
        number = self._begin()
        offset = await self._link.send_file_piece(file, seq, place, data)
        self._end(number)
        return offset

    async def fetch_file(self, file: bytes, start: int, end: int) -> bytes:
        number = self._begin()
        data = await self._link.fetch_file(file, start, end)
        self._end(number)
        return data

    def _begin(self) -> int:
        self.calls += 1
        if self.lose_request(self.calls):
            raise LOST
        return self.calls

    def _end(self, number: int) -> None:
        if self.lose_answer(number):
            raise LOST


@dataclass
class Sender:
    """A node with files, and its line to the hub."""

    lab: Lab
    node: LiveNode
    line: BadLine
    files: NodeFiles
    sending: FileSending

    async def attach(self, data: bytes, visibility: str = "anonymous") -> tuple[str, Digest]:
        """A complaint with a file, receipted and folded, the file not sent."""
        stored = self.files.store.add([data])
        assert stored is not None
        clock = self.node.pusher.clock
        begun = {"channel": "web", "visibility": visibility, "received_at": format_timestamp(clock.now_ms())}
        complaint = (await self.node.service.record(Command("received", begun, {"text": "x"}))).recorded.complaint
        done = {"bytes": stored.bytes, "media_type": "image/jpeg"}
        said = {"file": stored.digest.b64u, "name": "foto.jpg"}
        await self.node.service.record(Command("attached", done, said, complaint=complaint))
        await self.node.drain()
        await projected(self.lab)
        return complaint, stored.digest

    async def held(self, complaint: str) -> HeldComplaint:
        found = await self.node.store.complaint(complaint_key(complaint))
        assert found is not None
        return found

    @property
    def hub_store(self) -> FileStore:
        return self.lab.files.store


@asynccontextmanager
async def sender(lab: Lab, place: Path, agency: AgencyId = AGENCY, *, keep_back: bool = False) -> AsyncIterator[Sender]:
    async with live_node(lab, place, agency=agency, seed=sum(agency.encode())) as node:
        line = BadLine(HubClient(node.transport, agency, DirectoryKeys(node.keys).current))
        store, clock, chance = FileStore(place / "files", FILE_LIMITS), node.pusher.clock, LabRandomness(3)
        fetching = FileFetching(line, store)
        files = NodeFiles(store, node.store, clock, chance, fetching)
        sending = FileSending(node.store, store, line, clock, chance, keep_back_confidential=keep_back)
        try:
            yield Sender(lab, node, line, files, sending)
        finally:
            await fetching.close()


async def test_a_file_goes_to_the_hub_after_the_receipt_of_its_set_and_not_before(lab: Lab, tmp_path: Path) -> None:
    async with sender(lab, tmp_path / "node") as one:
        stored = one.files.store.add([jpeg()])
        assert stored is not None
        complaint = await one.node.received()
        done = {"bytes": stored.bytes, "media_type": "image/jpeg"}
        await one.node.service.record(Command("attached", done, {"file": stored.digest.b64u}, complaint=complaint))
        assert await one.sending.send_due() == 0
        assert one.line.calls == 0
        assert await one.node.store.files_waiting() == (1, None)

        await one.node.drain()
        await projected(lab)

        assert await one.sending.send_due() == 1
        assert one.hub_store.check(stored.digest) == stored.bytes
        assert await one.node.store.files_waiting() == (0, None)
        calls = one.line.calls
        assert await one.sending.send_due() == 0
        assert one.line.calls == calls


async def test_a_line_that_breaks_at_every_piece_only_costs_time(lab: Lab, tmp_path: Path) -> None:
    data = big_jpeg(3 * FILE_PIECE_MAX_BYTES + 1_000)
    async with sender(lab, tmp_path / "node") as one:
        _, file = await one.attach(data)
        one.line.lose_request = lambda number: number % 4 == 2
        one.line.lose_answer = lambda number: number % 4 == 3
        rounds = 0
        while not await one.sending.send_due():
            rounds += 1
            assert rounds < 20
            assert (await one.node.store.files_waiting())[1] == LOST.detail
            lab.clock.at_ms += 15 * 60_000  # never further apart
        assert rounds > 2
        assert one.hub_store.check(file) == len(data)
        assert one.line.calls < 20  # what had arrived was not sent again


async def test_an_attempt_is_noted_before_it_is_made(lab: Lab, tmp_path: Path) -> None:
    async with sender(lab, tmp_path / "node") as one:
        _, file = await one.attach(jpeg())

        class DiesError(BaseException):
            pass

        def dies(_: int) -> bool:
            raise DiesError

        one.line.lose_request = dies
        with pytest.raises(DiesError):
            await one.sending.send_due()
        one.line.lose_request = lambda _: False
        assert await one.sending.send_due() == 0  # not at once: the attempt counts as a failure
        lab.clock.at_ms += 60_000
        assert await one.sending.send_due() == 1
        assert one.hub_store.check(file)


async def test_a_hub_that_lost_its_files_gets_them_again(lab: Lab, tmp_path: Path) -> None:
    async with sender(lab, tmp_path / "node") as one:
        _, file = await one.attach(jpeg())
        assert await one.sending.send_due() == 1
        one.hub_store.remove(file)
        lab.clock.at_ms += ASK_AGAIN_MS + ASK_AGAIN_MS // 5
        assert await one.sending.send_due() == 1
        assert one.hub_store.check(file)


async def test_a_clock_that_was_set_back_does_not_silence_the_sender(lab: Lab, tmp_path: Path) -> None:
    async with sender(lab, tmp_path / "node") as one:
        _, file = await one.attach(jpeg())
        (due,) = await one.node.store.files_to_send(lab.clock.at_ms, 9)
        schedule = due.schedule.attempting(lab.clock.at_ms + 3_650 * DAY_MS, 0.5)
        await one.node.store.record_file_attempt(due.leaf, schedule)
        assert await one.sending.send_due() == 1
        assert one.hub_store.check(file)


async def test_what_a_hub_refuses_is_asked_once_a_day_and_holds_up_nothing(lab: Lab, tmp_path: Path) -> None:
    async with sender(lab, tmp_path / "node") as one:
        _, large = await one.attach(big_jpeg(FILE_LIMITS.file_max + 5_000))
        _, small = await one.attach(jpeg())
        assert await one.sending.send_due() == 1
        assert one.hub_store.size_of(large) is None
        assert one.hub_store.check(small)
        count, trouble = await one.node.store.files_waiting()
        assert (count, "over the limit" in str(trouble)) == (1, True)
        calls = one.line.calls
        lab.clock.at_ms += DAY_MS // 2
        await one.sending.send_due()
        assert one.line.calls == calls
        await one.node.received()
        await one.node.drain()  # sets go on all the while


async def test_files_of_confidential_complaints_stay_where_they_are_if_that_is_set(lab: Lab, tmp_path: Path) -> None:
    async with sender(lab, tmp_path / "node", keep_back=True) as one:
        _, secret = await one.attach(jpeg(), "confidential")
        _, plain = await one.attach(big_jpeg(2_000))
        assert await one.sending.send_due() == 1
        assert one.hub_store.size_of(secret) is None
        assert one.hub_store.check(plain)
        assert "kept back" in str((await one.node.store.files_waiting())[1])


async def test_a_file_that_is_missing_or_damaged_here_is_said_so_and_never_sent(lab: Lab, tmp_path: Path) -> None:
    async with sender(lab, tmp_path / "node") as one:
        _, file = await one.attach(jpeg())
        path = one.files.store.path_of(file)
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-3] + b"xyz")
        assert await one.sending.send_due() == 0
        assert one.hub_store.size_of(file) is None
        assert "damaged" in str((await one.node.store.files_waiting())[1])
        lab.clock.at_ms += 2 * DAY_MS
        assert await one.sending.send_due() == 0
        assert "not on this node's disk" in str((await one.node.store.files_waiting())[1])


async def test_an_erased_file_is_forgotten_by_node_and_hub_and_asked_for_no_more(lab: Lab, tmp_path: Path) -> None:
    async with sender(lab, tmp_path / "node") as one:
        complaint, file = await one.attach(jpeg())
        await one.sending.send_due()
        held = await one.held(complaint)
        content = (await one.node.store.complaint_changes(held.no))[1].content
        assert content is not None
        said = {"ground": "court-order", "leaves": [b64u_encode(leaf_hash(content))]}
        await one.node.service.record(Command("erased", said, complaint=complaint))
        await one.node.drain()
        await projected(lab)
        assert await one.files.tidy() == 1
        assert await lab.files.tidy() == 1
        assert one.files.store.totals() == one.hub_store.totals() == (0, 0)
        with pytest.raises(Refused, match="no such file"):
            await one.files.of_complaint(held, file)
        with pytest.raises(Refused, match="no such file"):
            await one.line.fetch_file(file, 0, 1)
        lab.clock.at_ms += 2 * ASK_AGAIN_MS
        assert await one.node.store.files_to_send(lab.clock.at_ms, 9) == []


async def test_a_node_that_lost_its_disk_fetches_its_files_over_a_bad_line(lab: Lab, tmp_path: Path) -> None:
    data = big_jpeg(3 * PIECE_BYTES // 2)
    async with sender(lab, tmp_path / "node") as one:
        complaint, file = await one.attach(data)
        assert await one.sending.send_due() == 1
        await asyncio.to_thread(shutil.rmtree, tmp_path / "node" / "files")
        held = await one.held(complaint)
        one.line.calls = 0
        one.line.lose_answer = lambda number: number == 2
        with pytest.raises(Unavailable):
            await one.files.of_complaint(held, file)
        assert one.files.store.size_of(file) is None
        await one.files.of_complaint(held, file)
        assert one.line.calls == 3  # what had come was not fetched again
        assert one.files.store.check(file) == len(data)
        await one.files.of_complaint(held, file)
        assert one.line.calls == 3


async def test_the_agency_that_a_complaint_is_offered_to_fetches_its_files_and_nobody_else(
    lab: Lab, tmp_path: Path
) -> None:
    async with (
        sender(lab, tmp_path / "giver") as giver,
        sender(lab, tmp_path / "taker", AgencyId("35.71")) as taker,
        sender(lab, tmp_path / "other", AgencyId("13.71")) as other,
    ):
        data = jpeg()
        complaint, file = await giver.attach(data)
        await giver.sending.send_due()
        assert taker.files.fetching is not None
        assert other.files.fetching is not None
        with pytest.raises(Refused, match="no such file"):
            await taker.files.fetching.fetch(file, len(data))
        offer = {"reason": "named_by_reporter", "to": "35.71"}
        await giver.node.service.record(Command("offered", offer, {"note": "x"}, complaint=complaint))
        await giver.node.drain()
        await projected(lab)
        await asyncio.gather(*(taker.files.fetching.fetch(file, len(data)) for _ in range(5)))
        assert taker.line.calls == 2  # the first was refused; five who wait, one who fetches
        assert taker.files.store.check(file) == len(data)
        with pytest.raises(Refused, match="no such file"):
            await other.files.fetching.fetch(file, len(data))


async def test_attack_a_hub_that_sends_other_bytes_is_not_believed(lab: Lab, tmp_path: Path) -> None:
    async with sender(lab, tmp_path / "node") as one:
        data = jpeg()

        class Liar(BadLine):
            async def fetch_file(self, file: bytes, start: int, end: int) -> bytes:
                return b"x" * (end - start)

        fetching = FileFetching(Liar(one.line), one.files.store)
        file = one.files.store.add([data])
        assert file is not None
        one.files.store.remove(file.digest)
        with pytest.raises(Unavailable, match="not the file"):
            await fetching.fetch(file.digest, len(data))
        assert one.files.store.totals() == (0, 0)
        with pytest.raises(Refused, match="this node takes"):
            await fetching.fetch(file.digest, 2**40)


async def test_a_hub_without_room_is_waited_for(tmp_path: Path) -> None:
    limits = FileLimits(file_max=FILE_LIMITS.file_max, store_max=10, free_min=0)
    async with running_hub(tmp_path, file_limits=limits) as lab, sender(lab, tmp_path / "node") as one:
        await one.attach(jpeg())
        assert await one.sending.send_due() == 0
        assert "used up" in str((await one.node.store.files_waiting())[1])


async def test_files_move_along_with_a_complaint_and_are_forgotten_everywhere_with_their_line(
    lab: Lab, tmp_path: Path
) -> None:
    city, regency = AgencyId("35.71"), AgencyId("35.06")
    async with peers(lab, tmp_path, [city, regency]) as nodes:
        giver, taker = nodes
        stores = [FileStore(node.directory / "files", FILE_LIMITS) for node in nodes]
        clock, chance = giver.pusher.clock, LabRandomness(9)
        files = [
            NodeFiles(store, node.store, clock, chance, FileFetching(node.link, store))
            for node, store in zip(nodes, stores, strict=True)
        ]
        stored = stores[0].add([jpeg()])
        assert stored is not None
        complaint = await giver.receive()
        attached = Command(
            "attached",
            {"bytes": stored.bytes, "media_type": "image/jpeg"},
            {"file": stored.digest.b64u},
            complaint=complaint,
        )
        await giver.service.record(attached)
        await giver.offer(complaint, regency)
        await settle_down(nodes, lab)
        assert await FileSending(giver.store, stores[0], giver.link, clock, chance).send_due() == 1

        await files[1].of_complaint(await taker.held(complaint), stored.digest)
        assert stores[1].check(stored.digest) == stored.bytes
        await taker.accept(complaint)
        await settle_down(nodes, lab)
        await files[1].of_complaint(await taker.held(complaint), stored.digest)

        line = next(one.content for one in await taker.history(complaint) if b'"attached"' in one.line)
        assert line is not None
        await taker.change("erased", complaint, ground="court-order", leaves=[b64u_encode(leaf_hash(line))])
        await settle_down(nodes, lab)
        for node, one in zip(nodes, files, strict=True):
            await node.store.carry_out_erasures()
            with pytest.raises(Refused, match="erased"):
                await one.of_complaint(await node.held(complaint), stored.digest)
            await one.tidy()
        await lab.files.tidy()
        assert [store.totals() for store in (*stores, lab.files.store)] == [(0, 0)] * 3


async def test_what_is_between_node_and_hub_is_no_refusal_of_whoever_asks_here(lab: Lab, tmp_path: Path) -> None:
    class Stranger(BadLine):
        async def fetch_file(self, file: bytes, start: int, end: int) -> bytes:
            raise Refused("unauthorised", "the request was made in the future")

    async with sender(lab, tmp_path / "node") as one:
        fetching = FileFetching(Stranger(one.line), one.files.store)
        with pytest.raises(Unavailable, match="in the future"):
            await fetching.fetch(Digest(bytes(32)), 10)
