"""Attacks on a recovering hub: what proves nothing is left aside, and keeps no truth from coming in (§10.6)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from keys.signer import Ed25519Signer
from node.hub.lock_file import LockFile
from sync_protocol.change_set import ChangeSet
from sync_protocol.checkpoint import parse_checkpoint_text, sign_checkpoint
from sync_protocol.merkle import leaf_hash
from sync_protocol.note import parse_note
from sync_protocol.receipt import Receipt, format_receipt, parse_receipt
from sync_protocol.values import b64u_encode
from sync_protocol.wire import RecoveryRequest, SeqRange, SetLine
from tests.edge.hub_lab import Agency, Answer, Lab
from tests.edge.refill_lab import Disaster, roots_of


@dataclass
class Kept:
    """What a node keeps of a set."""

    change_set: ChangeSet
    receipt: str

    @property
    def manifest(self) -> str:
        return self.change_set.manifest.jws.text

    def line(self, **other: str) -> SetLine:
        return SetLine(**{"manifest": self.manifest, "receipt": self.receipt, **other})


@dataclass
class Loss:
    """A hub that lost two sets each of two agencies, and what they hold."""

    disaster: Disaster
    newest: bytes
    roots: dict[int, bytes]
    agencies: list[Agency]
    sets: dict[str, list[Kept]] = field(default_factory=dict)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Lab]:
        async with self.disaster.hub() as lab:
            for agency in self.agencies:
                agency.lab = lab
            yield lab

    async def offer(self, lab: Lab, code: str, lines: Sequence[SetLine], checkpoint: bytes | None = None) -> Answer:
        asked = RecoveryRequest(
            agency=str(code),
            checkpoint=(checkpoint or self.newest).decode(),
            receipts=[],
            statements=[],
            seqs=SeqRange(from_seq=2, to_seq=3),
            sets=list(lines),
        )
        return await lab.call("POST", "/v1/recovery", data=msgspec.json.encode(asked))

    async def tell_the_truth(self, lab: Lab) -> None:
        """All that was lost comes back, and the log is what it was."""
        for agency in self.agencies:
            kept = self.sets[agency.code]
            answer = await self.offer(lab, agency.code, [one.line() for one in kept])
            assert answer.json["wanted"] == {"from": 2, "to": 3}
            for one in kept:
                assert (await agency.push(one.change_set)).status == 202
        await self.disaster.whole(lab)
        assert await roots_of(lab) == self.roots


@pytest.fixture
async def loss(tmp_path: Path) -> Loss:
    disaster = Disaster(tmp_path)
    async with disaster.hub() as lab:
        agencies = [await lab.enrol("33.75"), await lab.enrol("35.71")]
        for agency in agencies:
            await agency.push_new(1)
    disaster.back_up()
    sets: dict[str, list[Kept]] = {agency.code: [] for agency in agencies}
    async with disaster.hub() as lab:
        for _ in range(2):
            for agency in agencies:
                agency.lab = lab
                change_set = agency.cut(1)
                answer = await agency.push(change_set)
                agency.took(change_set)
                sets[agency.code].append(Kept(change_set, answer.json["receipt"]))
        roots = await roots_of(lab)
    kept = LockFile(disaster.root / "lock" / "checkpoint").read()
    assert kept is not None
    disaster.restore("hub.db")
    return Loss(disaster, kept.note, roots, agencies, sets)


async def gathered(lab: Lab) -> list[int]:
    return await lab.hub.store.recovered_places(0, 1_000)


def forged(receipt: str, entry: str) -> str:
    """The receipt of a log of one leaf, by a key that calls itself the log's."""
    size_one = parse_checkpoint_text(parse_note(parse_receipt(receipt.encode()).note).text)
    stranger = Ed25519Signer.from_seed(b"x" * 32)
    note = sign_checkpoint(type(size_one)(size_one.origin, 1, leaf_hash(entry.encode())), stranger)
    return format_receipt(Receipt(0, (), note)).decode()


def moved(receipt: str, by: int) -> str:
    """The same proof for another place."""
    parsed = parse_receipt(receipt.encode())
    return format_receipt(Receipt(parsed.index + by, parsed.hashes, parsed.note)).decode()


async def test_a_receipt_by_a_stranger_s_key_or_for_another_place_proves_nothing(loss: Loss) -> None:
    first, second = loss.sets["33.75"]
    lies = [
        first.line(receipt=forged(first.receipt, first.manifest)),
        first.line(receipt=moved(first.receipt, 1)),
        first.line(receipt=moved(first.receipt, 1_000)),
        first.line(receipt=second.receipt),
        first.line(receipt="rubbish"),
        first.line(manifest="a.b.c"),
        second.line(manifest=first.manifest),
    ]
    async with loss.running() as lab:
        answer = await loss.offer(lab, "33.75", lies)
        assert (answer.status, answer.json["wanted"]) == (200, None)
        assert await gathered(lab) == []
        await loss.tell_the_truth(lab)


async def test_lies_among_the_truth_do_not_keep_it_out(loss: Loss) -> None:
    first, second = loss.sets["33.75"]
    async with loss.running() as lab:
        lines = [first.line(receipt=second.receipt), first.line(), second.line(receipt="rubbish")]
        answer = await loss.offer(lab, "33.75", lines)
        assert answer.json["wanted"] == {"from": 2, "to": 2}
        await loss.tell_the_truth(lab)


async def test_a_forged_checkpoint_makes_nobody_wait_for_what_never_was(loss: Loss) -> None:
    claimed = parse_checkpoint_text(parse_note(loss.newest).text)
    larger = type(claimed)(claimed.origin, claimed.size + 1_000, b"r" * 32)
    async with loss.running() as lab:
        note = sign_checkpoint(larger, Ed25519Signer.from_seed(b"x" * 32))
        assert (await loss.offer(lab, "33.75", [], note)).status == 403
        assert (await lab.hub.restoring.shortfall()).target == claimed.size
        await loss.tell_the_truth(lab)


async def test_an_agency_hands_over_no_sets_of_another(loss: Loss) -> None:
    other = loss.sets["35.71"][0]
    async with loss.running() as lab:
        answer = await loss.offer(lab, "33.75", [other.line()])
        assert (answer.status, answer.json["wanted"]) == (200, None)
        assert await gathered(lab) == []
        await loss.tell_the_truth(lab)


async def test_a_set_that_was_never_in_the_log_is_not_taken_in(loss: Loss) -> None:
    pekalongan = loss.agencies[0]
    async with loss.running() as lab:
        await loss.offer(lab, "33.75", [loss.sets["33.75"][0].line()])
        pekalongan.restart_chain()
        invented = pekalongan.cut(2)
        for _ in range(2):
            answer = await pekalongan.push(invented)
            assert (answer.status, answer.kind) == (503, "recovering")
        wanted = await lab.hub.store.recovered_set("33.75", 2)
        assert wanted is not None
        assert wanted.changes_frame is None
        await loss.tell_the_truth(lab)


async def test_lines_that_do_not_have_the_signed_root_are_not_taken_in(loss: Loss) -> None:
    pekalongan, kept = loss.agencies[0], loss.sets["33.75"][0]
    async with loss.running() as lab:
        await loss.offer(lab, "33.75", [kept.line()])
        other = kept.change_set.contents.replace(b"Jalan", b"Jalur")
        answer = await pekalongan.push(ChangeSet(kept.change_set.manifest, kept.change_set.head, other))
        assert (answer.status, answer.kind) == (422, "root-mismatch")
        short = ChangeSet(kept.change_set.manifest, kept.change_set.head, b"")
        assert (await pekalongan.push(short)).status == 422
        path = "/v1/agencies/35.71/change-sets/2"
        assert (await lab.call("PUT", path, data=kept.change_set.text)).kind == "wrong-agency"
        await loss.tell_the_truth(lab)


async def test_a_hub_that_lost_nothing_keeps_nothing_of_what_it_is_offered(tmp_path: Path) -> None:
    disaster = Disaster(tmp_path)
    async with disaster.hub() as lab:
        agency = await lab.enrol("33.75")
        change_set = agency.cut(1)
        answer = await agency.push(change_set)
        agency.took(change_set)
        loss = Loss(disaster, lab.hub.log.published.note, {}, [agency])
        line = Kept(change_set, answer.json["receipt"]).line()
        assert (await loss.offer(lab, "33.75", [line])).kind == "unauthorised"
        size = lab.hub.log.size
        assert await gathered(lab) == []
        await agency.push_new(1)
        assert (lab.hub.log.size, lab.hub.log.recovering) == (size + 1, None)


async def test_of_a_long_set_that_was_never_in_the_log_only_the_beginning_is_read(tmp_path: Path) -> None:
    disaster = Disaster(tmp_path)
    async with disaster.hub() as lab:
        agency = await lab.enrol("33.75")
    disaster.back_up()
    async with disaster.hub() as lab:
        agency.lab = lab
        long = cut_long(agency)
        answer = await agency.push(long)
        assert answer.status == 201
        invented = cut_long(agency)
        loss = Loss(disaster, lab.hub.log.published.note, await roots_of(lab), [agency])
    disaster.restore("hub.db")
    async with loss.running() as lab:
        await loss.offer(lab, "33.75", [Kept(long, answer.json["receipt"]).line()])
        taken: list[int] = []
        take_lines = lab.hub.gathering.take_lines

        async def counted(code: str, seq: int, body: bytes, encoding: str | None) -> None:
            taken.append(len(body))
            await take_lines(code, seq, body, encoding)

        lab.hub.gathering.take_lines = counted  # type: ignore[method-assign, assignment]
        assert (await agency.push(invented)).kind == "recovering"
        assert taken == []
        assert (await agency.push(long)).status == 202
        await disaster.whole(lab)
        assert await roots_of(lab) == loss.roots


def cut_long(agency: Agency) -> ChangeSet:
    """Larger on the wire than what a hub reads before it looks."""
    changes = [agency.received(agency.complaint()) for _ in range(40)]
    return agency.cut(changes, [agency.content(b64u_encode(agency.lab.randomness.bytes(22_000))) for _ in changes])
