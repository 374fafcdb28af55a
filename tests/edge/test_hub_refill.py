"""A hub restored from an old backup takes back the same log from its nodes, and signs nothing before (§10.6)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import msgspec
import pytest

from node.local.recording import Command
from node.local.status import node_status
from sync_protocol.backoff import HOUR_MS
from sync_protocol.compression import decompress_part
from sync_protocol.merkle import leaf_hash
from sync_protocol.statement import Role
from sync_protocol.values import AgencyId, b64u_encode
from sync_protocol.wire import RecoveryRequest, SeqRange, StatementLine
from tests.edge.hub_lab import Agency, Lab
from tests.edge.refill_lab import AGENCIES, AWAY_MS, Disaster, audited, checkpoints_of, roots_of, state_of, take_steps

ROUNDS_MAX: Final = 12  # in an hour: some within the first minutes, then one every eight to fifteen


async def half_lost(disaster: Disaster) -> tuple[dict[int, bytes], str]:
    """A hub with a backup of half its log: the roots and the state that it had in the end."""
    async with disaster.hub() as lab:
        await disaster.live_a_day(2, *AGENCIES[:2], lab=lab)
    disaster.back_up()
    async with disaster.hub() as lab:
        await disaster.live_a_day(3, *AGENCIES, lab=lab)  # the third enrols after the backup
        return await roots_of(lab), await state_of(lab)


async def check_same(lab: Lab, roots: dict[int, bytes]) -> None:
    assert {size: root for size, root in (await roots_of(lab)).items() if size in roots} == roots


async def test_a_hub_restored_to_half_its_log_gets_back_the_identical_log_from_its_nodes(
    disaster: Disaster, tmp_path: Path
) -> None:
    roots, state = await half_lost(disaster)
    disaster.restore("hub.db")
    async with disaster.hub() as lab, disaster.nodes(lab, *AGENCIES) as nodes:
        held = lab.hub.log.size
        assert held < len(roots)
        assert lab.hub.log.recovering is not None
        for node in nodes:
            await node.received()
        await disaster.knock(nodes[0])
        assert (await lab.hub.store.newest_checkpoint()) == lab.hub.log.published
        assert lab.hub.log.size == held  # one node alone does not have it all, and nothing was signed
        await disaster.knock(*nodes)
        await disaster.whole(lab)
        assert lab.hub.log.size == len(roots)
        assert await roots_of(lab) == roots
        assert await state_of(lab) == state
        for node in nodes:
            disaster.clock.at_ms += AWAY_MS
            await node.drain()
            status = await node_status(node.store, disaster.clock)
            assert (status.unsent, status.unacknowledged, status.troubles, status.pusher) == (0, 0, [], "idle")
        await check_same(lab, roots)
        assert lab.hub.log.size >= len(roots) + len(nodes)
        assert (await lab.hub.status())["missing_sets"] == []
        await audited(lab, tmp_path / "export")
    async with disaster.hub() as lab:
        assert (await lab.hub.status())["troubles"] == []


async def test_a_hub_that_waits_for_others_is_not_shown_the_same_every_few_seconds(disaster: Disaster) -> None:
    await half_lost(disaster)
    disaster.restore("hub.db")
    async with disaster.hub() as lab, disaster.nodes(lab, AGENCIES[0]) as (node,):
        until_ms = disaster.clock.at_ms + HOUR_MS
        while disaster.clock.at_ms < until_ms:
            await take_steps(node)
            disaster.clock.at_ms += 10_000
        metrics = (await lab.call("GET", "/metrics")).body.decode()
        asked = {call: _count_of(metrics, call) for call in ("POST /v1/recovery", "GET /v1/agencies/{agency}/head")}
        assert lab.hub.log.recovering is not None
        assert all(3 <= count <= ROUNDS_MAX for count in asked.values()), asked


def _count_of(metrics: str, call: str) -> float:
    lines = [line for line in metrics.splitlines() if call in line and "requests_total" in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def test_two_nodes_that_hand_over_at_the_same_moment_are_both_heard(disaster: Disaster) -> None:
    roots, state = await half_lost(disaster)
    disaster.restore("hub.db")
    async with disaster.hub() as lab, disaster.nodes(lab, *AGENCIES) as nodes:
        disaster.clock.at_ms += AWAY_MS
        await asyncio.gather(*(take_steps(node) for node in nodes))
        await disaster.check_whole_again(lab, roots, state)


async def test_a_hub_whose_lock_was_restored_too_is_refilled_as_well(disaster: Disaster) -> None:
    roots, state = await half_lost(disaster)
    disaster.restore("hub.db", "lock")
    async with disaster.hub() as lab, disaster.nodes(lab, *AGENCIES) as nodes:
        assert lab.hub.log.recovering is None  # nothing on this machine tells it
        await disaster.knock(nodes[0])
        assert not lab.hub.log.is_signing
        assert lab.hub.log.size < len(roots)
        await disaster.knock(*nodes)
        await disaster.check_whole_again(lab, roots, state)
        assert await lab.hub.lock.proof() is None
        assert await lab.hub.lock.read() == lab.hub.log.published.note


async def test_a_hub_signs_nothing_that_it_did_not_sign_before_until_its_log_is_whole(disaster: Disaster) -> None:
    await half_lost(disaster)
    async with disaster.hub() as lab:
        signed = await checkpoints_of(lab)
    disaster.restore("hub.db")
    async with disaster.hub() as lab, disaster.nodes(lab, *AGENCIES) as nodes:
        for node in nodes:
            await node.received()
        looked = 0
        for number in (1, 2, 3):
            await disaster.knock(*nodes[:number])
            if lab.hub.log.recovering is not None:
                looked += 1
                now = await checkpoints_of(lab)
                assert {size: signed.get(size) for size in now} == now
        assert looked
        await disaster.whole(lab)
        now = await checkpoints_of(lab)
        assert {size: signed.get(size) for size in now if size in signed} == {
            s: n for s, n in now.items() if s in signed
        }
        assert max(signed) in now


async def test_an_entry_that_nobody_holds_keeps_the_hub_from_signing_and_is_named(disaster: Disaster) -> None:
    roots, _ = await half_lost(disaster)
    disaster.restore("hub.db")
    async with disaster.hub() as lab:
        async with disaster.nodes(lab, *AGENCIES[:2]) as nodes:
            await disaster.knock(*nodes)
            await asyncio.sleep(1.5)
            size = lab.hub.log.size
            status = await lab.hub.status()
            assert status["recovery"]["target"] == len(roots)
            assert status["recovery"]["missing_entries"] != []
            (trouble,) = status["troubles"]
            assert "lost leaves are still missing, at log index" in trouble
            assert (await lab.call("GET", "/healthz")).kind == "recovering"
            assert lab.hub.log.size == size
        async with disaster.nodes(lab, AGENCIES[2]) as nodes:
            await disaster.knock(*nodes)
            await disaster.whole(lab)
            assert await roots_of(lab) == roots


async def test_a_token_that_was_used_after_the_backup_is_not_good_for_a_second_key(disaster: Disaster) -> None:
    async with disaster.hub() as lab:
        await disaster.live_a_day(1, AGENCIES[0], lab=lab)
        token = await lab.hub.invite(AGENCIES[1])
    disaster.back_up()
    async with disaster.hub() as lab:
        kediri = Agency(lab, AGENCIES[1], lab.new_key())
        enrolled = await kediri.enrol(token)
        receipts = [StatementLine(**line) for line in enrolled.json["statements"]]
        newest = lab.hub.log.published.note
    disaster.restore("hub.db")
    async with disaster.hub() as lab:
        kediri.lab = lab
        thief = Agency(lab, AGENCIES[1], lab.new_key())
        assert (await lab.call("POST", "/v1/enrolments", data=thief.request(token))).kind == "recovering"
        asked = RecoveryRequest(
            agency=str(AGENCIES[1]),
            checkpoint=newest.decode(),
            receipts=[],
            statements=receipts,
            seqs=SeqRange(from_seq=1, to_seq=0),
        )
        assert (await lab.call("POST", "/v1/recovery", data=msgspec.json.encode(asked))).status == 200
        await disaster.whole(lab)
        assert (await lab.call("POST", "/v1/enrolments", data=thief.request(token))).kind == "bad-token"
        again = await lab.call("POST", "/v1/enrolments", data=kediri.request(token))
        assert (again.status, again.json["index"]) == (200, enrolled.json["index"])


async def test_a_key_of_the_log_that_was_rotated_after_the_backup_still_proves_what_it_signed(
    disaster: Disaster,
) -> None:
    async with disaster.hub() as lab:
        await disaster.live_a_day(1, *AGENCIES[:2], lab=lab)
    disaster.back_up()
    async with disaster.hub() as lab:
        await disaster.live_a_day(1, AGENCIES[0], lab=lab)
        await lab.hub.rotate(Role.LOG)
        await lab.hub.rotate(Role.REGISTRAR)
        await disaster.live_a_day(1, *AGENCIES[:2], lab=lab)
        roots = await roots_of(lab)
    disaster.restore("hub.db")
    async with disaster.hub() as lab, disaster.nodes(lab, *AGENCIES[:2]) as nodes:
        await disaster.knock(*nodes)
        await disaster.whole(lab)
        assert await roots_of(lab) == roots
        await nodes[0].received()
        disaster.clock.at_ms += AWAY_MS
        await nodes[0].drain()
        assert lab.hub.log.size > len(roots)


async def test_words_erased_after_the_backup_go_again_with_the_fold_where_no_ledger_names_them(
    disaster: Disaster,
) -> None:
    async with disaster.hub() as lab, disaster.nodes(lab, AGENCIES[0]) as (node,):
        complaint = await node.received()
        await node.drain()
    disaster.back_up()
    async with disaster.hub() as lab, disaster.nodes(lab, AGENCIES[0]) as (node,):
        stored = next(one for one in await lab.hub.store.sets_of(AGENCIES[0], 1, 10) if one.changes)
        index = stored.index
        parts = await lab.hub.store.set_parts(index)
        assert parts is not None
        leaf = b64u_encode(leaf_hash(decompress_part(parts[1]).splitlines()[0]))
        erased = Command("erased", {"ground": "withdrawn-consent", "leaves": [leaf]}, complaint=complaint)
        await node.service.record(erased)
        disaster.clock.at_ms += AWAY_MS
        await node.drain()
        await lab.hub.projector.catch_up()
        assert b"Sampah" not in decompress_part((await lab.hub.store.set_parts(index) or (b"", b""))[1])
        roots = await roots_of(lab)
    disaster.restore("hub.db")
    (disaster.root / "lock" / "erasures.jsonl").unlink()  # the program that ran then kept none
    async with disaster.hub() as lab, disaster.nodes(lab, AGENCIES[0]) as (node,):
        assert b"Sampah" in decompress_part((await lab.hub.store.set_parts(index) or (b"", b""))[1])
        await disaster.knock(node)
        await disaster.whole(lab)
        await lab.hub.projector.catch_up()
        assert await roots_of(lab) == roots
        assert b"Sampah" not in decompress_part((await lab.hub.store.set_parts(index) or (b"", b""))[1])


@pytest.mark.slow
async def test_fifty_nodes_bring_back_the_half_that_was_lost_without_one_set_missing(disaster: Disaster) -> None:
    agencies = [AgencyId(f"33.{number:02}") for number in range(1, 51)]
    async with disaster.hub() as lab:
        await disaster.live_a_day(2, *agencies, lab=lab)
    disaster.back_up()
    async with disaster.hub() as lab:
        await disaster.live_a_day(3, *agencies, lab=lab)
        roots, state = await roots_of(lab), await state_of(lab)
        sets = {agency: await lab.hub.store.sets_of(agency, 1, 99) for agency in agencies}
    disaster.restore("hub.db")
    async with disaster.hub() as lab, disaster.nodes(lab, *agencies) as nodes:
        disaster.clock.at_ms += AWAY_MS
        await asyncio.gather(*(take_steps(node) for node in nodes))
        await disaster.check_whole_again(lab, roots, state)
        for agency in agencies:
            again = await lab.hub.store.sets_of(agency, 1, 99)
            assert [(one.index, one.digest, one.hidden) for one in again] == [
                (one.index, one.digest, one.hidden) for one in sets[agency]
            ]
        await audited(lab, disaster.place / "export")
