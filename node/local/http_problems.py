"""Problems of the intake (RFC 9457): every answer that is not a success says what is wrong and what to do next."""

from __future__ import annotations

import asyncio
import sqlite3
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from aiohttp import web
from sqlalchemy.exc import SQLAlchemyError

from node.local.recording import CHANGE_REFUSED, KEY_REUSED
from sync_protocol.errors import Corrupt, Refused, Unavailable
from sync_protocol.problems import PROBLEM_MEDIA_TYPE, PROBLEM_PREFIX, PROBLEMS, Problem, problem_body
from sync_protocol.wire import format_body

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY_MAX_BYTES: Final = 128 * 1024  # a content line of 32 KiB, in the most wasteful spelling of its letters
REQUEST_TIMEOUT_S: Final = 30.0  # a body that trickles in, or a disk that hangs, must not hold a connection for ever
RETRY_AFTER_S: Final = 2

KEY_MISSING: Final = "idempotency-key-missing"
STORAGE: Final = "storage"
TIMEOUT: Final = "timeout"
INTERNAL: Final = "internal"
METHOD: Final = "method-not-allowed"
BAD_REQUEST: Final = "bad-request"

LOCAL_PROBLEMS: Final[Mapping[str, Problem]] = {
    CHANGE_REFUSED: Problem(409, "This change is not possible now", "Read the complaint again and decide anew."),
    KEY_REUSED: Problem(422, "Idempotency-Key used for another request", "Use a new key for a new request."),
    KEY_MISSING: Problem(
        400, "Idempotency-Key is missing", "Send a header Idempotency-Key with a value of your own for each request."
    ),
    STORAGE: Problem(
        503, "The database cannot be written", "Nothing was recorded. See that the disk has room and is not damaged."
    ),
    TIMEOUT: Problem(503, "This took too long", "Send the same request again with the same Idempotency-Key."),
    INTERNAL: Problem(
        500, "An error of this program", "Send the same request again; if it stays, report it with the time."
    ),
    METHOD: Problem(405, "Not a method of this address", "Compare the request with /openapi.json."),
    BAD_REQUEST: Problem(400, "Not a request that can be read", "Compare the request with /openapi.json."),
    "not-found": Problem(404, "There is nothing here", "Compare the address with /openapi.json."),
    "unauthorised": Problem(
        401, "This needs a token", "Make one with `simpul node token create DIR NAME` and send it as Bearer token."
    ),
    "malformed": Problem(422, "Not of the form that is asked for", "Compare the request with /openapi.json."),
}
_NOT_FOUND_VERDICTS: Final = frozenset({"unknown_complaint"})
_INVALID_VERDICTS: Final = frozenset({"malformed", "unknown_type", "unknown_agency", "bad_target"})

log = structlog.get_logger(__name__)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every error into a problem; nothing else leaves this server."""
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            return await handler(request)
    except Refused as refused:
        return _refused(refused)
    except Unavailable as away:
        return _problem(problem_body(away), retry_after_s=away.retry_after_s or RETRY_AFTER_S)
    except TimeoutError:
        return _local(TIMEOUT, f"no answer within {REQUEST_TIMEOUT_S:.0f} seconds", retry_after_s=RETRY_AFTER_S)
    except web.HTTPException as answer:
        return _http(answer)
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        # The words of SQLAlchemy quote the statement with its values, which are what citizens said: only the kind.
        log.warning("intake.storage", error=type(error).__name__, cause=str(getattr(error, "orig", None) or ""))
        return _local(STORAGE, "the database said no", retry_after_s=RETRY_AFTER_S)
    except Corrupt as corrupt:
        log.warning("intake.corrupt", detail=corrupt.detail)
        return _local(STORAGE, corrupt.detail)
    except Exception as error:  # noqa: BLE001 - the last door: whatever it is becomes a problem without its words
        log.critical("intake.internal", error=type(error).__name__, at=_place_of(error))
        return _local(INTERNAL, "the program made an error; nothing of this request may have been recorded")


def _refused(refused: Refused) -> web.Response:
    if refused.kind == CHANGE_REFUSED:
        return _local(
            CHANGE_REFUSED,
            refused.detail,
            status=verdict_status(str(refused.members.get("verdict"))),
            members=refused.members,
        )
    if refused.kind in LOCAL_PROBLEMS or refused.kind not in PROBLEMS:
        kind = refused.kind if refused.kind in LOCAL_PROBLEMS else "malformed"
        where = {} if refused.where is None else {"where": refused.where}
        return _local(kind, refused.detail, members={**refused.members, **where})
    return _problem(problem_body(refused))


def _place_of(error: BaseException) -> str:
    """File and line where it happened; never its words, which may be a citizen's."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"


def verdict_status(verdict: str) -> int:
    """HTTP status for what the fold says: 404, 422, or 409 for what depends on where the complaint stands."""
    if verdict in _NOT_FOUND_VERDICTS:
        return 404
    return 422 if verdict in _INVALID_VERDICTS else 409


def _http(answer: web.HTTPException) -> web.Response:
    """What aiohttp itself raises: no route, wrong method, body over the limit."""
    if isinstance(answer, web.HTTPRequestEntityTooLarge):
        return _refused(Refused("too-large", "the body is over the limit", members={"limit": BODY_MAX_BYTES}))
    if isinstance(answer, web.HTTPMethodNotAllowed):
        response = _local(METHOD, f"{answer.method} is not possible here")
        response.headers["Allow"] = ", ".join(sorted(answer.allowed_methods))
        return response
    if answer.status == 404:
        return _local("not-found", "no such address")
    return _local(BAD_REQUEST, answer.reason, status=answer.status)


def _local(
    kind: str,
    detail: str,
    *,
    status: int | None = None,
    members: Mapping[str, object] | None = None,
    retry_after_s: float | None = None,
) -> web.Response:
    problem = LOCAL_PROBLEMS[kind]
    body: dict[str, object] = {
        **(members or {}),
        "type": PROBLEM_PREFIX + kind,
        "title": problem.title,
        "status": problem.status if status is None else status,
        "detail": detail,
        "next": problem.next,
    }
    return _problem(body, retry_after_s=retry_after_s)


def _problem(body: Mapping[str, object], *, retry_after_s: float | None = None) -> web.Response:
    status = body["status"]
    assert isinstance(status, int)
    response = web.Response(body=format_body(body), status=status, content_type=PROBLEM_MEDIA_TYPE)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, round(retry_after_s)))
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
