"""Whom an applied change concerns beside its signer, and what of it they are told (protocol §7.6). Pure."""

from enum import IntEnum
from typing import Final

from sync_protocol.complaint_state import ComplaintState, FoldRules
from sync_protocol.errors import malformed
from sync_protocol.limits import INTEGER_MAX, SET_MAX_LEAVES

_DIGITS_MAX: Final = 16  # of 2^53 - 1


class Note(IntEnum):
    """Why something lies in an inbox."""

    CHANGE = 0  # somebody else's change to a complaint that the agency has, had, or minted
    HISTORY = 1  # a complaint that came to the agency, or may come: all that happened to it so far
    REFUSED = 2  # a change of the agency's own that the log refused
    ERASED = 3  # words of a complaint are gone: every holder takes them out

    @property
    def label(self) -> str:
        """As written in answers."""
        return self.name.lower()


#: Changes that concern more agencies than the one that makes them, whoever minted the complaint.
HANDING: Final = frozenset({"offered", "accepted", "declined", "withdrawn", "recalled", "directed"})


def notes_of(
    type_: str, before: ComplaintState, after: ComplaintState, signer: str, rules: FoldRules
) -> dict[str, Note]:
    """Agency -> what it is told of a change that was applied to a complaint that existed before.

    Whom an `erased` concerns besides is whoever holds anything of the complaint, which nobody can tell from its state.
    """
    told = {agency: Note.CHANGE for agency in (before.owner, before.offer_to, after.minted_by) if agency}
    told.pop(signer, None)
    if type_ == "offered" and after.offer_to is not None:
        told[after.offer_to] = Note.HISTORY
    elif type_ in ("directed", "recalled"):
        told[after.owner] = Note.HISTORY  # also to the desk itself: it recalls what it may never have seen
    elif type_ == "declined" and after.bounces >= rules.bounce_limit and rules.desk not in (signer, after.owner):
        told[rules.desk] = Note.HISTORY
    return told


def format_place(index: int, position: int) -> str:
    """Where a change stands in the log, `<log index>.<position in its set>`: what an inbox is read from."""
    return f"{index}.{position}"


def parse_place(text: str) -> tuple[int, int]:
    """What `format_place` wrote, in its one spelling. Raises Refused(malformed)."""
    parts = text.split(".") if len(text) <= 2 * _DIGITS_MAX + 1 else []
    if len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts):
        index, position = map(int, parts)
        if index <= INTEGER_MAX and position < SET_MAX_LEAVES and format_place(index, position) == text:
            return index, position
    raise malformed("a place is <log index>.<position>", "place")
