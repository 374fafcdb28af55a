"""Unsent changes behind sets that came back from the hub: which still hold, at which rev (protocol §10.3). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from node.store.local_records import HeldChange, SetAside, WrittenChange, WrittenComplaint
from sync_protocol.complaint import ComplaintState, FoldContext, Verdict, fold
from sync_protocol.line import format_change, parse_change
from sync_protocol.merkle import leaf_hash
from sync_protocol.strict_json import parse_object


@dataclass(frozen=True, slots=True)
class AdoptedChange:
    """A change line of a fetched set, with its content line unless the hub holds it hidden."""

    key: bytes | None
    id: str
    line: bytes = field(repr=False)
    content: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class AnyRules:
    """Rules that forbid nothing: for changes that were judged before."""

    desk: str
    bounce_limit: int = 0


@dataclass(slots=True)
class Rebased:
    """What becomes of the unsent changes, and the states after everything. `contents` are by leaf hash of the line."""

    states: dict[bytes, ComplaintState]
    now_ms: int
    unsent: list[WrittenChange] = field(default_factory=list)
    aside: list[SetAside] = field(default_factory=list)
    contents: dict[bytes, bytes] = field(default_factory=dict)

    def complaints(self) -> list[WrittenComplaint]:
        """Every complaint concerned, as it is in the end."""
        return [WrittenComplaint(key, state, self.now_ms) for key, state in self.states.items()]

    def complaints_of(self, changes: Iterable[AdoptedChange]) -> list[WrittenComplaint]:
        """The same for some of them: rows that the changes point at."""
        keys = {change.key for change in changes}
        return [written for written in self.complaints() if written.key in keys]


def rebase(
    unsent: Sequence[tuple[HeldChange, bytes]],
    adopted: Sequence[AdoptedChange],
    states: dict[bytes, ComplaintState],
    context: FoldContext,
    now_ms: int,
) -> Rebased:
    """Folds what was adopted, then what is unsent, on `states` (which it updates)."""
    rebased = Rebased(states, now_ms)
    for change in adopted:
        if change.key is not None:
            apply(states, change.key, change.line, context)
    known = {change.id for change in adopted}
    for held, key in unsent:
        before = parse_change(held.line)
        if held.content is not None:
            rebased.contents[leaf_hash(held.line)] = held.content
        if before.id in known:
            continue
        state = states.get(key)
        line = held.line
        if state is not None and before.rev <= state.rev:
            line = _with_rev(held.line, state.rev + 1)
        verdict = apply(states, key, line, context)
        if verdict is Verdict.APPLIED:
            rebased.unsent.append(WrittenChange(key, line, held.content))
        else:
            rebased.aside.append(SetAside(before.complaint, before.id, verdict.label, now_ms, held.line, held.content))
    return rebased


def apply(states: dict[bytes, ComplaintState], key: bytes, line: bytes, context: FoldContext) -> Verdict:
    verdict, after = fold(states.get(key), parse_change(line), leaf_hash(line), context)
    if verdict is Verdict.APPLIED and after is not None:
        states[key] = after
    return verdict


def _with_rev(line: bytes, rev: int) -> bytes:
    """The same change at another rev; it was never signed."""
    members = parse_object(line, where="change line")
    actor = members["actor"]
    return format_change(
        id=members["id"],
        complaint=members["complaint"],
        rev=rev,
        type=members["type"],
        at=members["at"],
        role=actor["role"],
        unit=actor.get("unit"),
        data=members["data"],
        content=bool(members["content"]),
    )
