"""What a complaint's lines tell, whoever wrote them: what was said, what happened, what is due. Pure (protocol §2).

A content line that is not held any more was erased, or never handed over: it tells nothing. Neither does one that an
`erased` change names and that waits to be taken out, or one that cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from node.channels.open311.mapping import PUBLIC_WORDS, UPDATE_WORDS, Said, Update, said_of
from node.deadlines.clocks import STARTS, Clocks, Duty, follow
from node.deadlines.slot import HOUR_MS
from node.deadlines.tables import Deadlines
from sync_protocol.change_types import Erased
from sync_protocol.complaint import ComplaintState
from sync_protocol.line import Change, parse_change, readable_content
from sync_protocol.merkle import leaf_hash
from sync_protocol.transitions import State
from sync_protocol.values import b64u_encode

Lines: TypeAlias = Sequence[tuple[bytes, bytes | None]]
History: TypeAlias = Sequence[tuple[Change, bytes | None]]

_FIRST: Final = frozenset({"received", "imported"})
_WORDED: Final = frozenset({*_FIRST, "amended"})
_TAKEN_UP: Final = frozenset({"verified", "assigned", "answered"})
_NOT_TAKEN_UP: Final = frozenset(state.label for state in (State.RECEIVED, State.AWAITING_INFORMATION, State.ARCHIVED))
_ENDS: Final = frozenset({"closed", "archived"})
_ENDED_LABELS: Final = frozenset({State.CLOSED.label, State.ARCHIVED.label})


def read_history(lines: Lines) -> History:
    """The changes in order, each with its content line where that may still be read."""
    changes = [parse_change(line) for line, _ in lines]
    erased = {leaf for change in changes if isinstance(change.data, Erased) for leaf in change.data.leaves}
    contents = [content for _, content in lines]
    if erased:
        contents = [None if one is None or b64u_encode(leaf_hash(one)) in erased else one for one in contents]
    return list(zip(changes, contents, strict=True))


def is_looked_at(history: History) -> bool:
    """Whether an agency took it up: before, nobody saw whether somebody's number or another's name stands in it."""
    return any(change.type in _TAKEN_UP or _is_taken_up(change) for change, _ in history)


def _is_taken_up(change: Change) -> bool:
    data: Any = change.data
    return change.type == "imported" and data.state not in _NOT_TAKEN_UP


def said_in(history: History) -> Said:
    """What was reported, as amended."""
    said = Said()
    for change, content in history:
        if change.type in _WORDED:
            said = said_of(readable_content(content) or {}, said)
    return said


def due_ms(state: ComplaintState, history: History, deadlines: Deadlines) -> int | None:
    """When the next step of the agency is due; that a complaint closes itself is nothing to be expected."""
    clocks: Clocks | None = None
    for change, _ in history:
        if clocks is not None or change.type in STARTS:
            clocks = follow(clocks, change)
    due = None if clocks is None else deadlines.due(state, clocks)
    return None if due is None or due.duty == Duty.CLOSE else due.hour * HOUR_MS


def updates_in(request_id: str, history: History, from_at: str, to_at: str) -> Iterator[Update]:
    """What happened between two timestamps, both included, in the order in which it was recorded."""
    is_closed = False
    for change, content in history:
        is_closed = _is_closed(change, before=is_closed)
        if change.type in UPDATE_WORDS and from_at <= change.at <= to_at:
            text = _text(content) if change.type in PUBLIC_WORDS else None
            yield Update(change.id, request_id, change.type, change.at, is_closed, text)


def _is_closed(change: Change, *, before: bool) -> bool:
    if change.type == "imported":
        data: Any = change.data
        return data.state in _ENDED_LABELS
    return change.type in _ENDS or (before and change.type != "reopened")


def _text(content: bytes | None) -> str | None:
    text = (readable_content(content) or {}).get("text")
    return text if isinstance(text, str) else None
