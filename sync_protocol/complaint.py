"""The fold of one change into one complaint: pure, deterministic, never in doubt (protocol §9.3, §9.4).

`fold` takes the complaint as it is (None where it does not exist) and answers with a verdict and the complaint as it is
then. It changes nothing that it is given: a caller may keep the state before and after, and a refused change gives back
the same object. The order of the checks is part of the protocol.
"""

from collections.abc import Callable, Sequence
from typing import Final, cast

import msgspec

from sync_protocol import change_types as ct
from sync_protocol.complaint_state import ComplaintState, FoldContext, FoldRules
from sync_protocol.effects import EFFECTS, Effect, born
from sync_protocol.limits import COMPLAINT_CHANGES_MAX
from sync_protocol.line import Change
from sync_protocol.transitions import TRANSITIONS, By, State, Transition, Verdict
from sync_protocol.values import b64u_encode

__all__ = ["TRANSITIONS", "ComplaintState", "FoldContext", "FoldRules", "State", "Verdict", "fold", "raw_ids"]


def fold(
    state: ComplaintState | None, change: Change, leaf: bytes, context: FoldContext, raw_id: bytes | None = None
) -> tuple[Verdict, ComplaintState | None]:
    """The verdict on a change that parsed, and the complaint afterwards. `leaf` is the line's leaf hash.

    `raw_id` is the change's id in 16 bytes, for callers that have made them all at once (`raw_ids`).
    """
    row = _ROWS.get(change.type)
    if row is None:
        return Verdict.UNKNOWN_TYPE, state
    if raw_id is None:
        raw_id = bytes.fromhex(change.id.replace("-", ""))
    if row.is_birth:
        if change.complaint[:-37] != context.agency:  # `minted_by`, without a call
            return Verdict.FOREIGN_ID, state
        if state is not None:
            return Verdict.ALREADY_EXISTS, state
        return _APPLIED, born(change, context, raw_id)
    if state is None:
        return Verdict.UNKNOWN_COMPLAINT, state
    verdict = _judge(state, row, change, raw_id, context)
    if verdict is not _APPLIED:
        return verdict, state
    after = _copy(state)
    after.rev = change.rev
    after.applied = state.applied + 1
    after.ids = state.ids + raw_id
    if row.effect is not None:
        row.effect(after, change, leaf, context)
    if row.to is not None:
        after.state = row.to
    return _APPLIED, after


def raw_ids(changes: Sequence[Change | None]) -> list[bytes]:
    """The id of each change in 16 bytes; zeros where there is no change."""
    joined = "".join([_NO_ID if change is None else change.id for change in changes])
    raw = bytes.fromhex(joined.replace("-", ""))
    return [raw[start : start + 16] for start in range(0, len(raw), 16)]


def _judge(state: ComplaintState, row: "_Row", change: Change, raw_id: bytes, context: FoldContext) -> Verdict:
    """Codes 7 to 18 of protocol §9.3, in that order, for a complaint that exists."""
    if state.ids.find(raw_id) >= 0 and _is_among(raw_id, state.ids):  # `in` would try the id as a number first
        return Verdict.REPEATED_ID
    if row.is_plain:
        if state.owner != context.agency:
            return Verdict.NOT_OWNER
    else:
        verdict = _judge_signer(state, row.transition, change, context)
        if verdict is not _APPLIED:
            return verdict
    if state.offer is not None and not row.transition.under_offer:
        return Verdict.UNDER_OFFER
    if change.rev <= state.rev:
        return Verdict.WRONG_REV
    if state.state not in row.from_states:
        return Verdict.BAD_TRANSITION
    if not row.is_plain:
        verdict = _judge_target(state, row.transition, change, context)
        if verdict is not _APPLIED:
            return verdict
    return _APPLIED if state.applied < COMPLAINT_CHANGES_MAX else Verdict.TOO_MANY_CHANGES


def _judge_signer(state: ComplaintState, row: Transition, change: Change, context: FoldContext) -> Verdict:
    """Codes 8 to 11 of protocol §9.3: whether the signer may make this type of change to this complaint at all."""
    if row.answers_offer:
        offer = cast("ct.Answer | ct.Declined", change.data).offer
        if state.offer is None or offer != b64u_encode(state.offer):
            return Verdict.NO_OFFER
        if row.by is By.OFFERED:
            return _APPLIED if state.offer_to == context.agency else Verdict.NOT_OFFERED
    if row.by in (By.DESK, By.OWNING_DESK) and context.rules.desk != context.agency:
        return Verdict.NOT_DESK
    if row.by is not By.DESK and state.owner != context.agency:
        return Verdict.NOT_OWNER
    return _APPLIED


def _judge_target(state: ComplaintState, row: Transition, change: Change, context: FoldContext) -> Verdict:
    """Codes 15 to 17 of protocol §9.3: where an agency is named in `to`, and when the desk may recall."""
    if row.sends:
        to = cast("ct.Handed", change.data).to
        if not context.is_enrolled(to):
            return Verdict.UNKNOWN_AGENCY
        if to == state.owner:
            return Verdict.BAD_TARGET
    if row.by is By.DESK and state.bounces < context.rules.bounce_limit and not context.is_silent(state.owner):
        return Verdict.NOT_YET
    return _APPLIED


def _is_among(raw_id: bytes, ids: bytes) -> bool:
    return any(ids[start : start + 16] == raw_id for start in range(0, len(ids), 16))


class _Row(msgspec.Struct, frozen=True):
    """A row of the table with its effect, laid out for the fold. `to` is None where the effect, or nothing, sets it."""

    transition: Transition
    from_states: tuple[State, ...]
    to: State | None
    effect: Effect | None
    is_birth: bool
    is_plain: bool  # an owner's change that no other agency has a part in


_ROWS: Final = {
    name: _Row(
        transition=row,
        from_states=row.from_states,
        to=row.to if isinstance(row.to, State) else None,
        effect=EFFECTS.get(name),
        is_birth=row.by is By.MINTER,
        is_plain=row.by is By.OWNER and not (row.answers_offer or row.sends),
    )
    for name, row in TRANSITIONS.items()
}
# Bound once: an enum's member costs as much to look up as a dictionary's, and this is the hottest path of an audit.
_APPLIED: Final = Verdict.APPLIED
_NO_ID: Final = "0" * 32
# msgspec's stubs leave out the method that copy.copy() would find, four times slower.
_copy: Final[Callable[[ComplaintState], ComplaintState]] = ComplaintState.__copy__  # type: ignore[attr-defined]
