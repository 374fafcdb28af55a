"""Believing the hub: nothing that it says is stored before it is proved (protocol §6.2, §7.2, §10.1).

A problem that the hub answers is Refused or Unavailable and comes from the link. What is raised here is another thing:
Contradiction, an answer of success that does not prove what it claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.local.ports import HubLink
from node.store.local_records import HeldStatement, Seen
from sync_protocol.checkpoint import OpenCheckpoint, open_checkpoint
from sync_protocol.errors import Refused, SimpulError
from sync_protocol.heads import HubHead
from sync_protocol.jws import parse_jws, verify_jws
from sync_protocol.limits import FORK_JWS_MAX_BYTES
from sync_protocol.manifest import SignedManifest, parse_manifest
from sync_protocol.merkle import verify_consistency
from sync_protocol.receipt import parse_receipt, verify_place, verify_receipt
from sync_protocol.roster import Roster
from sync_protocol.values import Digest, b64_decode_all, parse_integer
from sync_protocol.wire import Consistency, Entered, HeadAnswer, StatementLine


class Contradiction(SimpulError):
    """The hub's answer does not prove what it says; `refused` is what the verifier found."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused
        self.next_step = str(refused.members.get("next", ""))


def contradiction(kind: str, detail: str) -> Contradiction:
    """One that no verifier found, because two statements differ."""
    return Contradiction(Refused(kind, detail))


def seen_of(opened: OpenCheckpoint) -> Seen:
    """A verified checkpoint as it is stored and countersigned."""
    tree = opened.checkpoint
    return Seen(tree.size, Digest(tree.root), opened.signature, opened.note)


def roster_of(statements: Sequence[HeldStatement]) -> Roster:
    """The roster as far as it concerns this agency. Raises Refused if the statements do not follow each other."""
    roster = Roster()
    for held in statements:
        roster.admit(held.index, parse_jws(held.statement, max_bytes=FORK_JWS_MAX_BYTES))
    return roster


def held_statement(line: StatementLine) -> HeldStatement:
    """A statement as it is stored. Raises Refused."""
    jws = parse_jws(line.statement, max_bytes=FORK_JWS_MAX_BYTES)
    return HeldStatement(parse_integer(line.index, "index"), jws.digest, jws.text, line.receipt)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one log's answers are measured against: the keys of a roster, each for the sizes that it signs (§5.4)."""

    link: HubLink
    roster: Roster
    origin: str

    @classmethod
    def by(cls, link: HubLink, roster: Roster) -> Evidence:
        """Those of this roster, which has its genesis."""
        return cls(link, roster, roster.origin)

    def open(self, note: str) -> OpenCheckpoint:
        """A checkpoint of this log. Raises Contradiction."""
        try:
            encoded = note.encode("utf-8")
            return open_checkpoint(encoded, self.roster.log_keys_for(encoded), self.origin)
        except Refused as refused:
            raise Contradiction(refused) from None

    def receipt(
        self, receipt: bytes, entry: bytes, known: dict[bytes, OpenCheckpoint] | None = None
    ) -> tuple[int, OpenCheckpoint]:
        """Log index of the entry, and the checkpoint that the receipt proves it by. Raises Contradiction.

        `known` are checkpoints that were opened here before, by their notes: many receipts are of one.
        """
        try:
            parsed = parse_receipt(receipt)
            opened = None if known is None else known.get(parsed.note)
            if opened is None:
                opened = verify_receipt(parsed, entry, self.roster.log_keys_for(parsed.note), self.origin)
            else:
                verify_place(parsed, entry, opened.checkpoint)
        except Refused as refused:
            raise Contradiction(refused) from None
        if known is not None:
            known[parsed.note] = opened
        return parsed.index, opened

    def statement(self, held: HeldStatement) -> OpenCheckpoint:
        """That a statement stands in the log at its place. Raises Contradiction."""
        if held.receipt is None:
            raise contradiction("bad-proof", f"the statement at log index {held.index} came without its receipt")
        index, opened = self.receipt(held.receipt.encode("utf-8"), held.statement.encode("ascii"))
        if index != held.index:
            raise contradiction("bad-proof", f"the receipt of statement {held.index} is for log index {index}")
        return opened

    async def statements(self, fresh: Sequence[HeldStatement], seen: Seen) -> None:
        """That each stands at its place, in the log that we have seen. Raises as `advance`."""
        shown = {(tree := self.statement(held)).checkpoint.size: tree for held in fresh}
        for size, opened in shown.items():
            if size >= seen.size:  # a hub that lost something is found out by comparing heads
                await self.advance(seen, opened)

    async def advance(self, seen: Seen, opened: OpenCheckpoint, offered: Consistency | None = None) -> Seen | None:
        """The checkpoint if it is newer than `seen`, once it is proved that one log grew from one to the other.

        None if it is not newer. Raises Contradiction; Unavailable if a proof had to be asked for and did not come.
        """
        tree = opened.checkpoint
        if tree.size == seen.size:
            if tree.root != seen.root:
                raise contradiction("bad-proof", f"the hub signed two roots for size {tree.size}")
            return None
        old, new = sorted([(seen.size, bytes(seen.root)), (tree.size, tree.root)])
        if old[0] > 0:
            hashes = await self._growth(old[0], new[0], offered)
            try:
                verify_consistency(*old, *new, hashes)
            except Refused as refused:
                raise Contradiction(refused) from None
        return seen_of(opened) if tree.size > seen.size else None

    async def entered(self, entered: Entered, entry: bytes, seen: Seen) -> Seen | None:
        """That `entry` stands in the log where the answer (§7.2) says; the newer checkpoint if there is one."""
        index, opened = self.receipt(entered.receipt.encode("utf-8"), entry)
        if index != entered.index or entered.checkpoint.encode("utf-8") != opened.note:
            raise contradiction("bad-proof", "the answer and the receipt in it differ")
        return await self.advance(seen, opened, entered.consistency)

    async def head(
        self, answer: HeadAnswer, agency: str, seen: Seen, own_kids: set[str]
    ) -> tuple[HubHead, Seen | None]:
        """The head as the hub tells it, its manifest and receipt verified; and the newer checkpoint.

        It is ours if we hold its key, or if the roster says that a key of ours has followed it (a new installation).
        """
        opened = self.open(answer.checkpoint)
        # An older checkpoint proves nothing against the hub, and a hub that lost something has no proof to offer: what
        # it lacks of ours is found by comparing heads, and it is refilled.
        newer = None if opened.checkpoint.size < seen.size else await self.advance(seen, opened)
        if answer.agency != agency:
            raise contradiction("wrong-agency", f"the head is that of {answer.agency}")
        try:
            digest = Digest.parse(answer.digest)
            if answer.manifest is None:
                _check_beginning(answer)
                return HubHead(answer.epoch, 0, digest, is_ours=True), newer
            signed = parse_manifest(answer.manifest)
            self._check_head(answer, signed, digest, agency)
        except Refused as refused:
            raise Contradiction(refused) from None
        if answer.receipt is not None:
            self.receipt(answer.receipt.encode("utf-8"), signed.jws.text.encode("ascii"))
        record = self.roster.agency(agency)
        is_ours = signed.jws.kid in own_kids or (record is not None and record.kid in own_kids)
        manifest = signed.manifest
        return HubHead(manifest.epoch, manifest.seq, digest, is_ours, manifest.at), newer

    def verify_own(self, signed: SignedManifest, agency: str) -> None:
        """That a key of the agency, of whatever time, signed it. Raises Refused."""
        key = self.roster.key(signed.jws.kid)
        if key is None or key.agency != agency:
            raise Refused("unknown-key", f"no key of {agency} that this node knows of signed it")
        verify_jws(signed.jws, key.public_key)

    def _check_head(self, answer: HeadAnswer, signed: SignedManifest, digest: Digest, agency: str) -> None:
        manifest = signed.manifest
        told = (answer.agency, answer.epoch, answer.seq, digest)
        if told != (manifest.agency, manifest.epoch, manifest.seq, signed.digest):
            raise Refused("malformed", "the head and its manifest differ")
        self.verify_own(signed, agency)

    async def _growth(self, old_size: int, new_size: int, offered: Consistency | None) -> list[bytes]:
        if offered is not None and offered.from_size == old_size:
            try:
                return b64_decode_all(offered.hashes, "consistency")
            except Refused as refused:
                raise Contradiction(refused) from None
        return await self.link.consistency(old_size, new_size)


def _check_beginning(answer: HeadAnswer) -> None:
    """Of a chain without a set nobody signed anything, and an epoch that a node has raised is never given back."""
    if (answer.epoch, answer.seq) != (1, 0):
        raise Refused("malformed", "a chain without a set stands at epoch 1 and seq 0", where="epoch")
