"""What each type of change does to a complaint, beside the state in `TRANSITIONS` (protocol §9.4)."""

from collections.abc import Callable
from typing import Final, TypeAlias, cast

from sync_protocol import change_types as ct
from sync_protocol.complaint_state import ComplaintState, FoldContext
from sync_protocol.line import Change
from sync_protocol.transitions import State


def born(change: Change, context: FoldContext, raw_id: bytes) -> ComplaintState:
    """The complaint that `received` or `imported` brings into the world."""
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


#: Changes the copy it is given: the complaint, the change, its leaf hash, the context.
Effect: TypeAlias = Callable[[ComplaintState, Change, bytes, FoldContext], None]


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
EFFECTS: Final[dict[str, Effect]] = {
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
