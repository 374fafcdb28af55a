"""What was erased does not come back with an old backup of the hub, not for a moment (protocol §3.4; architecture G8).

The projector is off in these hubs: whatever is gone was not found by folding the log again.
"""

from __future__ import annotations

import shutil

import pytest

from node.audit.source import DirectorySource
from node.hub.export import export_log
from node.local.recording import Command
from node.store.complaint_keys import complaint_key
from sync_protocol.compression import decode_body, decompress_part
from sync_protocol.errors import Unavailable
from sync_protocol.merkle import leaf_hash
from sync_protocol.values import b64u_encode
from tests.edge.hub_lab import Lab
from tests.edge.refill_lab import AGENCIES, Disaster, audited, exported, roots_of
from tests.edge.test_node_with_hub import LiveNode

WORDS = b"Sampah menumpuk."  # what every complaint of these nodes says


class BreakingOff(DirectorySource):
    """A copy that goes away after so many sets."""

    left = 2

    async def change_set(self, agency: str, seq: int) -> bytes | None:
        self.left -= 1
        if self.left < 0:
            raise Unavailable("the copy went away")
        return await super().change_set(agency, seq)


async def said_at_hub(lab: Lab) -> int:
    """How many letters are to be had from the hub's stored sets."""
    count = 0
    for agency in AGENCIES[:2]:
        for stored in await lab.hub.store.sets_of(agency, 1, 100):
            parts = await lab.hub.store.set_parts(stored.index)
            count += 0 if parts is None else decompress_part(parts[1]).count(WORDS)
    return count


async def erase_one(node: LiveNode, complaint: str) -> None:
    held = await node.store.complaint(complaint_key(complaint))
    assert held is not None
    (change,) = await node.store.complaint_changes(held.no)
    assert change.content is not None
    leaf = b64u_encode(leaf_hash(change.content))
    await node.service.record(Command("erased", {"ground": "court-order", "leaves": [leaf]}, complaint=complaint))
    await node.drain()


async def lived(disaster: Disaster) -> None:
    """Two letters, of which one is erased after the backup; the copy was made before."""
    async with disaster.hub() as lab, disaster.nodes(lab, AGENCIES[0], AGENCIES[1]) as nodes:
        complaints = [await node.received() for node in nodes]
        for node in nodes:
            await node.drain()
        await exported(lab, disaster.place / "copy", with_content=True)
        assert await said_at_hub(lab) == 2
    disaster.back_up()
    async with disaster.hub() as lab, disaster.nodes(lab, AGENCIES[0]) as (node,):
        await erase_one(node, complaints[0])
        await lab.hub.projector.catch_up()
        assert await said_at_hub(lab) == 1


async def test_a_database_from_before_the_erasure_shows_nothing_erased_from_the_first_answer_on(
    disaster: Disaster,
) -> None:
    await lived(disaster)
    disaster.restore("hub.db", "projection.db")
    async with disaster.hub() as lab:
        assert lab.hub.log.recovering is not None
        assert await said_at_hub(lab) == 1
        token = await lab.hub.grant("budi", with_content=True)
        headers = {"Authorization": f"Bearer {token}"}
        (stored,) = (await lab.hub.store.find_sets([(AGENCIES[0], 1)])).values()
        assert (stored.hidden, stored.erased) == (1, 1)
        for path in ("change-sets/1", "change-sets?from=1"):
            answer = await lab.call("GET", f"/v1/agencies/{AGENCIES[0]}/{path}", headers=headers)
            assert answer.status == 200
            assert WORDS not in answer.body


async def test_a_copy_from_before_the_erasure_does_not_bring_the_words_back_when_the_log_is_taken_back(
    disaster: Disaster,
) -> None:
    await lived(disaster)
    async with disaster.hub() as lab:
        roots = await roots_of(lab)
    disaster.lose_database()
    await disaster.make_empty()
    async with disaster.hub() as lab:
        await lab.hub.gathering.take_copy(DirectorySource(disaster.place / "copy"))
        async with disaster.nodes(lab, *AGENCIES[:2]) as nodes:
            await disaster.knock(*nodes)
        assert await lab.hub.restoring.look(now=True)
        assert await said_at_hub(lab) == 1
        assert await roots_of(lab) == roots
        await audited(lab, disaster.place / "after")


async def test_a_copy_from_before_the_erasure_that_breaks_off_has_brought_no_erased_words(disaster: Disaster) -> None:
    """Lines that are filled in stand there at once, while the hub serves: what was erased is not among them."""
    await lived(disaster)
    async with disaster.hub() as lab:
        await exported(lab, disaster.place / "bare")
    shutil.rmtree(disaster.place / "bare" / "sets")
    disaster.lose_database()
    await disaster.make_empty()
    async with disaster.hub() as lab:
        await lab.hub.gathering.take_copy(DirectorySource(disaster.place / "bare"))
        assert await lab.hub.restoring.look(now=True)
        (kept,) = await lab.hub.lock.erasures()
        assert (await lab.hub.store.set_parts(kept.index), await said_at_hub(lab)) == (None, 0)
        with pytest.raises(Unavailable):
            await lab.hub.gathering.take_copy(BreakingOff(disaster.place / "copy"))
        assert await lab.hub.store.set_parts(kept.index) is not None
        assert await said_at_hub(lab) == 1
        stored = await lab.hub.store.set_at(kept.index)
        assert stored is not None
        assert (stored.hidden, stored.erased) == (1, 1)
        assert await lab.hub.store.erased_leaves(kept.index) == set(kept.leaves)


async def test_an_export_with_words_from_a_database_of_before_the_erasure_is_without_those(disaster: Disaster) -> None:
    """What `simpul hub export --with-content` does, beside no serving process."""
    await lived(disaster)
    async with disaster.hub():
        pass  # so that the lock store, which is newer than the backup, is the one of a hub that ended well
    disaster.restore("hub.db", "projection.db")
    async with disaster.hub() as lab:
        published = lab.hub.log.published
        await export_log(
            lab.hub.store,
            size=published.size,
            note=published.note,
            description={},
            out=disaster.place / "out",
            with_content=True,
        )
    frames = [file.read_bytes() for file in (disaster.place / "out" / "sets").rglob("*.zst")]
    assert len(frames) >= 2
    words = sum(_contents(frame).count(WORDS) for frame in frames)
    assert words == 1


def _contents(body: bytes) -> bytes:
    return decode_body(body, "zstd").contents


async def test_a_ledger_that_was_lost_is_made_again_from_the_database_that_knows(disaster: Disaster) -> None:
    """A program before this one kept none; or the lock store was moved without it."""
    await lived(disaster)
    ledger = disaster.root / "lock" / "erasures.jsonl"
    ledger.unlink()
    for _ in range(2):
        async with disaster.hub() as lab:
            (kept,) = await lab.hub.lock.erasures()
            assert kept.positions == ()
    disaster.restore("hub.db", "projection.db")
    async with disaster.hub() as lab:
        assert await said_at_hub(lab) == 1


async def test_an_erasure_of_which_the_process_died_after_noting_it_is_carried_out_at_the_next_start(
    disaster: Disaster,
) -> None:
    await lived(disaster)
    disaster.restore("hub.db", "projection.db")
    ledger = disaster.root / "lock" / "erasures.jsonl"
    noted = ledger.read_bytes()
    assert WORDS not in noted
    ledger.write_bytes(noted + noted[: len(noted) // 2])  # and the next line was torn
    for _ in range(2):
        async with disaster.hub() as lab:
            assert await said_at_hub(lab) == 1
            assert len(await lab.hub.lock.erasures()) == noted.count(b"\n")
