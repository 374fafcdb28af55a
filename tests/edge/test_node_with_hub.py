"""A real node against a real hub over HTTP: what the fake cannot show, because it shares no code with the hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from keys.key_directory import KeyDirectory
from node.link.hub_client import HubClient
from node.link.transport import Transport
from node.local.cutting import Place, cut_set
from node.local.enrolment import enrol_node
from node.local.lease import DirectoryLease
from node.local.pusher import SHOW_AGAIN_EVERY_MS, Pusher
from node.local.recording import Command, Minting
from node.local.service import LocalService
from node.local.signing import DirectoryKeys
from node.local.status import node_status
from node.store.local_records import ComplaintFilter
from node.store.local_store import SqlLocalStore, open_local_store
from node.system import SystemClock
from sync_protocol.change_set import ChangeSet, hide_contents, parse_change_set
from sync_protocol.compression import compress_frames, decompress_part
from sync_protocol.heads import Session
from sync_protocol.statement import Role
from sync_protocol.values import AgencyId, format_timestamp
from tests.edge.hub_lab import Lab, LabClock, LabRandomness, running_hub
from tests.fakes.node_lab import copy_of

AGENCY = AgencyId("33.75")


class LiveNode:
    """One process's view of a node's directory."""

    def __init__(
        self,
        store: SqlLocalStore,
        service: LocalService,
        pusher: Pusher,
        keys: KeyDirectory,
        transport: Transport,
    ) -> None:
        self.transport = transport
        self.store = store
        self.service = service
        self.pusher = pusher
        self.keys = keys

    async def received(self) -> str:
        data = {
            "channel": "sms",
            "visibility": "anonymous",
            "received_at": format_timestamp(self.pusher.clock.now_ms()),
        }
        outcome = await self.service.record(Command("received", data, {"text": "Sampah menumpuk."}))
        return outcome.recorded.complaint

    async def drain(self) -> None:
        drained = await self.pusher.drain(60)
        assert drained.drained, await node_status(self.store, self.pusher.clock)


@asynccontextmanager
async def live_node(lab: Lab, directory: Path, *, seed: int = 7, agency: AgencyId = AGENCY) -> AsyncIterator[LiveNode]:
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    clock: Any = lab.clock
    randomness = LabRandomness(seed)
    store = await open_local_store(directory / "local.db", create=True)
    directory_keys = KeyDirectory(directory / "keys")
    keys = DirectoryKeys(directory_keys)
    lease = DirectoryLease(directory)
    transport = Transport(lab.url, clock=clock, randomness=randomness)
    link = HubClient(transport, agency, keys.current)
    try:
        if await store.identity() is None:
            token = await lab.hub.invite(agency)
            enrolment: dict[str, Any] = {"agency": agency, "vkey": lab.vkey.format(), "token": token}
            index = await enrol_node(store, link, directory_keys, clock, randomness, **enrolment)
            assert await enrol_node(store, link, directory_keys, clock, randomness, **enrolment) == index
        pusher = Pusher(store, link, keys, clock, randomness, lease, agency=agency, target_changes=2)
        async with LocalService(store, Minting(agency, "PKL", clock, randomness)) as service:
            yield LiveNode(store, service, pusher, directory_keys, transport)
    finally:
        lease.leave()
        await link.close()
        await store.close()


async def test_enrolled_pushed_rotated_and_pushed_again(tmp_path: Path) -> None:
    async with running_hub(tmp_path, clock=_now()) as lab, live_node(lab, tmp_path / "node") as node:
        for _ in range(5):
            await node.received()
        await node.drain()
        node.keys.prepare_next(Role.AGENCY, b"n" * 32)
        await node.drain()
        assert node.keys.pending(Role.AGENCY) is None
        await node.received()
        await node.drain()
        status = await node_status(node.store, node.pusher.clock)
        assert (status.unsent, status.unacknowledged, status.acknowledged_seq, status.pusher) == (0, 0, 4, "idle")
        assert lab.hub.log.heads[AGENCY].seq == 4


class Dies(BaseException):
    """The process is gone."""


async def test_a_crash_when_the_hub_had_taken_the_rotation_is_found_out_before_the_old_key_is_used(
    tmp_path: Path,
) -> None:
    async with running_hub(tmp_path, clock=_now()) as lab:
        async with live_node(lab, tmp_path / "node") as node:
            await node.drain()
            old = node.keys.signer(Role.AGENCY).kid
            new = node.keys.prepare_next(Role.AGENCY, b"n" * 32)
            submit = node.pusher.link.submit_statement

            async def dies(statement: str) -> NoReturn:
                await submit(statement)
                raise Dies

            node.pusher.link.submit_statement = dies  # type: ignore[method-assign]
            with pytest.raises(Dies):
                await node.drain()
            assert node.keys.signer(Role.AGENCY).kid == old
        lab.clock.at_ms += 60_000  # the attempt was recorded before it was made
        async with live_node(lab, tmp_path / "node", seed=8) as node:
            await node.received()
            await node.drain()
            assert node.keys.signer(Role.AGENCY).public_key == new.public_key
            assert node.keys.pending(Role.AGENCY) is None
            assert (await node.store.outbox()).halt is None


@pytest.mark.parametrize("off_s", [150, -150])
async def test_a_clock_that_is_off_is_said_and_never_halts(tmp_path: Path, off_s: int) -> None:
    async with running_hub(tmp_path, clock=_now()) as lab, live_node(lab, tmp_path / "node") as node:
        await node.drain()
        await node.received()
        right, wrong = lab.clock.at_ms, LabClock()
        wrong.at_ms = right + off_s * 1000
        node.pusher.clock = node.transport.clock = wrong
        node.pusher.session = Session()
        drained = await node.pusher.drain(5)
        assert (drained.drained, drained.halted, drained.reached) == (False, False, True)
        status = await node_status(node.store, wrong)
        assert f"differs from the hub's by {abs(off_s)} s" in status.troubles[0]
        assert (status.unsent, status.unacknowledged) == (1, 0)  # nothing was signed on the strength of a refusal
        node.pusher.clock = node.transport.clock = lab.clock
        lab.clock.at_ms += 3_600_000
        await node.drain()
        assert (await node_status(node.store, lab.clock)).troubles == []


async def test_a_clock_that_goes_wrong_while_running_does_not_stand_in_for_a_comparison(tmp_path: Path) -> None:
    """After 15 minutes of silence a refusal is an answer, but not one that knows our head."""
    async with running_hub(tmp_path, clock=_now()) as lab, live_node(lab, tmp_path / "node") as node:
        await node.drain()
        await node.received()
        late = LabClock()
        late.at_ms = lab.clock.at_ms + 16 * 60_000
        node.pusher.clock = node.transport.clock = late
        assert not (await node.pusher.drain(5)).drained
        assert (await node.store.outbox()).unsent == 1


async def test_an_old_backup_is_refilled_over_http(tmp_path: Path) -> None:
    async with running_hub(tmp_path, clock=_now()) as lab:
        async with live_node(lab, tmp_path / "node") as node:
            await node.received()
            await node.drain()
        backup = copy_of(tmp_path / "node", tmp_path / "backup")
        async with live_node(lab, tmp_path / "node", seed=8) as node:
            for _ in range(6):
                await node.received()
            await node.drain()
            before = (await node.store.outbox()).epoch
        async with live_node(lab, backup, seed=9) as restored:
            await restored.received()
            await restored.drain()
            view = await restored.store.outbox()
            assert view.epoch > before
            assert view.unsent == 0
            assert len(await restored.store.complaints(ComplaintFilter())) == 8
            held = await restored.store.live_set(3)
            assert held is not None
            assert await restored.store.set_receipt(held.id) is not None


async def test_lines_that_were_stripped_on_the_way_are_completed(tmp_path: Path) -> None:
    async with running_hub(tmp_path, clock=_now()) as lab, live_node(lab, tmp_path / "node") as node:
        await node.drain()
        await node.received()
        place = Place(AGENCY, (await node.store.outbox()).epoch, 2)
        assert await cut_set(node.store, node.pusher.keys.current(), place, lab.clock.at_ms, unsent=1)
        held = await node.store.live_set(2)
        assert held is not None
        head_frame, contents_frame = await node.store.set_frames(held.id)
        whole = parse_change_set(decompress_part(head_frame), decompress_part(contents_frame))
        stripped = ChangeSet(whole.manifest, whole.head, hide_contents(whole))
        body = b"".join(compress_frames(stripped.head, stripped.contents))
        path = f"/v1/agencies/{AGENCY}/change-sets/2"
        answer = await lab.call("PUT", path, data=body, headers={"Content-Encoding": "zstd"})
        assert (answer.status, answer.json["hidden"]) == (201, 1)
        await node.drain()
        lab.clock.at_ms += SHOW_AGAIN_EVERY_MS
        await node.drain()
        acknowledged = await node.store.live_set(2)
        assert acknowledged is not None
        assert acknowledged.hidden == 0


def _now() -> LabClock:
    """Signed requests need the real time; the lab's clock stands still from now on."""
    clock = LabClock()
    clock.at_ms = SystemClock().now_ms()
    return clock
