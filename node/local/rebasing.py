"""Unsent changes behind sets that came back from the hub: which still hold, at which rev (protocol §10.3). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from node.store.local_records import HeldChange, SetAside, WrittenChange, WrittenComplaint
from sync_protocol.complaint import ComplaintState, FoldContext, Verdict, fold
from sync_protocol.line import Change, format_change, parse_change
from sync_protocol.merkle import leaf_hash
from sync_protocol.strict_json import parse_object


@dataclass(frozen=True, slots=True)
class AdoptedChange:
    """A change line of a fetched set, with its content line unless the hub holds it hidden.

    `change` is None, and with it `key`, for a line that this program cannot read.
    """

    key: bytes | None
    change: Change | None = field(repr=False)
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


def rebase(
    unsent: Sequence[tuple[HeldChange, bytes]],
    adopted: Sequence[AdoptedChange],
    states: dict[bytes, ComplaintState],
    context: FoldContext,
    now_ms: int,
) -> Rebased:
    """Folds what was adopted, then what is unsent, on `states` (which it updates)."""
    rebased = Rebased(states, now_ms)
    known: set[str] = set()
    for one in adopted:
        if one.key is not None and one.change is not None:
            known.add(one.change.id)
            apply(states, one.key, one.change, one.line, context)
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
        verdict = apply(states, key, parse_change(line), line, context)
        if verdict is Verdict.APPLIED:
            rebased.unsent.append(WrittenChange(key, line, held.content))
        else:
            rebased.aside.append(SetAside(before.complaint, before.id, verdict.label, now_ms, held.line, held.content))
    return rebased


def apply(
    states: dict[bytes, ComplaintState], key: bytes, change: Change, line: bytes, context: FoldContext
) -> Verdict:
    """Folds one change, which is what `line` says, into the state of its complaint."""
    verdict, after = fold(states.get(key), change, leaf_hash(line), context)
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
