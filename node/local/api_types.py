"""Bodies of the intake's REST API, as types; the OpenAPI document is made from them.

What a change says is defined once, in sync_protocol/change_types.py: the request types of the union below take their
members from there, and add what may be *said* with it. The first goes on the change line, the second on the content
line, and nothing of the second ever on the first.
"""

from typing import Annotated, Any, Final, Literal, Union

import msgspec

from sync_protocol import change_types as ct
from sync_protocol.transitions import TRANSITIONS, By

TEXT_MAX: Final = 20_000  # characters; the whole content line is bounded in bytes as well
TITLE_MAX: Final = 500  # characters: a heading, or a file's name
LIST_MAX: Final = 200  # complaints on one page

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_MAX)]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=TITLE_MAX)]
FileHash = Annotated[
    str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{43}$", description="SHA-256 of the file that was uploaded, base64url")
]
Sealed = Annotated[str, msgspec.Meta(max_length=8_192, description="identity, sealed to the agency's key")]
DutyLabel = Literal["verify", "first_answer", "settle", "close"]
Rev = Annotated[int, msgspec.Meta(ge=1)]


class ApiBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A request; a member that is not known is an error, so that a misspelt one is not lost silently."""


class NewComplaint(ApiBody, frozen=True, kw_only=True):
    """`POST /v1/complaints`. `received_at` is now if it is not given; `source` is the number in another system.

    `text`, `title`, `place`, `occurred_at`, `reporter`, `sealed` are what was said; personal data belongs nowhere else.
    """

    channel: ct.Channel
    text: Text
    title: Title | None = None
    place: Text | None = None
    occurred_at: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    reporter: dict[str, Annotated[str, msgspec.Meta(max_length=500)]] | None = None
    sealed: Sealed | None = None
    visibility: ct.Visibility = "public"
    class_: ct.ComplaintClass | None = msgspec.field(default=None, name="class")
    category: ct.Code | None = None
    area: ct.Area | None = None
    received_at: ct.Timestamp | None = None
    source: ct.Source | None = None
    actor: ct.Actor | None = None


class ChangeRequest(ApiBody, frozen=True, kw_only=True, tag_field="type"):
    """`POST /v1/complaints/{id}/changes`. With `rev` it is refused if another change came since that one was read."""

    actor: ct.Actor | None = None
    rev: Rev | None = None


#: What may be said with a change, by type; types that are not named here may carry a `note`.
_SAID: Final[dict[str, dict[str, Any]]] = {
    "amended": {"title": Title | None, "text": Text | None, "place": Text | None},
    "information_requested": {"text": Text},
    "information_supplied": {"text": Text},
    "answered": {"text": Text},
    "replied": {"text": Text},
    "rated": {"text": Text | None},
    "noted": {"note": Text},
    "attached": {"file": FileHash, "name": Title | None},
    "identified": {"sealed": Sealed | None},
    "erased": {},
}
_NOTE: Final[dict[str, Any]] = {"note": Text | None}


def _members(change_type: str) -> list[Any]:
    """(name, type[, default]) of what is done and what is said."""
    done = [
        (one.name, one.type)
        if one.required
        else (one.name, one.type, msgspec.field(default=None, name=one.encode_name))
        for one in msgspec.structs.fields(ct.DATA_TYPES[change_type])
    ]
    named = [
        (one[0], one[1], msgspec.field(name="class")) if one[0] == "class_" and len(one) == 2 else one for one in done
    ]
    said = [
        (name, kind, None) if type(None) in getattr(kind, "__args__", ()) else (name, kind)
        for name, kind in _SAID.get(change_type, _NOTE).items()
    ]
    return [*named, *said]


def _request_type(change_type: str) -> type[ChangeRequest]:
    name = "".join(word.capitalize() for word in change_type.split("_")) + "Request"
    doc = f"`{change_type}`: {(ct.DATA_TYPES[change_type].__doc__ or '').split(':', 1)[-1].strip()}"
    made = msgspec.defstruct(
        name,
        _members(change_type),
        bases=(ChangeRequest,),
        namespace={"__doc__": doc},
        module=__name__,
        frozen=True,
        kw_only=True,
        omit_defaults=True,
        forbid_unknown_fields=True,
        tag_field="type",
        tag=change_type,
    )
    assert issubclass(made, ChangeRequest)
    return made


#: type of change -> its request; `received` and `imported` begin a complaint and are no change to one.
CHANGE_REQUESTS: Final[dict[str, type[ChangeRequest]]] = {
    name: _request_type(name) for name in ct.DATA_TYPES if TRANSITIONS[name].by is not By.MINTER
}
ANY_CHANGE_REQUEST: Final[Any] = Union[tuple(CHANGE_REQUESTS.values())]  # noqa: UP007 - made at run time


class ComplaintSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A complaint as it is now. Times are timestamps. `due_at` null: nothing is due, or it is not this agency's.

    `offer` is what `accepted`, `declined` and `withdrawn` name; `bounces` counts the offers that were declined.
    """

    complaint: str
    tracking: str
    state: ct.StateLabel
    rev: int
    owner: str
    visibility: ct.Visibility
    channel: ct.Channel
    received_at: str
    changed_at: str
    class_: ct.ComplaintClass | None = msgspec.field(name="class")
    category: str | None
    area: str | None
    unit: str | None
    source: ct.Source | None
    offered_to: str | None
    offer: str | None
    bounces: int
    closed_by: str | None
    closed_at: str | None
    reason: str | None
    rating: int | None
    due_at: str | None
    duty: DutyLabel | None
    overdue: bool


class ComplaintPage(msgspec.Struct, frozen=True, kw_only=True):
    """Newest first, or with `due` the earliest due first.

    `next` is the cursor of the following page, null on the last one.
    """

    items: list[ComplaintSummary]
    next: str | None


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change: what was done and what was said (null: nothing, or not held or not readable here).

    `leaf` is the leaf hash of what was said: an `erased` change names it. `seq` is the change set that took it to the
    hub, `index` that set's place in the national log; null until then. `agency` signed it, this node's own is null.
    `verdict` is why the log refused it; null where it did not, or has not been asked yet.
    """

    id: str
    type: str
    rev: int
    at: str
    actor: ct.Actor
    data: dict[str, Any]
    content: dict[str, Any] | None
    leaf: str | None
    seq: int | None
    index: int | None
    agency: str | None
    verdict: str | None


class ComplaintDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A complaint with its whole history, oldest change first."""

    complaint: ComplaintSummary
    history: list[HistoryEntry]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /healthz`: the newest receipt of the hub is fresh. If it is not, the answer is a problem of kind `stale`."""

    status: Literal["fresh"]
    last_receipt_age_s: float


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457. `verdict` (protocol §9.3), `state`, `rev` come with a refused change; `where` names a wrong member.

    `last_receipt_age_s` comes with `stale`; null before the first receipt.
    """

    type: str
    title: str
    status: int
    detail: str
    next: str
    where: str | msgspec.UnsetType = msgspec.UNSET
    limit: int | msgspec.UnsetType = msgspec.UNSET
    verdict: str | msgspec.UnsetType = msgspec.UNSET
    state: str | msgspec.UnsetType = msgspec.UNSET
    rev: int | msgspec.UnsetType = msgspec.UNSET
    last_receipt_age_s: float | msgspec.UnsetType | None = msgspec.UNSET
