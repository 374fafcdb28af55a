"""What an evidence bundle proves of an escalation: that it holds, and that the limit has passed by it (protocol §12).

Owner, state and clocks are folded from the signed lines, and the limit is computed from them by this node's own tables:
so that the desk need not believe the hub's list. What no bundle can prove is that nothing happened since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import msgspec

from node.deadlines.clocks import Clocks, due_words
from node.deadlines.slot import HOUR_MS
from node.deadlines.tables import Deadlines
from node.local.escalation_types import Escalation
from node.local.evidence_check import foreign_set, verify_against_log
from node.local.hub_evidence import Contradiction, contradiction
from node.local.hub_session import HubSession
from node.local.ports import LocalStore
from node.local.shared import settle
from node.store.shared_records import SharedComplaint
from sync_protocol.change_set import parse_manifest_line
from sync_protocol.complaint import ComplaintState
from sync_protocol.errors import Refused
from sync_protocol.evidence import EvidenceFile, EvidenceSet, format_evidence
from sync_protocol.excerpt import hide_in_excerpt
from sync_protocol.hidden_lines import is_hidden_line
from sync_protocol.limits import INTEGER_MAX
from sync_protocol.line import parse_change
from sync_protocol.values import ComplaintId, parse_timestamp

_ANY_AGENCY: Final = ""  # nothing of the bundle is taken for this node's own: all of it was judged by the log


@dataclass(frozen=True, slots=True)
class Moved:
    """The bundle shows a later rev than the list: the next look sees both."""

    detail: str


@dataclass(frozen=True, slots=True)
class Proven:
    """A bundle that holds, without anything of what was said; the complaint as it follows from it."""

    data: bytes
    state: ComplaintState
    log_size: int


@dataclass(frozen=True, slots=True)
class EscalationCheck:
    """Verifies bundles for the desk's node."""

    store: LocalStore
    hub: HubSession
    deadlines: Deadlines

    async def prove(self, evidence: EvidenceFile, one: Escalation, now_ms: int) -> Proven | Moved:
        """Raises Contradiction where the bundle, or what the list says, does not hold; and what the link raises."""
        complaint = ComplaintId.parse(one.complaint)
        with _accusing():
            bare = await asyncio.to_thread(_without_words, evidence)
        verified = await verify_against_log(self.store, self.hub, bare, complaint)
        with _accusing():
            state, clocks = await asyncio.to_thread(_settled, bare, complaint)
        if state.rev > one.rev:
            return Moved(f"it is at rev {state.rev} already, the list of the hub knew rev {one.rev}")
        told = (one.owner, one.state, one.rev)
        if (state.owner, state.state.label, state.rev) != told:
            detail = f"by the evidence it is {state.state.label} at {state.owner}, rev {state.rev}"
            raise Contradiction(Refused("bad-proof", detail, where="state"))
        await self._check_limit(one, state, clocks, now_ms)
        return Proven(format_evidence(bare), state, verified.size)

    async def _check_limit(self, one: Escalation, state: ComplaintState, clocks: Clocks, now_ms: int) -> None:
        due_at, duty, _ = due_words(self.deadlines.slot(state, clocks), now_ms)
        if (due_at, duty) != (one.due_at, one.duty):
            rules, mine = (await self.hub.refresh()).rules_at(INTEGER_MAX), self.deadlines.digests
            detail = f"by the evidence and the tables here, {duty or 'nothing'} is due at {due_at or 'no time'}"
            if rules is None or (rules.deadlines, rules.calendar) != (mine.deadlines, mine.calendar):
                detail = f"{detail}; the log's rules name other tables: update this program"
                raise contradiction("other-tables", detail)
            raise Contradiction(Refused("deadlines-mismatch", detail, where="due_at"))
        if parse_timestamp(one.due_at) > now_ms + HOUR_MS:  # an hour: two machines' clocks
            detail = "by this node's clock that limit has not passed"
            raise Contradiction(Refused("deadlines-mismatch", detail, where="due_at"))


@contextmanager
def _accusing() -> Iterator[None]:
    """What is refused within was shown by the hub; a refusal of the hub's own says nothing against it."""
    try:
        yield
    except Refused as refused:
        raise Contradiction(refused) from None


def _without_words(evidence: EvidenceFile) -> EvidenceFile:
    sets = [
        EvidenceSet(hide_in_excerpt(shown.lines.encode("utf-8"), None).decode("utf-8"), shown.receipt)
        for shown in evidence.sets
    ]
    return msgspec.structs.replace(evidence, sets=sets)


def _settled(evidence: EvidenceFile, complaint: ComplaintId) -> tuple[ComplaintState, Clocks]:
    """The complaint after all that the bundle shows. Raises Refused(bad-proof) where that is not possible."""
    shared = SharedComplaint([], [foreign_set(shown.lines, shown.receipt) for shown in evidence.sets])
    settled = settle(shared, complaint, _ANY_AGENCY)
    if settled is None or settled.clocks is None:
        raise Refused("bad-proof", "the evidence does not show how the complaint began")
    return settled.state, settled.clocks


def remains(evidence: EvidenceFile) -> bytes:
    """Of a bundle that does not hold, what can be kept: all but what may be words, which nobody could erase later."""
    sets = [EvidenceSet("".join(_codes_in(shown.lines)), shown.receipt) for shown in evidence.sets]
    return format_evidence(msgspec.structs.replace(evidence, sets=sets))


def _codes_in(lines: str) -> Iterator[str]:
    """The manifest, hidden lines, and what has the form of a change line: there is no room for words in it."""
    for number, line in enumerate(lines.split("\n")):
        raw = line.encode("utf-8")
        with suppress(Refused):
            if number == 0:
                parse_manifest_line(raw + b"\n")
            elif not is_hidden_line(raw):
                parse_change(raw)
            yield line + "\n"
