"""What an officer is told when the fold refuses a change: one sentence for each verdict of protocol §9.3. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sync_protocol.complaint import ComplaintState, Verdict

_WORDS: Final[Mapping[Verdict, str]] = {
    Verdict.NOT_OFFERED: "the offer goes to {offer_to}, not to this agency",
    Verdict.NOT_DESK: "only the national desk recalls and directs complaints",
    Verdict.NOT_OWNER: "the complaint is owned by {owner}, and only its owner changes it",
    Verdict.UNDER_OFFER: "the complaint is offered to {offer_to}: until that is answered it can only be withdrawn",
    Verdict.UNKNOWN_AGENCY: "no agency of that code takes part",
    Verdict.BAD_TARGET: "the complaint is owned by that agency already",
    Verdict.NOT_YET: "its offers were not declined often enough, and its owner was heard of not long ago",
}
_NO_OFFER: Final = "the complaint is not under offer"
_STALE_OFFER: Final = "that offer is over; the complaint is under another one"
_ANY: Final = "a change of type {type} is not possible now"


def why_not(verdict: Verdict, change_type: str, state: ComplaintState | None) -> str:
    """The sentence, for a change to a complaint in that state; it holds codes of agencies at most, no words."""
    if verdict is Verdict.NO_OFFER:
        return _NO_OFFER if state is None or state.offer is None else _STALE_OFFER
    owner, offer_to = ("", "") if state is None else (state.owner, state.offer_to)
    return _WORDS.get(verdict, _ANY).format(type=change_type, owner=owner, offer_to=offer_to)
