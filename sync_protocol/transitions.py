"""The life of a complaint as one table (protocol §9.2–§9.4).

`TRANSITIONS` has a row for each type of change: who may make it, from which states, to which state, and what else it
needs. `complaint.fold` reads the rows, `docs/lifecycle.md` is made from them, and nothing else knows them.
"""

from enum import Enum, IntEnum
from typing import Final

import msgspec


class State(IntEnum):
    """The states of a complaint with their codes (protocol §9.2)."""

    NONE = 0
    RECEIVED = 1
    AWAITING_INFORMATION = 2
    VERIFIED = 3
    ASSIGNED = 4
    IN_PROGRESS = 5
    ANSWERED = 6
    ON_HOLD = 7
    CLOSED = 8
    ARCHIVED = 9

    @property
    def label(self) -> str:
        """As written on a change line."""
        return self.name.lower()


class Verdict(IntEnum):
    """What the fold says of one change; lower codes are tried first (protocol §9.3)."""

    APPLIED = 0
    UNAUTHORISED = 1
    MALFORMED = 2
    UNKNOWN_TYPE = 3
    FOREIGN_ID = 4
    ALREADY_EXISTS = 5
    UNKNOWN_COMPLAINT = 6
    REPEATED_ID = 7
    NO_OFFER = 8
    NOT_OFFERED = 9
    NOT_DESK = 10
    NOT_OWNER = 11
    UNDER_OFFER = 12
    WRONG_REV = 13
    BAD_TRANSITION = 14
    UNKNOWN_AGENCY = 15
    BAD_TARGET = 16
    NOT_YET = 17
    TOO_MANY_CHANGES = 18

    @property
    def label(self) -> str:
        """As written in answers and figures."""
        return self.name.lower()


class By(Enum):
    """Which agency may make a change."""

    MINTER = "the agency that minted the id"
    OWNER = "the owner"
    OFFERED = "the agency offered to"
    DESK = "the desk"
    OWNING_DESK = "the desk, owning it"


class Target(Enum):
    """Targets that are not one fixed state."""

    SAME = "same"
    NAMED = "the state it names"
    RETURN = "the return state"
    HOLD_RETURN = "the hold-return state"


class Transition(msgspec.Struct, frozen=True):
    """One row. `answers_offer`: needs the pending offer's leaf hash; `sends`: names an agency in `to`.

    `under_offer`: may be made while an offer is pending.
    """

    type: str
    by: By
    from_states: tuple[State, ...]
    to: State | Target
    answers_offer: bool = False
    sends: bool = False
    under_offer: bool = False


OPEN: Final = tuple(State(code) for code in range(1, 8))
_EXISTING: Final = tuple(State(code) for code in range(1, 10))
_UNWORKED: Final = (State.RECEIVED, State.VERIFIED, State.ASSIGNED)
_ANSWERABLE: Final = (State.ASSIGNED, State.IN_PROGRESS)
_ASSIGNABLE: Final = (State.VERIFIED, State.ASSIGNED, State.IN_PROGRESS)
_HOLDABLE: Final = tuple(state for state in OPEN if state is not State.ON_HOLD)
_ARCHIVABLE: Final = (*_UNWORKED, State.AWAITING_INFORMATION, State.ON_HOLD)
_ENDED: Final = (State.CLOSED, State.ARCHIVED)

# fmt: off
_ROWS: Final = (
    Transition("received", By.MINTER, (State.NONE,), State.RECEIVED),
    Transition("imported", By.MINTER, (State.NONE,), Target.NAMED),
    Transition("amended", By.OWNER, OPEN, Target.SAME),
    Transition("attached", By.OWNER, OPEN, Target.SAME),
    Transition("noted", By.OWNER, OPEN, Target.SAME),
    Transition("identified", By.OWNER, OPEN, Target.SAME),
    Transition("information_requested", By.OWNER, _UNWORKED, State.AWAITING_INFORMATION),
    Transition("information_supplied", By.OWNER, (State.AWAITING_INFORMATION,), Target.RETURN),
    Transition("verified", By.OWNER, (State.RECEIVED,), State.VERIFIED),
    Transition("assigned", By.OWNER, _ASSIGNABLE, State.ASSIGNED),
    Transition("started", By.OWNER, (State.ASSIGNED,), State.IN_PROGRESS),
    Transition("answered", By.OWNER, _ANSWERABLE, State.ANSWERED),
    Transition("replied", By.OWNER, (State.ANSWERED,), State.IN_PROGRESS),
    Transition("held", By.OWNER, _HOLDABLE, State.ON_HOLD),
    Transition("resumed", By.OWNER, (State.ON_HOLD,), Target.HOLD_RETURN),
    Transition("closed", By.OWNER, (State.ANSWERED,), State.CLOSED),
    Transition("archived", By.OWNER, _ARCHIVABLE, State.ARCHIVED),
    Transition("reopened", By.OWNER, _ENDED, State.IN_PROGRESS),
    Transition("rated", By.OWNER, (State.CLOSED,), Target.SAME),
    Transition("offered", By.OWNER, OPEN, Target.SAME, sends=True),
    Transition("accepted", By.OFFERED, OPEN, State.RECEIVED, answers_offer=True, under_offer=True),
    Transition("declined", By.OFFERED, OPEN, Target.SAME, answers_offer=True, under_offer=True),
    Transition("withdrawn", By.OWNER, OPEN, Target.SAME, answers_offer=True, under_offer=True),
    Transition("recalled", By.DESK, OPEN, Target.SAME, under_offer=True),
    Transition("directed", By.OWNING_DESK, OPEN, State.RECEIVED, sends=True),
    Transition("erased", By.OWNER, _EXISTING, Target.SAME),
)
# fmt: on
#: type of change -> its row: the whole of protocol §9.4.
TRANSITIONS: Final[dict[str, Transition]] = {row.type: row for row in _ROWS}
