"""What the tests of lines, fold and ledger share: one valid line of every type, and lines to order."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from sync_protocol.line import format_change
from sync_protocol.strict_json import format_object
from sync_protocol.values import b64u_encode, format_tracking

AT: Final = "2026-01-03T10:31:12.123Z"
LEAF: Final = b64u_encode(sha256(b"a leaf").digest())
TRACKING: Final = format_tracking("PKL", 0x123456789ABCDEF)
BORN: Final[dict[str, object]] = {
    "channel": "web",
    "received_at": "2026-01-03T10:31:12.000Z",
    "tracking": TRACKING,
    "visibility": "public",
}
#: type -> valid data, with every optional member
DATA: Final[dict[str, dict[str, object]]] = {
    "received": {
        **BORN,
        "area": "33.75.01.1001",
        "category": "jalan.rusak",
        "class": "complaint_ordinary",
        "source": {"id": "SP4N/2026:77", "system": "sp4n"},
    },
    "imported": {
        **BORN,
        "area": "33",
        "category": "sampah",
        "class": "aspiration",
        "closed_at": "2025-12-31T23:59:59.999Z",
        "closed_by": "system",
        "reason": "no_reply",
        "source": {"id": "7654321", "system": "sp4n"},
        "state": "closed",
        "unit": "dinas-pu",
    },
    "amended": {"category": "lampu-jalan", "class": "information_request"},
    "information_requested": {},
    "information_supplied": {},
    "verified": {"class": "complaint_oversight"},
    "assigned": {"unit": "dinas-pu"},
    "started": {},
    "answered": {},
    "replied": {},
    "held": {"reason": "budget"},
    "resumed": {},
    "closed": {"by": "reporter", "reason": "solved"},
    "archived": {"by": "officer", "reason": "duplicate"},
    "reopened": {"reason": "not_solved"},
    "rated": {"rating": 5},
    "offered": {"reason": "other_area", "to": "35.71"},
    "accepted": {"offer": LEAF},
    "declined": {"offer": LEAF, "reason": "not_ours"},
    "withdrawn": {"offer": LEAF},
    "recalled": {"reason": "silence"},
    "directed": {"reason": "decided", "to": "35.71"},
    "attached": {"bytes": 12345, "media_type": "image/svg+xml"},
    "noted": {},
    "identified": {"level": "in_person"},
    "erased": {"ground": "uu-27-2022", "leaves": [LEAF, LEAF]},
}


def uuid_of(label: str) -> str:
    """A UUIDv7 that depends on the label alone."""
    digits = sha256(label.encode()).hexdigest()
    return f"019b{digits[:4]}-{digits[4:8]}-7{digits[8:11]}-8{digits[11:14]}-{digits[14:26]}"


COMPLAINT: Final = "33.75:" + uuid_of("complaint")


def line_of(
    change_type: str,
    data: Mapping[str, object] | None = None,
    *,
    label: str = "change",
    complaint: str = COMPLAINT,
    rev: int = 1,
    at: str = AT,
    role: str = "officer",
    unit: str | None = "kominfo",
    content: bool = False,
) -> bytes:
    """A valid line; the label makes its id."""
    return format_change(
        id=uuid_of(label),
        complaint=complaint,
        rev=rev,
        type=change_type,
        at=at,
        role=role,
        unit=unit,
        data=DATA[change_type] if data is None else data,
        content=content,
    )


def members_of(change_type: str) -> dict[str, Any]:
    """The members of a valid line, to be spoilt."""
    return {
        "actor": {"role": "officer", "unit": "kominfo"},
        "at": AT,
        "complaint": COMPLAINT,
        "content": 1,
        "data": dict(DATA.get(change_type, {})),
        "id": uuid_of("change"),
        "rev": 1,
        "type": change_type,
    }


def spoilt(change_type: str, **changes: object) -> bytes:
    """A line with members replaced (None: taken out; `data_x` means x in data), spelled canonically all the same."""
    members = members_of(change_type)
    for name, value in changes.items():
        place, key = (members["data"], name[5:]) if name.startswith("data_") else (members, name)
        if value is None:
            place.pop(key)
        else:
            place[key] = value
    return format_object(members)
