"""Crashes and failures around every step of an append (protocol §6.3): nothing lost, nothing twice, never two roots."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from node.hub.lock import FileLockStore
from node.store.hub_records import Commit
from node.store.hub_store import SqlHubStore
from node.wiring.hub_parts import open_hub, opened_hub
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.errors import Corrupt
from sync_protocol.merkle import verify_consistency
from sync_protocol.statement import Role
from tests.edge.hub_lab import ORIGIN, Agency, Lab, LabClock, LabRandomness, options_for, running_hub


class PowerCut(Exception):
    """The process is gone at this very step."""


class CuttingStore(SqlHubStore):
    """Fails once, before or after the commit."""

    cut = ""

    async def append(self, commit: Commit) -> None:
        if self.cut == "before append":
            self.cut = ""
            raise PowerCut
        await super().append(commit)
        if self.cut == "after append":
            self.cut = ""
            raise PowerCut


class CuttingLock(FileLockStore):
    """Fails once, before or after the newest note is kept."""

    cut = ""

    async def swap(self, expected: bytes | None, note: bytes) -> None:
        if self.cut == "before swap":
            self.cut = ""
            raise PowerCut
        await super().swap(expected, note)
        if self.cut == "after swap":
            self.cut = ""
            raise PowerCut


STEPS = ["before append", "after append", "before swap", "after swap"]


@asynccontextmanager
async def cut_at(lab: Lab, step: str) -> AsyncIterator[None]:
    """The next append of this hub fails at that step."""
    assert isinstance(lab.hub.store, SqlHubStore)
    store = CuttingStore(lab.hub.store.writer, lab.hub.store.readers)
    lock = CuttingLock(lab.hub.options.lock_folder)
    lab.hub.log.store, lab.hub.log.lock = store, lock
    store.cut = lock.cut = step
    yield
    lab.hub.log.store, lab.hub.log.lock = lab.hub.store, lab.hub.lock
    lock.close()


async def note_of(lab: Lab) -> bytes:
    return (await lab.call("GET", "/checkpoint")).body


async def consistent(lab: Lab, before: bytes) -> None:
    """The published log continues the checkpoint that was published before."""
    old, new = (open_checkpoint(note, [lab.vkey], ORIGIN).checkpoint for note in (before, await note_of(lab)))
    proof = await lab.hub.log.consistency(old.size, new.size)
    verify_consistency(old.size, old.root, new.size, new.root, proof)


@pytest.mark.parametrize("step", STEPS)
async def test_a_set_cut_off_at_any_step_is_accepted_once_when_it_is_repeated(step: str, tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        published = await note_of(lab)
        change_set = agency.cut(2)
        async with cut_at(lab, step):
            answer = await agency.push(change_set)
            assert (answer.status, answer.kind) == (503, "busy")
            assert answer.headers["Retry-After"]
            assert await note_of(lab) == published
        again = await agency.push(change_set)
        assert again.status in {200, 201}
        assert again.json["index"] == 4
        assert lab.hub.log.size == 5
        await consistent(lab, published)


@pytest.mark.parametrize("step", STEPS)
async def test_after_a_power_cut_at_any_step_the_hub_starts_and_goes_on(step: str, tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        published = await note_of(lab)
        change_set = agency.cut(2)
        async with cut_at(lab, step):
            assert (await agency.push(change_set)).status == 503
    async with running_hub(tmp_path, clock=lab.clock, seed=2) as again:
        agency.lab = again
        answer = await agency.push(change_set)
        assert answer.json["index"] == 4
        agency.took(change_set)
        await agency.push_new(1)
        assert again.hub.log.size == 6
        await consistent(again, published)


@pytest.mark.parametrize("step", STEPS)
async def test_an_enrolment_cut_off_at_any_step_is_the_same_when_it_is_repeated(step: str, tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = Agency(lab, (await lab.enrol("33.75")).code, lab.new_key())
        token = await lab.hub.invite(agency.code)
        async with cut_at(lab, step):
            assert (await lab.call("POST", "/v1/enrolments", data=agency.request(token))).status == 503
        first = await lab.call("POST", "/v1/enrolments", data=agency.request(token))
        second = await lab.call("POST", "/v1/enrolments", data=agency.request(token))
        assert first.json == second.json
        assert first.json["index"] == 4
        assert lab.hub.log.size == 5


async def test_a_lock_that_neither_follows_nor_precedes_the_database_is_not_started(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        await lab.enrol("33.75")
        old = await note_of(lab)
        agency = lab.agencies["33.75"]
        await agency.push_new(1)
        await agency.push_new(1)
    (options_for(tmp_path).lock_folder / "checkpoint").write_bytes(old)
    with pytest.raises(Corrupt, match="neither follows"):
        await open_hub(options_for(tmp_path), clock=lab.clock, randomness=LabRandomness(1))


async def test_a_flipped_bit_in_a_hash_tile_is_not_started(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        await lab.enrol("33.75")
    store = await SqlHubStore.open(options_for(tmp_path).directory / "hub.db")
    async with store.writer.begin() as connection:
        sql = "UPDATE hash_tile SET hashes = CAST(X'00' || substr(hashes, 2) AS BLOB)"
        await connection.exec_driver_sql(sql)
    await store.close()
    with pytest.raises(Corrupt):
        await open_hub(options_for(tmp_path), clock=LabClock(), randomness=LabRandomness(1))


async def test_a_command_beside_serve_appends_safely(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        await lab.enrol("35.71")

        async def revoke() -> None:
            async with opened_hub(options_for(tmp_path), clock=lab.clock, randomness=LabRandomness(9)) as beside:
                await beside.revoke(lab.agencies["35.71"].code)

        async def push() -> None:
            for _ in range(10):
                await agency.push_new(1)

        await asyncio.gather(push(), revoke())
        other = lab.agencies["35.71"]
        answer = await other.push(other.cut(1))
        assert (answer.status, answer.kind) == (403, "revoked-key")
        assert lab.hub.log.size == 5 + 10 + 1
    async with running_hub(tmp_path, clock=lab.clock) as again:
        assert again.hub.log.size == 16


async def test_a_refused_revocation_beside_serve_changes_nothing(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        async with opened_hub(options_for(tmp_path), clock=lab.clock, randomness=LabRandomness(9)) as beside:
            kid, first = await beside.revoke(agency.code)
            again, second = await beside.revoke(agency.code, kid=kid)
            assert (kid, first.index) == (again, second.index)
            assert not second.is_new


@pytest.mark.parametrize("role", [Role.LOG, Role.REGISTRAR])
async def test_the_hubs_own_keys_rotate_while_it_serves(role: Role, tmp_path: Path) -> None:
    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        published = await note_of(lab)
        async with opened_hub(options_for(tmp_path), clock=lab.clock, randomness=LabRandomness(9)) as beside:
            place = await beside.rotate(role)
        await agency.push_new(1)
        ticks = 1 if role is Role.LOG else 0  # the new log key signs at once
        assert lab.hub.log.size == place.index + 2 + ticks
        await lab.enrol("35.71")
        opened = open_checkpoint(await note_of(lab), lab.hub.log.roster.vkeys, ORIGIN)
        assert (opened.vkey == lab.vkey) == (role is Role.REGISTRAR)
        old = open_checkpoint(published, lab.hub.log.roster.vkeys, ORIGIN).checkpoint
        proof = await lab.hub.log.consistency(old.size, opened.checkpoint.size)
        verify_consistency(old.size, old.root, opened.checkpoint.size, opened.checkpoint.root, proof)
    async with running_hub(tmp_path, clock=lab.clock) as again:
        agency.lab = again
        await agency.push_new(1)


async def test_the_projection_may_be_deleted_and_comes_back_the_same(tmp_path: Path) -> None:
    from tests.edge.hub_lab import projected

    async with running_hub(tmp_path) as lab:
        agency = await lab.enrol("33.75")
        await agency.push_new(3)
        await projected(lab)
        before: Any = await lab.hub.projection.totals()
    for name in ("projection.db", "projection.db-wal", "projection.db-shm"):
        (options_for(tmp_path).directory / name).unlink(missing_ok=True)
    async with running_hub(tmp_path, clock=lab.clock) as again:
        await projected(again)
        assert await again.hub.projection.totals() == before
