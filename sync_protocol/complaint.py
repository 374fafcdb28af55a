"""The fold of one change into one complaint: pure, deterministic, never in doubt (protocol §9.3, §9.4).

`fold` takes the complaint as it is (None where it does not exist) and answers with a verdict and the complaint as it is
then. It changes nothing that it is given: a caller may keep the state before and after, and a refused change gives back
the same object. The order of the checks is part of the protocol.
"""

from collections.abc import Callable
from typing import Final, Protocol, cast

import msgspec

from sync_protocol import change_types as ct
from sync_protocol.limits import COMPLAINT_CHANGES_MAX
from sync_protocol.line import Change
from sync_protocol.transitions import TRANSITIONS, By, State, Transition, Verdict
from sync_protocol.values import b64u_encode

__all__ = ["TRANSITIONS", "ComplaintState", "FoldContext", "FoldRules", "State", "Verdict", "fold"]


class FoldRules(Protocol):
    """What the fold asks of the rules in force (protocol §5.2, `simpul-rules`)."""

    @property
    def desk(self) -> str:
        """The agency that may recall and direct."""

    @property
    def bounce_limit(self) -> int:
        """How many declined offers make a complaint recallable."""


class FoldContext(msgspec.Struct, frozen=True):
    """Where in the log a change stands: all that its verdict may depend on besides the complaint itself."""

    index: int
    agency: str  # the signer of the set
    rules: FoldRules
    is_enrolled: Callable[[str], bool]  # before this index
    is_silent: Callable[[str], bool]  # protocol §9.4, last paragraph


class ComplaintState(msgspec.Struct, kw_only=True, gc=False):
    """One complaint after its last applied change: everything that verdicts and figures need, nothing that was said."""

    owner: str
    state: State
    rev: int
    minted_by: str
    unit: str | None = None
    return_state: State | None = None
    hold_return_state: State | None = None
    offer: bytes | None = None  # leaf hash of the pending offer's line
    offer_to: str | None = None
    bounces: int = 0  # declined offers since the desk last directed it
    hand_overs: int = 0
    reopened: int = 0
    reclassified: int = 0
    class_: str | None = None
    category: str | None = None
    visibility: str
    channel: str
    area: str | None = None
    tracking: str
    source: ct.Source | None = None
    received_at: str
    level: str | None = None  # how well the reporter is known
    closed_by: str | None = None  # who closed or archived it, while it is closed or archived
    closed_at: str | None = None
    reason: str | None = None  # why it is held, closed or archived
    rating: int | None = None  # of the present closure
    applied: int = 1
    ids: bytes = b""  # raw 16-byte ids of the applied changes, in order

    @property
    def is_open(self) -> bool:
        """Neither closed nor archived."""
        return self.state <= State.ON_HOLD


def fold(
    state: ComplaintState | None, change: Change, leaf: bytes, context: FoldContext
) -> tuple[Verdict, ComplaintState | None]:
    """The verdict on a change that parsed, and the complaint afterwards. `leaf` is the line's leaf hash."""
    row = _ROWS.get(change.type)
    if row is None:
        return Verdict.UNKNOWN_TYPE, state
    raw_id = bytes.fromhex(change.id.replace("-", ""))
    if row.is_birth:
        if change.minted_by != context.agency:
            return Verdict.FOREIGN_ID, state
        if state is not None:
            return Verdict.ALREADY_EXISTS, state
        return _APPLIED, _born(change, context, raw_id)
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


def _judge(state: ComplaintState, row: "_Row", change: Change, raw_id: bytes, context: FoldContext) -> Verdict:
    """Codes 7 to 18 of protocol §9.3, in that order, for a complaint that exists."""
    if raw_id in state.ids and _is_among(raw_id, state.ids):
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


def _born(change: Change, context: FoldContext, raw_id: bytes) -> ComplaintState:
    """`received` and `imported`."""
    data = cast("ct.Received | ct.Imported", change.data)
    born = ComplaintState(
        owner=context.agency,
        state=State.RECEIVED,
        rev=change.rev,
        minted_by=context.agency,
        class_=data.class_,
        category=data.category,
        visibility=data.visibility,
        channel=data.channel,
        area=data.area,
        tracking=data.tracking,
        source=data.source,
        received_at=data.received_at,
        ids=raw_id,
    )
    if isinstance(data, ct.Imported):
        born.state = State[data.state.upper()]
        born.unit = data.unit
        born.closed_by = data.closed_by
        born.closed_at = data.closed_at
        born.reason = data.reason
    return born


Effect = Callable[[ComplaintState, Change, bytes, FoldContext], None]


def _amend(after: ComplaintState, change: Change, _leaf: bytes, _context: FoldContext) -> None:
    data = cast("ct.Amended", change.data)
    after.category = data.category or after.category
    _classify(after, data.class_)


def _verify(after: ComplaintState, change: Change, _leaf: bytes, _context: FoldContext) -> None:
    _classify(after, cast("ct.Verified", change.data).class_)


def _classify(after: ComplaintState, class_: str | None) -> None:
    if class_ is not None and class_ != after.class_:
        after.reclassified += after.class_ is not None
        after.class_ = class_


def _identify(after: ComplaintState, change: Change, _leaf: bytes, _context: FoldContext) -> None:
    after.level = cast("ct.Identified", change.data).level


def _ask(after: ComplaintState, _change: Change, _leaf: bytes, _context: FoldContext) -> None:
    after.return_state = after.state


def _supply(after: ComplaintState, _change: Change, _leaf: bytes, _context: FoldContext) -> None:
    after.state = after.return_state or State.RECEIVED
    after.return_state = None


def _assign(after: ComplaintState, change: Change, _leaf: bytes, _context: FoldContext) -> None:
    after.hand_overs += after.unit is not None
    after.unit = cast("ct.Assigned", change.data).unit


def _hold(after: ComplaintState, change: Change, _leaf: bytes, _context: FoldContext) -> None:
    after.hold_return_state = after.state
    after.reason = cast("ct.Reasoned", change.data).reason


def _resume(after: ComplaintState, _change: Change, _leaf: bytes, _context: FoldContext) -> None:
    after.state = after.hold_return_state or State.RECEIVED
    after.hold_return_state = None
    after.reason = None


def _end(after: ComplaintState, change: Change, _leaf: bytes, _context: FoldContext) -> None:
    data = cast("ct.Ended", change.data)
    after.closed_by, after.closed_at, after.reason = data.by, change.at, data.reason


def _reopen(after: ComplaintState, _change: Change, _leaf: bytes, _context: FoldContext) -> None:
    after.reopened += 1
    after.closed_by = after.closed_at = after.reason = after.rating = None
    after.return_state = after.hold_return_state = None


def _rate(after: ComplaintState, change: Change, _leaf: bytes, _context: FoldContext) -> None:
    after.rating = cast("ct.Rated", change.data).rating


def _offer(after: ComplaintState, change: Change, leaf: bytes, _context: FoldContext) -> None:
    after.offer, after.offer_to = leaf, cast("ct.Handed", change.data).to


def _end_offer(after: ComplaintState, _change: Change, _leaf: bytes, _context: FoldContext) -> None:
    after.offer = after.offer_to = None


def _decline(after: ComplaintState, _change: Change, _leaf: bytes, _context: FoldContext) -> None:
    after.offer = after.offer_to = None
    after.bounces += 1


def _move(after: ComplaintState, _change: Change, _leaf: bytes, context: FoldContext) -> None:
    """`accepted`, `recalled`: the signer owns it now, and nothing of the earlier owner's arrangements holds."""
    _hand_to(after, context.agency)


def _direct(after: ComplaintState, change: Change, _leaf: bytes, _context: FoldContext) -> None:
    _hand_to(after, cast("ct.Handed", change.data).to)
    after.bounces = 0


def _hand_to(after: ComplaintState, owner: str) -> None:
    after.owner = owner
    after.unit = after.return_state = after.hold_return_state = after.offer = after.offer_to = None


#: What a type changes beside rev and state; a type without an entry changes nothing else.
_EFFECTS: Final[dict[str, Effect]] = {
    "amended": _amend,
    "verified": _verify,
    "identified": _identify,
    "information_requested": _ask,
    "information_supplied": _supply,
    "assigned": _assign,
    "held": _hold,
    "resumed": _resume,
    "closed": _end,
    "archived": _end,
    "reopened": _reopen,
    "rated": _rate,
    "offered": _offer,
    "accepted": _move,
    "declined": _decline,
    "withdrawn": _end_offer,
    "recalled": _move,
    "directed": _direct,
}


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
        effect=_EFFECTS.get(name),
        is_birth=row.by is By.MINTER,
        is_plain=row.by is By.OWNER and not (row.answers_offer or row.sends),
    )
    for name, row in TRANSITIONS.items()
}
# Bound once: an enum's member costs as much to look up as a dictionary's, and this is the hottest path of an audit.
_APPLIED: Final = Verdict.APPLIED
# msgspec's stubs leave out the method that copy.copy() would find, four times slower.
_copy: Final[Callable[[ComplaintState], ComplaintState]] = ComplaintState.__copy__  # type: ignore[attr-defined]
