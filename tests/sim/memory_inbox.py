"""What others did to complaints, in a local node's store in memory (node/local/ports.py LocalTransaction)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from node.store.shared_records import ForeignSet, Refusal, SharedComplaint
from sync_protocol.excerpt import parse_excerpt
from tests.sim.local_state import LocalState


class MemoryInboxTransaction:
    """The part of a write transaction that takes in what the hub tells."""

    def __init__(self, draft: LocalState) -> None:
        self._draft = draft

    async def shared(self, key: bytes) -> SharedComplaint:
        foreign = [self._draft.foreign[place] for place in sorted(self._draft.foreign) if place[0] == key]
        return SharedComplaint(self._draft.own_lines(key), foreign)

    async def with_others(self, keys: Collection[bytes]) -> set[bytes]:
        return {key for key, _ in self._draft.foreign if key in keys}

    async def own_line(self, place: int) -> bytes | None:
        found = [one.line for one in self._draft.changes.values() if self._draft.place_of(one.no) == place]
        return found[0] if found else None

    async def put_foreign(self, key: bytes, sets: Sequence[ForeignSet]) -> None:
        if key in self._draft.complaints:
            self._draft.foreign.update({(key, one.index): one for one in sets})

    async def adopt_orphans(self, key: bytes, complaint: str) -> None:
        named = b'"complaint":"%b"' % complaint.encode("ascii")
        for change in list(self._draft.changes.values()):
            if change.key is None and named in change.line:
                self._draft.changes[change.no] = replace(change, key=key)

    async def refuse(self, refusals: Sequence[Refusal]) -> None:
        for one in refusals:
            key = one.key if one.key in self._draft.complaints else None
            self._draft.refusals.setdefault(one.place, replace(one, key=key))

    async def note_erasures(self, key: bytes, leaves: Collection[bytes]) -> None:
        if key in self._draft.complaints:
            self._draft.erasures.update({leaf: key for leaf in leaves if leaf not in self._draft.erasures})

    async def mark_unsettled(self, key: bytes, *, is_unsettled: bool) -> None:
        (self._draft.unsettled.add if is_unsettled else self._draft.unsettled.discard)(key)

    async def unsettled(self) -> list[bytes]:
        return sorted(self._draft.unsettled)

    async def inbox_place(self) -> int:
        return self._draft.row.inbox_place

    async def move_inbox(self, place: int) -> None:
        self._draft.amend(inbox_place=place)


def said_by_others(state: LocalState, key: bytes) -> list[bytes | None]:
    """Content lines in what other agencies' sets show of a complaint."""
    found: list[bytes | None] = []
    for (owner, _), foreign in state.foreign.items():
        if owner == key:
            excerpt = parse_excerpt(foreign.lines)
            changes = excerpt.manifest.manifest.changes
            found += [line for place, line in excerpt.lines.items() if place >= changes]
    return found
