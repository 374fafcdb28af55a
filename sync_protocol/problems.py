"""Problem types (protocol §7.3, RFC 9457): an error becomes a body, and an answer becomes an error again.

No HTTP here: status and body in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sync_protocol.errors import Refused, Unavailable
from sync_protocol.strict_json import parse_object
from sync_protocol.values import parse_integer

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
PROBLEM_PREFIX: Final = "urn:simpul:problem:"
PROBLEM_MAX_BYTES: Final = 65_536  # `forked` carries a manifest, nothing carries more


class Recovering(Unavailable):
    """The hub knows that it lost something and signs nothing; `size` is the log that it has (protocol §10.6)."""

    def __init__(self, detail: str, *, size: int, retry_after_s: float | None = None) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.size = size


class Busy(Unavailable):
    """The hub is there, and takes in as much as it can: its own word, not a proxy's (protocol §7.4)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One row of §7.3: what a kind is called, its HTTP status, and what a person does next."""

    status: int
    title: str
    next: str


_ASK = "Ask the national desk, and name the time and the agency."
_REPORT = "Nothing was stored. Update the program that made the request; if it is up to date, report this as a bug."

PROBLEMS: Final[Mapping[str, Problem]] = {
    "behind": Problem(409, "Earlier change sets are missing", "Send the sets from expected_seq on, in order."),
    "forked": Problem(
        409,
        "Another change set stands at this place",
        "Find the other copy of this node, switch one of the two off for good, then run "
        "`simpul node recover --take-over` on the one that stays.",
    ),
    "superseded": Problem(
        409,
        "A newer copy of this node has taken over",
        "Another copy of this node is alive. Switch one of the two off for good, then run "
        "`simpul node recover --take-over` on the one that stays.",
    ),
    "void-statement": Problem(
        409, "The statement does not follow the last one", "Make it again on top of the statement named here."
    ),
    "bad-signature": Problem(403, "The signature does not fit", "Nothing was stored. " + _ASK),
    "unknown-key": Problem(
        403, "This key was never enrolled", "Enrol the node with a fresh token: `simpul node enrol`."
    ),
    "revoked-key": Problem(
        403,
        "This key does not speak any more",
        "Ask the national desk for a fresh token, then run `simpul node enrol`.",
    ),
    "wrong-agency": Problem(403, "The key belongs to another agency", "Compare the agency code with the invitation."),
    "unknown-agency": Problem(403, "This agency is not enrolled", "Ask the national desk for an invitation."),
    "bad-token": Problem(
        403, "The token is not valid", "Ask the national desk for a fresh invitation; each works once."
    ),
    "unauthorised": Problem(
        401,
        "This is not for everybody",
        "Sign the request, or send the token that was granted. If it was signed, compare clock and address.",
    ),
    "malformed": Problem(422, "Not of the form that the protocol asks for", _REPORT),
    "root-mismatch": Problem(422, "The lines are not the ones that were signed", _REPORT),
    "too-large": Problem(413, "Over a limit", "Send less at a time; the limit is named here."),
    "wrong-offset": Problem(409, "Other bytes of this file are wanted", "Go on from the offset named here."),
    "file-differs": Problem(
        422, "Not the file that was announced", "Nothing was kept. Send the file again from its beginning."
    ),
    "file-type": Problem(
        415,
        "Not a file of this type",
        "Send a JPEG, PNG, WebP, HEIC, PDF, MP4, 3GP, M4A or Ogg file, and name its type.",
    ),
    "not-announced": Problem(
        403, "No logged change names this file", "Push the change set that names it first; a refused change does not."
    ),
    "not-found": Problem(404, "There is nothing here", "Compare the address with the documentation."),
    "unsupported-encoding": Problem(415, "This encoding is not read here", "Use zstd, gzip or none."),
    "unsupported-version": Problem(422, "This version is not spoken here", "Update the program."),
    "busy": Problem(503, "Busy", "Wait as long as Retry-After says; nothing is lost."),
    "recovering": Problem(
        503,
        "The hub lost a part of its log and signs nothing",
        "Nothing to do at a node: it hands over what the hub lost, keeps everything and tries again.",
    ),
}


def problem_body(error: Refused | Unavailable) -> dict[str, object]:
    """The RFC 9457 members for an error; `status` in it is the HTTP status.

    A kind that §7.3 does not list is told as `malformed`: its detail says what was wrong.
    """
    if isinstance(error, Recovering):
        return _problem("recovering", error.detail, {"size": error.size})
    if isinstance(error, Unavailable):
        return _problem("busy", error.detail, {})
    kind = error.kind if error.kind in PROBLEMS else "malformed"
    members = dict(error.members)
    if error.where is not None:
        members["where"] = error.where
    return _problem(kind, error.detail, members)


def refused_from_problem(
    status: int, body: bytes, *, content_type: str = PROBLEM_MEDIA_TYPE, retry_after_s: float | None = None
) -> Refused | Unavailable:
    """What an answer that is not a success means for the caller. Never raises.

    Only a problem of the hub itself is a refusal. Whatever else answers (a proxy, a hotel's login page, a full disk) is
    not the hub's word: Unavailable, so that no node halts for it.
    """
    away = Unavailable(f"answered {status} without a word of the hub", retry_after_s=retry_after_s)
    if content_type.partition(";")[0].strip().lower() != PROBLEM_MEDIA_TYPE or len(body) > PROBLEM_MAX_BYTES:
        return away
    try:
        fields = parse_object(body, where="problem")
    except Refused:
        return away
    name, detail = fields.get("type"), fields.get("detail")
    if not isinstance(name, str) or not isinstance(detail, str) or not name.startswith(PROBLEM_PREFIX):
        return away
    return _outcome(status, name.removeprefix(PROBLEM_PREFIX), detail, fields, retry_after_s)


def _problem(kind: str, detail: str, members: Mapping[str, object]) -> dict[str, object]:
    problem = PROBLEMS[kind]
    common = {
        "type": PROBLEM_PREFIX + kind,
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "next": problem.next,
    }
    return {**members, **common}


def _outcome(
    status: int, kind: str, detail: str, fields: Mapping[str, Any], retry_after_s: float | None
) -> Refused | Unavailable:
    if kind == "recovering":
        try:
            return Recovering(detail, size=parse_integer(fields.get("size"), "size"), retry_after_s=retry_after_s)
        except Refused:
            return Unavailable(detail, retry_after_s=retry_after_s)
    if kind == "busy":
        return Busy(detail, retry_after_s=retry_after_s)
    if status >= 500 or status == 429:
        return Unavailable(detail, retry_after_s=retry_after_s)
    where = fields.get("where")
    members = {name: value for name, value in fields.items() if name not in _COMMON_MEMBERS}
    return Refused(kind, detail, where=where if isinstance(where, str) else None, members=members)


_COMMON_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "next", "where", "instance"})
