"""From a request of the REST API to the change that it asks for: codes here, words there (protocol §2)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from node.local.api_types import ChangeRequest, NewComplaint
from node.local.arrival import check_arrival
from node.local.recording import CHANGE_REFUSED, Command
from sync_protocol import change_types as ct
from sync_protocol.errors import Refused
from sync_protocol.transitions import TRANSITIONS, By
from sync_protocol.values import format_timestamp

_SAID_FIRST: Final = ("title", "text", "place", "occurred_at", "reporter", "sealed")
_BY_REPORTER: Final = frozenset({"received", "information_supplied", "replied", "rated"})
_NEITHER: Final = ("actor", "rev", "type")

#: Changes that depend on what other agencies do meanwhile.
OF_OTHERS: Final = frozenset(
    name for name, row in TRANSITIONS.items() if row.by in (By.OFFERED, By.DESK, By.OWNING_DESK) or row.answers_offer
)
OF_OTHERS_NEXT: Final = (
    "Look at the complaint again (GET /v1/complaints/{complaint}): another agency was faster perhaps, or the offer is "
    "not here yet. What is offered to this agency is listed by GET /v1/complaints?where=offered."
)


def received_command(new: NewComplaint, now_ms: int) -> Command:
    """A complaint is born. With a source that is known already, that complaint is the answer.

    Raises Refused(malformed) where it says that it came in in the future.
    """
    if new.received_at is not None:
        check_arrival(new.received_at, None, now_ms)
    fields = _given(new)
    done = {name: value for name, value in fields.items() if name not in (*_SAID_FIRST, *_NEITHER)}
    data = {"received_at": format_timestamp(now_ms), "visibility": new.visibility} | done
    return _command(
        "received",
        new.actor,
        data=data,
        content={name: fields[name] for name in _SAID_FIRST if name in fields},
        once_for=None if new.source is None else (new.source.system, new.source.id),
    )


def change_command(request: ChangeRequest, complaint: str) -> Command:
    """A change to a complaint. What is no member of the type's data (protocol §2.2) is what was said."""
    fields = _given(request)
    change_type = str(fields["type"])
    done = {field.encode_name for field in msgspec.structs.fields(ct.DATA_TYPES[change_type])}
    return _command(
        change_type,
        request.actor,
        data={name: value for name, value in fields.items() if name in done},
        content={name: value for name, value in fields.items() if name not in done and name not in _NEITHER},
        complaint=complaint,
        expected_rev=request.rev,
    )


def explained(refused: Refused, change_type: str) -> Refused:
    """The refusal with the next step that fits, where another agency has a part in it."""
    if change_type not in OF_OTHERS or refused.kind not in (CHANGE_REFUSED, "not-found"):
        return refused
    members = {**refused.members, "next": OF_OTHERS_NEXT}
    return Refused(refused.kind, refused.detail, where=refused.where, members=members)


def _command(change_type: str, actor: ct.Actor | None, **rest: Any) -> Command:
    role = "reporter" if change_type in _BY_REPORTER else "officer"
    return Command(
        type=change_type,
        role=role if actor is None else actor.role,
        unit=None if actor is None else actor.unit,
        **rest,
    )


def _given(request: msgspec.Struct) -> dict[str, Any]:
    """The members as they are called on the wire; a member that is null is the same as none."""
    fields: dict[str, Any] = msgspec.to_builtins(request)
    return {name: value for name, value in fields.items() if value is not None}
