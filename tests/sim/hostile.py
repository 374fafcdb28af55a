"""An agency with a key of its own and bad intentions: replays, forks, garbage, others' names, others' complaints."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from keys.ceremony import request_enrolment, revoke
from keys.signer import Ed25519Signer
from sync_protocol.change_set import ChangeSet, build_change_set, draft_change_set
from sync_protocol.checkpoint import open_checkpoint
from sync_protocol.compression import compress_frames, decode_body
from sync_protocol.errors import Refused
from sync_protocol.line import format_change, format_content
from sync_protocol.values import AgencyId, Digest, format_timestamp, format_tracking, make_uuid7
from tests.sim.chance import START_MS
from tests.sim.door import Reply, Request
from tests.sim.hub_machine import HubMachine
from tests.sim.network import HUB_URL, Network
from tests.sim.parts import ORIGIN
from tests.sim.witness import Witness

CODE: Final = AgencyId("35.99")


@dataclass
class Hostile:
    """See the module. It hears everything that goes over the lines, and misses nothing that it is answered."""

    hub: HubMachine
    network: Network
    witness: Witness
    victims: list[AgencyId]
    random: random.Random
    tell: Callable[[str], None]
    seq: int = 0
    epoch: int = 1
    prev: Digest | None = None
    earlier: list[ChangeSet] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.signer = Ed25519Signer.generate(self.random.randbytes(32))
        self.witness.hostile.add(str(CODE))
        self.attacks = (
            self.garbage,
            self.replay,
            self.flip,
            self.in_anothers_name,
            self.with_anothers_key_id,
            self.honest_set,
            self.honest_set,
            self.fork,
            self.skip,
            self.revoke_a_victim,
            self.garbage_statements,
            self.false_lines,
            self.false_lines,
            self.false_receipts,
        )

    async def enrol(self) -> bool:
        """Once; what comes after is wicked."""
        if self._is_enrolled():
            return True
        token = await self.hub.ask(lambda hub: hub.invite(CODE))
        if not isinstance(token, str):
            return False
        asked = request_enrolment(
            origin=ORIGIN, agency=CODE, token=token, signer=self.signer, sealing_public_key=b"s" * 32
        )
        await self._post("/v1/enrolments", msgspec.json.encode(asked))
        return self._is_enrolled()

    def _is_enrolled(self) -> bool:
        record = self.witness.log.roster.agency(CODE)
        if record is not None:
            self.prev = record.enrolment
        return record is not None

    async def attack(self) -> None:
        """One, by the seed."""
        if self.prev is None and not await self.enrol():
            return
        is_weak = self.witness.held < self.witness.published or self.hub.log.state.missing
        attack = self.false_lines if is_weak and self.random.random() < 0.5 else self.random.choice(self.attacks)
        self.tell(f"hostile: {attack.__name__}")
        await attack()

    async def garbage(self) -> None:
        body = self.random.randbytes(self.random.randrange(6000))
        await self._put(self.random.choice(self.victims), self.random.randrange(1, 9), body, may=())

    async def replay(self) -> None:
        if self.network.captured:
            await self.network.deliver(self.random.choice(self.network.captured))

    async def flip(self) -> None:
        if self.network.captured:
            request = self.random.choice(self.network.captured)
            body = bytearray(request.body or b"x")
            body[self.random.randrange(len(body))] ^= 1 << self.random.randrange(8)
            await self.network.deliver(replace(request, body=bytes(body)))

    async def false_lines(self) -> None:
        """A victim's own manifest over a line that was never signed: a restored hub may be waiting for that set."""
        pushed = [one for one in self.network.captured if one.method == "PUT" and one.address != "bad"]
        if not pushed:
            return
        request = self.random.choice(pushed)
        try:
            parts = decode_body(request.body, request.headers.get("Content-Encoding"))
        except Refused:  # one that we had flipped ourselves
            return
        manifest, *changes = parts.head.split(b"\n")
        altered = b"\n".join([manifest, *(line.replace(b"a", b"e", 1) for line in changes)])
        if altered == parts.head:
            return
        body = b"".join(compress_frames(altered, parts.contents))
        reply = await self.network.deliver(replace(request, body=body, address="bad"))
        if reply is not None and reply.status in (201, 202):  # 200: what is held is told of again, and stays as it is
            self.witness.violated(f"lines that were never signed were answered {reply.status}")

    async def false_receipts(self) -> None:
        """What a victim handed to a restored hub, each manifest with the receipt of another."""
        handed = [one for one in self.network.captured if one.url.endswith("/v1/recovery")]
        if handed:
            request = self.random.choice(handed)
            asked = msgspec.json.decode(request.body)
            receipts = [line["receipt"] for line in asked["sets"]]
            self.random.shuffle(receipts)
            for line, receipt in zip(asked["sets"], receipts, strict=True):
                line["receipt"] = receipt
            await self.network.deliver(replace(request, body=msgspec.json.encode(asked), address="bad"))

    async def in_anothers_name(self) -> None:
        victim = self.random.choice(self.victims)
        end = self.witness.log.ends.get(str(victim))
        if end is not None:
            forged = self._cut(agency=victim, seq=end.seq + 1, prev=end.digest, epoch=end.epoch)
            await self._push(forged, victim, end.seq + 1, may=())

    async def with_anothers_key_id(self) -> None:
        """Our own set, at the address of a victim."""
        await self._push(self._cut(), self.random.choice(self.victims), self.seq + 1, may=())

    async def honest_set(self) -> None:
        """In due form; what it says is about others' complaints."""
        made = self._cut()
        reply = await self._push(made, CODE, self.seq + 1, may=(200, 201))
        end = self.witness.log.ends.get(str(CODE))
        if end is not None and end.digest == made.manifest.digest:
            self.seq, self.prev = end.seq, end.digest
            self.earlier.append(made)
        elif reply is not None and reply.status < 300:
            self.witness.violated("a set was answered with a receipt and is not at the head of its chain")

    async def fork(self) -> None:
        """Another set at a place that is taken, in the same epoch."""
        end = self.witness.log.ends.get(str(CODE))
        taken = [one for one in self.earlier if end is not None and one.manifest.manifest.seq <= end.seq]
        if taken:
            old = self.random.choice(taken).manifest.manifest
            other = self._cut(seq=old.seq, prev=old.prev, epoch=old.epoch)
            await self._push(other, CODE, old.seq, may=())

    async def skip(self) -> None:
        await self._push(self._cut(seq=self.seq + 2), CODE, self.seq + 2, may=())

    async def revoke_a_victim(self) -> None:
        record = self.witness.log.roster.agency(self.random.choice(self.victims))
        if record is not None and record.kid is not None:
            statement = revoke(
                self.signer,
                log=self.witness.log.roster.genesis_digest,
                agency=record.agency,
                prev=record.last_statement,
                kid=record.kid,
                at_ms=START_MS,
            )
            await self._post("/v1/statements", msgspec.json.encode({"statement": statement.text}))

    async def garbage_statements(self) -> None:
        path = self.random.choice(("/v1/statements", "/v1/enrolments", "/v1/recovery"))
        body = self.random.choice((b"{}", b'{"statement":"a.b.c"}', self.random.randbytes(200)))
        await self._post(path, body)

    def _cut(
        self,
        *,
        agency: AgencyId = CODE,
        seq: int | None = None,
        prev: Digest | None = None,
        epoch: int | None = None,
    ) -> ChangeSet:
        lines = [self._change() for _ in range(self.random.randrange(1, 4))]
        contents = [
            format_content({"text": "x"}, self.random.randbytes(16)) for line in lines if b'"content":1' in line
        ]
        note = self.hub.lock.state.note
        assert note is not None
        seen = open_checkpoint(note, self.witness.log.roster.log_keys_for(note), ORIGIN)
        assert self.prev is not None
        return build_change_set(
            draft_change_set(lines, contents),
            self.signer,
            agency=agency,
            epoch=self.epoch if epoch is None else epoch,
            seq=self.seq + 1 if seq is None else seq,
            prev=self.prev if prev is None else prev,
            at=START_MS,
            seen_size=seen.checkpoint.size,
            seen_root=Digest(seen.checkpoint.root),
            seen_sig=seen.signature,
        )

    def _change(self) -> bytes:
        """To somebody else's complaint, if there is one; to one of our own otherwise."""
        held = sorted(self.witness.log.ledger.complaints)
        at = format_timestamp(START_MS)
        if held and self.random.random() < 0.7:
            name = self.random.choice(held)
            rev = self.witness.log.ledger.complaints[name].rev + 1
            type_, data = self.random.choice(
                [
                    ("noted", {}),
                    ("closed", {"by": "officer", "reason": "done"}),
                    ("verified", {"class": "complaint_ordinary"}),
                    ("answered", {}),
                    ("offered", {"reason": "mine", "to": str(CODE)}),
                ]
            )
        else:
            name, rev, type_ = f"{CODE}:{self._uuid()}", 1, "received"
            tracking = format_tracking("BAD", self.random.getrandbits(60))
            data = {"channel": "web", "received_at": at, "tracking": tracking, "visibility": "public"}
        return format_change(
            id=self._uuid(),
            complaint=name,
            rev=rev,
            type=type_,
            at=at,
            role="officer",
            unit=None,
            data=data,
            content=self.random.random() < 0.3,
        )

    def _uuid(self) -> str:
        return make_uuid7(START_MS, self.random.getrandbits(74))

    async def _push(self, made: ChangeSet, agency: AgencyId, seq: int, *, may: tuple[int, ...]) -> Reply | None:
        return await self._put(agency, seq, b"".join(compress_frames(made.head, made.contents)), may=may)

    async def _put(self, agency: AgencyId, seq: int, body: bytes, *, may: tuple[int, ...]) -> Reply | None:
        url = f"{HUB_URL}/v1/agencies/{agency}/change-sets/{seq}"
        reply = await self.network.deliver(Request("PUT", url, {"Content-Encoding": "zstd"}, body, address="bad"))
        if reply is not None and reply.status < 300 and reply.status not in may:
            self.witness.violated(f"what no honest hub takes was answered {reply.status}")
        return reply

    async def _post(self, path: str, body: bytes) -> Reply | None:
        headers = {"Content-Type": "application/json"}
        return await self.network.deliver(Request("POST", HUB_URL + path, headers, body, address="bad"))
