"""What each type of change says: vocabularies and data members (protocol §2.2), as data.

`MEMBERS` is the table of §2.2; the parser in `line_parts.py` is made from it, so that there is one place where a member
is added. The Structs hold the same members, typed; `class` is written `class_` in Python.
"""

from __future__ import annotations

from typing import Final

import msgspec

from sync_protocol.values import AREA_PATTERN, TIMESTAMP_PATTERN, TRACKING_PATTERN

ROLES: Final = ("reporter", "officer", "admin", "system", "desk")
CLASSES: Final = ("complaint_oversight", "complaint_ordinary", "information_request", "aspiration")
VISIBILITIES: Final = ("public", "anonymous", "confidential", "anonymous-confidential")
CLOSERS: Final = ("reporter", "officer", "system")
LEVELS: Final = ("none", "phone", "email", "document", "in_person")
CHANNELS: Final = (
    *("web", "android", "ios", "sms", "desk", "outreach", "twitter"),
    *("whatsapp", "email", "phone", "letter", "open311", "other"),
)
STATE_LABELS: Final = (  # position is the state code of protocol §9.2
    *("none", "received", "awaiting_information", "verified", "assigned"),
    *("in_progress", "answered", "on_hold", "closed", "archived"),
)
ERASED_LEAVES_MAX: Final = 16  # hashes of 43 characters: more would not fit a change line


class Data(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Base of all `data` objects; by itself the empty object of `started`, `answered` and their like."""


class Source(Data):
    """Where a complaint came from: another system, and the number it has there."""

    id: str
    system: str


class Received(Data, kw_only=True):
    """`received`: a complaint is born."""

    area: str | None = None
    category: str | None = None
    channel: str
    class_: str | None = msgspec.field(default=None, name="class")
    received_at: str
    source: Source | None = None
    tracking: str
    visibility: str


class Imported(Data, kw_only=True):
    """`imported`: a complaint from an older system, in the state that system gives."""

    area: str | None = None
    category: str | None = None
    channel: str
    class_: str | None = msgspec.field(default=None, name="class")
    closed_at: str | None = None
    closed_by: str | None = None
    reason: str | None = None
    received_at: str
    source: Source | None = None
    state: str
    tracking: str
    unit: str | None = None
    visibility: str


class Amended(Data):
    """`amended`: what was reclassified, if anything."""

    category: str | None = None
    class_: str | None = msgspec.field(default=None, name="class")


class Verified(Data):
    """`verified`: the class, confirmed."""

    class_: str = msgspec.field(name="class")


class Assigned(Data):
    """`assigned`: the unit that has it now."""

    unit: str


class Reasoned(Data):
    """`held`, `reopened`, `recalled`."""

    reason: str


class Ended(Data):
    """`closed`, `archived`: by whom and why."""

    by: str
    reason: str


class Rated(Data):
    """`rated`: 1 to 5."""

    rating: int


class Handed(Data):
    """`offered`, `directed`: to which agency and why."""

    reason: str
    to: str


class Answer(Data):
    """`accepted`, `withdrawn`: the leaf hash of the offered line."""

    offer: str


class Declined(Data):
    """`declined`: the leaf hash of the offered line, and why."""

    offer: str
    reason: str


class Attached(Data):
    """`attached`: size and media type of a file whose hash is in the content line."""

    bytes: int
    media_type: str


class Identified(Data):
    """`identified`: how well the reporter is known."""

    level: str


class Erased(Data):
    """`erased`: leaf hashes of the content lines that are gone, and the legal ground."""

    ground: str
    leaves: tuple[str, ...]


class UnknownData(Data):
    """The data of a type that this fold does not know, as its canonical text."""

    text: str


class Kind(msgspec.Struct, frozen=True):
    """The form of a member's value: a pattern for its JSON text, with one group, and what the pattern cannot check.

    `check` names a function of `line_parts.CHECKS`: it takes the group, returns the value or raises Refused(malformed).
    """

    pattern: str
    check: str | None = None


def _one_of(*words: str) -> Kind:
    return Kind(f'"({"|".join(sorted(words, key=len, reverse=True))})"')


LEAF_HASH_PATTERN: Final = "[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]"  # 32 bytes of base64url; the last two bits are spare
INTEGER_PATTERN: Final = "(?:0|[1-9][0-9]{0,15})"

_CODE: Final = Kind('"([a-z0-9._-]{1,40})"', "code")
_AGENCY: Final = Kind('"([a-z0-9.-]{1,64})"', "agency")
_CLASS: Final = _one_of(*CLASSES)
_TIMESTAMP: Final = Kind(f'"({TIMESTAMP_PATTERN})"', "timestamp")
_LEAF_HASH: Final = Kind(f'"({LEAF_HASH_PATTERN})"')
_SOURCE: Final = Kind(r'(\{"id":"[A-Za-z0-9._:/-]{1,40}","system":"[a-z0-9._-]{1,40}"\})', "source")
_LEAVES: Final = Kind(rf'\[("{LEAF_HASH_PATTERN}"(?:,"{LEAF_HASH_PATTERN}"){{0,{ERASED_LEAVES_MAX - 1}}})\]', "leaves")


class Member(msgspec.Struct, frozen=True):
    """One member of a `data` object."""

    name: str
    kind: Kind
    optional: bool = False


_REASON: Final = Member("reason", _CODE)
_OFFER: Final = Member("offer", _LEAF_HASH)
_BIRTH: Final = (
    Member("area", Kind(f'"({AREA_PATTERN})"'), optional=True),
    Member("category", _CODE, optional=True),
    Member("channel", _one_of(*CHANNELS)),
    Member("class", _CLASS, optional=True),
    Member("received_at", _TIMESTAMP),
    Member("source", _SOURCE, optional=True),
    Member("tracking", Kind(f'"({TRACKING_PATTERN})"', "tracking")),
    Member("visibility", _one_of(*VISIBILITIES)),
)
_PAST: Final = (
    Member("closed_at", _TIMESTAMP, optional=True),
    Member("closed_by", _one_of(*CLOSERS), optional=True),
    Member("reason", _CODE, optional=True),
    Member("state", _one_of(*STATE_LABELS[1:])),
    Member("unit", _CODE, optional=True),
)
_HANDED: Final = (_REASON, Member("to", _AGENCY))
_ENDED: Final = (Member("by", _one_of(*CLOSERS)), _REASON)
_EMPTY_TYPES: Final = (
    *("information_requested", "information_supplied", "started"),
    *("answered", "replied", "resumed", "noted"),
)

#: type -> (Struct, members in canonical order): the table of protocol §2.2.
MEMBERS: Final[dict[str, tuple[type[Data], tuple[Member, ...]]]] = {
    "received": (Received, _BIRTH),
    "imported": (Imported, tuple(sorted((*_BIRTH, *_PAST), key=lambda member: member.name))),
    "amended": (Amended, (Member("category", _CODE, optional=True), Member("class", _CLASS, optional=True))),
    "verified": (Verified, (Member("class", _CLASS),)),
    "assigned": (Assigned, (Member("unit", _CODE),)),
    "held": (Reasoned, (_REASON,)),
    "reopened": (Reasoned, (_REASON,)),
    "recalled": (Reasoned, (_REASON,)),
    "closed": (Ended, _ENDED),
    "archived": (Ended, _ENDED),
    "rated": (Rated, (Member("rating", Kind("([1-5])", "integer")),)),
    "offered": (Handed, _HANDED),
    "directed": (Handed, _HANDED),
    "accepted": (Answer, (_OFFER,)),
    "withdrawn": (Answer, (_OFFER,)),
    "declined": (Declined, (_OFFER, _REASON)),
    "attached": (
        Attached,
        (
            Member("bytes", Kind(f"({INTEGER_PATTERN})", "integer")),
            Member("media_type", Kind('"([a-z0-9.+-]{1,30}/[a-z0-9.+-]{1,40})"', "media_type")),
        ),
    ),
    "identified": (Identified, (Member("level", _one_of(*LEVELS)),)),
    "erased": (Erased, (Member("ground", _CODE), Member("leaves", _LEAVES))),
    **dict.fromkeys(_EMPTY_TYPES, (Data, ())),
}
CHANGE_TYPES: Final = tuple(MEMBERS)
