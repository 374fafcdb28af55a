"""What this node knows of its hub, and what it makes of the hub's answers: the roster kept, every answer proved.

When a key is met that the roster does not have (a log key or a key of ours that was rotated elsewhere), the statements
are fetched once more before the answer is doubted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from node.local.hub_evidence import Contradiction, Evidence, held_statement, roster_of
from node.local.ports import HubLink, LocalStore, SigningKeys
from node.store.local_records import HeldStatement, Seen
from sync_protocol.errors import Corrupt, Refused
from sync_protocol.heads import HubHead
from sync_protocol.roster import Roster
from sync_protocol.values import AgencyId
from sync_protocol.wire import Entered, SeqRange, StatementLine

T = TypeVar("T")


class HubSession:
    """Of one process. Raises Contradiction, and Unavailable and Refused from the link."""

    def __init__(self, store: LocalStore, link: HubLink, keys: SigningKeys, agency: AgencyId) -> None:
        self.store = store
        self.link = link
        self._keys = keys
        self._agency = agency
        self._evidence: Evidence | None = None
        self.wanted: SeqRange | None = None

    async def head(self) -> HubHead:
        """The agency's head, verified; a newer checkpoint is kept. `wanted`: of which sets the hub lacks the lines."""
        await self._finish_rotation()
        try:
            answer = await self.link.head()
        except Refused as refused:
            # A statement of ours that was long on its way may have arrived since we looked: then the new key speaks.
            if refused.kind != "revoked-key" or not await self._finish_rotation():
                raise
            answer = await self.link.head()
        self.wanted = answer.wanted
        seen = await self.store.seen()
        kids = self._keys.kids() | await self.store.signing_kids()
        hub, newer = await self.proved(lambda evidence: evidence.head(answer, self._agency, seen, kids))
        if newer is not None:
            await self.store.move_seen(newer)
        record = (await self.evidence()).roster.agency(self._agency)
        if record is None or record.last_statement.b64u != answer.statement:
            # Said about us while we were away or restored: without it nobody can be shown whose keys signed our sets.
            await self.refresh()
        return hub

    async def entered(self, entered: Entered, entry: bytes, seen: Seen) -> Seen | None:
        """That `entry` is in the log as the answer says; the newer checkpoint if there is one."""
        return await self.proved(lambda evidence: evidence.entered(entered, entry, seen))

    async def receipt(self, receipt: bytes, entry: bytes, seen: Seen) -> tuple[int, Seen | None]:
        """Log index of `entry`, and the newer checkpoint if there is one."""

        async def prove(evidence: Evidence) -> tuple[int, Seen | None]:
            index, opened = evidence.receipt(receipt, entry)
            return index, await evidence.advance(seen, opened)

        return await self.proved(prove)

    async def evidence(self) -> Evidence:
        """What answers are measured against. Raises Corrupt if our own statements do not hold."""
        if self._evidence is None:
            statements = await self.store.statements()
            try:
                roster = roster_of(statements)
            except Refused as refused:
                raise Corrupt(f"the stored statements do not follow each other: {refused}") from None
            self._evidence = Evidence.by(self.link, roster)
        return self._evidence

    def forget(self) -> None:
        """The stored statements have changed: read them again."""
        self._evidence = None

    async def refresh(self) -> Roster:
        """Fetches the statements again; those that hold and are proved are kept. Raises Contradiction for others."""
        held = {statement.index: statement for statement in await self.store.statements()}
        fresh = _fresh(await self.link.statements(), held)
        try:
            roster = roster_of([held[index] for index in sorted(held)])
        except Refused as refused:
            raise Contradiction(refused) from None
        await Evidence.by(self.link, roster).statements(fresh, await self.store.seen())
        await self.store.add_statements(fresh)
        self.forget()
        return (await self.evidence()).roster

    async def first_seq_from(self, log_size: int) -> int | None:
        """The first set with a receipt for a place that a log of this size does not have."""
        return await self.store.first_seq_at(log_size)

    async def _finish_rotation(self) -> bool:
        """Puts a key into use that was to follow and speaks already: a process died when the hub had taken it.

        Whether there was one. The statements are public; asking for the head with the old key would be refused.
        """
        new = self._keys.pending()
        if new is None:
            return False
        record = (await self.refresh()).agency(self._agency)
        if record is None or record.kid != new.kid:
            return False
        self._keys.promote(new.public_key)
        return True

    async def proved(self, prove: Callable[[Evidence], Awaitable[T]]) -> T:
        """What `prove` gives by what we know; if that fails, once more by what the hub's statements say now."""
        evidence = await self.evidence()
        try:
            return await prove(evidence)
        except Contradiction as found:
            if found.refused.kind not in ("bad-signature", "unknown-key"):
                raise
            before = evidence.roster
            if len((await self.refresh()).vkeys) == len(before.vkeys) and found.refused.kind == "bad-signature":
                raise
        return await prove(await self.evidence())


def _fresh(lines: list[StatementLine], held: dict[int, HeldStatement]) -> list[HeldStatement]:
    """Adds to `held` what is new, and gives it. Raises Contradiction where a place has another statement now."""
    fresh: list[HeldStatement] = []
    for line in lines:
        try:
            statement = held_statement(line)
        except Refused as refused:
            raise Contradiction(refused) from None
        known = held.get(statement.index)
        if known is not None and known.digest != statement.digest:
            raise Contradiction(Refused("bad-proof", f"another statement stands at log index {statement.index} now"))
        if known is None or known.receipt is None:
            held[statement.index] = statement
            fresh.append(statement)
    return fresh
