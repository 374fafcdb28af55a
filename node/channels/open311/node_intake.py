"""What GeoReport's clients send, recorded on a local node: once, whatever is repeated.

A client is the name of its key (`open311/<client>`). What makes a POST repeatable is the client's name together with
its Idempotency-Key, or with its own number for the request: for ever, and apart from what other clients call theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import structlog

from node.channels.open311.documents import Document, Many, Value, clean
from node.channels.open311.endpoint import Taken
from node.channels.open311.mapping import UPDATES_ROOT, requests_document
from node.channels.open311.reports import Reply, Report
from node.channels.open311.services import Service
from node.local.recording import CHANGE_REFUSED, Command, Recorded, RequestKey
from node.local.service import LocalService
from node.store.local_records import HeldComplaint
from sync_protocol.errors import Refused, malformed
from sync_protocol.transitions import Verdict
from sync_protocol.values import format_timestamp, parse_code, parse_source_id, parse_tracking

CHANNEL: Final = "open311"
NAMED_BY_REPORTER: Final = "named_by_reporter"
_NOTICE: Final = "Nomor pelacakan / tracking number: "
_NOT_ANSWERED: Final = "only an answer can be replied to, and this request has none that waits for a reply"
_ELSEWHERE: Final = (
    "this request is with agency {} by now: reply at that agency's endpoint, with its tracking number as token"
)
_NOT_YOURS: Final = "token is required: the tracking number of a request that another client reported"

_logger = structlog.get_logger("simpul.open311")


class NodeIntake:
    """Records reports and replies; raises what LocalService.record raises."""

    def __init__(self, service: LocalService) -> None:
        self._service = service

    async def report(self, client: str, report: Report, key: str | None) -> Taken:
        """`key`: of the client's own for this request; without one, the number that the report has there.

        A crash between recording and offering is made good by the client's repeat, or by an officer."""
        service, now_ms = report.service, self._service.minting.clock.now_ms()
        data: dict[str, object] = {
            "channel": CHANNEL,
            "received_at": format_timestamp(now_ms),
            "visibility": service.visibility,
        }
        data |= {} if service.category is None else {"category": service.category}
        data |= {} if service.class_ is None else {"class": service.class_}
        source = None if report.external_id is None else source_of(client, report.external_id)
        data |= {} if source is None else {"source": source}
        request = _request_key(client, ("report", key, report.external_id), report.digest)
        # Also where a backup forgot the key; beside a key of its own a number names nothing.
        once = None if source is None or key is not None else (source["system"], source["id"])
        command = Command("received", data, report.content, role="reporter", request=request, once_for=once)
        outcome = await self._service.record(command)
        if report.target is not None:
            await self._offer(outcome.recorded.complaint, report.target)
        return Taken(_receipt(outcome.recorded, service), outcome.is_repeat)

    async def _offer(self, complaint: str, target: str) -> None:
        """To the agency that was named, once; what is not possible any more stays with us, for a person to decide."""
        asked = sha256(f"{CHANNEL}\noffer\n{complaint}".encode()).digest()
        data = {"reason": NAMED_BY_REPORTER, "to": target}
        command = Command("offered", data, complaint=complaint, role="system", request=RequestKey(asked, asked))
        try:
            await self._service.record(command)
        except Refused as refused:
            _logger.warning("not offered", complaint=complaint, to=target, kind=refused.kind)

    async def reply(self, client: str, reply: Reply, held: HeldComplaint, key: str | None) -> Taken:
        """Raises Refused: unauthorised for somebody else's request, malformed where nothing can be replied to."""
        source, is_ours = held.state.source, held.state.minted_by == self._service.minting.agency
        # Another agency's client of that name is another client: its requests come here with the complaint.
        is_own = is_ours and source is not None and source.system == system_of(client)
        if not is_own and not any(_is_tracking(text, held) for text in (reply.token, reply.request_id)):
            raise Refused("unauthorised", _NOT_YOURS, where="token")
        request = _request_key(client, (f"reply {held.id}", key, reply.external_id), reply.digest)
        command = Command("replied", {}, {"text": reply.text}, str(held.id), role="reporter", request=request)
        try:
            outcome = await self._service.record(command)
        except Refused as refused:
            if refused.kind == CHANGE_REFUSED:
                is_away = refused.members.get("verdict") == Verdict.NOT_OWNER.label
                why = _ELSEWHERE.format(held.state.owner) if is_away else _NOT_ANSWERED
                raise malformed(why, "service_request_id") from None
            raise
        told: Mapping[str, Value] = {"update_id": outcome.recorded.change}
        return Taken(Document(UPDATES_ROOT, Many("request_update", [told])), outcome.is_repeat)


def _is_tracking(text: str | None, held: HeldComplaint) -> bool:
    """Whether somebody who says this knows the complaint's tracking number."""
    try:
        return text is not None and parse_tracking(text) == held.state.tracking
    except Refused:
        return False


def system_of(client: str) -> str | None:
    """What a change line calls the client's system; None for a name that is no code."""
    try:
        return parse_code(f"{CHANNEL}-{client}")
    except Refused:
        return None


def source_of(client: str, number: str) -> dict[str, str] | None:
    """The client's own number, where it may stand on a change line: it may be anything, also a person's."""
    system = system_of(client)
    try:
        return None if system is None else {"id": parse_source_id(number), "system": system}
    except Refused:
        return None


def _request_key(client: str, asked: tuple[str, str | None, str | None], digest: bytes) -> RequestKey | None:
    """`asked`: what, the client's key, the client's number. Reports, replies and keys are numbered each for itself."""
    what, key, number = asked
    if key is None and number is None:
        return None
    name = f"{what}\n{number}" if key is None else key  # no key has a line break
    asked_for = sha256(f"{CHANNEL}\n{client}\n{name}".encode()).digest()
    return RequestKey(asked_for, sha256(what.encode() + b"\n" + digest).digest())


def _receipt(recorded: Recorded, service: Service) -> Document:
    """GeoReport's answer by the type of the service; the tracking number is the token, and is told in words as well."""
    notice = f"{service.notice} {_NOTICE}{recorded.tracking}".strip()
    ids: dict[str, Any] = {"service_request_id": recorded.complaint}
    if service.type == "batch":
        ids = {"token": recorded.tracking}
    elif service.type == "blackbox":
        ids = {}
    return requests_document([{**ids, "service_notice": clean(notice), "account_id": None}])
