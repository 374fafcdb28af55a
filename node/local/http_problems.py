"""Problems of the intake (RFC 9457): every answer that is not a success says what is wrong and what to do next.

The kinds are those of protocol §7.3, in words that fit here, and some that only an intake has. Neither an answer nor a
log repeats what stood in a request.
"""

from __future__ import annotations

import errno
import sqlite3
import traceback
from collections.abc import Mapping
from typing import Final

import structlog
from aiohttp import web
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from node.local.recording import CHANGE_REFUSED, KEY_REUSED
from node.store.local_records import RowConflict
from sync_protocol.errors import Corrupt, Refused, SimpulError, Unavailable
from sync_protocol.problems import PROBLEM_MEDIA_TYPE, PROBLEM_PREFIX, PROBLEMS, Problem
from sync_protocol.wire import format_body

BODY_MAX_BYTES: Final = 128 * 1024  # a content line of 32 KiB, in the most wasteful spelling of its letters
RETRY_AFTER_S: Final = 2  # a busy disk or a full queue is over by then, or it is no blip

STORAGE: Final = "storage"
FULL: Final = "disk-full"
TIMEOUT: Final = "timeout"
SLOW: Final = "slow"
STALE: Final = "stale"
INTERNAL: Final = "internal"
METHOD: Final = "method-not-allowed"
BAD_REQUEST: Final = "bad-request"
FORBIDDEN: Final = "forbidden"
NOT_DESK: Final = "not-desk"
UNSUPPORTED_TYPE: Final = "unsupported-media-type"
TUS_VERSION: Final = "tus-version"
TUS: Final = "1.0.0"  # the version of tus that is spoken here
FILES_FULL: Final = "files-full"
KIND: Final = web.ResponseKey("kind", str)  # of the problem that was answered, for the log

_COMPARE_WITH: Final = "Compare the request with {}; `where` names the part that is wrong."
_COMPARE: Final = _COMPARE_WITH.format("/openapi.json")
_AGAIN: Final = "Send the same request again with the same Idempotency-Key; it is recorded once."

#: What the intake adds to the table of protocol §7.3, or says in other words.
LOCAL_PROBLEMS: Final[Mapping[str, Problem]] = {
    CHANGE_REFUSED: Problem(409, "This change is not possible now", "Read the complaint again and decide anew."),
    KEY_REUSED: Problem(422, "Idempotency-Key used for another request", "Use a new key for a new request."),
    "malformed": Problem(422, "Not of the form that is asked for", _COMPARE),
    "too-large": Problem(413, "Over a limit", "Send less; `limit` says how much. Files travel apart."),
    "not-found": Problem(404, "There is nothing here", "Compare the id, tracking number or address."),
    "unauthorised": Problem(
        401, "This needs a token", "Make one with `simpul node token create DIR NAME` and send it as Bearer token."
    ),
    "wrong-signature": Problem(
        401,
        "The message is not signed as it should be",
        "Compare the secret and what is signed: docs/channels-connectors.md.",
    ),
    "expired-signature": Problem(
        401, "Signed too long ago", "Set the clock, sign the message anew, and send it again."
    ),
    FORBIDDEN: Problem(403, "Not for you", "Compare secret and address with sms_secret and sms_allow in simpul.toml."),
    NOT_DESK: Problem(
        403,
        "Only the national desk has this",
        "What is overdue here is listed by `simpul node due DIR` and GET /v1/complaints?due=overdue.",
    ),
    "unsupported-encoding": Problem(415, "This encoding is not read here", "Send the body without Content-Encoding."),
    UNSUPPORTED_TYPE: Problem(415, "This type is not read here", "Send a Content-Type that `detail` names."),
    METHOD: Problem(405, "Not a method of this address", "Use one of those that the header Allow names."),
    BAD_REQUEST: Problem(400, "Not a request that can be read", _COMPARE),
    TIMEOUT: Problem(408, "The request came too slowly", _AGAIN),
    SLOW: Problem(503, "This took too long", _AGAIN),
    "busy": Problem(503, "Busy", "Wait as long as Retry-After says, then send the same request again."),
    FULL: Problem(
        503, "The disk is full", "Nothing was recorded. Make room where the node's directory is, then send it again."
    ),
    STORAGE: Problem(
        503, "The database cannot be used", "See the log of this node; check that its disk is mounted and undamaged."
    ),
    "file-type": Problem(
        415,
        "Not a file that is taken",
        "Send a JPEG, PNG, WebP, HEIC, PDF, MP4, 3GP, M4A or Ogg file as it is, and name no other type than its own.",
    ),
    "file-differs": Problem(
        422, "Not the file that was announced", "Nothing was kept. Begin again, with the SHA-256 of what you send."
    ),
    "file-missing": Problem(
        409,
        "This file is not here",
        "Upload it first (POST /v1/files), and name the hash that the upload was answered.",
    ),
    "wrong-offset": Problem(409, "Other bytes of this file are wanted", "Go on from `offset`."),
    "too-many-uploads": Problem(
        429,
        "Too many uploads are begun",
        "Finish some, or give them up (DELETE). They end by themselves in three days.",
    ),
    TUS_VERSION: Problem(412, "Another version of tus is spoken here", "Send Tus-Resumable: 1.0.0."),
    FILES_FULL: Problem(
        507, "There is no room for files", "Nothing else is in the way. Make room on the disk, or raise files_max_gib."
    ),
    STALE: Problem(
        503, "Not in step with the hub", "`simpul node status DIR` says since when, and what to do. Intake goes on."
    ),
    INTERNAL: Problem(
        500, "An error of this program", "Send the same request again; if it stays, report it with X-Request-Id."
    ),
}

log = structlog.get_logger("simpul.intake")


def answer_to(error: Exception, paper: str | None = None) -> web.Response:
    """The problem for whatever a handler raised; logs what an operator must know.

    `paper` describes the call where /openapi.json does not.
    """
    if isinstance(error, Refused):
        members = dict(error.members)
        if error.where is not None:
            members["where"] = error.where.removeprefix("data.")  # members of a request stand beside each other
        kind = error.kind if error.kind in LOCAL_PROBLEMS or error.kind in PROBLEMS else "malformed"
        if paper is not None and kind == "malformed":
            members.setdefault("next", _COMPARE_WITH.format(paper))
        return problem(kind, error.detail, members=members)
    if isinstance(error, Unavailable):
        return problem("busy", error.detail, retry_after_s=error.retry_after_s or RETRY_AFTER_S)
    if isinstance(error, TimeoutError):
        return problem(SLOW, "the database did not answer in time", retry_after_s=RETRY_AFTER_S)
    if isinstance(error, web.HTTPException):
        return _of_aiohttp(error)
    if isinstance(error, SQLAlchemyError | sqlite3.Error | OSError | SimpulError):
        return _of_storage(error)
    log.critical("intake.internal", error=type(error).__name__, at=_place_of(error))
    return problem(INTERNAL, "the program made an error; the request may not have been recorded")


def problem(
    kind: str, detail: str, *, members: Mapping[str, object] | None = None, retry_after_s: float | None = None
) -> web.Response:
    """One problem as an answer. `members` are what the client needs beside the common ones."""
    row = LOCAL_PROBLEMS.get(kind) or PROBLEMS[kind]
    body: dict[str, object] = {"next": row.next} | dict(members or {})
    body |= {"type": PROBLEM_PREFIX + kind, "title": row.title, "status": row.status, "detail": detail}
    response = web.Response(body=format_body(body), status=row.status, content_type=PROBLEM_MEDIA_TYPE)
    response[KIND] = kind
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, round(retry_after_s)))
    if row.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="simpul"'
    if kind == TUS_VERSION:
        response.headers["Tus-Version"] = TUS  # tus 1.0.0 wants it there
    if row.status in (408, 413, 415):
        response.force_close()  # what is still on its way is not waited for
    return response


def _of_aiohttp(answer: web.HTTPException) -> web.Response:
    """What the router raises: no such address, another method."""
    if isinstance(answer, web.HTTPMethodNotAllowed):
        response = problem(METHOD, "this address does not know that method")
        response.headers["Allow"] = ", ".join(sorted(answer.allowed_methods))
        return response
    if answer.status == 404:
        return problem("not-found", "no such address")
    if answer.status == 413:
        return problem("too-large", "the body is over the limit", members={"limit": BODY_MAX_BYTES})
    return problem(BAD_REQUEST, "this is not a request that the intake can read")


def _of_storage(error: Exception) -> web.Response:
    """The words of SQLAlchemy quote statements with their values, which are what citizens said: only the driver's."""
    cause = str(error.orig if isinstance(error, DBAPIError) else "" if isinstance(error, SQLAlchemyError) else error)
    log.error("intake.storage", error=type(error).__name__, cause=cause)
    if "disk is full" in cause or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        return problem(FULL, "there is no room left for the database", retry_after_s=RETRY_AFTER_S)
    if "locked" in cause:
        return problem("busy", "another process is writing", retry_after_s=RETRY_AFTER_S)
    if isinstance(error, Corrupt):
        return problem(STORAGE, error.detail, members={"next": error.next_step})
    if isinstance(error, RowConflict):
        return problem("busy", "another process wrote the same", retry_after_s=RETRY_AFTER_S)
    return problem(STORAGE, "the database cannot be read or written", retry_after_s=RETRY_AFTER_S)


def _place_of(error: BaseException) -> str:
    """File and line where it happened; never its words, which may be a citizen's."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
