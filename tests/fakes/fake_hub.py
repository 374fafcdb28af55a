"""A hub in memory behind the HubLink port: real log, real judge, real proofs, and one fault hook.

Stricter than reality: a second manifest for one (epoch, seq) is an assertion error, because no node may ever sign one
(`knows_copies` where a test clones a node on purpose). The hook decides for each call whether request or reply is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import sha256
from typing import TypeVar

from keys import ceremony
from keys.signer import Ed25519Signer
from node.link.errors import Unreachable
from sync_protocol.change_set import (
    ChangeSet,
    hidden_leaves,
    hide_contents,
    merge_contents,
    parse_change_set,
    verify_lines,
)
from sync_protocol.checkpoint import Checkpoint, sign_checkpoint
from sync_protocol.compression import compress_frames, decode_body
from sync_protocol.errors import Refused
from sync_protocol.intake import (
    Accept,
    Behind,
    Duplicate,
    Forked,
    Head,
    Held,
    IntakeView,
    RolledBack,
    Superseded,
    judge,
)
from sync_protocol.jws import parse_jws
from sync_protocol.merkle import consistency_proof, inclusion_proof, leaf_hash, tree_root
from sync_protocol.note import vkey_for
from sync_protocol.problems import Recovering
from sync_protocol.receipt import Receipt, format_receipt
from sync_protocol.roster import Roster
from sync_protocol.set_pages import PagedSet
from sync_protocol.statement import Rules, Tick, sign_statement
from sync_protocol.values import AgencyId, Digest, b64_encode, b64u_decode
from sync_protocol.wire import (
    Consistency,
    EnrolmentRequest,
    Entered,
    HeadAnswer,
    HubDescription,
    RecoveryAnswer,
    RecoveryRequest,
    SeqRange,
    StatementLine,
)

ORIGIN = "hub.test/log"
PAGE_SETS = 4  # far fewer than a real hub gives at once
AT_MS = 1_770_000_000_000


class Fault(Enum):
    """What happens to a call on its way."""

    REQUEST_LOST = auto()
    REPLY_LOST = auto()


T = TypeVar("T")
FaultHook = Callable[[str], Fault | None]


@dataclass
class StoredSet:
    index: int
    change_set: ChangeSet


@dataclass
class FakeHub:
    """The log and everything in it. `recovering_from` is set on a hub that knows that it lost something."""

    registrar: Ed25519Signer
    log_key: Ed25519Signer
    entries: list[bytes] = field(default_factory=list)
    roster: Roster = field(default_factory=Roster)
    sets: dict[tuple[str, int], StoredSet] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    signed: dict[tuple[str, int, int], Digest] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    recoveries: list[RecoveryRequest] = field(default_factory=list)
    is_recovering: bool = False
    strips_contents: bool = False
    knows_copies: bool = False

    @classmethod
    def found(cls, registrar: bytes = b"r" * 32) -> FakeHub:
        hub = cls(Ed25519Signer.from_seed(registrar), Ed25519Signer.from_seed(b"l" * 32))
        genesis = ceremony.found_log(origin=ORIGIN, registrar=hub.registrar, log=hub.log_key, at_ms=AT_MS)
        hub.add_statement(genesis.text)
        digest = Digest(sha256(b"tables").digest())
        rules = Rules(AT_MS, hub.roster.genesis_digest, 1, digest, digest, AgencyId("desk"), 3, 86_400)
        hub.add_statement(sign_statement(rules, hub.registrar).text)
        return hub

    @property
    def vkey(self) -> str:
        return vkey_for(ORIGIN, self.log_key.public_key).format()

    @property
    def size(self) -> int:
        return len(self.entries)

    def add_statement(self, text: str) -> int:
        index = self.size
        self.roster.admit(index, parse_jws(text))
        self.entries.append(text.encode("ascii"))
        return index

    def root(self, size: int) -> bytes:
        return tree_root([leaf_hash(entry) for entry in self.entries[:size]])

    def note(self, size: int | None = None) -> bytes:
        size = self.size if size is None else size
        return sign_checkpoint(Checkpoint(ORIGIN, size, self.root(size)), self.log_key)

    def receipt(self, index: int) -> bytes:
        return format_receipt(Receipt(index, tuple(inclusion_proof(index, self.size, self._node)), self.note()))

    def growth(self, old: int, new: int) -> list[bytes]:
        return list(consistency_proof(old, new, self._node)) if 0 < old < new else []

    def entered(self, index: int, from_size: int, hidden: int = 0) -> Entered:
        hashes = [b64_encode(part) for part in self.growth(from_size, self.size)]
        return Entered(
            index=index,
            receipt=self.receipt(index).decode(),
            checkpoint=self.note().decode(),
            consistency=Consistency(from_size=from_size, hashes=hashes),
            hidden=hidden,
            erased=0,
        )

    def enrol(self, code: str, key: bytes, sealing: bytes = b"s" * 32) -> int:
        record = self.roster.agency(code)
        statement = ceremony.enrol(
            self.registrar,
            log=self.roster.genesis_digest,
            agency=AgencyId(code),
            prev=record.last_statement if record else self.roster.genesis_digest,
            key=key,
            sealing=sealing,
            at_ms=AT_MS,
        )
        return self.add_statement(statement.text)

    def sealing_of(self, code: str) -> bytes:
        record = self.roster.agency(code)
        assert record is not None
        return record.sealing

    def revoke(self, code: str) -> None:
        """The registrar ends an agency's key."""
        record = self.roster.agency(code)
        assert record is not None
        assert record.kid is not None
        statement = ceremony.revoke(
            self.registrar,
            log=self.roster.genesis_digest,
            agency=record.agency,
            prev=record.last_statement,
            kid=record.kid,
            at_ms=AT_MS,
        )
        self.add_statement(statement.text)

    def rotate_log(self, seed: bytes) -> None:
        """Another key signs the log from now on; as a hub does, with a tick behind it that the new key signs."""
        new, log = Ed25519Signer.from_seed(seed), self.roster.genesis_digest
        self.add_statement(ceremony.rotate_log(self.log_key, new, origin=ORIGIN, log=log, at_ms=AT_MS).text)
        self.log_key = new
        self.add_statement(sign_statement(Tick(AT_MS + self.size, log), self.registrar).text)

    def lines_for(self, code: str) -> list[StatementLine]:
        return [
            StatementLine(index=one.index, statement=one.jws.text, receipt=self.receipt(one.index).decode())
            for one in self.roster.statements_for(code)
        ]

    def lose_sets_after(self, seq: int, code: str) -> None:
        """An old backup of the hub: the newest sets of an agency are gone, with everything after them."""
        lost = [key for key in self.sets if key[0] == code and key[1] > seq]
        first = min(self.sets[key].index for key in lost)
        del self.entries[first:]
        for key in lost:
            del self.sets[key]
        held = self.sets.get((code, seq))
        record = self.roster.agency(code)
        assert record is not None
        self.heads[code] = Head.at_enrolment(record) if held is None else Head.after(held.change_set.manifest)

    def push(self, code: str, seq: int, body: bytes) -> StoredSet:
        parts = decode_body(body, "zstd")
        change_set = parse_change_set(parts.head, parts.contents)
        manifest = change_set.manifest.manifest
        place = (code, manifest.epoch, manifest.seq)
        known = self.signed.setdefault(place, change_set.manifest.digest)
        assert self.knows_copies or known == change_set.manifest.digest, f"two manifests signed for {place}"
        view = IntakeView(self.roster, self.size, self.root, self.heads.get(code), lambda one: self._held(code, one))
        match judge(view, change_set.manifest, code, seq):
            case Duplicate():
                held = self.sets[code, seq]
                held.change_set = ChangeSet(
                    held.change_set.manifest, held.change_set.head, merge_contents(held.change_set, change_set)
                )
                return held
            case Accept(head):
                verify_lines(change_set)
                stored = StoredSet(self.size, _stripped(change_set) if self.strips_contents else change_set)
                self.entries.append(change_set.manifest.jws.text.encode("ascii"))
                self.sets[code, seq], self.heads[code] = stored, head
                return stored
            case Behind() | Forked() | Superseded() as answer:
                raise answer.refused()
            case RolledBack() as answer:
                raise answer.unavailable()

    def _held(self, code: str, seq: int) -> Held | None:
        stored = self.sets.get((code, seq))
        return None if stored is None else Held(stored.index, stored.change_set.manifest)

    def _node(self, level: int, index: int) -> bytes:
        width = 1 << level
        return tree_root([leaf_hash(entry) for entry in self.entries[index * width : (index + 1) * width]])


@dataclass
class FakeLink:
    """One agency's way to a FakeHub. `fault` is asked with the name of each call."""

    hub: FakeHub
    agency: str
    fault: FaultHook = lambda _call: None
    is_closed: bool = False

    async def describe(self) -> HubDescription:
        raise AssertionError("a pusher has no use for it")

    async def head(self) -> HeadAnswer:
        return self._call("head", self._head)

    async def push(self, seq: int, body: bytes, from_size: int) -> Entered:
        def work() -> Entered:
            stored = self.hub.push(self.agency, seq, body)
            assert from_size <= self.hub.size
            return self.hub.entered(stored.index, from_size, hidden_leaves(stored.change_set))

        return self._call("push", work)

    async def hand_over(self, seq: int, body: bytes) -> None:
        self._call("push", lambda: self.hub.push(self.agency, seq, body))

    async def fetch_sets(self, from_seq: int) -> list[PagedSet]:
        def work() -> list[PagedSet]:
            page: list[PagedSet] = []
            while len(page) < PAGE_SETS and (held := self.hub.sets.get((self.agency, from_seq + len(page)))):
                body = b"".join(compress_frames(held.change_set.head, held.change_set.contents))
                page.append(PagedSet(self.hub.receipt(held.index), body))
            return page

        return self._call("fetch_sets", work)

    async def consistency(self, from_size: int, to_size: int) -> list[bytes]:
        return self._call("consistency", lambda: self.hub.growth(from_size, to_size))

    async def statements(self) -> list[StatementLine]:
        return self._call("statements", lambda: self.hub.lines_for(self.agency))

    async def submit_statement(self, statement: str) -> Entered:
        return self._call("submit_statement", lambda: self.hub.entered(self.hub.add_statement(statement), 0))

    async def enrol(self, request: EnrolmentRequest) -> Entered:
        def work() -> Entered:
            record = self.hub.roster.agency(self.agency)
            key = b64u_decode(request.key, 32)
            known = None if record is None or record.kid is None else self.hub.roster.key(record.kid)
            if known is None or known.public_key != key:
                self.hub.enrol(self.agency, key, b64u_decode(request.sealing, 32))
            lines = self.hub.lines_for(self.agency)
            entered = self.hub.entered(lines[-1].index, 0)
            return Entered(
                index=entered.index,
                receipt=entered.receipt,
                checkpoint=entered.checkpoint,
                consistency=entered.consistency,
                hidden=0,
                erased=0,
                statements=lines,
            )

        return self._call("enrol", work)

    async def recover(self, request: RecoveryRequest) -> RecoveryAnswer:
        def work() -> RecoveryAnswer:
            self.hub.recoveries.append(request)
            head = self.hub.heads.get(self.agency)
            wanted = SeqRange(from_seq=1 if head is None else head.seq + 1, to_seq=request.seqs.to_seq)
            return RecoveryAnswer(size=self.hub.size, wanted=wanted)

        return self._call("recover", work)

    async def close(self) -> None:
        self.is_closed = True

    def _call(self, name: str, work: Callable[[], T]) -> T:
        """A lost request did nothing; a lost reply did everything."""
        self.hub.calls.append(name)
        fault = self.fault(name)
        if fault is Fault.REQUEST_LOST:
            raise Unreachable("the request was lost")
        if self.hub.is_recovering and (name == "head" or (name == "push" and not self.hub.recoveries)):
            raise Recovering("lost something", size=self.hub.size)
        answer = work()
        if fault is Fault.REPLY_LOST:
            raise Unreachable("the reply was lost")
        return answer

    def _head(self) -> HeadAnswer:
        record = self.hub.roster.agency(self.agency)
        if record is None:
            raise Refused("unknown-agency", f"{self.agency} is not enrolled")
        head = self.hub.heads.get(self.agency) or Head.at_enrolment(record)
        stored = self.hub.sets.get((self.agency, head.seq))
        return HeadAnswer(
            agency=self.agency,
            epoch=head.epoch,
            seq=head.seq,
            digest=head.digest.b64u,
            statement=record.last_statement.b64u,
            checkpoint=self.hub.note().decode(),
            manifest=None if head.manifest is None else head.manifest.jws.text,
            kid=record.kid,
            receipt=None if stored is None else self.hub.receipt(stored.index).decode(),
        )


def _stripped(change_set: ChangeSet) -> ChangeSet:
    return ChangeSet(change_set.manifest, change_set.head, hide_contents(change_set))
