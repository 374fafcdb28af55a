"""What each type of change says: vocabularies and the members of `data` (protocol §2.2), as types.

`DATA_TYPES` with its Structs is the table of §2.2, and the only place where a member is added: members stand in
canonical order, msgspec reads their JSON types and vocabularies, and the function in an `Annotated` checks what a type
cannot say. `class` is written `class_` in Python.
"""

from typing import Annotated, Final, Literal, get_args

import msgspec

from sync_protocol import line_values as values
from sync_protocol.limits import INTEGER_MAX

Role = Literal["reporter", "officer", "admin", "system", "desk"]
ComplaintClass = Literal["complaint_oversight", "complaint_ordinary", "information_request", "aspiration"]
Visibility = Literal["public", "anonymous", "confidential", "anonymous-confidential"]
Closer = Literal["reporter", "officer", "system"]
Level = Literal["none", "phone", "email", "document", "in_person"]
# fmt: off
Channel = Literal[
    "web", "android", "ios", "sms", "desk", "outreach", "twitter",
    "whatsapp", "email", "phone", "letter", "open311", "other",
]
StateLabel = Literal[
    "received", "awaiting_information", "verified", "assigned",
    "in_progress", "answered", "on_hold", "closed", "archived",
]
# fmt: on
ROLES: Final[tuple[str, ...]] = get_args(Role)
CLASSES: Final[tuple[str, ...]] = get_args(ComplaintClass)
VISIBILITIES: Final[tuple[str, ...]] = get_args(Visibility)
#: Of these no words are shown to anybody but the owner's officers.
CONFIDENTIAL: Final[frozenset[str]] = frozenset({"confidential", "anonymous-confidential"})
CLOSERS: Final[tuple[str, ...]] = get_args(Closer)
LEVELS: Final[tuple[str, ...]] = get_args(Level)
CHANNELS: Final[tuple[str, ...]] = get_args(Channel)

Code = Annotated[str, values.check_code]
Agency = Annotated[str, values.check_agency]
Area = Annotated[str, values.check_area]
Timestamp = Annotated[str, values.check_timestamp]
Tracking = Annotated[str, values.check_tracking]
LeafHash = Annotated[str, values.check_leaf_hash]
# 16 hashes of 43 characters fill a third of a line
LeafHashes = Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=16), values.check_leaf_hashes]


class Part(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Base of all objects within a change line."""


class Data(Part, frozen=True):
    """Base of all `data` objects; by itself the empty object of `started`, `answered` and their like."""


class Actor(Part, frozen=True):
    """Who did it: a role, and the unit of the agency if one is named."""

    role: Role
    unit: Code | None = None


class Source(Part, frozen=True):
    """Where a complaint came from: another system, and the number it has there."""

    id: Annotated[str, values.check_source_id]
    system: Code


class Received(Data, frozen=True, kw_only=True):
    """`received`: a complaint is born."""

    area: Area | None = None
    category: Code | None = None
    channel: Channel
    class_: ComplaintClass | None = msgspec.field(default=None, name="class")
    received_at: Timestamp
    source: Source | None = None
    tracking: Tracking
    visibility: Visibility


class Imported(Data, frozen=True, kw_only=True):
    """`imported`: a complaint of an older system, in the state that system gives."""

    area: Area | None = None
    category: Code | None = None
    channel: Channel
    class_: ComplaintClass | None = msgspec.field(default=None, name="class")
    closed_at: Timestamp | None = None
    closed_by: Closer | None = None
    reason: Code | None = None
    received_at: Timestamp
    source: Source | None = None
    state: StateLabel
    tracking: Tracking
    unit: Code | None = None
    visibility: Visibility


class Amended(Data, frozen=True):
    """`amended`: what was reclassified, if anything."""

    category: Code | None = None
    class_: ComplaintClass | None = msgspec.field(default=None, name="class")


class Verified(Data, frozen=True):
    """`verified`: the class, confirmed."""

    class_: ComplaintClass = msgspec.field(name="class")


class Assigned(Data, frozen=True):
    """`assigned`: the unit that has it now."""

    unit: Code


class Reasoned(Data, frozen=True):
    """`held`, `reopened`, `recalled`."""

    reason: Code


class Ended(Data, frozen=True):
    """`closed`, `archived`: by whom and why."""

    by: Closer
    reason: Code


class Rated(Data, frozen=True):
    """`rated`."""

    rating: Annotated[int, msgspec.Meta(ge=1, le=5)]


class Handed(Data, frozen=True):
    """`offered`, `directed`: why, and to which agency."""

    reason: Code
    to: Agency


class Answer(Data, frozen=True):
    """`accepted`, `withdrawn`: the leaf hash of the offered line."""

    offer: LeafHash


class Declined(Data, frozen=True):
    """`declined`: the leaf hash of the offered line, and why."""

    offer: LeafHash
    reason: Code


class Attached(Data, frozen=True):
    """`attached`: size and media type of a file whose hash is in the content line."""

    bytes: Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]
    media_type: Annotated[str, values.check_media_type]


class Identified(Data, frozen=True):
    """`identified`: how well the reporter is known."""

    level: Level


class Erased(Data, frozen=True):
    """`erased`: leaf hashes of the content lines that are gone, and the legal ground."""

    ground: Code
    leaves: LeafHashes


class UnknownData(Data, frozen=True):
    """The data of a type that this fold does not know, as its canonical text."""

    text: str


DATA_TYPES: Final[dict[str, type[Data]]] = {
    "received": Received,
    "imported": Imported,
    "amended": Amended,
    "information_requested": Data,
    "information_supplied": Data,
    "verified": Verified,
    "assigned": Assigned,
    "started": Data,
    "answered": Data,
    "replied": Data,
    "held": Reasoned,
    "resumed": Data,
    "closed": Ended,
    "archived": Ended,
    "reopened": Reasoned,
    "rated": Rated,
    "offered": Handed,
    "accepted": Answer,
    "declined": Declined,
    "withdrawn": Answer,
    "recalled": Reasoned,
    "directed": Handed,
    "attached": Attached,
    "noted": Data,
    "identified": Identified,
    "erased": Erased,
}
