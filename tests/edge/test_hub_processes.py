"""Several processes of one hub: what one of them published, all of them know when it matters (protocol §6.3, ADR 0010).

Here each "process" is a hub object with everything of its own but the files; tests with real processes and a real
PostgreSQL are in test_hub_processes_served.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from node.hub.lock import FileLockStore
from node.store.hub_records import GrownLeaf
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.errors import Corrupt, Unavailable
from sync_protocol.values import AgencyId
from tests.edge.hub_lab import ORIGIN, RULES, Agency, Answer, Lab, LabClock, projected, running_hub
from tests.edge.hub_requests import signed


@asynccontextmanager
async def two_of_one_hub(tmp_path: Path, **changed: Any) -> AsyncIterator[tuple[Lab, Lab]]:
    async with (
        running_hub(tmp_path, **changed) as one,
        running_hub(tmp_path, clock=one.clock, seed=2, **changed) as other,
    ):
        yield one, other


Where = dict[str, Any]


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest) -> Where:
    """In which database the hub keeps its log."""
    return {} if request.param == "sqlite" else {"database_url": request.getfixturevalue("postgres_url")}


def quiet(*labs: Lab) -> None:
    """Nobody looks by himself any more: what these processes know, they were asked for."""
    for lab in labs:
        for task in lab.hub._clockwork._tasks:
            task.cancel()


async def read(lab: Lab, agency: Agency, path: str) -> Answer:
    """As the agency itself."""
    return await lab.call("GET", path, headers=signed(lab, agency.signer, path))


async def at(agency: Agency, lab: Lab) -> Agency:
    """The same agency, talking to another process."""
    agency.lab = lab
    return agency


async def test_a_node_enrolled_at_one_process_pushes_at_another_at_once(tmp_path: Path, where: Where) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        quiet(other)
        agency = await one.enrol("33.75")
        await (await at(agency, other)).push_new(1)
        await (await at(agency, one)).push_new(1)
        assert one.hub.log.size == 6


async def test_a_set_that_has_seen_more_than_this_process_knows_is_taken_at_once(
    tmp_path: Path, where: dict[str, Any]
) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        quiet(one, other)
        agency, elsewhere = await one.enrol("33.75"), await one.enrol("35.71")
        for _ in range(3):
            await elsewhere.push_new(1)
        change_set = agency.cut(1)
        assert change_set.manifest.manifest.seen_size > other.hub.log.size
        assert (await (await at(agency, other)).push(change_set)).status == 201


async def test_head_and_receipt_at_any_process_are_as_new_as_what_the_agency_was_told(
    tmp_path: Path, where: dict[str, Any]
) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        quiet(one, other)
        agency = await one.enrol("33.75")
        for lab in (one, other, one, other):
            told = (await (await at(agency, lab)).push_new(1)).json
            for asked in (one, other):
                head = (await read(asked, agency, "/v1/agencies/33.75/head")).json
                assert head["seq"] == agency.seq
                assert head["checkpoint"] == told["checkpoint"]
                path = f"/v1/agencies/33.75/change-sets/{agency.seq}/receipt"
                assert (await read(asked, agency, path)).body.decode() == told["receipt"]


async def test_a_tile_and_a_proof_that_one_process_speaks_of_are_found_at_another(
    tmp_path: Path, where: dict[str, Any]
) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        quiet(other)
        before = other.hub.log.size
        await one.enrol("33.75")
        size = one.hub.log.size
        assert (await other.call("GET", f"/tile/0/000.p/{size}")).status == 200
        assert (await other.call("GET", f"/v1/consistency?from={before}&to={size}")).status == 200
        assert (await other.call("GET", f"/tile/0/000.p/{size + 1}")).status == 404


async def test_two_processes_that_append_in_turns_sign_one_root_for_each_size(
    tmp_path: Path, where: dict[str, Any]
) -> None:
    roots: dict[int, bytes] = {}
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        agencies = [await one.enrol(code) for code in ("33.75", "35.71", "64.72")]

        async def push(agency: Agency, labs: tuple[Lab, Lab]) -> None:
            for number in range(10):
                answer = await (await at(agency, labs[number % 2])).push_new(1)
                note = answer.json["checkpoint"].encode()
                checkpoint = open_checkpoint(note, [one.vkey], ORIGIN).checkpoint
                assert roots.setdefault(checkpoint.size, checkpoint.root) == checkpoint.root

        await asyncio.gather(*(push(agency, (one, other)) for agency in agencies))
        await one.hub.log.follow()
        await other.hub.log.follow()
        assert one.hub.log.published == other.hub.log.published
        assert one.hub.log.size == 6 + 30
        assert await one.hub.log.roots_at(range(1, 37)) == await other.hub.log.roots_at(range(1, 37))


class SlowPublisher(FileLockStore):
    """Dies between the commit and the publication."""

    async def swap(self, expected: bytes | None, note: bytes) -> None:
        raise OSError("the power is gone")


async def test_what_is_committed_and_not_published_is_shown_by_no_process(
    tmp_path: Path, where: dict[str, Any]
) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        agency = await one.enrol("33.75")
        await other.hub.log.follow()
        size, change_set = other.hub.log.size, agency.cut(1)
        one.hub.log.lock = SlowPublisher(one.hub.options.lock_folder)
        assert (await agency.push(change_set)).status == 503
        newest = await other.hub.store.newest_checkpoint()
        assert newest is not None
        assert newest.size == size + 1
        assert not await other.hub.log.follow()
        assert (await other.call("GET", f"/tile/0/000.p/{size + 1}")).status == 404
        one.hub.log.lock.close()
        one.hub.log.lock = one.hub.lock
        # Whoever appends next publishes it first: the same place, the same root.
        answer = await (await at(agency, other)).push(change_set)
        assert (answer.status, answer.json["index"]) == (200, size)
        assert other.hub.log.published == newest


async def test_an_enrolment_that_is_committed_and_not_published_is_published_before_it_is_answered(
    tmp_path: Path, where: dict[str, Any]
) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        await one.enrol("33.75")
        await other.hub.log.follow()
        quiet(one, other)
        size, token = other.hub.log.size, await one.hub.invite(AgencyId("35.71"))
        agency = Agency(one, AgencyId("35.71"), one.new_key())
        body = agency.request(token)
        one.hub.log.lock = SlowPublisher(one.hub.options.lock_folder)
        assert (await one.call("POST", "/v1/enrolments", data=body)).status == 503
        one.hub.log.lock.close()
        one.hub.log.lock = one.hub.lock
        answer = await other.call("POST", "/v1/enrolments", data=body)
        assert (answer.status, answer.json["index"]) == (200, size)
        newest = await other.hub.store.newest_checkpoint()
        assert newest is not None
        assert other.hub.log.published == newest
        assert answer.json["checkpoint"].encode() == newest.note == await other.hub.lock.read()
        (await at(agency, other)).restart_chain()
        assert (await agency.push(agency.cut(1))).status == 201


async def test_following_waits_for_nobody_who_appends(tmp_path: Path, where: Where) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        await one.enrol("33.75")
        async with asyncio.timeout(20), one.hub.lock.hold():
            assert (await other.hub.log.follow()) or other.hub.log.size == one.hub.log.size
            assert other.hub.log.published == one.hub.log.published


async def test_an_append_after_another_process_reads_what_moved_and_nothing_else(
    tmp_path: Path, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        quiet(one, other)
        agencies = [await one.enrol(code) for code in ("33.75", "35.71")]
        for lab in (one, other):
            await (await at(agencies[0], lab)).push_new(1)

        async def nobody_asks(*_: object) -> None:
            raise AssertionError("everything was read again")

        for name in ("heads", "statements", "newest_checkpoint"):
            monkeypatch.setattr(one.hub.store, name, nobody_asks)
            monkeypatch.setattr(other.hub.store, name, nobody_asks)
        for lab in (one, other, one, other):
            await (await at(agencies[1], lab)).push_new(1)


async def test_leaves_that_do_not_lead_to_the_signed_root_stop_a_process(
    tmp_path: Path, where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        quiet(other)
        await one.enrol("33.75")
        read = other.hub.store.grown

        async def with_a_flipped_bit(start: int, end: int) -> list[GrownLeaf]:
            *rest, last = await read(start, end)
            return [*rest, GrownLeaf(last.index, last.entry[:-1] + b"?", last.head, last.checkpoint)]

        monkeypatch.setattr(other.hub.store, "grown", with_a_flipped_bit)
        before = other.hub.log.published
        with pytest.raises(Corrupt, match="do not lead"):
            await other.hub.log.follow()
        assert other.hub.log.published == before
        with pytest.raises(Unavailable, match="stopped signing"):
            other.hub.log.check_signing()


async def test_a_proof_shown_to_one_process_stops_all_of_them(tmp_path: Path, where: Where) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        quiet(other)
        agency, bystander = await one.enrol("33.75"), await one.enrol("35.71")
        ahead = agency.cut(1, seen_size=one.hub.log.size + 5, signer=agency.signer)
        async with one.hub.log.appending():
            await one.hub.lock.keep_proof(one.hub.log.published.note.replace(b"\n5\n", b"\n9\n"))
        assert ahead.manifest.manifest.seen_size > one.hub.log.size
        answer = await (await at(bystander, other)).push(bystander.cut(1))
        assert (answer.status, answer.kind) == (503, "recovering")
        assert other.hub.log.recovering


async def test_one_process_projects_and_the_next_takes_over_when_it_ends(tmp_path: Path, where: Where) -> None:
    async with (
        running_hub(tmp_path, seed=2, **where) as other,
        running_hub(tmp_path, clock=other.clock, **where) as one,
    ):
        leaders = [lab for lab in (one, other) if lab.hub.leader.is_leading]
        assert leaders == [other]
        agency = await one.enrol("33.75")
        await agency.push_new(1)
        await projected(one)
        await other.hub.leader.stop()
        async with asyncio.timeout(5):
            while not one.hub.leader.is_leading:  # noqa: ASYNC110 - another task's work
                await asyncio.sleep(0.01)
        await (await at(agency, other)).push_new(1)
        async with asyncio.timeout(5):
            await projected(other)


async def test_processes_that_wait_for_the_same_tick_append_one(tmp_path: Path, where: Where) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        clock = one.clock
        assert isinstance(clock, LabClock)
        before = one.hub.log.size
        clock.at_ms += 3_600_001
        steps = [lab.hub._clockwork._tick() for lab in (one, other, one, other)]
        async with asyncio.timeout(20):
            await asyncio.gather(*steps[:2])
        await one.hub.log.follow()
        assert one.hub.log.size == before + 1
        for step in steps[2:]:
            step.close()


async def test_new_rules_that_two_processes_bring_stand_in_the_log_once(tmp_path: Path, where: Where) -> None:
    async with two_of_one_hub(tmp_path, **where) as (one, other):
        before = one.hub.log.size
        draft = dataclasses.replace(RULES, bounce_limit=7)
        await asyncio.gather(*(lab.hub.ensure_rules(draft) for lab in (one, other)))
        await one.hub.log.follow()
        assert one.hub.log.size == before + 1
