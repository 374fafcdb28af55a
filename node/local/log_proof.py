"""Whether a hub shows the log whose key somebody trusts (protocol §6.2), before anything is asked of it or kept.

Statements are public and prove themselves: whoever trusts one key of the log trusts those after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from node.local.hub_evidence import Contradiction, Evidence, held_statement, roster_of, seen_of
from node.local.ports import HubLink
from node.store.local_records import HeldStatement
from sync_protocol.checkpoint import OpenCheckpoint
from sync_protocol.errors import Refused
from sync_protocol.note import VerifierKey
from sync_protocol.roster import Roster
from sync_protocol.wire import StatementLine

_OTHER_LOG: Final = (
    "No token was sent. Compare --hub and --vkey with the invitation; if they are the same, ask the national desk, "
    "on a way that you trust, for the vkey that `simpul hub status` shows."
)


@dataclass(frozen=True, slots=True)
class ProvenLog:
    """Statements in order of the log, each proved at its place; `newest` is the largest checkpoint of that one log.

    The trusted key is one of `roster`'s, and it or a later one signed `newest`.
    """

    statements: Sequence[HeldStatement]
    roster: Roster
    evidence: Evidence
    newest: OpenCheckpoint

    async def joined(self, lines: Sequence[StatementLine], note: str) -> ProvenLog:
        """With the statements of a later answer and its checkpoint, both proved to be of the same log.

        The answer may be an old one, repeated. Raises Contradiction; Unavailable if a proof did not come.
        """
        fresh = _held(lines)
        known = {held.index: held for held in self.statements}
        for held in fresh:
            if known.setdefault(held.index, held).digest != held.digest:
                raise Contradiction(Refused("bad-proof", f"two statements were shown for log index {held.index}"))
        statements = [known[index] for index in sorted(known)]
        roster = _roster(statements)
        evidence = Evidence.by(self.evidence.link, roster)
        shown = [evidence.open(note), *(evidence.statement(held) for held in fresh)]
        return ProvenLog(statements, roster, evidence, await _newest(evidence, self.newest, shown))


async def prove_log(link: HubLink, trusted: VerifierKey) -> ProvenLog:
    """What the hub's public statements prove to somebody who trusts this key.

    Raises Contradiction for a log that is not this key's, and what the link raises.
    """
    statements = sorted(_held(await link.statements()), key=lambda held: held.index)
    roster = _roster(statements)
    if not statements or trusted not in roster.vkeys:
        raise _refuse("the hub's log was never signed by the key that was given as its vkey")
    evidence = Evidence.by(link, roster)
    shown = sorted((evidence.statement(held) for held in statements), key=_size, reverse=True)
    if roster.vkeys.index(shown[0].vkey) > roster.vkeys.index(trusted):  # newest first
        raise _refuse("nothing that the hub shows is signed by the key that was given as its vkey, or by a later one")
    return ProvenLog(statements, roster, evidence, await _newest(evidence, shown[0], shown[1:]))


def _refuse(detail: str) -> Contradiction:
    return Contradiction(Refused("bad-signature", detail, where="vkey", members={"next": _OTHER_LOG}))


def _held(lines: Sequence[StatementLine]) -> list[HeldStatement]:
    try:
        return [held_statement(line) for line in lines]
    except Refused as refused:
        raise Contradiction(refused) from None


def _roster(statements: Sequence[HeldStatement]) -> Roster:
    try:
        return roster_of(statements)
    except Refused as refused:
        raise Contradiction(refused) from None


async def _newest(evidence: Evidence, newest: OpenCheckpoint, shown: Sequence[OpenCheckpoint]) -> OpenCheckpoint:
    """The largest of checkpoints that are all of one log. Raises as `Evidence.advance`."""
    for opened in {(one.checkpoint.size, one.checkpoint.root): one for one in shown}.values():
        if await evidence.advance(seen_of(newest), opened) is not None:
            newest = opened
    return newest


def _size(opened: OpenCheckpoint) -> int:
    return opened.checkpoint.size
